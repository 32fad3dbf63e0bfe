"""How measures reach the scores of a run, its report and the command line; each has a test of its own."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import diabolo
from diabolo.cli import main
from diabolo.components import Entry
from diabolo.data.splits import load
from diabolo.evaluation.measures import Measure, Subject
from diabolo.recipe import Data
from diabolo.runs.run import Run
from diabolo.tables import MEASURES

QUICK = ["training.batch_size=32", "encoder={name: mlp, widths: [32]}", "evaluation.probes=[knn]"]


class Told(Measure):
    """Says what it was asked of."""

    beside = ("random", "pixels")

    def __init__(self, *, answer: int = 42) -> None:
        self.answer = answer

    def check(self, subject: Subject) -> None:
        if self.answer == 13:
            raise diabolo.UserError("it brings bad luck")

    def __call__(self, subject: Subject) -> dict[str, Any]:
        weight = float(sum(p.detach().abs().sum() for p in subject.method.parameters()))
        return {"answer": self.answer, "weight": weight, "space": subject.space, "note": "as told"}


@pytest.fixture(autouse=True, scope="module")
def told() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MEASURES.entries, "told", Entry(f"{__name__}:Told", "Says what it was asked of"))
        yield


def fit(folder: Path, method: str, *settings: str, evaluate: bool = True) -> Run:
    return diabolo.fit(
        "digits",
        method,
        epochs=1,
        out=folder / "run",
        settings=[*QUICK, *settings],
        evaluate=evaluate,
        quiet=True,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    measures = "[reconstruction, {name: denoising, noise: 0.2}, anomaly, similarity, {name: told, answer: 7}]"
    settings = [f"evaluation.measures={measures}", "data.without=['0', '7']"]
    return fit(tmp_path_factory.mktemp("measured"), "vae", *settings)


def test_a_run_holds_its_measures_and_its_twin_those_that_mean_something(run: Run) -> None:
    rows = ("encoder", "random", "pca", "pixels")
    own, twin, pca, pixels = (run.scores[row]["measures"] for row in rows)
    assert list(own) == ["reconstruction", "denoising", "anomaly", "similarity", "told"]
    assert list(twin) == ["anomaly", "similarity", "told"]
    assert (own["told"]["answer"], own["told"]["space"]) == (7, "z")
    assert own["told"]["weight"] != twin["told"]["weight"]
    assert own["anomaly"]["knn"] != twin["anomaly"]["knn"]
    assert all(found["seconds"] >= 0 for found in (*own.values(), *twin.values()))
    assert list(pca) == ["anomaly"]
    assert list(pixels) == ["anomaly", "told"]
    assert (pixels["told"]["weight"], pixels["told"]["space"]) == (0, "h")
    assert "reconstruction" not in pixels["anomaly"]
    assert pixels["anomaly"]["held_out"] == ["0", "7"]


class Counted(Told):
    """As often as it was asked in all."""

    beside = ("pca", "pixels")
    asked = 0

    def __call__(self, subject: Subject) -> dict[str, Any]:
        Counted.asked += 1
        return {"asked": Counted.asked, "without": list(subject.without), "answer": self.answer}


def test_what_references_measure_is_kept_by_the_measure_and_its_settings(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIABOLO_CACHE", str(tmp_path / "cache"))
    entry = Entry(f"{__name__}:Counted", "Counts")

    def asked(answer: int = 1, probes: tuple[str, ...] = ("knn",)) -> dict[str, Any]:
        spec = {"name": "counted", "answer": answer}
        run.recipe = replace(run.recipe, evaluation=replace(run.recipe.evaluation, measures=[spec]))
        scores = diabolo.evaluate(run, measures=["counted"], probes=probes, quiet=True)
        return {row: scores[row]["measures"]["counted"] for row in ("pca", "pixels")}

    monkeypatch.setattr(run, "recipe", run.recipe)
    with monkeypatch.context() as patch:
        patch.setitem(MEASURES.entries, "counted", entry)
        first = asked()
        assert first["pixels"]["without"] == ["0", "7"]
        assert first["pca"]["asked"] != first["pixels"]["asked"]
        assert asked() == first
        assert asked(probes=("knn", "linear")) == first  # whatever else is scored
        assert asked(answer=2)["pixels"]["answer"] == 2
    monkeypatch.setitem(MEASURES.added, "counted", entry)  # a user's own may change without its name
    assert asked()["pixels"]["asked"] < asked()["pixels"]["asked"]


def test_measures_and_verbs_find_the_same(run: Run, tmp_path: Path) -> None:
    own = run.scores["encoder"]["measures"]
    arrays = diabolo.reconstruct(run, out=tmp_path, quiet=True)
    for name in ("mse", "psnr"):
        assert own["reconstruction"][name] == pytest.approx(float(arrays[name]))
    arrays = diabolo.denoise(run, noise=0.2, out=tmp_path, quiet=True)
    for name, other in {"in": "noisy", "method": "denoised", "pca": "pca", "wiener": "wiener"}.items():
        assert own["denoising"][f"psnr_{name}"] == pytest.approx(float(arrays[f"psnr_{other}"]))
    assert own["denoising"]["gain"] == pytest.approx(
        float(arrays["psnr_denoised"]) - float(arrays["psnr_noisy"])
    )
    assert own["denoising"]["window"] == arrays["window"]
    arrays = diabolo.anomalies(run, out=tmp_path, quiet=True)
    for name in ("reconstruction", "nll", "knn"):
        assert own["anomaly"][name] == pytest.approx(float(arrays[f"auroc_{name}"]))
    assert own["anomaly"]["held_out"] == ["0", "7"]


def test_the_report_shows_the_figures_and_what_to_know_of_them(run: Run) -> None:
    page = " ".join((run.folder / "report.html").read_text("utf-8").split())
    assert '<section id="measures">' in page
    assert '<section id="similarity">' in page
    assert "(views: simclr)" in page
    assert (run.folder / "figures" / "similarity.png").exists()
    assert f"<dt>PSNR (dB)</dt><dd>{run.scores['encoder']['measures']['reconstruction']['psnr']:.4g}" in page
    assert '<p class="note">as told</p>' in page
    assert "untrained" in page


def test_the_command_line_takes_one_with_the_settings_of_the_recipe(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run.folder / "scores.json").read_text()
    out = tmp_path / "scores.json"
    assert main(["evaluate", str(run.folder), "--measure", "told", "--out", str(out)]) == 0
    shown = capsys.readouterr().err
    assert "told: answer 7, weight" in shown
    assert "  as told" in shown
    scores = json.loads(out.read_text())
    assert list(scores["encoder"]["measures"]) == ["told"]
    assert scores["encoder"]["measures"]["told"]["answer"] == 7
    assert "knn" not in scores["encoder"]
    assert main(["evaluate", str(run.folder), "--probe", "knn", "--out", str(out)]) == 0
    assert "measures" not in json.loads(out.read_text())["encoder"]
    scores = diabolo.evaluate(run, measures=["reconstruction"], probes=["knn"], space="h", quiet=True)
    assert {"knn", "measures"} <= scores["encoder"].keys()
    assert (run.folder / "scores.json").read_text() == before


def test_a_measure_that_is_not_in_the_recipe_has_its_defaults(tmp_path: Path) -> None:
    run = fit(tmp_path, "ae", evaluate=False)
    scores = diabolo.evaluate(run, measures=["told"], quiet=True)
    assert scores["encoder"]["measures"]["told"]["answer"] == 42
    assert scores["random"]["measures"]["told"]["answer"] == 42
    assert not run.scored


@pytest.mark.parametrize("name", MEASURES.entries)
def test_every_measure_has_defaults_and_is_documented(name: str) -> None:
    spec = MEASURES.complete(name, "measure")
    measure = MEASURES.build(spec)
    assert isinstance(measure, Measure)
    docs = (Path(__file__).parents[2] / "docs" / "files.md").read_text("utf-8")
    row = next(line for line in docs.splitlines() if line.startswith(f"| `{name}`"))
    assert all(f"`{setting}`" in row.split("|")[1] for setting in spec if setting != "name")


def test_what_has_no_answer_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(diabolo.UserError, match=r"^measure 'copying': SimCLR has no decoder"):
        fit(tmp_path, "simclr", "evaluation.measures=[copying]")
    with pytest.raises(diabolo.UserError, match=r"^measure 'told': it brings bad luck"):
        fit(tmp_path, "ae", "evaluation.measures=[{name: told, answer: 13}]")
    assert not (tmp_path / "run").exists()


def test_what_has_no_answer_is_refused_before_scoring(tmp_path: Path) -> None:
    run = fit(tmp_path, "simclr", evaluate=False)
    with pytest.raises(diabolo.UserError, match=r"^measure 'copying': SimCLR has no decoder"):
        diabolo.evaluate(run, measures=["copying"], quiet=True)


def test_features_have_no_method_to_measure(tmp_path: Path) -> None:
    run = fit(tmp_path, "ae", evaluate=False)
    diabolo.embed(run, load(Data(name="digits")).test, out=tmp_path / "z.npz", quiet=True)
    with pytest.raises(
        diabolo.UserError, match="measure 'told': it passes images through an encoder, and these"
    ):
        diabolo.evaluate(tmp_path / "z.npz", measures=["told"], quiet=True)
