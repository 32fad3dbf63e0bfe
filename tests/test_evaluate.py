"""evaluate: by suites, of features, of any object, of timm's models; what it writes and what it refuses."""

import copy
import json
import sys
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import diabolo
from diabolo.cli import main
from diabolo.data import fetch
from diabolo.data.images import Images
from diabolo.data.parts import Parts
from diabolo.data.splits import load, split
from diabolo.evaluation.features import features_of
from diabolo.evaluation.suites import read_suite
from diabolo.recipe import Data
from diabolo.scoring import reference_rows
from diabolo.tables import PROBES, SUITES
from tests.evaluation.planted import blobs
from tests.networks.test_timm_encoder import stand_in
from tests.report.test_report import Page

OWN = "[knn, {name: mlp, epochs: 1}, {name: finetune, epochs: 1}]"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What must fail: exit code 2, and one line that is returned."""
    capsys.readouterr()
    assert run("evaluate", *arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("diabolo: ")] == lines[-1:]
    return lines[-1]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two entries of scores hold the same but for what depends on the clock."""

    def timeless(entry: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in entry.items() if key != "seconds"}
        return {key: timeless(value) if isinstance(value, dict) else value for key, value in kept.items()}

    return json.loads(json.dumps(timeless(one))) == json.loads(json.dumps(timeless(other)))


