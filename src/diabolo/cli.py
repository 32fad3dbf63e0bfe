"""The command line. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from diabolo.errors import Interrupted, MemoryTooSmallError, UserError, in_one_line

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Learn representations from unlabelled data, and know how good they are.",
    pretty_exceptions_enable=False,
)

Out = Annotated[Path | None, typer.Option(help="The run folder; by default a new one under runs/.")]
Space = Annotated[str | None, typer.Option(help="h, z or map; by default the one it was scored in.")]
Compared = Annotated[
    str | None, typer.Option(help="h, z, map or pixels; by default the one it was scored in.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any key of the recipe, such as method.prior.variance=0.2."
    ),
]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("diabolo"))
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Learn representations from unlabelled data, and know how good they are."""


@app.command()
def preview(
    data: Annotated[str, typer.Argument(help="A data set's name, or a folder, archive or array file.")],
    method: Annotated[str | None, typer.Option(help="Whose views to show; see 'diabolo methods'.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A named recipe or a YAML file; see 'diabolo recipes'.")
    ] = None,
    n: Annotated[int, typer.Option(help="How many images to show views of.")] = 10,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The .png to write; by default under previews/.")
    ] = None,
    settings: Settings = None,
) -> None:
    """Count what would be trained on, and show images of each class or views of a few."""
    from diabolo.verbs.preview import preview as run_preview

    run_preview(data, method, recipe=recipe, settings=settings or (), n=n, out=out)


@app.command()
def fit(
    data: Annotated[
        str | None, typer.Argument(help="A data set's name, or a folder, archive or array file.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="See 'diabolo methods'.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A named recipe or a YAML file; see 'diabolo recipes'.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Use only so many training images; validation and test stay whole.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of initialisation, order, views and noise.")] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run that was stopped.")] = False,
    init: Annotated[
        str | None, typer.Option(metavar="RUN", help="Start from the weights of another run.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse unreadable files instead of skipping them.")
    ] = False,
    accelerator: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[
        int,
        typer.Option(min=1, help="Processes, one a device, that share each batch; torchrun says itself."),
    ] = 1,
    no_evaluate: Annotated[bool, typer.Option("--no-evaluate", help="Train only.")] = False,
    settings: Settings = None,
) -> None:
    """Train an encoder without labels, score it beside reference rows, and write a report."""
    from diabolo.verbs.fit import fit as run_fit

    run = run_fit(
        data,
        method,
        recipe=recipe,
        epochs=epochs,
        limit=limit,
        seed=seed,
        out=out,
        resume=resume,
        init=init,
        settings=[*(["data.strict=true"] if strict else []), *(settings or [])],
        evaluate=not no_evaluate,
        accelerator=accelerator,
        devices=devices,
    )
    if _speaks():
        print(run.folder)


@app.command()
def evaluate(
    what: Annotated[
        str,
        typer.Argument(
            metavar="RUN|FEATURES.npz|timm:MODEL", help="A run folder, features with labels, or a timm model."
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="What to score on: a data set's name, or a folder, archive or array file. Of a run by "
            "default what it was trained on."
        ),
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Of data without a test part: the share to test on; by default 0.1.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="A named suite or a YAML file; see 'diabolo suites'.")
    ] = None,
    probe: Annotated[
        list[str] | None, typer.Option(help="Instead of a suite: this probe; may be given several times.")
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="Instead of a suite: this measure, such as style; may be given several times."),
    ] = None,
    space: Annotated[str | None, typer.Option(help="Of a run: h, z or map.")] = None,
    supervised: Annotated[
        bool,
        typer.Option("--supervised", help="Of a run: also train its encoder with labels, as a reference."),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Where to write the scores, as JSON.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Where to write the page: an .html file, or a folder.")
    ] = None,
) -> None:
    """Score a representation: the table, the verdict and, for a run or with --report, a page."""
    from diabolo.verbs.evaluate import evaluate as run_evaluate

    run_evaluate(
        what,
        data=data,
        test=test,
        suite=suite,
        probes=probe,
        measures=measure,
        space=space,
        supervised=supervised,
        out=out,
        report=report,
    )


