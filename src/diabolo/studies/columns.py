"""What a table of a study can show: where each figure stands in a representation's scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Column:
    """path: keys into an entry of `scores.json`. scale, digits: how it is printed. rises: more is better.
    ranked: whether rows compete in it; what describes the data, a baseline or the protocol has no best row.

    space: of an entry beside the scored space, from the recipe's `evaluation.also`.
    """

    title: str
    path: tuple[str, ...]
    scale: float = 1.0
    digits: int = 2
    rises: bool = True
    ranked: bool = True
    space: str = ""

    @property
    def sign(self) -> int:
        """1 where more is better, else −1."""
        return 1 if self.rises else -1

    @property
    def rebuilds(self) -> bool:
        """Whether it is of reconstructions, by the method's own decoder or by one that was lent."""
        return self.path[:2] == ("measures", "reconstruction")

    @property
    def extracted(self) -> bool:
        """Whether it is in the features of an extractor: figures of different ones do not compare."""
        return self.path[:2] == ("measures", "frechet")

    def read(self, scores: Mapping[str, Any], of: str = "encoder") -> float | None:
        """The figure of a representation ("encoder", "random") in the column's units, or None."""
        value: Any = scores.get(f"{of}.{self.space}" if self.space else of)
        for key in self.path:
            value = value.get(key) if isinstance(value, Mapping) else None
        return None if value is None else self.scale * float(value)

    def step(self, scores: Mapping[str, Any]) -> float:
        """In what steps the figure moves: an accuracy by a test example."""
        return self.scale / scores["encoder"]["test_size"] if self.path[-1] == "accuracy" else 0.0

    def show(self, value: float) -> str:
        return f"{value:.{self.digits}f}".replace("-", "−")


def _percent(title: str, *path: str, space: str = "") -> Column:
    return Column(f"{title} %{', ' * bool(space)}{space}", path, 100, 1, space=space)


COLUMNS = {
    "linear": _percent("linear", "linear", "accuracy"),
    "mlp": _percent("MLP", "mlp", "accuracy"),
    "knn": _percent("kNN", "knn", "accuracy"),
    "linear-h": _percent("linear", "linear", "accuracy", space="h"),
    "mlp-map": _percent("MLP", "mlp", "accuracy", space="map"),
    "knn-h": _percent("kNN", "knn", "accuracy", space="h"),
    "crop-linear": _percent("linear on crops", "crop-linear", "accuracy"),
    "attributes": _percent("attributes", "attributes", "accuracy"),
    "finetune": _percent("fine-tuned", "finetune", "accuracy"),
    "gmm": _percent("GMM", "gmm", "accuracy"),
    "gmm-nmi": _percent("GMM NMI", "gmm", "nmi"),
    "gmm-ari": _percent("GMM ARI", "gmm", "ari"),
    "kmeans": _percent("k-means", "kmeans", "accuracy"),
    "ridge": Column("ridge R²", ("ridge", "r2"), digits=3),
    "rank": Column("rank", ("centred_rank",), digits=1, ranked=False),
    "sparsity": Column("sparsity", ("sparsity",), digits=3, ranked=False),
    "mse": Column("MSE × 10³", ("measures", "reconstruction", "mse"), 1000, 2, rises=False),
    "mse-shuffled": Column(
        "MSE × 10³, shuffled", ("measures", "copying", "mse"), 1000, 2, rises=False, ranked=False
    ),
    "psnr": Column("PSNR dB", ("measures", "reconstruction", "psnr")),
    "ssim": Column("SSIM", ("measures", "reconstruction", "ssim"), digits=3),
    "frechet": Column("Fréchet", ("measures", "frechet", "distance"), digits=1, rises=False),
    "style": Column("style R²", ("measures", "style", "mean"), digits=3),
    "style-h": Column("style R², h", ("measures", "style", "h", "mean"), digits=3),
    "style-z": Column("style R², z", ("measures", "style", "z", "mean"), digits=3),
    "nats": Column("−log p, nats", ("measures", "bound", "nats"), rises=False),
    "bits": Column("bits per dimension", ("measures", "bound", "bits_per_dimension"), rises=False),
    "samples": Column("K", ("measures", "bound", "samples"), digits=0, ranked=False),
    "mse-to-pca": Column("MSE / PCA's", ("measures", "pca-subspace", "ratio"), digits=3, rises=False),
    "angle": Column("largest angle, °", ("measures", "pca-subspace", "angle"), rises=False),
    "shared": Column("subspace shared", ("measures", "pca-subspace", "shared"), digits=4),
    "denoised": Column("PSNR out, dB", ("measures", "denoising", "psnr_method")),
    "noisy": Column("PSNR in, dB", ("measures", "denoising", "psnr_in"), ranked=False),
    "denoised-gain": Column("gain, dB", ("measures", "denoising", "gain")),
    "denoised-pca": Column("PCA, dB", ("measures", "denoising", "psnr_pca"), ranked=False),
    "denoised-wiener": Column("Wiener, dB", ("measures", "denoising", "psnr_wiener"), ranked=False),
    "auroc-reconstruction": Column(
        "AUROC reconstruction", ("measures", "anomaly", "reconstruction"), digits=3
    ),
    "auroc-nll": Column("AUROC −log p", ("measures", "anomaly", "nll"), digits=3),
    "auroc-knn": Column("AUROC kNN", ("measures", "anomaly", "knn"), digits=3),
    "same": Column("cosine, same image", ("measures", "similarity", "same"), digits=3, ranked=False),
    "different": Column(
        "cosine, different", ("measures", "similarity", "different"), digits=3, rises=False, ranked=False
    ),
}
