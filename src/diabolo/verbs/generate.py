"""reconstruct, denoise, sample, interpolate, traverse: what a decoder makes of a representation.

A method without a decoder gets one, trained on its frozen representation (see `coder_of`).

Each writes its arrays to `<out>/<name>.npz` and a picture beside it, and returns the arrays. By default
`<out>` is the folder `generated` of the run. Vectors get no picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from diabolo import generation
from diabolo.console import Show
from diabolo.data.images import Splits
from diabolo.errors import UserError, unknown
from diabolo.evaluation import denoising
from diabolo.evaluation.features import probe_images
from diabolo.generation import Array, Coder, Gaussian
from diabolo.latents import FITTED, NotSampledError
from diabolo.report.figures import reconstructions
from diabolo.report.grids import grid, square
from diabolo.runs.inputs import Looked, coder_of, images_of, opened, splits_of, view_of
from diabolo.runs.outputs import Arrays, at_least, folder_for, pictured, write
from diabolo.runs.run import Run
from diabolo.seeds import generator

SHOWN = 12  # images in a row of a picture
TRAVERSED = 10  # dimensions, where none is named
SOURCES = ("prior", "latents", "classes")


def reconstruct(
    run: str | Path | Run,
    data: Looked = None,
    *,
    n: int = 1000,
    out: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Arrays:
    """Encode images and decode them again.

    data: what to reconstruct; by default the run's own test images (see `images_of`). n: how many to write;
    the error is over all of them. Where the recipe has views, one of each image is reconstructed as well.

    Arrays: `input` as the data are, `output` [n, *shape], `view` and `view_output` where there are views,
    `error` [N], the mean squared error per dimension of every image, without views, and their `names` [N];
    `mse`, the mean error, in the units of the data (pixels in [0, 1]), and for images `psnr` in decibels, of
    `mse`.
    """
    at_least(1, n=n)
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    images = images_of(run, data, show)
    method = coder_of(run, data, show)
    few = images.take(torch.arange(min(n, len(images))))
    arrays: Arrays = {
        "input": few.pixels[:].numpy(),
        "output": generation.reconstruct(method, few.floats().numpy()),
    }
    if (view := view_of(run, few, seed)) is not None:
        arrays |= {"view": view, "view_output": generation.reconstruct(method, view)}
    arrays |= _measured("", generation.reconstruction_errors(method, images), pictured(run))
    arrays["names"] = np.array(images.names)
    show.note(f"{len(images):,} examples: {_in_words(arrays)}")
    rows = {
        "input": few.floats().numpy(),
        "output": arrays["output"],
        "view": arrays.get("view"),
        "output of the view": arrays.get("view_output"),
    }
    shown = {name: row[:SHOWN] for name, row in rows.items() if row is not None}
    picture = reconstructions(shown) if pictured(run) else None
    return write(folder, "reconstruct", arrays, picture, show)


def denoise(
    run: str | Path | Run,
    data: Looked = None,
    *,
    noise: float = 0.3,
    n: int = 1000,
    out: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Arrays:
    """Add normal noise to images, not clipped, and reconstruct them; beside it PCA and a Wiener filter.

    noise: its standard deviation, in the units of the data. PCA has the width of the code and is fitted on
    the run's train images; the Wiener filter is told the noise, and its window is chosen on validation.
    Estimates of images are clipped to [0, 1], all alike. n: how many images to write; errors are over all.

    Arrays: `original`, and for each of noisy, denoised, pca and (images) wiener the array of that name
    [n, *shape], `error_<name>` [N], `mse_<name>` and (images) `psnr_<name>`; and `window`, `width`.
    """
    at_least(1, n=n)
    if not noise > 0:
        raise UserError(f"noise is its standard deviation: it must be more than 0, got {noise}")
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    images, splits = images_of(run, data, show), splits_of(run, data)
    method = coder_of(run, data, show)
    bench = denoising.bench(method, splits, noise, seed)
    titles = {
        "noisy": "noisy",
        "denoised": "denoised",
        "pca": f"PCA, {bench.width} components",
        "wiener": f"Wiener filter, {bench.window} × {bench.window}",
    }
    arrays: Arrays = {"width": np.array(bench.width)}
    if bench.window is not None:
        arrays["window"] = np.array(bench.window)
    few = images.take(torch.arange(min(n, len(images))))
    clean = few.floats().numpy()
    noisy = np.concatenate([after for _, after in denoising.noisy_batches(few, noise, seed)])
    arrays["original"] = few.pixels[:].numpy()
    rows = {"original": clean}
    for name, errors in denoising.denoising_errors(bench.denoisers, images, noise, seed).items():
        arrays |= {name: bench.denoisers[name](noisy), **_measured(f"_{name}", errors, pictured(run))}
        title = f"{titles[name]}: {_gain(name, arrays)}"
        show.note(title)
        rows[title] = arrays[name]
    shown = {title: row[:SHOWN] for title, row in rows.items()}
    picture = reconstructions(shown) if pictured(run) else None
    return write(folder, "denoise", arrays, picture, show)


def sample(
    run: str | Path | Run,
    data: Splits | None = None,
    *,
    n: int | None = None,
    source: Literal["prior", "latents", "classes"] = "prior",
    out: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Arrays:
    """Draw codes and decode them.

    source: the "prior"; or a Gaussian with full covariance fitted to the codes of train, to all its "latents"
    or to those of each of its "classes" (SimVAE, A.7.6). n: how many images, 64 by default; of each class,
    10 by default. data: the splits of a run that was trained on arrays.

    Arrays: `codes` [n, d], `images` [n, *shape], and with "classes" `labels` [n] and `classes`.
    """
    if source not in SOURCES:
        raise unknown("source of samples", source, SOURCES)
    n = (10 if source == "classes" else 64) if n is None else n
    at_least(1, n=n)
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    if source == "prior" and not isinstance(run.method, generation.Density):  # before a decoder is trained
        raise NotSampledError(f"{run.recipe.method['name']} has no prior: {FITTED} (--from latents)")
    method, rng = coder_of(run, data, show), generator("sample", seed)
    labels: Arrays = {}
    if source == "prior":
        codes = _from_prior(run, method, n, rng)
    elif source == "latents":
        codes = Gaussian.fit(generation.codes(method, splits_of(run, data).train)).sample(n, rng)
    else:
        train, _, _ = probe_images(splits_of(run, data))
        if train.labels is None:
            raise UserError("these data have no labels: sample from all of train, with --from latents")
        fitted = generation.per_class(generation.codes(method, train), train.labels.numpy())
        codes = np.concatenate([gaussian.sample(n, rng) for gaussian in fitted.values()])
        labels = {"labels": np.repeat(list(fitted), n), "classes": np.array(train.classes)}
    images = generation.decode(method, codes)
    picture = None
    if pictured(run) and labels:
        names = [train.classes[label] for label in fitted]
        picture = grid([row[:SHOWN] for row in np.split(images, len(names))], names)
    elif pictured(run):
        picture = grid(square(images))
    arrays = {"codes": codes, "images": images, **labels}
    return write(folder, f"sample-{source}", arrays, picture, show)


def interpolate(
    run: str | Path | Run,
    data: Looked = None,
    *,
    pairs: int = 8,
    steps: int = 9,
    out: str | Path | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> Arrays:
    """Decode the straight lines between the codes of randomly paired images.

    pairs: how many lines. steps: images on each, both ends included.

    Arrays: `first` and `second` [pairs, *shape], the images as the data are; `codes` [pairs, steps, d] and
    `images` [pairs, steps, *shape].
    """
    at_least(1, pairs=pairs)
    at_least(2, steps=steps)
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    images = images_of(run, data, show)
    if len(images) < 2 * pairs:
        raise UserError(
            f"{pairs} pairs take {2 * pairs} images, and there are {len(images)}: ask for fewer pairs"
        )
    method = coder_of(run, data, show)
    chosen = torch.randperm(len(images), generator=generator("interpolate", seed))[: 2 * pairs]
    first, second = images.take(chosen[:pairs]), images.take(chosen[pairs:])
    codes = generation.interpolation(generation.codes(method, first), generation.codes(method, second), steps)
    decoded = generation.decode(method, codes)
    picture = None
    if pictured(run):
        ends = first.floats().numpy()[:, None], second.floats().numpy()[:, None]
        rows = np.concatenate([ends[0], decoded, ends[1]], axis=1)
        picture = grid(list(rows), columns=["image", *[""] * steps, "image"])
    arrays = {
        "first": first.pixels[:].numpy(),
        "second": second.pixels[:].numpy(),
        "codes": codes,
        "images": decoded,
    }
    return write(folder, "interpolate", arrays, picture, show)


def traverse(
    run: str | Path | Run,
    data: Looked = None,
    *,
    dimensions: Sequence[int] | None = None,
    image: int | None = None,
    span: float = 3.0,
    steps: int = 9,
    out: str | Path | None = None,
    quiet: bool = False,
) -> Arrays:
    """Move a code along one latent dimension at a time, and decode it.

    dimensions: which; by default the ten that vary most over train, most first. image: the position of the
    image whose code to start from; by default the mean code of train. span: how far to either side, in
    standard deviations of the dimension over train. steps: images on the way; odd, to meet the start itself.

    Arrays: `dimensions` [k], `deviation` [k] over train, `start` [d], `codes` [k, steps, d] and
    `images` [k, steps, *shape].
    """
    at_least(2, steps=steps)
    if not span > 0:
        raise UserError(f"span is how far to go, in standard deviations: more than 0, got {span:g}")
    if dimensions is not None and len(set(dimensions)) < len(dimensions):
        raise UserError(f"dimensions: each is moved along once, got {', '.join(map(str, dimensions))}")
    run, show = opened(run), Show(quiet)
    folder = folder_for(run, out)
    images = None if image is None else images_of(run, data, show)
    if images is not None and not 0 <= image < len(images):  # type: ignore[operator]
        raise UserError(f"image {image}: the images are numbered from 0 to {len(images) - 1}")
    method = coder_of(run, data, show)
    train = generation.codes(method, splits_of(run, data).train)
    deviations = train.std(axis=0)
    chosen = np.argsort(-deviations)[:TRAVERSED] if dimensions is None else np.array(dimensions, dtype=int)
    if not len(chosen) or chosen.min() < 0 or chosen.max() >= len(deviations):
        raise UserError(f"dimensions: this code has dimensions 0 to {len(deviations) - 1}, got {dimensions}")
    start = train.mean(axis=0)
    if images is not None:
        [start] = generation.codes(method, images.take(torch.tensor([image])))
    codes = generation.traversal(start, chosen, span * deviations[chosen], steps)
    decoded = generation.decode(method, codes)
    picture = None
    if pictured(run):
        names = [f"z{i}, σ {deviations[i]:.2g}" for i in chosen]
        headings = [f"−{span:g}σ", *[""] * (steps - 2), f"+{span:g}σ"]
        picture = grid(list(decoded), names, headings)
    arrays = {
        "dimensions": chosen,
        "deviation": deviations[chosen],
        "start": start,
        "codes": codes,
        "images": decoded,
    }
    return write(folder, "traverse", arrays, picture, show)


def _from_prior(run: Run, method: Coder, n: int, rng: torch.Generator) -> Array:
    width = generation.code_width(method, run.facts.shape)
    try:
        return generation.sample_prior(method, n, width, rng)
    except NotSampledError as reason:
        raise NotSampledError(f"{reason} (that Gaussian: --from latents)") from None


def _measured(suffix: str, errors: Array, images: bool) -> Arrays:
    """The errors of each example, their mean, and of images the ratio."""
    mse = errors.mean()
    found = {f"error{suffix}": errors, f"mse{suffix}": np.array(mse)}
    return found | {f"psnr{suffix}": np.array(generation.psnr(mse))} if images else found


def _in_words(arrays: Arrays) -> str:
    if "psnr" not in arrays:
        return f"MSE {arrays['mse']:.4g} per dimension, in the units of the data"
    return f"MSE {arrays['mse']:.4g} per pixel in [0, 1], PSNR {arrays['psnr']:.2f} dB"


def _gain(name: str, arrays: Arrays) -> str:
    """How near an estimate comes to the original and, of images, what that gains on the noisy one."""
    if "psnr_noisy" not in arrays:
        return f"MSE {arrays[f'mse_{name}']:.4g} per dimension"
    ratio = arrays[f"psnr_{name}"]
    gain = f" ({ratio - arrays['psnr_noisy']:+.2f})" if name != "noisy" else ""
    return f"PSNR {ratio:.2f} dB{gain}".replace("-", "−")
