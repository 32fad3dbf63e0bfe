"""The command line. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from diabolo.errors import Interrupted, UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Learn representations from unlabelled data, and know how good they are.",
    pretty_exceptions_enable=False,
)

Out = Annotated[Path | None, typer.Option(help="The run folder; by default a new one under runs/.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any key of the recipe, such as method.prior.variance=0.2."
    ),
]


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
    limit: Annotated[int | None, typer.Option(help="Use only so many training images.")] = None,
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
    devices: Annotated[int, typer.Option(help="Processes, one a device, that share each batch.")] = 1,
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
    print(run.folder)


@app.command()
def evaluate(
    what: Annotated[
        str, typer.Argument(metavar="RUN|FEATURES.npz", help="A run folder, or features with labels.")
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write the scores, as JSON.")] = None,
    probe: Annotated[
        list[str] | None, typer.Option(help="Only this probe; may be given several times.")
    ] = None,
    space: Annotated[str | None, typer.Option(help="Of a run: h, z or map.")] = None,
) -> None:
    """Score a representation: the table, the verdict, and for a run its report."""
    from diabolo.verbs.evaluate import evaluate as run_evaluate

    run_evaluate(what, out=out, probes=probe, space=space)


@app.command()
def embed(
    run: Annotated[str, typer.Argument(help="A run folder.")],
    data: Annotated[str, typer.Argument(help="A data set's name, or a folder, archive or array file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .npz to write: features, labels, names.")],
    space: Annotated[str | None, typer.Option(help="h, z or map; by default the method's own.")] = None,
) -> None:
    """Write the representation of images as an array file."""
    from diabolo.verbs.embed import embed as run_embed

    run_embed(run, data, out=out, space=space)


@app.command()
def methods() -> None:
    """List the methods."""
    from diabolo.tables import METHODS

    _list({name: entry.summary for name, entry in METHODS.entries.items()})


@app.command()
def datasets() -> None:
    """List the data sets that can be named."""
    from diabolo.data.catalog import CATALOG

    _list({name: entry.summary for name, entry in CATALOG.items()})


@app.command()
def recipes() -> None:
    """List the recipes that ship with the package."""
    from diabolo.recipe import named_recipes

    _list(named_recipes())


def _list(lines: dict[str, str]) -> None:
    width = max(map(len, lines))
    for name, summary in lines.items():
        print(f"{name:<{width}}  {summary}")


def main(arguments: list[str] | None = None) -> int:
    """Run a command. A user's mistake is one line and exit code 2; a stop on Ctrl-C is 130."""
    try:
        status = app(args=arguments, standalone_mode=False)
    except UserError as error:
        return _fail(str(error), 2)
    except typer.TyperException as error:
        return _fail(error.format_message(), 2)
    except (Interrupted, KeyboardInterrupt, typer.Abort) as stop:
        return _fail(str(stop) or "interrupted", 130)
    return status if isinstance(status, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"diabolo: {' '.join(message.split())}", file=sys.stderr)
    return code
