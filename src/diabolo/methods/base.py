"""What a method is: a network whose `forward` is its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from diabolo.errors import unknown
from diabolo.networks.backbone import Backbone


class Terms(NamedTuple):
    """A loss and what it is made of, averaged over this process's examples."""

    total: Tensor  # what is minimised
    parts: dict[str, Tensor]  # 0-d, under the paper's names


@dataclass(frozen=True)
class Needs:
    """What a method asks of the batch and of the loop."""

    views: tuple[int, int | None] = (1, None)  # fewest and most views of an example
    batch: int = 1  # fewest examples: 2 where the loss, or batch norm in a head, measures each by the others
    local_views: bool | None = False  # smaller crops beside the global ones; None: if the recipe gives them
    labels: bool = False
    features: bool = False  # `before_epoch` wants the representation of the whole training split
    synchronise: bool = True  # batch norm sees all processes' examples
    encoded: int = 1  # copies of each view that are encoded
    compares: bool = False  # whether the loss itself measures the examples of a batch by one another
    held_out: bool = True  # whether the loss has a meaning for other examples than those of train


class Method(nn.Module):
    """A way to train an encoder.

    A subclass writes `forward` and lists its settings as keyword-only parameters. Its positional parameters
    are given by name: `encoder` (Backbone), `decoder` (DecoderFactory), `shape`, `views` (of each
    example), `classes`, `size` (number of training examples).
    """

    needs: ClassVar[Needs] = Needs()
    spaces: ClassVar[tuple[str, ...]] = ("h", "map")  # what `represent` offers; the first is the default
    # What of z has a scale to its loss: with "length" each z counts as if it had length 1, with "deviation"
    # each dimension is to deviate by 1. The verdict on collapse measures z by it; None leaves its rank alone.
    unit: ClassVar[Literal["length", "deviation"] | None] = None

    def __init__(self, encoder: Backbone) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def title(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @property
    def draws(self) -> int:
        """Of a code from each view's posterior, over which the loss is averaged."""
        return 1

    def forward(self, batch: Any) -> Terms:
        """The loss of a `Batch`. Data parallelism and compilation wrap this call."""
        raise NotImplementedError

    def represent(self, x: Tensor, space: str | None = None) -> Tensor:
        """The representation: [n, *shape] → [n, D].

        space: "h", the encoder's feature; "map", its last feature map, flattened; "z" where the subclass
        has a latent or an embedding; None for the method's default.
        """
        space = space or self.spaces[0]
        if space not in self.spaces:
            raise unknown("space", space, self.spaces)
        if space == "map":
            return self.encoder.map(x)
        h = self.encoder(x)
        return self.embed(h) if space == "z" else h

    def embed(self, h: Tensor) -> Tensor:
        """From the feature h to the space "z", for methods that offer it."""
        raise NotImplementedError

    def embed_views(self, views: Iterable[Tensor]) -> Tensor:
        """The space "z" of views of one or more resolutions, [B, J, *shape] each: [B, sum of J, D]."""
        z = [self.embed(self.encoder(v.flatten(0, 1))).unflatten(0, v.shape[:2]) for v in views]
        return torch.cat(z, 1)

    def embed_apart(self, views: Tensor) -> Tensor:
        """The space "z" of views [B, J, *shape], each of them passed alone: [B, J, D]."""
        return each_view(lambda x: self.embed(self.encoder(x)), views)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """What the optimiser gets: biases, norms and other vectors are not decayed."""
        return groups_of(self.parameters(), weight_decay)

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step, for momentum networks and queues; never for what is optimised."""

    def before_epoch(self, features: Tensor) -> None:
        """Called before each epoch with the training split's features [N, D], if `needs.features`.

        They are the default representation, in evaluation mode. The loop seeds the global generator for it.
        """


def each_view(function: Callable[[Tensor], Tensor], views: Tensor) -> Tensor:
    """A function of each view alone, so that each has batch statistics of its own: [B, J, …] → [B, J, …]."""
    return torch.stack([function(x) for x in views.unbind(1)], 1)


def groups_of(
    parameters: Iterable[nn.Parameter],
    weight_decay: float,
    undecayed: Iterable[nn.Parameter] = (),
    **options: Any,
) -> list[dict[str, Any]]:
    """Groups for the optimiser: matrices apart from vectors, which never decay, or all in one without decay.

    undecayed: matrices that do not decay either. options: of all, such as fixed_lr=True.
    """
    spared = {id(p) for p in undecayed}
    trained = [p for p in parameters if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    decayed = [p for p in matrices if id(p) not in spared]
    others = [p for p in matrices if id(p) in spared] + vectors
    groups = [(decayed, weight_decay), (others, 0.0)] if weight_decay else [(decayed + others, 0.0)]
    return [{"params": params, "weight_decay": decay, **options} for params, decay in groups]


class DecoderFactory(Protocol):
    """Builds a decoder of images: `decoder(latent, channels)` is a module [n, latent] → [n, channels, H, W].

    `channels` is a multiple of the image's own, as the likelihood needs.
    """

    def __call__(self, latent: int, channels: int) -> nn.Module: ...


@runtime_checkable
class Generative(Protocol):
    """What a method with a decoder offers beside."""

    def decode(self, z: Tensor) -> Tensor:
        """[n, d] → images [n, *shape] in [0, 1]'s units."""
        ...

    def reconstruct(self, x: Tensor) -> Tensor:
        """[n, *shape] → its reconstruction from the mean of the posterior."""
        ...
