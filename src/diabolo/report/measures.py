"""What measures found, laid out in words and figures."""

from collections.abc import Callable, Mapping
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
UNTRAINED = "untrained"
BESIDE: Mapping[str, str] = {"random": UNTRAINED, "pca": "PCA", "pixels": "pixels"}  # reference rows


@dataclass(frozen=True)
class Figure:
    """One number or text. beside: the same of reference rows, where it was measured, by their names."""

    label: str
    value: str
    beside: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        others = ", ".join(f"{name} {value}" for name, value in self.beside.items())
        return f"{self.label} {self.value}" + (f" ({others})" if others else "")


@dataclass(frozen=True)
class Measured:
    """A measure: its name, its figures, and what a reader should know of them.

    parts: figures of parts that have the same ones, such as each space, with the untrained twin's beside.
    references: the same of PCA and pixels, which have one space.
    """

    name: str
    figures: list[Figure]
    notes: list[str]
    parts: Mapping[str, list[Figure]] = field(default_factory=dict)
    references: Mapping[str, list[Figure]] = field(default_factory=dict)


def measures_of(scores: Mapping[str, Any]) -> list[Measured]:
    """The measures in `scores.json`, in their order. Lists of numbers, such as a matrix, are left out."""
    own, *others = (scores.get(row, {}).get("measures", {}) for row in ("encoder", *BESIDE))
    return [
        _measured(
            name,
            found,
            {title: other.get(name, {}) for title, other in zip(BESIDE.values(), others, strict=True)},
        )
        for name, found in own.items()
    ]


def _measured(name: str, found: Mapping[str, Any], beside: Mapping[str, Mapping[str, Any]]) -> Measured:
    labels = LABELS.get(name, {})
    shown = {key: value for key, value in found.items() if key not in HIDDEN}
    parts = {
        key: _figures(value, {UNTRAINED: beside[UNTRAINED].get(key, {})}, {}, _fixed)
        for key, value in shown.items()
        if isinstance(value, Mapping)
    }
    references = {
        title: _figures(value, {}, {}, _fixed)
        for title, other in beside.items()
        for key, value in other.items()
        if title != UNTRAINED and key not in HIDDEN and isinstance(value, Mapping)
    }
    notes = [found["note"]] if "note" in found else []
    notes += [f"no {labels.get(key, key)}: {reason}" for key, reason in found.get("missing", {}).items()]
    return Measured(name, _figures(shown, beside, labels), notes, parts, references)


def _figures(
    found: Mapping[str, Any],
    beside: Mapping[str, Mapping[str, Any]],
    labels: Mapping[str, str],
    written: Callable[[float], str] = number,
) -> list[Figure]:
    figures = []
    for key, value in found.items():
        text = _text(value, written)
        if text is not None:
            others = {name: _text(other.get(key), written) for name, other in beside.items()}
            known = {name: other for name, other in others.items() if other and isinstance(value, float)}
            figures.append(Figure(labels.get(key, key.replace("_", " ")), text, known))
    return figures


def _text(value: Any, written: Callable[[float], str]) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return written(value)
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return ", ".join(value) if texts else None


def _fixed(value: float) -> str:
    """In the columns of a table, where decimals stand below one another."""
    return f"{value:.3f}".replace("-", "−") if isinstance(value, float) else number(value)
