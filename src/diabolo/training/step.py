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
    if world_size() == 1 and not any(_hooks(p) for p in method.parameters()):
        return TracedStep(method, mode)
    method.compile(mode=mode)  # hooks that act on gradients, as those that reduce them do, are in no graph
    return forward_backward


class TracedStep:
    """`forward_backward` of a method as one graph, so that nothing of autograd is left to run.

    A method that cannot be traced from end to end, or whose Python state differs from step to step, has its
    forward pass compiled in place, in pieces; `graph` is then None.
    """

    def __init__(self, method: Method, mode: str | None) -> None:
        import torch

        self.method, self.mode = method, mode
        # Whole or not at all: where the graph breaks, a traced `backward` leaves gradients out, unsaid.
        self.graph: Step | None = torch.compile(forward_backward, fullgraph=True, mode=mode)

    def __call__(self, method: nn.Module, batch: Batch, precision: str, parts: int = 1) -> Terms:
        from torch._dynamo import config
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        if self.graph is not None:
            before, config.trace_autograd_ops = config.trace_autograd_ops, True
            try:
                return self.graph(method, batch, precision, parts)
            except (TorchDynamoException, FailOnRecompileLimitHit):  # before anything was computed
                self.graph = None
                self.method.compile(mode=self.mode)
            finally:
                config.trace_autograd_ops = before  # a user's own compiled code relies on it
        return forward_backward(method, batch, precision, parts)


def _hooks(parameter: nn.Parameter) -> bool:
    """Whether something is called with a parameter's gradient."""
    return bool(parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None))