@app.command()
def embed(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    data: Annotated[str, typer.Argument(help="A data set's name, or a folder, archive or array file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz to write: features, labels, names.")],
    space: Space = None,
) -> None:
    """Write the representation of images as an array file."""
    from diabolo.verbs.embed import embed as run_embed

    run_embed(run, data, out=out, space=space)


Trained = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
Looked = Annotated[
    list[str] | None,
    typer.Argument(
        help="A data set's name, or a folder, archive or array file: its test part, if it has one; or "
        "several image files. By default the run's test."
    ),
]
Folder = Annotated[Path | None, typer.Option(help="For what is written; by default RUN/generated.")]
Written = Annotated[int, typer.Option(help="How many images to write; errors are over all.")]
Steps = Annotated[int, typer.Option(help="Images in a row.")]
Seed = Annotated[int, typer.Option(help="Of the random choices.")]


@app.command()
def reconstruct(
    run: Trained, data: Looked = None, n: Written = 1000, out: Folder = None, seed: Seed = 0
) -> None:
    """Encode images and decode them again."""
    from diabolo.verbs.generate import reconstruct as run_reconstruct

    run_reconstruct(run, _one(data), n=n, out=out, seed=seed)


@app.command()
def denoise(
    run: Trained,
    data: Looked = None,
    noise: Annotated[float, typer.Option(help="Its standard deviation; pixels lie in [0, 1].")] = 0.3,
    n: Written = 1000,
    out: Folder = None,
    seed: Seed = 0,
) -> None:
    """Reconstruct noisy images, beside PCA and a Wiener filter."""
    from diabolo.verbs.generate import denoise as run_denoise

    run_denoise(run, _one(data), noise=noise, n=n, out=out, seed=seed)


@app.command()
def sample(
    run: Trained,
    n: Annotated[int | None, typer.Option(help="How many: 64, or 10 of each class.")] = None,
    source: Annotated[
        Literal["prior", "latents", "classes"],
        typer.Option("--from", help="The prior, or Gaussians fitted to the latents: one, or one a class."),
    ] = "prior",
    out: Folder = None,
    seed: Seed = 0,
) -> None:
    """Draw new images."""
    from diabolo.verbs.generate import sample as run_sample

    run_sample(run, n=n, source=source, out=out, seed=seed)


@app.command()
def interpolate(
    run: Trained,
    data: Looked = None,
    pairs: Annotated[int, typer.Option(help="How many lines, between random images.")] = 8,
    steps: Steps = 9,
    out: Folder = None,
    seed: Seed = 0,
) -> None:
    """Decode the straight lines between the codes of images."""
    from diabolo.verbs.generate import interpolate as run_interpolate

    run_interpolate(run, _one(data), pairs=pairs, steps=steps, out=out, seed=seed)


@app.command()
def traverse(
    run: Trained,
    data: Looked = None,
    dimension: Annotated[
        list[int] | None,
        typer.Option(help="Only this one; may be given several times. By default the ten that vary most."),
    ] = None,
    image: Annotated[
        int | None, typer.Option(help="Start from the code of this image instead of the mean code.")
    ] = None,
    span: Annotated[float, typer.Option(help="To either side, in deviations over train.")] = 3.0,
    steps: Steps = 9,
    out: Folder = None,
) -> None:
    """Move a code along one latent dimension at a time."""
    from diabolo.verbs.generate import traverse as run_traverse

    run_traverse(run, _one(data), dimensions=dimension, image=image, span=span, steps=steps, out=out)


@app.command()
def anomalies(
    run: Trained,
    data: Looked = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(help="A class that training did not see; may be given several times."),
    ] = None,
    samples: Annotated[int, typer.Option(help="Draws behind −log p.")] = 16,
    neighbours: Annotated[int, typer.Option(help="Train images behind the distance.")] = 5,
    out: Folder = None,
    seed: Seed = 0,
) -> None:
    """Score how unlike the training images each image is."""
    from diabolo.verbs.anomalies import anomalies as run_anomalies

    run_anomalies(
        run, _one(data), held_out=held_out or (), samples=samples, neighbours=neighbours, out=out, seed=seed
    )