class Projection(nn.Module):
    """A few random directions of the pixels, after a dropout that only training may notice."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.9)
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(64, 6, generator=generator))

    def represent(self, x: Tensor) -> Tensor:
        return self.dropout(x.flatten(1)) @ self.weight


class Pixels:
    """No module, and it gives NumPy's arrays."""

    def represent(self, x: Tensor) -> np.ndarray:
        return x.flatten(1).numpy()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Planted features."""
    features = blobs()
    parts = {"train": features.train, "validation": features.validation, "test": features.test}
    arrays = {f"{name}_features": part.values for name, part in parts.items()}
    arrays |= {f"{name}_labels": part.labels for name, part in parts.items()}
    np.savez(tmp_path / "z.npz", classes=np.array(features.classes), **arrays)
    return tmp_path / "z.npz"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted") / "run"
    diabolo.fit(
        "digits",
        "simclr",
        epochs=1,
        settings={"encoder": {"name": "mlp", "widths": [16]}, "evaluation.probes": ["knn"]},
        out=folder,
        quiet=True,
    )
    return folder


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(f"probes: {OWN}\nmeasures: [{{name: similarity, pairs: 50}}, copying, latents]\n")
    return path


@pytest.mark.parametrize("name", SUITES.texts())
def test_a_named_suite_is_whole_and_says_what_it_is(name: str) -> None:
    found = read_suite(name)
    names = [spec["name"] for spec in (*found.probes, *found.measures)]
    assert names
    assert len(set(names)) == len(names)
    assert len(SUITES.titles()[name]) > 20
    assert ("# Source " in SUITES.text(name)) == name.startswith("paper:")


def test_suites_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("suites") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SUITES.titles())


def test_the_usual_suite_is_the_fast_one(file: Path) -> None:
    scored = diabolo.evaluate(file, quiet=True)["encoder"]
    assert [name for name in scored if name in PROBES.entries] == [
        spec["name"] for spec in read_suite("fast").probes
    ]


def test_a_suite_leaves_out_what_features_cannot_answer_and_says_so_once(
    file: Path, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = file.with_name("scores.json")
    assert run("evaluate", file, "--suite", suite, "--out", out) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out")]
    assert said == [
        "left out probe 'finetune', measure 'similarity', measure 'copying', measure 'latents': it passes "
        "images through an encoder, and these are features alone",
    ]
    scores = json.loads(out.read_text())
    assert same(scores["encoder"]["knn"], diabolo.evaluate(file, quiet=True)["encoder"]["knn"])
    assert not {"finetune", "linear", "measures"} & scores["encoder"].keys()


def test_a_suite_on_a_run_takes_what_its_method_allows_and_leaves_the_folder_as_it_is(
    fitted: Path, suite: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (fitted / "scores.json").read_text()
    out, page = suite.with_name("scores.json"), suite.with_name("page.html")
    assert run("evaluate", fitted, "--suite", suite, "--out", out, "--report", page) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out")]
    assert [line.partition(":")[0] for line in said] == [
        "left out measure 'copying'",
        "left out measure 'latents'",
    ]
    scores = json.loads(out.read_text())
    assert {"knn", "mlp", "finetune", "measures"} <= scores["encoder"].keys()
    assert list(scores["encoder"]["measures"]) == ["similarity"]
    assert {"random", "pca", "pixels"} <= scores.keys()
    assert {"scores", "measures", "similarity", "confusion", "recipe"} <= Page(page).sections
    assert (fitted / "scores.json").read_text() == before
    with pytest.raises(diabolo.UserError, match=r"^measure 'copying': SimCLR has no decoder"):
        diabolo.evaluate(fitted, measures=["copying"], quiet=True)


def test_the_page_shows_what_a_decoder_trained_for_a_method_without_one_makes(
    fitted: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    diabolo.evaluate(fitted, measures=["reconstruction"], report=page, quiet=True)
    assert "reconstructions" in Page(page).sections
    assert "What a decoder, trained on the frozen representation, makes of" in page.read_text()


def test_without_labels_a_suite_has_its_probes_left_out_and_a_probe_by_name_is_refused(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = file.with_name("bare.npz")
    np.savez(bare, features=np.load(file)["train_features"])
    scores = diabolo.evaluate(bare, suite="fast", quiet=True)
    assert scores["encoder"].keys() == diabolo.evaluate(bare, quiet=True)["encoder"].keys()
    assert "knn" not in scores["encoder"]
    assert "probe 'knn': it needs labels in train" in refused(capsys, bare, "--probe", "knn")
    arrays = dict(np.load(file))
    np.savez(bare, **(arrays | {key: np.zeros_like(arrays[key]) for key in arrays if "labels" in key}))
    assert diabolo.evaluate(bare, quiet=True)["encoder"].keys() == scores["encoder"].keys()
    assert "of two classes or more" in refused(capsys, bare, "--probe", "knn")


def test_what_has_no_answer_on_the_features_is_left_out_of_a_suite(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = file.with_name("few.npz")
    np.savez(few, features=np.load(file)["train_features"][:8], labels=np.arange(8) % 4)
    suite = file.with_name("mine.yaml")
    suite.write_text("probes: [knn, {name: kmeans, clusters: 9}, {name: gmm, components: 9}]")
    scores = diabolo.evaluate(few, suite=suite)["encoder"]
    assert "knn" in scores
    assert not {"kmeans", "gmm"} & scores.keys()
    assert "left out kmeans: there are 9 clusters, but only" in capsys.readouterr().err


def test_classes_that_train_lacks_are_told(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = dict(np.load(file))
    arrays["train_labels"][arrays["train_labels"] == 0] = 1
    np.savez(file.with_name("new.npz"), **arrays)
    scores = diabolo.evaluate(file.with_name("new.npz"), probes=["knn"])
    labels = arrays["test_labels"]
    assert scores["encoder"]["unseen"] == (labels == 0).sum()
    sentence = f"{(labels == 0).sum()} of {len(labels)} test examples are of classes that train lacks"
    assert any(line.startswith(sentence) for line in scores["verdict"])
    assert sentence in capsys.readouterr().err
    assert "unseen" not in diabolo.evaluate(file, probes=["knn"], quiet=True)["encoder"]


def test_a_module_of_other_examples_is_one_line() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 16))
    with pytest.raises(diabolo.UserError, match=r"^examples of 1×8×8 do not pass: mat1 and mat2 shapes"):
        diabolo.evaluate(network, data="digits", quiet=True)


def test_a_module_is_evaluated_as_it_is() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.9))
    scores = diabolo.evaluate(network, data="digits", probes=["knn"], quiet=True)
    assert scores["encoder"]["width"] == 16
    assert scores["encoder"]["knn"]["accuracy"] > 0.8  # with its dropout switched off
    assert network.training


def test_the_paper_s_hidden_layer_is_as_wide_as_the_representation(file: Path, tmp_path: Path) -> None:
    scores = []
    for hidden in ("width", 5):  # planted features have 5 dimensions
        (tmp_path / "one.yaml").write_text(f"probes: [{{name: mlp, hidden: [{hidden}], epochs: 3}}]")
        scores.append(diabolo.evaluate(file, suite=tmp_path / "one.yaml", quiet=True)["encoder"])
    assert same(*scores)
    probe = next(spec for spec in read_suite("paper:simvae").probes if spec["name"] == "mlp")
    assert list(probe["hidden"]) == ["width"]


def test_the_page_of_features_holds_scores_verdict_map_and_confusion_and_nothing_else(file: Path) -> None:
    page = file.with_name("page.html")
    assert run("evaluate", file, "--suite", "fast", "--report", page) == 0
    assert {path.name for path in file.parent.iterdir()} == {"z.npz", "page.html"}
    read = Page(page)
    assert read.sections == {"scores", "latents", "confusion", "environment"}
    assert {"z.npz", "80 examples", "PCA", "t-SNE", "5 of 5 dimensions carry information"} <= set(read.texts)
    dots = [path for path in read.values("d") if "h.1" in path]
    assert sum(path.count("M") for path in dots) == 2 * 80
    legend = [text for text in read.texts if text in ("a", "b", "c")]
    assert {"a", "b", "c"} == set(legend)


def test_a_folder_gets_the_figures_too(file: Path, tmp_path: Path) -> None:
    diabolo.evaluate(file, probes=["knn"], report=tmp_path / "new" / "pages", quiet=True)
    figures = {path.name for path in (tmp_path / "new" / "pages" / "figures").iterdir()}
    assert figures == {"latents.png", "confusion.png", "confusion.svg"}
    assert (tmp_path / "new" / "pages" / "report.html").exists()


def test_any_object_is_scored_beside_pca_of_its_width_and_pixels() -> None:
    splits = load(Data(name="digits"))
    encoder = Projection().train()
    scores = diabolo.evaluate(encoder, data="digits", probes=["knn"], quiet=True)
    assert encoder.training
    assert encoder.dropout.training
    assert scores.keys() == {"encoder", "pca", "pixels", "verdict"}
    assert (scores["encoder"]["width"], scores["pca"]["width"], scores["pixels"]["width"]) == (6, 6, 64)
    features = features_of(encoder.eval().represent, splits)
    assert same(scores["encoder"], diabolo.evaluate(features, probes=["knn"], quiet=True)["encoder"])
    assert any("PCA to 6 dimensions" in line for line in scores["verdict"])


def test_probes_and_measures_have_settings_where_they_are_given() -> None:
    probes = ["linear", {"name": "knn", "k": 3}]
    scores = diabolo.evaluate(Pixels(), data="digits", probes=probes, measures="style", quiet=True)["encoder"]
    assert scores["knn"]["chosen"]["k"] == 3
    assert {"linear", "knn", "measures"} <= scores.keys()
    with pytest.raises(diabolo.UserError, match=r"unknown key 'probe\.n'"):
        diabolo.evaluate(Pixels(), data="digits", probes=[{"name": "knn", "n": 3}], quiet=True)


def test_an_object_need_be_no_module_and_its_data_no_name() -> None:
    scores = diabolo.evaluate(Pixels(), data=load(Data(name="digits")), probes=["knn"], quiet=True)
    assert same(scores["encoder"], scores["pixels"])


def test_the_page_of_an_object_shows_its_images(tmp_path: Path) -> None:
    diabolo.evaluate(Projection(), data="digits", probes=["knn"], report=tmp_path / "page.html", quiet=True)
    page = Page(tmp_path / "page.html")
    assert "Projection on digits" in page.texts
    assert "thumb" in page.values("class")


def test_what_is_measured_on_a_run_is_measured_on_an_object_too(tmp_path: Path) -> None:
    """Measures of a representation, and a decoder trained on it; the module stays as it was."""
    encoder = Projection()
    scores = diabolo.evaluate(
        encoder,
        data="digits",
        probes=["crop-linear"],
        measures=["style", "similarity", "reconstruction"],
        report=tmp_path / "page.html",
        quiet=True,
    )
    own, pixels = (scores[row]["measures"] for row in ("encoder", "pixels"))
    assert list(pixels) == ["style"]
    assert 0.2 < own["style"]["mean"] < pixels["style"]["mean"]
    assert own["similarity"]["same"] > own["similarity"]["different"]
    assert own["reconstruction"]["decoder"] == "ad hoc"
    assert own["reconstruction"]["mse"] < own["reconstruction"]["mse_of_mean"]
    assert scores["encoder"]["crop-linear"]["accuracy"] > 0.2
    page = Page(tmp_path / "page.html")
    assert {"measures", "similarity"} <= page.sections
    assert {"PCA", "pixels"} <= set(page.texts)


class Awkward:
    """No module, in float64, and it cannot be copied."""

    def __init__(self) -> None:
        self.lock = Lock()

    def represent(self, x: Tensor) -> np.ndarray:
        return x.flatten(1).double().numpy()


class Closed(nn.Module):
    """A module that keeps its gradient to itself."""

    def __init__(self, mode: Any) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.layer, self.mode = nn.Linear(64, 8), mode

    def forward(self, x: Tensor) -> Tensor:
        with self.mode():
            return self.layer(x.flatten(1))


@pytest.mark.parametrize("encoder", [Awkward(), Closed(torch.no_grad), Closed(torch.inference_mode)])
def test_what_cannot_be_trained_is_still_passed_through(
    encoder: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A head on crops and a decoder are trained on it; of a suite, fine-tuning is left out."""
    path = tmp_path / "mine.yaml"
    crops = "{name: crop-linear, epochs: 20, views: null, lr: 1}"
    path.write_text(f"probes: [knn, {crops}, {{name: finetune, epochs: 1}}]\nmeasures: [reconstruction]\n")
    scores = diabolo.evaluate(encoder, data="digits", suite=path)["encoder"]
    assert scores["crop-linear"]["accuracy"] > 0.6
    assert scores["measures"]["reconstruction"]["mse"] < scores["measures"]["reconstruction"]["mse_of_mean"]
    assert "finetune" not in scores
    said = capsys.readouterr().err
    assert "training crop-linear, through the encoder" in said
    assert any(
        f"left out finetune: {why}" in said
        for why in (
            "this encoder gives no gradient to learn by",
            "it trains a copy, and this encoder cannot be",
        )
    )


