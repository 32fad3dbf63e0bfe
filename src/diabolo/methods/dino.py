"""DINO: self-distillation with no labels (Caron et al. 2021)."""

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from diabolo.distributed import mean_over_processes
from diabolo.losses import self_distillation
from diabolo.methods.base import Method, Needs, Terms, groups_of
from diabolo.methods.momentum import cosine_momentum, follow, slow_copy
from diabolo.methods.prototypes import Prototypes
from diabolo.networks.backbone import Backbone
from diabolo.views.pipeline import Batch

Temperature = Annotated[float, Gt(0)]


class DINO(Method):
    """A student predicts, from any view, what its own slow average, the teacher, says of another view.

    The teacher sees the global views alone. Its outputs are centred, so that no prototype dominates, and
    sharpened by a low temperature, so that they do not become uniform. The encoder that is scored is the
    student's; the paper scores the teacher's.

    momentum: of the teacher; it rises to 1 by a cosine. temperature: τ_s of the student.
    teacher_temperatures: τ_t, rising linearly from one to the other over the share `warmup` of the training.
    centring: momentum of the centre c. frozen: share of the training in which the prototypes stay as they
    were drawn (in the paper the first of 100 to 800 epochs). hidden, width: of the projector
    h → hidden → hidden → width, with GELU. batch_norm: before each GELU, an option of the authors' code that
    their transformers go without; small convolutional networks without it tend to a uniform output.
    prototypes: K; 65,536 in the paper, for a thousand classes.
    """

    needs = Needs(views=(2, None), batch=2, local_views=None)
    spaces = ("h", "z", "map")
    unit = "length"

    def __init__(
        self,
        encoder: Backbone,
        *,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.996,
        temperature: Temperature = 0.1,
        teacher_temperatures: tuple[Temperature, Temperature] = (0.04, 0.07),
        warmup: Annotated[float, Gt(0), Le(1)] = 0.1,
        centring: Annotated[float, Ge(0), Lt(1)] = 0.9,
        frozen: Annotated[float, Ge(0), Lt(1)] = 0.01,
        hidden: Annotated[int, Gt(0)] = 1024,
        width: Annotated[int, Gt(0)] = 256,
        batch_norm: bool = True,
        prototypes: Annotated[int, Gt(1)] = 1024,
    ) -> None:
        super().__init__(encoder)
        self.momentum = momentum
        self.temperature, self.teacher_temperatures, self.warmup = temperature, teacher_temperatures, warmup
        self.centring = centring
        self.frozen = frozen
        self.projector = nn.Sequential(
            *_layer(encoder.width, hidden, batch_norm),
            *_layer(hidden, hidden, batch_norm),
            nn.Linear(hidden, width),
        )
        self.prototypes = Prototypes(width, prototypes)
        self.teacher = slow_copy(self.student())
        self.centre: Tensor
        self.register_buffer("centre", torch.zeros(prototypes))
        self.fresh: list[Tensor] = []  # mean outputs of the teacher in this step

    def student(self) -> tuple[nn.Module, ...]:
        return self.encoder, self.projector, self.prototypes

    def forward(self, batch: Batch) -> Terms:
        views = batch.views[0]  # [B, G, C, H, W]
        with torch.no_grad():
            teacher = self.teacher(views.flatten(0, 1)).unflatten(0, views.shape[:2])  # [B, G, K]
        self.fresh.append(teacher.mean((0, 1)))
        z = self.embed_views(batch.views)  # [B, J, D]
        student = self.prototypes(z, batch.progress < self.frozen)  # [B, J, K]
        first, last = self.teacher_temperatures
        sharp = first + (last - first) * (batch.progress / self.warmup).clamp(max=1)
        loss = self_distillation(student, teacher, self.centre, self.temperature, sharp)
        return Terms(loss, {"distillation": loss})

    def embed(self, h: Tensor) -> Tensor:
        return self.projector(h)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Prototypes do not decay, so that frozen ones stay as they are."""
        return groups_of(self.parameters(), weight_decay, self.prototypes.parameters())

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the teacher towards the student, and the centre towards the teacher's newest outputs."""
        follow(self.teacher, self.student(), cosine_momentum(progress, self.momentum))
        self.centre.lerp_(mean_over_processes(torch.stack(self.fresh).mean(0)), 1 - self.centring)
        self.fresh.clear()


def _layer(before: int, after: int, batch_norm: bool) -> list[nn.Module]:
    return [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if batch_norm else []), nn.GELU()]
