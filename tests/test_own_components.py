"""Components from outside the package: added in a process, or offered by an installed package."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import diabolo
from diabolo.components import Entry
from diabolo.runs.supervised import own_parts
from diabolo.tables import ENCODERS, METHODS, MethodEntry

ALIGN = '''
import torch
from torch import nn
from diabolo.methods.base import Method, Needs, Terms
from diabolo.tables import Entry, MethodEntry


class Align(Method):
    """Pulls two views together."""

    needs = Needs(views=(2, 2))
    spaces = ("h", "map")

    def __init__(self, encoder, *, pull: float = 1.0) -> None:
        super().__init__(encoder)
        self.pull = pull

    def forward(self, batch):
        one, other = batch.views[0].unbind(1)
        loss = self.pull * (self.encoder(one) - self.encoder(other)).square().mean()
        return Terms(loss, {"alignment": loss})


class Tiny(nn.Sequential):
    """A single layer."""

    def __init__(self, shape, *, width: int = 8) -> None:
        super().__init__(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], width))


PAIRS = {"views": {"count": 2, "transforms": "simclr"}}
ALIGN = MethodEntry("their_package:Align", "Pull two views together", family="discriminative", recipe=PAIRS)
TINY = Entry("their_package:Tiny", "A single layer")
'''
OPTIONS = ("--epochs", "1", "--set", "method.pull=2", "--set", "encoder={name: tiny, width: 6}")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder with a module, and what says that it is installed and offers a method and an encoder."""
    (tmp_path / "their_package.py").write_text(ALIGN)
    metadata = tmp_path / "their_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their_package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[diabolo.method]\nalign = their_package:ALIGN\n[diabolo.encoder]\ntiny = their_package:TINY\n"
    )
    return tmp_path


def command(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(package)}
    line = [sys.executable, "-m", "diabolo", *words]
    return subprocess.run(line, env=environment, capture_output=True, text=True, cwd=package)


def test_what_an_installed_package_offers_is_known_by_name(package: Path) -> None:
    assert "Pull two views together" in command(package, "methods").stdout
    assert "A single layer" in command(package, "settings", "encoder").stdout
    done = command(package, "fit", "digits", "--method", "align", "--out", "run", *OPTIONS)
    assert done.returncode == 0, done.stderr
    again = command(package, "evaluate", "run", "--probe", "knn")
    assert again.returncode == 0, again.stderr
    assert "did you mean 'align'?" in command(package, "fit", "digits", "--method", "algin").stderr


def test_what_is_not_installed_is_unknown_and_runs_nothing(package: Path) -> None:
    done = command(package, "fit", "digits", "--method", "align", "--out", "run", "--no-evaluate", *OPTIONS)
    assert done.returncode == 0, done.stderr
    with pytest.raises(diabolo.UserError, match="unknown method 'align'"):
        diabolo.evaluate(package / "run", quiet=True)
    assert "their_package" not in sys.modules


@pytest.fixture
def added(package: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same components, added in this process."""
    monkeypatch.syspath_prepend(package)
    METHODS.add("align", MethodEntry("their_package:Align", "Pulls", recipe={"views": {"count": 2}}))
    ENCODERS.add("tiny", Entry("their_package:Tiny", "A single layer"))
    yield
    METHODS.added.clear()
    ENCODERS.added.clear()
    sys.modules.pop("their_package", None)


@pytest.mark.usefixtures("added")
def test_what_is_added_goes_into_a_comparison(tmp_path: Path) -> None:
    settings = {"encoder": {"name": "tiny"}, "training.batch_size": 256, "views.transforms": "simclr"}
    diabolo.compare(
        "digits", ["align", "simclr"], seeds=1, epochs=1, settings=settings, out=tmp_path / "own", quiet=True
    )
    run = diabolo.Run.open(tmp_path / "own" / "runs" / "align-0")
    assert run.recipe.method == {"name": "align", "pull": 1.0}
    assert own_parts(run.recipe)
    assert "align" in (tmp_path / "own" / "comparison.html").read_text("utf-8")


@pytest.mark.usefixtures("added")
def test_a_reference_row_of_code_that_may_change_is_not_kept(tmp_path: Path, monkeypatch) -> None:
    settings = {"views.transforms": "simclr", "training.batch_size": 256}
    for encoder, kept in (("tiny", 2), ("linear", 3)):  # PCA and raw pixels, and with it the untrained twin
        folder = tmp_path / encoder
        monkeypatch.setenv("DIABOLO_CACHE", str(folder / "cache"))
        method = "align" if encoder == "tiny" else "ae"
        chosen = settings | {"encoder": encoder}
        diabolo.fit("digits", method, epochs=1, settings=chosen, out=folder / "run", quiet=True)
        assert len(list((folder / "cache" / "references").glob("*.json"))) == kept


def test_a_name_is_given_to_an_entry_of_its_kind_and_never_taken_over() -> None:
    with pytest.raises(diabolo.UserError, match="there is a method 'vae' already"):
        METHODS.add("vae", METHODS["ae"])
    with pytest.raises(diabolo.UserError, match="method 'mine': give a MethodEntry, not a Entry"):
        METHODS.add("mine", Entry("mine:Mine", ""))
    with pytest.raises(diabolo.UserError, match=r"give its name.*METHODS\.add"):
        diabolo.fit("digits", type("Mine", (), {}))
