"""What a step computes of a batch: the loss and its gradients, eagerly or compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from diabolo.distributed import world_size
from diabolo.errors import SettingsError, UserError
from diabolo.methods.base import Method, Terms
from diabolo.precision import in_precision
from diabolo.views.pipeline import Batch, Options, Pipeline

Note = Callable[[str], Any]  # is told what a user may want to know


def silent(_: str) -> None:
    """A note that nobody reads."""


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


def compile_step(
    method: Method, pipelines: Sequence[Pipeline], graphs: bool = False, note: Note = silent
) -> CompiledStep:
    """The step compiled, and in place the views, with the random numbers of the eager ones.

    graphs: record what is launched on CUDA as graphs. Elsewhere it changes nothing.
    note: is told when the step turns out not to be one graph.
    """
    torch._dynamo.reset()  # runs of one process share the code that is compiled, up to a limit of variants
    device = next(method.parameters()).device.type
    options = {
        "fallback_random": True,
        # A small network's kernels are called without Python; what several processes exchange cannot be.
        # Other devices would need their toolkit's headers.
        "cpp_wrapper": device == "cpu" and world_size() == 1,
        "triton.cudagraphs": graphs and device == "cuda",
    }
    for pipeline in pipelines:
        pipeline.compile(options)
    return CompiledStep(method, options, note)


class CompiledStep:
    """`forward_backward` of a method as one graph, so that nothing of autograd is left to run.

    Where hooks act on gradients, as those do that reduce them over several processes, and for a method that
    cannot be traced from end to end, or whose Python state differs from step to step, the forward pass is
    compiled in place, in pieces; `graph` is then None.
    """

    def __init__(self, method: Method, options: Options, note: Note) -> None:
        self.method, self.options, self.note = method, options, note
        self.graph: Step | None = None
        if world_size() > 1 or any(_hooks(p) for p in method.parameters()):
            method.compile(options=options)
        else:
            # Whole or not at all: where the graph breaks, a traced `backward` leaves gradients out, unsaid.
            self.graph = torch.compile(forward_backward, fullgraph=True, options=options)

    def __call__(self, method: nn.Module, batch: Batch, precision: str, parts: int = 1) -> Terms:
        """Raises `SettingsError` where not even the forward pass can be compiled."""
        from torch._dynamo import config
        from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

        if self.graph is not None:
            before, config.trace_autograd_ops = config.trace_autograd_ops, True
            try:
                return self.graph(method, batch, precision, parts)
            except (TorchDynamoException, FailOnRecompileLimitHit) as error:  # before anything was computed
                self.note(f"compiled in pieces, for the step is not one graph ({_reason(error)})")
                self.graph = None
                self.method.compile(options=self.options)
            finally:
                config.trace_autograd_ops = before  # a user's own compiled code relies on it
        try:
            return forward_backward(method, batch, precision, parts)
        except TorchDynamoException as error:
            raise SettingsError(f"training.compile: {_reason(error)}") from None


def check_compiler(device: torch.device) -> None:
    """Raises `UserError` where a device's steps cannot be compiled for want of a compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    if device.type == "cpu":
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise UserError(
                "training.compile: there is no C++ compiler: install g++, or name one in CXX"
            ) from None


def _reason(error: Exception) -> str:
    """The first line of what went wrong, a compiler's error standing within PyTorch's, and where."""
    reason = str(getattr(error, "inner_exception", error)).partition("\n")[0].rstrip(".")
    if not (stack := getattr(error, "real_stack", None)):  # of what was traced
        return reason
    return f"{reason}, in {stack[-1].name}, {Path(stack[-1].filename).name}:{stack[-1].lineno}"


def _hooks(parameter: nn.Parameter) -> bool:
    """Whether something is called with a parameter's gradient."""
    return bool(parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None))