@app.command()
def duplicates(
    run: Trained,
    data: Annotated[
        str | None,
        typer.Argument(help="A data set's name, or a folder, archive or array file; by default the run's."),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(help="The cosine that makes a near-duplicate; by default from how crowded images lie."),
    ] = None,
    space: Compared = None,
    out: Folder = None,
) -> None:
    """Find images that are nearly the same, across train and test too."""
    from diabolo.verbs.duplicates import duplicates as run_duplicates

    run_duplicates(run, data, above=above, space=space, out=out)


@app.command()
def neighbours(
    run: Trained,
    data: Looked = None,
    among: Annotated[
        str | None,
        typer.Option(help="Where to look: a data set's name or a path; by default the run's train images."),
    ] = None,
    k: Annotated[int | None, typer.Option("-k", help="How many for each image: 8, or all there are.")] = None,
    space: Compared = None,
    out: Folder = None,
) -> None:
    """Find the images most like given ones."""
    from diabolo.verbs.neighbours import neighbours as run_neighbours

    run_neighbours(run, _one(data), among=among, k=k, space=space, out=out)


@app.command()
def predict(
    run: Trained,
    data: Annotated[
        list[str] | None,
        typer.Argument(
            help="A data set's name, or a folder, archive or array file: all parts of it; or several image "
            "files. By default the run's test."
        ),
    ] = None,
    labelled: Annotated[
        str | None,
        typer.Option(
            help="What to fit the probe on: a data set's name or a path; by default the run's own images."
        ),
    ] = None,
    probe: Annotated[str, typer.Option(help="What reads the class: linear, mlp, knn, …")] = "linear",
    space: Space = None,
    out: Folder = None,
) -> None:
    """Say which class each image is of, by a probe fitted on labelled images."""
    from diabolo.verbs.predict import predict as run_predict

    run_predict(run, _one(data), labelled=labelled, probe=probe, space=space, out=out)


@app.command()
def compare(
    data: Annotated[str, typer.Argument(help="A data set's name, or a folder, archive or array file.")],
    methods: Annotated[str, typer.Option(metavar="A,B,C", help="See 'diabolo methods'.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images, of every run.")] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Training time of every run in place of epochs: 20m.")
    ] = None,
    encoded: Annotated[
        int | None,
        typer.Option(min=1, help="Images that every run encodes, all views counted, in place of epochs."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="So many training images, of every run.")] = None,
    views: Annotated[
        Literal["none", "simclr", "simvae", "own"] | None,
        typer.Option(help="The same augmentations for all, or each method's own."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="By default comparisons/DATA; goes on there.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
    settings: Settings = None,
) -> None:
    """Train several methods under one protocol, and say which leads."""
    from diabolo.verbs.compare import compare as run_compare

    names = [name.strip() for name in methods.split(",") if name.strip()]
    run_compare(
        data,
        names,
        seeds=seeds,
        epochs=epochs,
        budget=budget,
        encoded=encoded,
        limit=limit,
        views=views,
        settings=settings or (),
        out=out,
        workers=workers,
    )


@app.command()
def search(
    data: Annotated[str, typer.Argument(help="A data set's name, or a folder, archive or array file.")],
    method: Annotated[str | None, typer.Option(help="See 'diabolo methods'.")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A named recipe or a YAML file; see 'diabolo recipes'.")
    ] = None,
    trials: Annotated[int, typer.Option(help="How many in all; those already done count.")] = 30,
    epochs: Annotated[int, typer.Option(help="Passes over the training images, of each trial.")] = 7,
    limit: Annotated[int | None, typer.Option(help="So many training images, of each trial.")] = None,
    space: Annotated[
        str | None, typer.Option(help="What to vary: a YAML file, or a named space such as mancini-ae.")
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUES",
            help="A list, or '{low: 1.0e-4, high: 1.0e-2, log: true}'; laid over --space.",
        ),
    ] = None,
    by: Annotated[
        Literal["knn", "reconstruction", "rank"] | None,
        typer.Option(help="What to choose by, on validation; with labels knn."),
    ] = None,
    sampler: Annotated[Literal["tpe", "random"], typer.Option(help="How to draw settings.")] = "tpe",
    prune: Annotated[bool, typer.Option("--prune", help="Stop trials below the median early.")] = False,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    out: Annotated[Path | None, typer.Option(help="By default searches/DATA-METHOD; goes on there.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Where workers meet: a journal's file, or a URL as sqlite:///FILE.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that share the work.")] = 1,
    settings: Settings = None,
) -> None:
    """Choose settings by short trainings, on validation."""
    from diabolo.verbs.search import search as run_search

    run_search(
        data,
        method,
        recipe=recipe,
        space=space,
        vary=vary or (),
        trials=trials,
        epochs=epochs,
        limit=limit,
        by=by,
        sampler=sampler,
        prune=prune,
        settings=settings or (),
        seed=seed,
        out=out,
        store=store,
        workers=workers,
    )


