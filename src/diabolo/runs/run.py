"""Run: a folder on disk, and what can be done with it.

    recipe.yaml        complete and resolved          metrics.jsonl      one object a line
    data.json          what the networks must know    checkpoints/       safetensors, the newest two
    environment.json   where and with what it ran     model.safetensors  the trained method
    scores.json        the table and the verdict      report.html, figures/

Nothing in it is executed when it is loaded.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from diabolo.data.arrays import to_pixels
from diabolo.data.images import Images, Splits
from diabolo.data.splits import AtHand, reading_of, splits_from
from diabolo.errors import UserError
from diabolo.evaluation.suite import read_scores
from diabolo.files import check_folder, expanded, read_tensors, write_json, write_tensors, write_text
from diabolo.methods.base import Method
from diabolo.methods.build import Facts, build_method, build_pipelines, facts_from
from diabolo.networks.shapes import evaluating
from diabolo.recipe import Evaluation, Recipe, from_yaml
from diabolo.representation import extract
from diabolo.runs.environment import default_device, environment
from diabolo.views.base import View
from diabolo.views.pipeline import Pipeline

FORMAT_VERSION = 1


class TakenError(UserError):
    """A run folder is somebody else's."""


@dataclass(frozen=True)
class Own:
    """What the user brought as objects, which no file can hold. splits: what the run was trained on."""

    encoder: nn.Module | None = None
    transforms: Sequence[View] | None = None
    splits: Splits | None = None


NOTHING = Own()


