"""What a verb works on: the run, and the images it is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diabolo.components import CUSTOM
from diabolo.console import Show
from diabolo.data.arrays import check_levels
from diabolo.data.at_hand import images_at_hand
from diabolo.data.catalog import CATALOG
from diabolo.data.classes import FOLDER, PATH
from diabolo.data.images import Images, Splits
from diabolo.data.parts import Parts
from diabolo.data.rows import join
from diabolo.data.splits import AtHand, of_digest, read_parts, reading_of, split, splits_from
from diabolo.errors import UnreadableError, UserError
from diabolo.evaluation.decoder import coder_for, kept_coder
from diabolo.evaluation.references import Pixels
from diabolo.files import expanded
from diabolo.generation import Coder
from diabolo.methods.build import views_at_hand
from diabolo.recipe import Data, decoder_for
from diabolo.representation import extract
from diabolo.runs.run import Run
from diabolo.seeds import generator

PIXELS = "pixels"  # as a space to compare images in
DECODER = "decoder.safetensors"  # in a run folder: trained for a method without one
NamedData = str | Path | list[str] | list[Path]  # a data set's name, a path, or several paths
Looked = NamedData | AtHand | None


def opened(run: str | Path | Run) -> Run:
    """The run in a folder, or the one given."""
    return run if isinstance(run, Run) else Run.open(run)


def splits_of(run: Run, data: Looked = None) -> Splits:
    """The splits to look at: those given, or the recipe's, which must be what the run was trained on.

    The recipe's keep the names that their examples have where they were read, such as train/3.
    """
    if isinstance(data, Splits):
        return _as_trained(run, data)
    if run.own.splits is not None:
        return run.own.splits
    name = run.recipe.data.name
    if name == CUSTOM:
        raise UserError(f"{run.folder} was trained on arrays: give them again, as Run.open(folder, data=…)")
    splits = of_digest(run.facts.digest, run.recipe.data, run.folder)
    if splits is None:
        raise UserError(
            f"{run.folder} was trained on {name}, and there is no such path, from here or from the folders "
            "above the run: put the data back"
        )
    return _same(run, splits)


def trained_on(run: Run, data: Looked = None) -> Splits:
    """The splits to score or to train with: as `splits_of`, and those given must be the run's as well."""
    splits = splits_of(run, data)
    return _same(run, splits) if isinstance(data, Splits) else splits


def splits_like(run: Run, data: Looked, test: float | None, show: Show) -> Splits:
    """The splits of any data, in the run's size and colours. test: the share to cut where they bring no such
    part, by default a tenth; validation is cut as by default.

    The run's own data, by whatever path, are cut as they were for its training.
    """
    name = run.recipe.data.name
    away = name not in CATALOG and not expanded(name).exists()  # then it may be above the run
    if data is None or (isinstance(data, str | Path) and str(data) == name and away):
        splits, cut = trained_on(run), True
    elif isinstance(data, Splits):
        splits, cut = _as_trained(run, data), True
    else:
        if isinstance(data, str | Path | list):
            parts, called = parts_like(run, data, show), str(data)
        else:
            parts, called = Parts(images_at_hand(data, reading_of(run.recipe.data))).named(), CUSTOM
            check_levels(parts.train.pixels, "data")
        own = _own_cut(run, parts)
        splits = own or split(parts, Data(name=called, test=Data.test if test is None else test))
        cut = own is not None or parts.test is not None
    if test is not None and cut:
        show.note("what is tested on is given: a share of it is not cut")
    _check_shape(run, splits.train)
    return splits


def is_own(run: Run, splits: Splits) -> bool:
    """Whether these are what the run was trained on, cut alike."""
    return not run.facts.digest or splits.digest() == run.facts.digest


def _as_trained(run: Run, splits: Splits) -> Splits:
    """As the run's settings limit them, where these are what it was trained on; others as they are."""
    try:
        own = splits_from(splits, run.recipe.data)
    except UserError:  # of another size, or without a class that the training left out
        return splits
    return own if own.digest() == run.facts.digest else splits


