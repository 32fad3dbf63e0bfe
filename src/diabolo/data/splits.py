"""From what a data set brings to train, validation and test."""

from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import torch
from torch import Tensor

from diabolo.data.arrays import check_levels
from diabolo.data.at_hand import Unnamed, check_form, images_at_hand
from diabolo.data.catalog import CATALOG, DATASETS
from diabolo.data.classes import FOLDER, PATH
from diabolo.data.decode import Reading
from diabolo.data.images import Images, Splits
from diabolo.data.parts import Parts
from diabolo.data.readers import read
from diabolo.errors import UserError, unknown
from diabolo.files import expanded
from diabolo.recipe import Data
from diabolo.seeds import generator

AtHand = Splits | Unnamed  # data that are no name and no path


def load(data: Data) -> Splits:
    """Read a data set, by its name in the catalog or its path, and split it.

    Test is the data set's own, or else a share of train; validation likewise, from what is left. Both depend
    on `split_seed` alone. `limit` then keeps the first images of a fixed order of the rest, so that a smaller
    limit's images are among a larger one's. Raises `UserError` for an unknown name, for what cannot be read,
    and when a part would be empty.
    """
    return split(read_parts(data), data)


def read_parts(data: Data) -> Parts:
    """What the data set brings, before anything is held out."""
    if data.name in CATALOG:
        from diabolo.data.fetch import (
            fetch,
        )  # pooch and requests are slow to import, and a path needs neither

        entry = CATALOG[data.name]
        return DATASETS.load(data.name)(entry, fetch(entry), reading_of(data))
    path = expanded(data.name)
    if not path.exists():
        near = _near(path)
        if path.name != data.name or path.suffix or (near and not get_close_matches(data.name, CATALOG)):
            hint = f": did you mean '{near}'?" if near else ""
            raise UserError(f"{data.name}: there is no such file or folder{hint}")
        raise UserError(f"{unknown('data set', data.name, CATALOG)} (there is no such path either)")
    return read(path, reading_of(data))


def reading_of(data: Data) -> Reading:
    """What the settings say of pixels."""
    return Reading(data.size, data.colour, data.strict, data.resident, data.classes)


def _near(path: Path) -> Path | None:
    """What is called nearly alike, in the same folder."""
    beside = [file.name for file in path.parent.glob("[!.]*")] if path.parent.is_dir() else []
    near = get_close_matches(path.name, sorted(beside), n=1, cutoff=0.75)
    return path.with_name(near[0]) if near else None


def of_digest(digest: str, data: Data, folder: Path) -> Splits | None:
    """The splits of a run, each example named: of what `data` names here or, where that is something else or
    nothing, in one of the folders above the run's own. So a run is used from anywhere, and after its project
    was moved.

    Where none has the digest, those of the first place; None where there is none.
    """
    path = expanded(data.name)
    table = data.classes not in (FOLDER, PATH)  # it has moved with them
    fixed = path.is_absolute() and (not table or expanded(data.classes).is_absolute())
    above = [] if data.name in CATALOG or fixed else folder.resolve().parents
    others = (
        replace(data, name=str(parent / path), classes=str(parent / expanded(data.classes)))
        if table
        else replace(data, name=str(parent / path))
        for parent in above
    )
    found: list[Splits] = []
    refused: list[UserError] = []
    for place in (data, *others):
        if place.name in CATALOG or expanded(place.name).exists():
            try:
                found.append(split(read_parts(place).named(), place))
            except UserError as error:
                refused.append(error)
                continue
            if found[-1].digest() == digest:
                return found[-1]
    if refused and not found:
        raise refused[0]
    return found[0] if found else None


def splits_from(data: AtHand, settings: Data) -> Splits:
    """What a user has at hand, as splits: what is not yet split, see `images_at_hand`, is cut.

    `Splits` are limited as any other data; what the settings leave out once they leave out again.
    """
    if isinstance(data, Splits):
        for part in data.present():
            check_form(part, reading_of(settings))
        parts = Parts(data.train, data.validation, data.test, data.labelled, data.notes, data.unreadable)
        return split(parts, settings)
    images = images_at_hand(data, reading_of(settings))
    check_levels(images.pixels, "data")
    return split(Parts(images), settings)


def split(parts: Parts, data: Data) -> Splits:
    """Hold out what the data set does not bring, then limit train."""
    parts = parts if data.labels else parts.without_labels()
    rows, notes = torch.arange(len(parts.train)), list(parts.notes)
    test, validation = parts.test, parts.validation
    if test is None:
        rows, held = hold_out(parts.train, rows, data.test, data.split_seed, "test")
        test = parts.train.take(held)
    if validation is None:
        rows, held = hold_out(parts.train, rows, data.validation, data.split_seed, "validation")
        validation = parts.train.take(held)
    rows = rows[_kept(parts.train, data)[rows]]
    validation = validation.take(_kept(validation, data).nonzero().flatten()) if data.without else validation
    if data.limit is not None:
        if data.limit > len(rows):
            notes.append(f"data.limit is {data.limit}, but train has only {len(rows)} images: all are used")
        rows = _shuffled(rows, data.split_seed, "limit")[: data.limit].sort().values
    train = parts.train if len(rows) == len(parts.train) else parts.train.take(rows)
    made = {"train": train, "validation": validation, "test": test}
    for name, part in made.items():
        if len(part) == 0:
            raise UserError(
                f"{data.name}: no image is left for {name} of {len(parts.train)}: bring more images"
            )
        if part.shape != train.shape:
            raise UserError(
                f"{data.name}: {name} has images of {part.shape}, train of {train.shape}: set data.size"
            )
    return Splits(**made, labelled=parts.labelled, notes=tuple(notes), unreadable=parts.unreadable)


def _kept(images: Images, data: Data) -> Tensor:
    """Which examples are of no class that training goes without: bool [N]."""
    for name in data.without:
        if name not in images.classes:
            raise unknown("class in data.without", name, images.classes)
    kept = torch.ones(len(images), dtype=torch.bool)
    for name in data.without if images.labels is not None else ():
        kept &= images.labels != images.classes.index(name)
    return kept


def hold_out(images: Images, rows: Tensor, share: float, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Split rows of the images into (kept, held out), each in its old order; a share holds out at least one.

    Where some have labels, as large a share of these: the few might all be on one side.
    """
    order, count = _shuffled(rows, seed, name), max(1, round(share * len(rows)))
    first = torch.arange(len(order)) < count
    known = torch.zeros_like(first) if images.labels is None else images.labels[order] >= 0
    if 0 < (labelled := int(known.sum())) < len(order):
        few = min(labelled - 1, count, max(1, round(share * labelled)))
        first = torch.where(known, known.cumsum(0) <= few, (~known).cumsum(0) <= count - few)
    return order[~first].sort().values, order[first].sort().values


def _shuffled(rows: Tensor, seed: int, name: str) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator("split", name, seed))]