class Run:
    """A training on disk. Make one with `create`, or open one with `open`."""

    def __init__(self, folder: Path, recipe: Recipe, facts: Facts, own: Own = NOTHING) -> None:
        self.folder = folder
        self.recipe = recipe
        self.facts = facts
        self.own = own
        self.device = default_device()

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: {self.recipe.method['name']} on {self.recipe.data.name})"

    @staticmethod
    def create(
        folder: Path, recipe: Recipe, facts: Facts, step_times: Mapping[str, float] | None = None
    ) -> None:
        """Make a new run folder. Raises `UserError` when there is something already.

        step_times: the seconds of a step in each precision, where that of the recipe was chosen by them.
        """
        tried = {"step_times": dict(step_times)} if step_times else {}
        with claimed(folder) as new:
            write_json(new / "data.json", asdict(facts) | {"format_version": FORMAT_VERSION})
            write_json(new / "environment.json", environment() | tried)
            write_text(new / "recipe.yaml", recipe.to_yaml())

    @classmethod
    def open(
        cls,
        folder: str | Path,
        encoder: nn.Module | None = None,
        transforms: Sequence[View] | None = None,
        data: AtHand | None = None,
    ) -> Run:
        """Open a run folder. encoder, transforms, data: the user's own, where the run was trained with them.

        Raises `UserError` where there is no run, or the data are others than it was trained on.
        """
        folder = expanded(folder)
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder")
        if not (folder / "recipe.yaml").is_file():
            raise UserError(f"{folder} is not a run folder: it has no recipe.yaml")
        recipe = from_yaml((folder / "recipe.yaml").read_text("utf-8"), str(folder / "recipe.yaml"))
        try:
            known = json.loads((folder / "data.json").read_text("utf-8"))
            newer = known.pop("format_version") > FORMAT_VERSION
            facts = facts_from(known)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            raise UserError(f"{folder / 'data.json'} is missing or damaged") from None
        if newer:
            raise UserError(f"{folder} was written by a newer diabolo: upgrade to read it")
        splits = None if data is None else splits_from(data, recipe.data)
        if splits is not None and splits.digest() != facts.digest:
            raise UserError(f"{folder}: these data are not what the run was trained on")
        return cls(folder, recipe, facts, Own(encoder, transforms, splits))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for writing. Raises `UserError` when another process does."""
        from filelock import FileLock, Timeout

        check_folder(self.folder)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(f"{self.folder} is in use by another process") from None
        try:
            yield
        finally:
            lock.release()

    def build(self) -> Method:
        """The method as it was before training."""
        return build_method(self.recipe, self.facts, self.own.encoder)

    def pipelines(self) -> list[Pipeline]:
        """The views of the training."""
        return build_pipelines(self.recipe, self.own.transforms)

    @property
    def trained(self) -> bool:
        return (self.folder / "model.safetensors").exists()

    @property
    def scored(self) -> bool:
        return (self.folder / "scores.json").exists()

    @cached_property
    @torch.inference_mode(mode=False)  # whoever asks first: its weights can be trained on
    def method(self) -> Method:
        """The trained method, in evaluation mode."""
        method = self.build()
        path = self.folder / "model.safetensors"
        if not path.exists():
            raise UserError(f"{self.folder} has no trained model yet: continue it with --resume")
        tensors, _ = read_tensors(path)
        try:
            method.load_state_dict(tensors)
        except RuntimeError as error:
            raise UserError(f"{path} does not fit the recipe: {' '.join(str(error).split())[:200]}") from None
        return method.to(self.device).eval()

    @property
    def space(self) -> str:
        """The representation that the recipe scores: "h", "z" or "map"."""
        return self.recipe.evaluation.space or self.method.spaces[0]

    def save(self, method: Method, seconds: float) -> None:
        """Write the trained method, and the seconds its steps took."""
        write_tensors(self.folder / "model.safetensors", method.state_dict(), {"seconds": f"{seconds:.1f}"})

    def embed(self, images: Images | torch.Tensor | np.ndarray, space: str | None = None) -> np.ndarray:
        """The representation of images: float32 [N, D].

        images: `Images`, or an array of what the run was trained on, in a layout of `to_pixels`; it is
        resized and recoloured where the recipe says so.
        space: "h", "z" or "map"; by default the one that the recipe scores.
        """
        if not isinstance(images, Images):
            images = Images(to_pixels(images, "embed", reading_of(self.recipe.data)))
        if images.shape != self.facts.shape:
            raise UserError(
                f"this run takes examples of shape {self.facts.shape}, not {images.shape}; one image alone "
                "is given as x[None]"
            )
        bar = tqdm(total=len(images), desc="embedding", delay=1, disable=None, leave=False)
        with evaluating(self.method), bar as show:

            def represent(x: torch.Tensor) -> torch.Tensor:
                show.update(len(x))
                return self.method.represent(x, space or self.space)

            return extract(represent, images, device=self.device)

    @property
    def scores(self) -> dict[str, Any]:
        """The table: an object for each scored representation, and the verdict."""
        return read_scores(self.folder / "scores.json")

    def rescore(self, settings: Evaluation) -> None:
        """Let the recipe ask for other scores, and forget those there are."""
        (self.folder / "scores.json").unlink(missing_ok=True)
        self.recipe = replace(self.recipe, evaluation=settings)
        write_text(self.folder / "recipe.yaml", self.recipe.to_yaml())

    @property
    def seconds(self) -> float:
        """What the training's steps took, over all sittings."""
        return float(read_tensors(self.folder / "model.safetensors")[1]["seconds"])

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]  # a kill may cut the last one

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.jsonl."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def truncate_metrics(self, step: int) -> None:
        """Forget what was logged after a step, where a resumed training will log it again."""
        path = self.folder / "metrics.jsonl"
        kept = [json.dumps(row) + "\n" for row in self.metrics if row["step"] <= step]
        write_text(path, "".join(kept))


@contextmanager
def claimed(folder: Path) -> Iterator[Path]:
    """A folder to fill, which then takes its place as a whole.

    Raises `UserError` when that place is taken, unless by an empty folder.
    """
    if _holds(folder):
        raise _taken(folder)
    if not folder.name:
        raise UserError(f"{folder} cannot become a run folder: name one in it, such as --out run")
    new = folder.with_name(f".{folder.name}-{uuid4().hex}")
    try:
        new.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}") from None
    try:
        yield new
        if folder.is_dir():
            folder.rmdir()
        new.rename(folder)
    except OSError:
        if _holds(folder):  # somebody else was sooner
            raise _taken(folder) from None
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _holds(folder: Path) -> bool:
    """Whether something is there that is no empty folder."""
    return any(folder.iterdir()) if folder.is_dir() else folder.exists()


def _taken(folder: Path) -> TakenError:
    if (folder / "recipe.yaml").exists():
        return TakenError(f"{folder} already holds a run: continue it with --resume, or choose another --out")
    what = "exists and is not empty" if folder.is_dir() else "is a file, and no folder"
    return TakenError(f"{folder} {what}: choose another --out")
