"""embed: the representation of any images, as an array file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diabolo.allocator import spare_page_faults
from diabolo.console import Show
from diabolo.errors import UserError
from diabolo.files import check_file, expanded, write_arrays
from diabolo.runs.inputs import Looked, opened, origins_of, parts_of
from diabolo.runs.run import Run


def embed(
    run: str | Path | Run,
    data: Looked,
    *,
    out: str | Path | None = None,
    space: str | None = None,
    quiet: bool = False,
) -> np.ndarray:
    """Embed every image of a data set, or of all the run's own, train first: float32 [N, D].

    out: an `.npz` to write, with `features` [N, D], `labels` [N] (−1 where there is none), `names` [N] and
    `parts` [N], such as test (of the run's own data, what it held out), `classes`, and where there are any
    `attributes` [N, A] and `attribute_names`, `quantities` [N, Q] and `quantity_names`; `diabolo evaluate`
    reads it. Images are resized to what the run was trained on.
    """
    show = Show(quiet)
    run = opened(run)
    spare_page_faults(run.device)
    out = None if out is None else expanded(out)
    if out is not None and out.suffix != ".npz":
        raise UserError(f"{out}: the output is an array file: name it with .npz")
    if out is not None:
        check_file(out)
    parts = parts_of(run, data, show)
    images = parts.together()
    features = run.embed(images, space)
    if out is not None:
        origins = origins_of(run, parts)
        if "test" not in origins and images.labels is not None:
            show.note(
                "there is no test part: 'diabolo evaluate' cuts one at random, which tests nothing where the "
                "run was trained on these images"
            )
        labels = np.full(len(images), -1) if images.labels is None else images.labels.numpy()
        arrays = {
            "features": features,
            "labels": labels,
            "names": np.array(images.names),
            "parts": origins,
            "classes": np.array(images.classes, dtype=str),
        }
        if images.attributes is not None:
            arrays["attributes"] = images.attributes.numpy()
            arrays["attribute_names"] = np.array(images.attribute_names)
        if images.quantities is not None:
            arrays["quantities"] = images.quantities.numpy()
            arrays["quantity_names"] = np.array(images.quantity_names)
        write_arrays(out, arrays)
        show.note(f"{len(features):,} × {features.shape[1]} features → {out}")
    return features
