"""What the measures of a run found, laid out in words and figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diabolo.report.table import number

# What a figure is called where its key is no word; by the measure's name.
LABELS: Mapping[str, Mapping[str, str]] = {
    "reconstruction": {
        "mse": "MSE",
        "mse_of_mean": "MSE of the mean image",
        "psnr": "PSNR (dB)",
        "ssim": "SSIM",
    },
    "copying": {"mse": "MSE, pixels shuffled", "mse_straight": "MSE"},
    "frechet": {"floor": "of train images", "width": "features"},
    "style": {"mean": "mean R²"},
    "bound": {"nats": "−log p (nats, at most)", "negative_elbo": "−ELBO (nats)"},
    "pca-subspace": {"mse": "MSE", "mse_pca": "MSE of PCA", "angle": "largest angle (°)"},
    "denoising": {
        "psnr_in": "PSNR in (dB)",
        "psnr_method": "PSNR out (dB)",
        "psnr_pca": "by PCA (dB)",
        "psnr_wiener": "by a Wiener filter (dB)",
        "gain": "gain (dB)",
    },
    "anomaly": {
        "reconstruction": "AUROC by reconstruction",
        "nll": "AUROC by −log p",
        "knn": "AUROC by neighbours",
    },
    "latents": {
        "active": "active units",
        "width": "units in all",
        "kl": "KL (nats)",
        "entropy": "entropy (nats)",
    },
}
HIDDEN = ("seconds", "note", "missing")


@dataclass(frozen=True)
class Figure:
    """One number or text. untrained: the same of the untrained twin, where it was measured."""

    label: str
    value: str
    untrained: str | None = None

    def __str__(self) -> str:
        return f"{self.label} {self.value}" + (f" (untrained {self.untrained})" if self.untrained else "")


@dataclass(frozen=True)
class Measured:
    """A measure: its name, its figures, and what a reader should know of them.

    parts: figures of parts that have the same ones, such as each space.
    """

    name: str
    figures: list[Figure]
    notes: list[str]
    parts: Mapping[str, list[Figure]] = field(default_factory=dict)


def measures_of(scores: Mapping[str, Any]) -> list[Measured]:
    """The measures in `scores.json`, in their order. Lists of numbers, such as a matrix, are left out."""
    own, twin = (scores.get(row, {}).get("measures", {}) for row in ("encoder", "random"))
    return [_measured(name, found, twin.get(name, {})) for name, found in own.items()]


def _measured(name: str, found: Mapping[str, Any], twin: Mapping[str, Any]) -> Measured:
    labels = LABELS.get(name, {})
    shown = {key: value for key, value in found.items() if key not in HIDDEN}
    parts = {
        key: _figures(value, twin.get(key, {}), {})
        for key, value in shown.items()
        if isinstance(value, Mapping)
    }
    notes = [found["note"]] if "note" in found else []
    notes += [f"no {labels.get(key, key)}: {reason}" for key, reason in found.get("missing", {}).items()]
    return Measured(name, _figures(shown, twin, labels), notes, parts)


def _figures(found: Mapping[str, Any], twin: Mapping[str, Any], labels: Mapping[str, str]) -> list[Figure]:
    figures = []
    for key, value in found.items():
        text = _text(value)
        if text is not None:
            other = _text(twin[key]) if key in twin and isinstance(value, float) else None
            figures.append(Figure(labels.get(key, key.replace("_", " ")), text, other))
    return figures


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return number(value)
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return ", ".join(value) if texts else None