def _same(run: Run, splits: Splits) -> Splits:
    """Raises `UserError` for other data than the run's: what it was trained on could stand in test."""
    if not is_own(run, splits):
        raise UserError(
            f"{run.folder}: {run.recipe.data.name} is not what the run was trained on, and another split "
            "would mix train and test: train anew, or score it there as on other data, by --data or data=…"
        )
    return splits


def parts_like(run: Run, data: NamedData, show: Show) -> Parts:
    """What a data set brings, named, in the size and the colours the run was trained on.

    Of several paths all images are one part, without labels, each named by its path as given.
    """
    shape = run.facts.shape
    size = shape[1] if len(shape) == 3 and shape[1] == shape[2] else None
    colour = {1: "grey", 3: "rgb"}.get(shape[0], "as-is") if len(shape) == 3 else "as-is"
    own = str(data) == run.recipe.data.name
    classes = run.recipe.data.classes
    if classes not in (FOLDER, PATH):  # a table is of the run's images alone
        classes = FOLDER if (home := _home(run, data)) is None else str(home / expanded(classes))
    paths = data if isinstance(data, list) else [data]
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise UserError("a list is of paths: give several images as one array, [n, …]")
    found = {}
    for path in paths:
        try:
            found[path] = read_parts(Data(name=str(path), size=size, colour=colour, classes=classes))  # type: ignore[arg-type]
        except UnreadableError as reason:
            if len(paths) == 1:
                raise
            show.note(f"skipped: {reason}")
    if not found:
        raise UserError("none of the files can be read")
    for parts in found.values():
        for note in parts.notes:
            show.note(note)
        _check_shape(run, parts.train)
    if size is not None and colour != "as-is" and not own:
        what = f"{len(paths)} paths" if isinstance(data, list) else data
        show.note(f"images of {what} are taken as the run knows them: {size}×{size}, {colour}")
    if not isinstance(data, list):
        return found[data].named() if own else found[data].named(Path(data).stem)
    images = {path: parts.together() for path, parts in found.items()}
    names = tuple(_below(path, name) for path, one in images.items() for name in one.names)
    return Parts(Images(join([one.pixels for one in images.values()]), names=names))


def _home(run: Run, data: NamedData) -> Path | None:
    """The folder that the paths of the run's recipe start from, where its data are those named."""
    if isinstance(data, list):
        return None
    there, own = expanded(data).resolve(), expanded(run.recipe.data.name)
    homes = (Path.cwd(), *run.folder.resolve().parents)
    return next((home for home in homes if (home / own).resolve() == there), None)


def _below(path: str | Path, name: str) -> str:
    """What an image is called among those of several paths: a file by its path, another below its own."""
    return str(path) if name == Path(path).name else f"{path}/{name}"


def parts_of(run: Run, data: Looked, show: Show) -> Parts:
    """Every image to look at, by the part it is from; by default all the run's own."""
    if data is None or isinstance(data, Splits):
        splits = splits_of(run, data)
        parts = Parts(splits.train, splits.validation, splits.test, splits.labelled).named()
    elif isinstance(data, str | Path | list):
        parts = parts_like(run, data, show)
    else:
        parts = Parts(images_at_hand(data, reading_of(run.recipe.data))).named()
    _check_shape(run, parts.train)
    return parts


def _check_shape(run: Run, images: Images) -> None:
    if images.shape != run.facts.shape:
        raise UserError(f"this run takes examples of shape {run.facts.shape}, not {images.shape}")


def origins_of(run: Run, parts: Parts) -> NDArray[np.str_]:
    """The part of each of all images, such as test, in the order of `Parts.present`.

    Of the data that the run was trained on, what it held out itself is test and validation too: scored by
    another cut, a representation would be tested on what it was trained on.
    """
    own = own_origins(run, parts)
    return parts.origins() if own is None else own


