"""embed: the representation of any images, as an array file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diabolo.allocator import spare_page_faults
from diabolo.data.images import Images
from diabolo.errors import UserError
from diabolo.files import write_arrays
from diabolo.run import Run
from diabolo.verbs.console import Show
from diabolo.verbs.reading import opened, parts_like


def embed(
    run: str | Path | Run,
    data: str | Path | Images,
    *,
    out: str | Path | None = None,
    space: str | None = None,
    quiet: bool = False,
) -> np.ndarray:
    """Embed every image of a data set, train first: float32 [N, D].

    out: an `.npz` to write, with `features` [N, D], `labels` [N] (−1 where there is none), `names` [N],
    `classes`, and where there are any `attributes` [N, A] and `attribute_names`, `quantities` [N, Q] and
    `quantity_names`; `diabolo evaluate` reads it. Images are resized to what the run was trained on.
    """
    show = Show(quiet)
    run = opened(run)
    spare_page_faults(run.device)
    if out is not None and Path(out).suffix != ".npz":
        raise UserError(f"{out}: the output is an array file: name it with .npz")
    if not isinstance(data, Images):
        data = parts_like(run, data, show).together()
    features = run.embed(data, space)
    if out is not None:
        labels = np.full(len(data), -1) if data.labels is None else data.labels.numpy()
        names = data.names or tuple(str(i) for i in range(len(data)))
        arrays = {
            "features": features,
            "labels": labels,
            "names": np.array(names),
            "classes": np.array(data.classes, dtype=str),
        }
        if data.attributes is not None:
            arrays["attributes"] = data.attributes.numpy()
            arrays["attribute_names"] = np.array(data.attribute_names)
        if data.quantities is not None:
            arrays["quantities"] = data.quantities.numpy()
            arrays["quantity_names"] = np.array(data.quantity_names)
        write_arrays(Path(out), arrays)
        show.note(f"{len(features):,} × {features.shape[1]} features → {out}")
    return features
