"""Reference rows: raw pixels and PCA, and a cache for the scores of what does not change between runs."""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from diabolo.data.images import Images, Splits
from diabolo.errors import UserError
from diabolo.evaluation.features import Features, features_of, sample
from diabolo.files import cache_folder, write_json
from diabolo.representation import extract

MAX_WIDTH = 3072  # 3 × 32 × 32: beyond it images are averaged down, so that probes on pixels stay affordable
PCA_ROWS = 50_000  # training examples that PCA is fitted on
SLIGHT = 1e-3  # of the largest deviation: what float32 arithmetic leaves where there is none


class Pixels:
    """The images themselves: pixels in [0, 1], flattened; vectors as they are.

    Images of more than 3,072 values are averaged down to at most that many, and the note says so.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.size = _size(shape)
        self.note = ""
        if self.size is not None:
            self.note = f"pixels averaged down from {shape[1]}×{shape[2]} to {self.size[0]}×{self.size[1]}"

    def represent(self, x: Tensor) -> Tensor:
        return (x if self.size is None else F.adaptive_avg_pool2d(x, self.size)).flatten(1)


class Components:
    """The first `width` principal components of `Pixels`, or as many as there are, fitted on train alone.

    They are found on the whole of train (a sample of 50,000 where it is larger), labelled or not, as a
    method's encoder is. Those that deviate by less than a thousandth of the first are rounding, which a probe
    that standardises would blow up, and left out.
    """

    def __init__(self, train: Images, width: int) -> None:
        from sklearn.decomposition import PCA

        self.pixels = Pixels(train.shape)
        rows = train.take(torch.from_numpy(sample(len(train), PCA_ROWS)))
        fitted_on = extract(self.pixels.represent, rows)
        # At these widths the exact solver is as fast as the randomised one: 4 s for 45,000 × 3,072.
        model = PCA(min(width, *fitted_on.shape), svd_solver="covariance_eigh").fit(fitted_on)
        variance = model.explained_variance_
        there = max(1, int((variance > SLIGHT**2 * variance.max()).sum()))
        self.mean = torch.from_numpy(model.mean_)
        self.directions = torch.from_numpy(model.components_[:there])  # [D, pixels]
        notes = [self.pixels.note] if self.pixels.note else []
        if there < width:
            notes.append(f"{there} principal components, all there are")
        self.note = "; ".join(notes)

    def represent(self, x: Tensor) -> Tensor:
        return (self.pixels.represent(x) - self.mean) @ self.directions.T


def projected(reference: Pixels | Components, splits: Splits) -> Features:
    """The features of a reference, with its note."""
    return replace(features_of(reference.represent, splits), note=reference.note)


def cached(key: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of `compute`, kept as JSON under the cache folder for everything in `key`.

    The folder is that of the operating system, or `DIABOLO_CACHE`. A file that is damaged, or of another
    key, is computed anew; a folder that cannot be written costs a warning, not the result.
    """
    name = json.dumps(key, sort_keys=True)
    path = cache_folder() / "references" / f"{blake2b(name.encode(), digest_size=16).hexdigest()}.json"
    if (kept := _read(path, json.loads(name))) is not None:
        return kept
    result = compute()
    try:
        write_json(path, {"key": key, "result": result})
    except UserError as error:
        warnings.warn(f"{error}; the reference scores will be computed again next time", stacklevel=2)
    return result


def _read(path: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    try:
        kept = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(kept, dict) and kept.get("key") == key and isinstance(kept.get("result"), dict)
    return kept["result"] if whole else None


def _size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The height and width that images (C, H, W) are averaged down to, or None where they stay."""
    if len(shape) != 3 or math.prod(shape) <= MAX_WIDTH:
        return None
    scale = math.sqrt(MAX_WIDTH / math.prod(shape))
    return max(1, int(shape[1] * scale)), max(1, int(shape[2] * scale))