def own_origins(run: Run, parts: Parts) -> NDArray[np.str_] | None:
    """The part that each of all images had in the run's training; None for other data than the run's."""
    numbered: dict[str, Any] = {name: replace(part, names=()) for name, part in parts.present().items()}
    origins, parts = parts.origins(), Parts(**numbered).named()  # names of files may be any, even the same
    own = _own_cut(run, parts)
    if own is None:
        return None
    held = {name: part for part in ("validation", "test") for name in getattr(own, part).names}
    names = parts.together().names
    return np.array([held.get(name, origin) for name, origin in zip(names, origins, strict=True)])


def _own_cut(run: Run, parts: Parts) -> Splits | None:
    """The splits of the run's training, where these are its data; else None."""
    try:
        splits = split(parts, run.recipe.data)
    except UserError:  # too few to be cut, or without a class that the training left out
        return None
    return splits if splits.digest() == run.facts.digest else None


def images_of(run: Run, data: Looked, show: Show) -> Images:
    """The images to look at, named: those given, or the run's own test images.

    data: what `images_at_hand` takes; the test part of `Splits`; a data set's name or path, of which the test
    part is taken where it brings one, else every image; or a list of paths.
    """
    if data is None or isinstance(data, Splits):
        splits = splits_of(run, data)
        images = Parts(splits.train, test=splits.test).named().present()["test"]
    elif isinstance(data, str | Path | list):
        parts = parts_like(run, data, show)
        images = parts.test or parts.together()
    else:
        images = Parts(images_at_hand(data, reading_of(run.recipe.data))).named().train
    _check_shape(run, images)
    if not len(images):
        raise UserError("there are no images to look at")
    return images


def represented(run: Run, images: Images, space: str | None) -> NDArray[np.float32]:
    """As `Run.embed`; in the space "pixels" the images themselves, each without its mean: [N, D].

    The cosine of two of these is the correlation of their pixels. Blank images, which have none, are alike as
    far as their greys are.
    """
    if space != PIXELS:
        return run.embed(images, space)
    pixels = extract(Pixels(images.shape).represent, images)
    mean = pixels.mean(axis=1, keepdims=True)
    blank = np.ptp(pixels, axis=1, keepdims=True) == 0
    grey = blank * np.concatenate([np.cos(mean * np.pi / 2), np.sin(mean * np.pi / 2)], axis=1)
    return np.concatenate([np.where(blank, 0, pixels - mean), grey], axis=1).astype(np.float32)


def doubt(run: Run, space: str | None) -> list[str]:
    """A line where images are compared in what the run's verdict calls failed or collapsed."""
    if space == PIXELS or not run.scored:
        return []
    poor = [line for line in run.scores["verdict"] if line.startswith(("failed", "collapsed"))]
    return [f"verdict on this run: {one}: --space pixels looks at the images themselves" for one in poor[:1]]


def coder_of(run: Run, data: Looked, show: Show) -> Coder:
    """The run's method, if it can decode; else with a decoder trained on its frozen representation.

    That decoder is kept in the run folder as `decoder.safetensors`, and trained only once.
    """
    return coder_for(
        run.method,
        run.space,
        run.facts.shape,
        _decoder(run),
        lambda: trained_on(run, data).train,
        run.recipe.seed,
        run.folder / DECODER,
        show.note,
        precision=run.recipe.training.precision,
    )


def coder_at_hand(run: Run) -> Coder | None:
    """The run's method, if it can decode; else with the decoder kept in the run folder, if one is."""
    if isinstance(run.method, Coder):
        return run.method
    return kept_coder(run.method, run.space, run.facts.shape, _decoder(run), run.folder / DECODER)


def _decoder(run: Run) -> dict[str, Any]:
    return run.recipe.decoder or decoder_for(run.facts.shape, run.recipe.encoder)


def view_of(run: Run, images: Images, seed: int) -> NDArray[np.float32] | None:
    """One view of each image through the run's augmentations: [n, *shape].

    None where none are at hand.
    """
    pipeline = views_at_hand(run.recipe, run.own.transforms)
    if pipeline is None:
        return None
    drawn = pipeline.draw(len(images), images.shape, generator("view", seed))
    return pipeline.apply(images.floats(), drawn)[:, 0].numpy()
