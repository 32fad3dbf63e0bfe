"""Pictures of a study, drawn from its runs while their models are at hand, and kept beside its results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diabolo import generation
from diabolo.console import Show
from diabolo.evaluation import denoising
from diabolo.files import write_bytes
from diabolo.generation import Gaussian
from diabolo.latents import NotSampledError
from diabolo.report.figures import Series, budgets, save, series, shades, similarity
from diabolo.report.grids import grid
from diabolo.runs.inputs import coder_of, images_of, splits_of
from diabolo.runs.run import Run
from diabolo.seeds import generator
from diabolo.studies.beside import by_row, references_of
from diabolo.studies.results import Result, Store, cost_of
from diabolo.studies.study import Job, Study

SHOWN = 12  # images in a row
NOISE = 0.3  # of what is denoised


def illustrate(study: Study, store: Store, runs: Path, quiet: bool = False) -> None:
    """Draw what the study asks for, of the rows whose first run is at hand.

    A picture of one row is drawn once a run. One of several stays as well, unless every row that can be run
    is at hand: then there may be more of them than were drawn.
    """
    found = at_hand(study, runs)
    runnable = sum(not row.unrun for row in study.rows.values())
    if "curves" in study.pictures:
        _curves(study, store)
    if "style" in study.pictures:
        _style(study, store)
    several = {"losses": _losses, "reconstructions": _reconstructions, "samples": _samples}
    for kind, draw in several.items():
        path = store.folder / f"{kind}.png"
        if kind in study.pictures and found and (len(found) == runnable or not path.exists()):
            write_bytes(path, draw(found, Show(quiet)))
    if "denoised" in study.pictures:
        _denoised(found, store.folder, Show(quiet))
    if "similarity" in study.pictures:
        _similarity(found, store.folder)
    for kind in {"latents", "confusion"} & set(study.pictures):
        _from_report(kind, found, store.folder)


def at_hand(study: Study, runs: Path) -> dict[str, Run]:
    """The first run of each row, where it is finished and still there."""
    folders = {name: runs / Job(name, 0).name for name in study.rows}
    found = {name: Run.open(path) for name, path in folders.items() if (path / "recipe.yaml").exists()}
    return {name: run for name, run in found.items() if run.trained and run.scored}


def _lacks(picture: Path, run: Run) -> bool:
    """Whether a picture is still to be drawn, or is of an earlier run."""
    return not picture.exists() or picture.stat().st_mtime < (run.folder / "scores.json").stat().st_mtime


def live_curves(results: Sequence[Result]) -> dict[str, list[Series]]:
    """kNN accuracy on validation, in percent, by images encoded: of each row, its seeds."""
    many: dict[str, list[Series]] = {}
    for result in results:
        if result.curve:
            x, y = np.array(result.curve).T
            many.setdefault(result.row, []).append(Series(result.row, x, 100 * y))
    return many


def _curves(study: Study, store: Store) -> None:
    if many := live_curves(store.results(study)):
        write_bytes(store.folder / "curves.png", save(budgets(many), "png"))


def _style(study: Study, store: Store) -> None:
    """What of each known change can be read back from h and from z: R², the mean over seeds.

    PCA and pixels, which have no z, stand beside both.
    """
    results = store.results(study)
    measured: dict[str, list[dict[str, Any]]] = {}
    for row, of, seeds in (
        *((row, "encoder", seeds) for row, seeds in by_row(results).items()),
        *((one.title, one.key, one.results) for one in references_of(results)),  # the references last
    ):
        for result in seeds.values():
            if found := result.scores[of].get("measures", {}).get("style"):
                measured.setdefault(row, []).append(found)
    if not measured:
        return
    rows = list(measured)
    trained = [measured[result.row][0] for result in results if result.row in measured]
    spaces = [space for space in ("h", "z") if all(space in found for found in trained)]
    factors = list(measured[rows[0]][0][spaces[0]])
    panels = {
        f"R², {space}": np.array(
            [
                [
                    np.mean([found.get(space, found["h"])[factor] for found in measured[row]])
                    for factor in factors
                ]
                for row in rows
            ]
        )
        for space in spaces
    }
    write_bytes(store.folder / "style.png", save(shades(panels, rows, factors), "png"))


def _losses(runs: dict[str, Run], show: Show) -> bytes:
    """The loss while training, and on validation, without its steep beginning."""
    many, says = {}, "loss on train"
    for name, run in runs.items():
        if run.recipe.training.epochs == 0:
            continue
        found = series(run.metrics)[0]
        encoded = cost_of(run).examples / found.x[-1]
        later = len(found.x) // 20
        many[name] = [Series(name, encoded * found.x[later:], found.y[later:])]
        if (held := found.held_out) is not None:
            seen = held.x >= found.x[later]
            held_out = Series(name, encoded * held.x[seen], held.y[seen])
            many[name] = [many[name][0]._replace(held_out=held_out)]
            says = "loss on train, dotted on validation"
    return save(budgets(many, says), "png")


def _reconstructions(runs: dict[str, Run], show: Show) -> bytes:
    """The same test images through each decoder, ad hoc where a method has none (SimVAE, Figs. 2, 3)."""
    rows: dict[str, generation.Array] = {}
    for name, run in runs.items():
        x = images_of(run, None, show).take(torch.arange(SHOWN)).floats().numpy()
        rows.setdefault("test images", x)
        rows[name] = generation.reconstruct(coder_of(run, None, show), x)
    return save(grid(list(rows.values()), list(rows)), "png")


def _samples(runs: dict[str, Run], show: Show) -> bytes:
    """Samples from each prior, or where a method has none from a Gaussian fitted to its codes."""
    rows: dict[str, generation.Array] = {}
    for name, run in runs.items():
        method, rng = coder_of(run, None, show), generator("sample", 0)
        try:
            width = generation.code_width(method, run.facts.shape)
            codes = generation.sample_prior(method, SHOWN, width, rng)
        except NotSampledError:
            codes = Gaussian.fit(generation.codes(method, splits_of(run).train)).sample(SHOWN, rng)
        rows[name] = generation.decode(method, codes).clip(0, 1)
    return save(grid(list(rows.values()), list(rows)), "png")


def _from_report(kind: str, runs: dict[str, Run], folder: Path) -> None:
    """A figure of each run's report."""
    for run in runs.values():
        drawn, path = run.folder / "figures" / f"{kind}.png", folder / f"{kind}-{run.folder.name}.png"
        if drawn.exists() and _lacks(path, run):
            write_bytes(path, drawn.read_bytes())


def _denoised(runs: dict[str, Run], folder: Path, show: Show) -> None:
    """Original, noisy and denoised, of each row."""
    for run in runs.values():
        path = folder / f"denoised-{run.folder.name}.png"
        if _lacks(path, run):
            bench = denoising.bench(coder_of(run, None, show), splits_of(run), NOISE, 0)
            few = images_of(run, None, show).take(torch.arange(SHOWN))
            noisy = np.concatenate([after for _, after in denoising.noisy_batches(few, NOISE, 0)])
            rows = {"original": few.floats().numpy(), "noisy": noisy}
            rows |= {name: denoiser(noisy) for name, denoiser in bench.denoisers.items()}
            write_bytes(path, save(grid([np.clip(r, 0, 1) for r in rows.values()], list(rows)), "png"))


def _similarity(runs: dict[str, Run], folder: Path) -> None:
    """AAVAE's Fig. 5, of each row."""
    for run in runs.values():
        path = folder / f"similarity-{run.folder.name}.png"
        found = run.scores["encoder"].get("measures", {}).get("similarity")
        if found and _lacks(path, run):
            write_bytes(path, save(similarity(np.array(found["matrix"]), found["each"]), "png"))