@app.command()
def reproduce(
    what: Annotated[
        str | None,
        typer.Argument(metavar="PAPER[/TABLE]", help="See 'diabolo studies'; without it, only the page."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="A share of each recipe's, such as 10% (100% is the paper's); by default the study's."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of results/, RESULTS.md and runs/.")] = Path(),
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
) -> None:
    """Run a paper's tables and write RESULTS.md, published beside obtained."""
    from diabolo.verbs.reproduce import reproduce as run_reproduce

    print(run_reproduce(what, budget=budget, out=out, workers=workers))


@app.command()
def studies() -> None:
    """List the tables that 'reproduce' can run."""
    from diabolo.studies.study import named_studies

    _list(named_studies())


@app.command()
def methods() -> None:
    """List the methods."""
    from diabolo.tables import METHODS

    _list({name: METHODS[name].summary for name in METHODS})


@app.command()
def settings(
    name: Annotated[
        str | None,
        typer.Argument(help="A section (training), a key (encoder, method.latent), or a component (vae)."),
    ] = None,
) -> None:
    """Show what a recipe can name, and what each of it can be set to."""
    from diabolo.verbs.settings import settings as all_settings

    print(all_settings(name))


@app.command()
def datasets() -> None:
    """List the data sets that can be named, and whose they are."""
    from diabolo.data.catalog import CATALOG

    _list({name: f"{entry.summary}; {entry.source}" for name, entry in CATALOG.items()})


@app.command()
def recipes() -> None:
    """List the recipes that ship with the package."""
    from diabolo.recipe import RECIPES

    _list(RECIPES.titles())


@app.command()
def suites() -> None:
    """List the suites that 'evaluate' can score by."""
    from diabolo.tables import SUITES

    _list(SUITES.titles())


def _one(data: list[str] | None) -> str | list[str] | None:
    """The only path by itself, as in Python."""
    return data[0] if data and len(data) == 1 else data or None


def _list(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for name, summary in lines.items():
        print(f"{name:<{width}}  {summary}")


INTERRUPTED = 130  # the exit code


def main(arguments: list[str] | None = None) -> int:
    """Run a command. A user's mistake is one line and exit code 2; a stop on Ctrl-C or SIGTERM is 130."""
    try:
        status = app(args=arguments, standalone_mode=False)
    except MemoryTooSmallError as error:  # of a device of this process, and maybe of no other
        return _fail(str(error), 2, own=True)
    except UserError as error:
        return _fail(str(error), 2)
    except typer.TyperException as error:
        return _fail(error.format_message(), 2)
    except OSError as error:
        return _fail(in_one_line(error), 2)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stop:
        return _fail(str(stop) or "interrupted", INTERRUPTED)
    if status == INTERRUPTED:  # what typer makes of Ctrl-C
        return _fail("interrupted", INTERRUPTED)
    return status if isinstance(status, int) else 0


def _speaks() -> bool:
    """Whether this is the first of a run's processes: what is said is said once."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def _fail(message: str, code: int, own: bool = False) -> int:
    """own: of this process alone, and not of all that train together."""
    if message and (own or _speaks()):  # behind a page of help there is none
        print(f"diabolo: {' '.join(message.split())}", file=sys.stderr)
    return code
