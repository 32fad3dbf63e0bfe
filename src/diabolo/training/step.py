"""What a step computes of a batch: the loss and its gradients, eagerly or compiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn

from diabolo.distributed import world_size
from diabolo.methods.base import Method, Terms
from diabolo.precision import in_precision
from diabolo.views.pipeline import Batch, Pipeline


class Step(Protocol):
    """`forward_backward`, or its compiled form."""

    def __call__(self, method: nn.Module, batch: Batch, precision: str, parts: int = 1) -> Terms: ...


def forward_backward(method: nn.Module, batch: Batch, precision: str, parts: int = 1) -> Terms:
    """The loss of one of so many parts of a batch, without gradient; the parameters' gradients grow by its.

    method: a `Method`, or what data parallelism wraps it in.
    """
    with in_precision(precision, batch.clean.device):
        terms: Terms = method(batch)
    (terms.total / parts).backward()
    return Terms(terms.total.detach(), {name: part.detach() for name, part in terms.parts.items()})


def compile_step(method: Method, pipelines: Sequence[Pipeline], graphs: bool = False) -> Step:
    """The step compiled, and in place the views, with the random numbers of the eager ones.

    graphs: record what is launched on CUDA as graphs. Elsewhere it changes nothing.
    """
    import torch._inductor.config

    torch._dynamo.reset()  # runs of one process share the code that is compiled, up to a limit of variants
    torch._inductor.config.fallback_random = True
    on_cpu = next(method.parameters()).device.type == "cpu"  # elsewhere it would need the toolkit's headers
    torch._inductor.config.cpp_wrapper = on_cpu  # a small network's kernels are called without Python
    mode = "reduce-overhead" if graphs else None
    for pipeline in pipelines:
        pipeline.compile(mode)
    if world_size() == 1:
        return Whole(method, mode)
    method.compile(mode=mode)  # gradients are reduced in hooks of the backward pass, which no graph can hold
    return forward_backward


class Whole:
    """`forward_backward` as one graph: nothing of autograd is left to run, and no wait between the passes.

    A method that cannot be traced from end to end has its forward pass compiled in place, in pieces.
    """

    def __init__(self, method: Method, mode: str | None) -> None:
        import torch._dynamo

        self.method, self.mode = method, mode
        torch._dynamo.config.trace_autograd_ops = True
        # Whole or not at all: behind a break of the graph, a traced `backward` forgets what lay before it.
        self.graph: Step | None = torch.compile(forward_backward, fullgraph=True, mode=mode)

    def __call__(self, method: nn.Module, batch: Batch, precision: str, parts: int = 1) -> Terms:
        from torch._dynamo import config
        from torch._dynamo.exc import TorchDynamoException

        if self.graph is not None:
            try:
                return self.graph(method, batch, precision, parts)
            except TorchDynamoException:  # while tracing, before anything was computed
                self.graph, config.trace_autograd_ops = None, False
                self.method.compile(mode=self.mode)
        return forward_backward(method, batch, precision, parts)