def test_a_module_stays_as_it_was_where_it_is_tuned() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16))
    before = copy.deepcopy(network.state_dict())
    scores = diabolo.evaluate(network, data="digits", probes=["crop-linear", "finetune"], quiet=True)[
        "encoder"
    ]
    assert scores["finetune"]["accuracy"] > scores["crop-linear"]["accuracy"]
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training


def test_a_run_and_an_object_share_the_references_of_their_data(
    fitted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = diabolo.evaluate(fitted, quiet=True)
    monkeypatch.delattr(reference_rows, "Pixels")
    second = diabolo.evaluate(Projection(), data="digits", probes=["knn"], quiet=True)
    assert second["pixels"] == first["pixels"]


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        (Pixels(), {}, "Pixels: of which data"),
        (Pixels, {"data": "digits"}, r"of type type: what is evaluated is a run"),
        (object(), {"data": "digits"}, r"of type object: what is evaluated is a run, features, a module"),
        (Pixels(), {"data": "digits", "space": "h"}, "space 'h' is one of a run's"),
        (Pixels(), {"data": "digit"}, "did you mean 'digits'"),
        (Pixels(), {"data": "digits", "measures": ["copying"]}, "'copying': this encoder has no decoder"),
        (Pixels(), {"data": "digits", "probes": ["finetune"]}, "this encoder gives no gradient to learn by"),
        (Pixels(), {"data": "digits", "supervised": True}, "it needs a run"),
        (Pixels(), {"data": "digits", "suite": "fast", "probes": ["knn"]}, "not by both"),
        (blobs(), {"data": "digits"}, "leave --data out"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(what: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(diabolo.UserError, match=message):
        diabolo.evaluate(what, **options, quiet=True)


@pytest.mark.parametrize(
    ("represent", "message"),
    [
        (lambda x: x, r"must return features \[n, D\]: for a batch of 2 it returned \[2, 1, 8, 8\]"),
        (
            lambda x: x.flatten(1)[1:],
            r"must return features \[n, D\]: for a batch of 2 it returned \[1, 64\]",
        ),
        (lambda x: None, r"the encoder must return an array \[n, D\], got NoneType"),
        (lambda x: x.flatten(1) / 0, "rows are not finite"),
    ],
)
def test_what_is_no_representation_is_refused(represent: Any, message: str) -> None:
    encoder = Pixels()
    encoder.represent = represent  # type: ignore[method-assign]
    with pytest.raises(diabolo.UserError, match=message):
        diabolo.evaluate(encoder, data="digits", quiet=True)


def test_a_folder_that_has_changed_is_not_what_the_run_was_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def draw(*names: str) -> None:
        for name in names:
            Image.fromarray(rng.integers(0, 255, (8, 8), np.uint8)).save(tmp_path / "photos" / f"{name}.png")

    (tmp_path / "photos").mkdir()
    draw(*(f"{i}" for i in range(60)))
    settings = {"training.batch_size": 16, "evaluation.live": 0}
    run = diabolo.fit(
        tmp_path / "photos", "ae", epochs=1, settings=settings, out=tmp_path / "run", quiet=True
    )
    before = run.scores
    draw("new")
    with pytest.raises(diabolo.UserError, match="is not what the run was trained on"):
        diabolo.evaluate(run.folder, quiet=True)
    assert run.scores == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suite", "fas"], "unknown suite 'fas': did you mean 'fast'?"),
        (["--suite", "none.yaml"], "no suite file at none.yaml"),
        (["--suite", "fast", "--measure", "style"], "not by both"),
        (["--probe", "kn"], "unknown probe 'kn': did you mean 'knn'?"),
        (["--data", "digits"], "leave --data out"),
    ],
)
def test_the_command_line_says_what_is_wrong(
    file: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, file, *options)


def test_a_suite_of_one_s_own_is_checked(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = file.with_name("mine.yaml")
    for text, message in (
        ("probs: [knn]", "unknown key 'suite.probs': did you mean 'suite.probes'?"),
        ("probes: [{name: knn, kmax: 3}]", "did you mean 'suite.probes.0.k_max'?"),
        ("probes: [{name: mlp, hidden: [wide]}]", "suite.probes.0.hidden"),
        ("- knn", "expected a mapping"),
    ):
        mine.write_text(text)
        assert message in refused(capsys, file, "--suite", mine)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_scored_on_other_data_in_its_size_and_colours(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos of digits in colour: new ones twice as large, and some that it was trained on."""
    own, labelled = load(Data(name="digits")), tmp_path / "photos"
    for part, rows in (("test", range(200)), ("train", range(100))):
        images = getattr(own, part)
        for i in rows:
            path = labelled / str(images.labels[i].item()) / f"{part}-{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            times = 2 if part == "test" else 1
            grey = images.pixels[i, 0].numpy().repeat(times, 0).repeat(times, 1)
            Image.fromarray(np.stack([grey] * 3, 2)).save(path)
    before, out, page = contents(fitted), tmp_path / "scores.json", tmp_path / "page.html"
    assert run("evaluate", fitted, "--data", labelled, "--out", out, "--report", page) == 0
    said = capsys.readouterr().err
    assert "photos are taken as the run knows them: 8×8, grey" in said
    assert "scored on photos: 243 examples to fit on, 27 to choose by, 30 to test on" in said
    assert contents(fitted) == before

    scores = json.loads(out.read_text())
    splits = load(Data(name=str(labelled), size=8, colour="grey"))
    seen = sum(
        any((image == other).all() for other in own.train.pixels[:]) for image in splits.test.pixels[:]
    )
    assert scores["encoder"]["seen"] == seen > 0
    words = f"{seen} of 30 test examples are among those that it was trained on"
    assert any(line.startswith(words) for line in scores["verdict"])
    method = diabolo.Run.open(fitted).method
    features = features_of(lambda x: method.represent(x, "h"), splits)
    probe = PROBES.build(PROBES.complete("knn", "probe"))
    assert scores["encoder"]["knn"]["accuracy"] == probe(features, 0).figures["accuracy"]
    assert scores["pixels"]["knn"] != json.loads((fitted / "scores.json").read_text())["pixels"]["knn"]
    assert {"random", "pca", "pixels"} < scores.keys()
    text = page.read_text("utf-8")
    assert "simclr on digits, seed 0, scored on photos" in text
    assert "photos: 243 examples to fit on, 27 to choose by, 30 to test on" in text


def test_data_named_by_the_folder_one_is_in_are_other_data_too(
    fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load(Data(name="digits")).test
    (tmp_path / "mine").mkdir()
    np.savez(tmp_path / "mine" / "images.npz", images=own.pixels[:60, 0].numpy(), labels=own.labels[:60])
    monkeypatch.chdir(tmp_path / "mine")
    for i in range(60):
        Image.fromarray(own.pixels[i, 0].numpy()).save(f"{i}.png")
    before = contents(fitted)
    page = tmp_path / "page.html"
    scores = diabolo.evaluate(fitted, data=".", measures=["reconstruction"], report=page, quiet=True)
    assert scores["encoder"]["seen"] == 0
    assert contents(fitted) == before
    assert "scored on mine" in page.read_text("utf-8")


def test_where_few_of_many_have_labels_each_part_has_some(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = load(Data(name="digits")).test
    for i in range(200):
        folder = tmp_path / "some" / (str(own.labels[i].item() % 2) if i < 24 else "unlabelled")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(own.pixels[i, 0].numpy()).save(folder / f"{i}.png")
    scores = diabolo.evaluate(fitted, data=tmp_path / "some", test=0.5, probes=["knn"])
    assert "scored on some: 11 examples to fit on, 1 to choose by, 12 to test on" in capsys.readouterr().err
    assert scores["encoder"]["knn"]["accuracy"] > 0
    arrays = diabolo.predict(fitted, own, labelled=tmp_path / "some", probe="knn", out=tmp_path)
    assert "the probe has 22 images to fit on, 2 to choose by" in capsys.readouterr().err
    assert (arrays["parts"] != "").sum() == 24


def test_what_cannot_be_known_to_be_unseen_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run on arrays that are not given again, and of a data set that is not on the machine."""
    own = load(Data(name="digits"))
    settings = {"encoder": {"name": "mlp", "widths": [16]}, "evaluation.live": 0, "evaluation.also": ["z"]}
    options: dict[str, Any] = {"epochs": 1, "settings": settings, "quiet": True}
    run = diabolo.fit(own, "simclr", out=tmp_path / "run", evaluate=False, **options)
    names = tuple("abcdefghij")
    other = Images(own.test.pixels, own.test.labels, names)
    scores = diabolo.evaluate(run.folder, data=other, probes=["knn"])
    assert scores["encoder"]["seen"] is None
    words = "whether it was trained on some of the test examples is not known"
    assert words in scores["verdict"]
    monkeypatch.setattr(fetch, "is_there", lambda entry: False)
    named = diabolo.fit("digits", "simclr", out=tmp_path / "named", **options)
    assert words in diabolo.evaluate(named, data=other, probes=["knn"], quiet=True)["verdict"]
    assert "simclr on digits, seed 0<" in (tmp_path / "named" / "report.html").read_text("utf-8")


def test_other_data_at_hand_are_scored_without_the_run_s_own_decoder(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trained decoder is of the run's own data; those are its own however they come."""
    own = load(Data(name="digits"))
    whole = Parts(own.train, own.validation, own.test).together()
    others = split(Parts(whole), Data(name="digits", split_seed=1))
    before = contents(fitted)
    scores = diabolo.evaluate(fitted, data=others, measures=["reconstruction"])
    assert contents(fitted) == before
    assert scores["encoder"]["seen"] > 100
    assert "scored on data at hand: 1,455 examples" in capsys.readouterr().err
    scores = diabolo.evaluate(fitted, data=own, probes=["knn"], quiet=True)
    assert "seen" not in scores["encoder"]
    with pytest.raises(diabolo.UserError, match="on other data, --probe finetune trains the encoder"):
        diabolo.evaluate(fitted, data=others, supervised=True, quiet=True)
    with pytest.raises(diabolo.UserError, match=r"examples of shape \(1, 8, 8\), not \(1, 9, 9\)"):
        diabolo.evaluate(fitted, data=np.zeros((40, 9, 9), np.uint8), quiet=True)
    halves = diabolo.evaluate(fitted, data=whole, test=0.5, probes=["knn"], quiet=True)
    assert halves["encoder"]["test_size"] == 898
    assert run("evaluate", fitted, "--data", "digits", "--test", 0.5, "--probe", "knn") == 0
    assert "what is tested on is given: a share of it is not cut" in capsys.readouterr().err
    masks = np.random.default_rng(0).integers(0, 2, (40, 8, 8))
    with pytest.raises(diabolo.UserError, match="only 0 and 1, as integers"):
        diabolo.evaluate(fitted, data=masks, quiet=True)
    assert "name them, with --data" in refused(capsys, fitted, "--test", 0.5)
    assert "above 0 and below 1, got 1.5" in refused(capsys, fitted, "--data", "mnist", "--test", 1.5)
    assert "there is no such file or folder" in refused(capsys, fitted, "--data", tmp_path / "none")


def test_a_timm_model_is_scored_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict] = []
    monkeypatch.setitem(sys.modules, "timm", stand_in(calls))
    out, page = tmp_path / "scores.json", tmp_path / "page.html"
    arguments = ["timm:trained_cnn", "--data", "digits", "--probe", "knn"]
    assert run("evaluate", *arguments, "--out", out, "--report", page) == 0
    assert calls == [{"name": "trained_cnn", "pretrained": True, "num_classes": 0}]
    scores = json.loads(out.read_text())
    assert scores["encoder"]["width"] == scores["pca"]["width"] == 10
    assert "trained_cnn on digits" in Page(page).texts
    assert "unknown timm model 'nothing'" in refused(capsys, "timm:nothing", "--data", "digits")
    assert "trained_cnn: of which data?" in refused(capsys, "timm:trained_cnn")
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "pip install timm" in refused(capsys, *arguments)
