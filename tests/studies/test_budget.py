"""A budget of training time: how many epochs it buys, and that they are bought once."""

import json
from pathlib import Path
from threading import Event, Thread

import pytest
import yaml

import diabolo
from diabolo.cli import main
from diabolo.errors import Interrupted
from diabolo.recipe import Recipe, complete_for, compose
from diabolo.verbs import budget, compare

SMALL = {"encoder": {"name": "mlp", "widths": [16]}, "evaluation.measures": [], "evaluation.probes": ["knn"]}


def recipe(*settings: str) -> Recipe:
    layer = {"data": {"name": "digits"}, "method": "ae", "training": {"batch_size": 100}}
    return complete_for(compose([layer], settings), (1, 8, 8))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A training that logs every five steps, the first of them after a minute, the others a second each."""
    at = {"now": 0.0, "rows": 0}

    def fit(*, watch, **_: object) -> None:
        at["now"] = 60.0
        for step in range(5, 10_000, 5):
            at["rows"] += 1
            watch({"kind": "train", "step": step})
            at["now"] += 5.0
        raise AssertionError("the measurement does not end")

    monkeypatch.setattr(budget, "fit", fit)
    monkeypatch.setattr(budget.time, "perf_counter", lambda: at["now"])
    return at


@pytest.mark.parametrize(("seconds", "settings", "epochs"), [(1000, (), 100), (104, (), 10), (6, (), 1)])
def test_epochs_are_the_budget_over_what_a_measured_epoch_takes(clock, seconds, settings, epochs) -> None:
    # 1,000 images in batches of 100 are 10 steps of a second; what comes before the first row is warming up.
    assert budget.epochs_within(seconds, recipe(*settings), 1000) == epochs


def test_accumulated_batches_make_an_epoch_shorter_in_steps(clock) -> None:
    assert budget.epochs_within(100, recipe("training.accumulate=5"), 1000) == 50


def test_a_measurement_takes_ten_seconds_or_a_tenth_of_a_small_budget(clock) -> None:
    budget.epochs_within(1e6, recipe(), 1000)
    assert clock["rows"] == 3
    clock["rows"] = 0
    budget.epochs_within(50, recipe(), 1000)
    assert clock["rows"] == 2


def test_less_than_half_an_epoch_is_refused_with_what_one_takes(clock) -> None:
    with pytest.raises(diabolo.UserError, match="an epoch of ae takes about 10 s, and the budget is 4 s"):
        budget.epochs_within(4, recipe(), 1000)


def test_a_real_training_can_be_measured_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert budget.epochs_within(1.0, recipe(), 1293) >= 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_a_measurement_names_no_folder_to_resume(monkeypatch) -> None:
    monkeypatch.setattr("diabolo.runs.train.agreed", lambda interrupted, event: event.step == 2)
    with pytest.raises(Interrupted, match=r"^stopped while an epoch was measured; the same command again"):
        budget.epochs_within(1.0, recipe(), 1293)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 1200), ("1.5h", 5400)])
def test_times_have_units(text: str, seconds: float) -> None:
    assert budget.seconds_of(text) == seconds


def test_what_is_bought_stands_in_every_recipe_and_is_measured_once(tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "c"
    monkeypatch.setattr(compare, "epochs_within", lambda _, recipe, **o: 1 + (recipe.method["name"] == "vae"))
    options = {"seeds": 1, "budget": "20m", "settings": SMALL, "out": out, "quiet": True}
    diabolo.compare("digits", ["ae", "vae"], **options)
    assert json.loads((out / "budget.json").read_text()) == {"seconds": 1200, "epochs": {"ae": 1, "vae": 2}}
    epochs = {
        path.stem: yaml.safe_load(path.read_text())["training"]["epochs"]
        for path in (out / "results").glob("*.yaml")
    }
    assert epochs == {"ae-0": 1, "vae-0": 2}

    def again(*_: object, **__: object) -> int:
        raise AssertionError("it was measured already")

    monkeypatch.setattr(compare, "epochs_within", again)
    diabolo.compare("digits", ["ae", "vae"], **options)
    with pytest.raises(diabolo.UserError, match="holds another comparison"):
        diabolo.compare("digits", ["ae", "vae"], **options | {"budget": "30m"})
    monkeypatch.setattr(compare, "epochs_within", lambda _, recipe, **o: {"simclr": 3}[recipe.method["name"]])
    diabolo.compare("digits", ["ae", "simclr"], **options)  # what is added is measured alone
    known = json.loads((out / "budget.json").read_text())["epochs"]
    assert known == {"ae": 1, "vae": 2, "simclr": 3}
    (out / "budget.json").unlink()
    with pytest.raises(diabolo.UserError, match="holds another comparison"):
        diabolo.compare("digits", ["ae", "vae"], **options)


def test_at_equal_images_encoded_more_views_are_fewer_epochs(tmp_path: Path) -> None:
    out = tmp_path / "c"
    options = {"seeds": 1, "settings": SMALL | {"data.limit": 200}, "out": out, "quiet": True}
    table = diabolo.compare("digits", ["ae", "simclr"], encoded=800, **options)
    assert json.loads((out / "budget.json").read_text()) == {"encoded": 800, "epochs": {"ae": 4, "simclr": 2}}
    costs = {line.name: line.cost.examples for line in table.lines if line.cost}
    assert costs["ae"] == costs["simclr"]
    with pytest.raises(diabolo.UserError, match="a budget of 800 images encoded, not 900 images encoded"):
        diabolo.compare("digits", ["ae", "simclr"], encoded=900, **options)
    with pytest.raises(diabolo.UserError, match="of simclr encodes 400 images, and the budget is 100"):
        diabolo.compare("digits", ["simclr"], encoded=100, **options | {"out": tmp_path / "d"})
    for more in ({"epochs": 1}, {"budget": "20m"}):
        with pytest.raises(diabolo.UserError, match="give one of"):
            diabolo.compare("digits", ["ae"], encoded=800, **options | more)


def test_what_has_nothing_to_train_is_not_measured(tmp_path: Path, monkeypatch) -> None:
    begun = []
    monkeypatch.setattr(compare, "epochs_within", lambda _, recipe, **o: {"ae": 40}[recipe.method["name"]])
    monkeypatch.setattr(compare, "share", lambda study, *_: begun.append(study))
    for _ in range(2):  # measured, and as it was measured
        diabolo.compare("digits", ["ae", "random"], budget="20m", settings=SMALL, out=tmp_path, quiet=True)
    for study in begun:
        rows = {job.row: study.recipe(job, {}).training.epochs for job in study.jobs()}
        assert rows == {"ae": 40, "random": 0}
    assert json.loads((tmp_path / "budget.json").read_text())["epochs"] == {"ae": 40}


def test_who_starts_the_same_meanwhile_takes_the_measured_epochs(tmp_path: Path, monkeypatch) -> None:
    options = {"seeds": 1, "budget": "20m", "settings": SMALL, "out": tmp_path / "c", "quiet": True}
    other = Thread(target=diabolo.compare, args=("digits", ["ae"]), kwargs=options)
    measured, begun = Event(), []

    def measure(*_: object, **__: object) -> int:
        if other.ident is not None:
            measured.set()
            return 37
        other.start()
        measured.wait(1.0)  # the other would measure meanwhile
        return 40

    monkeypatch.setattr(compare, "epochs_within", measure)
    monkeypatch.setattr(compare, "share", lambda study, *_: begun.append(study))
    diabolo.compare("digits", ["ae"], **options)
    other.join()
    assert [study.rows["ae"].settings["training.epochs"] for study in begun] == [40, 40]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--budget", "20"], "--budget 20: write a time"),
        (["--budget", "0m"], "--budget 0m: write a time"),
        (["--budget", "nanh"], "--budget nanh: write a time"),
        (["--budget", ""], "write a time"),
        (["--budget", "5m", "--epochs", "3"], "one of --epochs, --budget"),
        (["--budget", "5m", "--set", "training.epochs=3"], "one of"),
    ],
)
def test_what_is_no_time_is_one_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "digits", "--methods", "ae", *words, "--out", str(tmp_path / "c")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "c").exists()
