"""The command line as a user meets it: what it writes, and what it says when something is wrong."""

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import torch._inductor.config
import yaml
from PIL import Image
from torch import Tensor

import diabolo
from diabolo.cli import main
from diabolo.data.images import Images
from diabolo.data.splits import load
from diabolo.errors import MemoryTooSmallError, UserError
from diabolo.evaluation.feature_files import load_features
from diabolo.files import read_tensors
from diabolo.recipe import Data, from_yaml
from diabolo.runs.inputs import splits_of
from diabolo.runs.run import Run
from diabolo.views.base import View

SMALL = "{name: random-resized-crop, size: 4}"
QUICK = ["--epochs", "1", "--set", "training.batch_size=32", "--set", "encoder={name: mlp, widths: [32]}"]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run what must fail: exit code 2 and one line on the error stream, which is returned."""
    capsys.readouterr()
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("diabolo: ")]
    assert len(lines) == 1
    assert captured.err.splitlines()[-1] == lines[0]
    assert not captured.out
    return lines[0]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted") / "run"
    assert run("fit", "digits", "--method", "ae", "--out", folder, *QUICK) == 0
    return folder


def test_fit_writes_a_whole_run_folder(fitted: Path) -> None:
    names = {path.name for path in fitted.iterdir()}
    assert {"recipe.yaml", "data.json", "environment.json", "metrics.jsonl"} <= names
    assert {"model.safetensors", "scores.json", "report.html", "figures"} <= names
    drawn = {path.stem for path in (fitted / "figures").glob("*.png")}
    assert {"curves", "latents", "confusion", "similarity", "reconstructions", "neighbours", "worst"} <= drawn
    assert not [path for path in fitted.rglob("*") if path.suffix in (".tmp", ".pt", ".pkl")]
    scores = json.loads((fitted / "scores.json").read_text())
    for name in ("encoder", "random", "pca", "pixels"):
        assert scores[name]["effective_rank"] >= 1
        for probe in ("linear", "mlp", "knn"):
            assert 0 <= scores[name][probe]["accuracy"] <= 1
    assert scores["verdict"]
    recipe = from_yaml((fitted / "recipe.yaml").read_text())
    assert recipe.decoder is not None
    assert (recipe.decoder["name"], list(recipe.decoder["widths"])) == ("mlp", [32])
    assert recipe.training.epochs == 1


def test_metrics_are_one_object_a_line_with_finite_terms(fitted: Path) -> None:
    rows = Run.open(fitted).metrics
    trained = [row for row in rows if row["kind"] == "train"]
    assert trained[-1]["epoch"] == 1.0
    assert trained[-1]["loss"] == trained[-1]["reconstruction"]
    assert trained[-1]["lr"] == 1e-3
    assert {"knn", "effective_rank"} <= next(row for row in rows if row["kind"] == "curve").keys()


def test_evaluate_with_options_writes_a_copy_and_leaves_the_run_alone(fitted: Path, tmp_path: Path) -> None:
    before = (fitted / "scores.json").read_text()
    assert run("evaluate", fitted, "--probe", "knn", "--space", "h", "--out", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["encoder"]["width"] == 32
    assert "knn" in scores["encoder"]
    assert "linear" not in scores["encoder"]
    assert scores["random"]["space"] == scores["encoder"]["space"] == "h"
    assert (fitted / "scores.json").read_text() == before


def test_a_place_where_nothing_can_be_written_is_told_before_the_work(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    for option, place, message in (
        ("--report", tmp_path / "taken", "taken is a file"),
        ("--report", tmp_path / "taken" / "page.html", "taken is a file"),
        ("--out", tmp_path, "is a folder"),
        ("--out", tmp_path / "taken" / "scores.json", "taken is a file"),
    ):
        assert message in refused(capsys, "evaluate", fitted, "--suite", "fast", option, place)
        assert capsys.readouterr().err == ""


def test_a_table_too_wide_for_the_terminal_has_its_representations_side_by_side(
    fitted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = {}
    for columns in (200, 60):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert run("evaluate", fitted, "--suite", "full") == 0
        shown[columns] = [line.split() for line in capsys.readouterr().err.splitlines()]
    heads = [next(line for line in of if line[:1] == ["representation"]) for of in shown.values()]
    assert heads[0][:4] == ["representation", "width", "linear", "%"]
    assert heads[1] == ["representation", "encoder", "random", "pca", "pixels"]
    wide = {line[0]: line for line in shown[200] if line[:1] in (["encoder"], ["pixels"])}
    [retrieval] = [line for line in shown[60] if line[:2] == ["retrieval", "%"]]
    assert (retrieval[2], retrieval[-1]) == (wide["encoder"][-2], wide["pixels"][-2])


def test_evaluate_renews_what_the_run_holds(fitted: Path) -> None:
    before = json.loads((fitted / "scores.json").read_text())
    (fitted / "report.html").unlink()
    assert run("evaluate", fitted) == 0
    after = json.loads((fitted / "scores.json").read_text())
    assert after["encoder"]["knn"]["accuracy"] == before["encoder"]["knn"]["accuracy"]
    assert (fitted / "report.html").exists()


def test_embed_writes_features_that_evaluate_reads(fitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "z.npz"
    assert run("embed", fitted, "digits", "-o", out) == 0
    arrays = np.load(out, allow_pickle=False)
    assert arrays["features"].shape == (1797, 32)
    assert arrays["features"].dtype == np.float32
    assert arrays["labels"].shape == arrays["names"].shape == (1797,)
    assert run("evaluate", out, "--out", tmp_path / "scores.json") == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["encoder"]["knn"]["accuracy"] > 0.5


def test_what_is_embedded_is_scored_on_its_own_test_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    pixels = {n: rng.integers(0, 255, (k, 6, 6), dtype=np.uint8) for n, k in (("train", 90), ("test", 30))}
    labels = {f"y_{n}": np.arange(len(x)) % 2 for n, x in pixels.items()}
    np.savez(tmp_path / "rows.npz", **{f"x_{n}": x for n, x in pixels.items()}, **labels)
    folder, out = tmp_path / "run", tmp_path / "z.npz"
    assert run("fit", tmp_path / "rows.npz", "--method", "ae", "--no-evaluate", "--out", folder, *QUICK) == 0
    assert run("embed", folder, tmp_path / "rows.npz", "-o", out) == 0
    arrays = np.load(out, allow_pickle=False)
    assert [*arrays["names"][[0, -1]]] == ["train/0", "test/29"]
    assert [*np.unique(arrays["parts"][:90])] == ["train", "validation"]  # which the run held out
    assert [*np.unique(arrays["parts"][90:])] == ["test"]
    expected = Run.open(folder).embed(Images(torch.from_numpy(pixels["test"])[:, None]))
    np.testing.assert_allclose(load_features(out).test.values, expected, rtol=1e-5, atol=1e-6)
    assert run("evaluate", out, "--probe", "knn") == 0
    assert "z.npz: 81 examples to fit on, 9 to choose by, 30 to test on" in capsys.readouterr().err


def test_what_a_run_was_trained_on_is_not_embedded_as_test(tmp_path: Path, capsys) -> None:
    """Noise with labels at random: only those it was trained on can be told."""
    rng = np.random.default_rng(0)
    noise = {"images": rng.integers(0, 255, (400, 6, 6), dtype=np.uint8), "labels": rng.integers(0, 4, 400)}
    np.savez(tmp_path / "noise.npz", **noise)
    np.savez(tmp_path / "half.npz", **{key: rows[::2] for key, rows in noise.items()})
    folder, out = tmp_path / "run", tmp_path / "z.npz"
    widths = ["--set", "encoder.name=mlp", "--set", "encoder.widths=[256]", "--epochs", "60"]
    assert run("fit", tmp_path / "noise.npz", "--method", "supervised", "--out", folder, *widths) == 0
    assert run("embed", folder, tmp_path / "noise.npz", "-o", out) == 0
    assert "no test part" not in capsys.readouterr().err
    parts = load_features(out)
    held = splits_of(Run.open(folder))
    for name in ("train", "validation", "test"):
        assert np.array_equal(getattr(parts, name).labels, getattr(held, name).labels.numpy())
    scored = diabolo.evaluate(out, probes=["knn"], quiet=True)["encoder"]["knn"]["accuracy"]
    assert scored == Run.open(folder).scores["encoder"]["knn"]["accuracy"] < 0.5
    assert run("embed", folder, tmp_path / "half.npz", "-o", out) == 0
    assert "there is no test part" in capsys.readouterr().err


def test_a_single_training_image_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "three.npy", np.zeros((3, 8, 8), np.uint8))
    start = ["fit", tmp_path / "three.npy", "--method", "ae", *QUICK]
    assert "a single image is left to train on" in refused(capsys, *start, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_keep_the_names_of_their_rows_in_the_file(tmp_path: Path) -> None:
    """What is called train/17 is row 17 of the file, whichever part the run made it a member of."""
    labels = np.arange(60) % 2
    pixels = np.random.default_rng(0).integers(0, 200, (60, 6, 6), dtype=np.uint8)
    pixels[:, 0, 0] = labels
    pixels[40] = pixels[7]
    np.savez(tmp_path / "rows.npz", images=pixels, labels=labels)
    folder = tmp_path / "run"
    assert run("fit", tmp_path / "rows.npz", "--method", "ae", "--no-evaluate", "--out", folder, *QUICK) == 0
    assert run("anomalies", folder, "--out", tmp_path) == 0
    found = np.load(tmp_path / "anomalies.npz")
    rows = [int(name.removeprefix("train/")) for name in found["names"]]
    assert len(rows) == 6
    assert labels[rows].tolist() == found["labels"].tolist()
    assert run("duplicates", folder, "--out", tmp_path) == 0
    found = np.load(tmp_path / "duplicates.npz")
    assert sorted(found["names"]) == sorted(f"train/{i}" for i in range(60))
    assert {*found["names"][found["pairs"][0]]} == {"train/7", "train/40"}
    test = found["names"][found["parts"] == "test"]
    assert [int(name.removeprefix("train/")) for name in test] == rows


def test_python_and_command_line_give_the_same_run(fitted: Path, tmp_path: Path) -> None:
    import diabolo

    same = diabolo.fit(
        "digits",
        method="ae",
        epochs=1,
        settings={"training.batch_size": 32, "encoder": {"name": "mlp", "widths": [32]}},
        out=tmp_path / "run",
        evaluate=False,
        quiet=True,
    )
    one, _ = read_tensors(fitted / "model.safetensors")
    other, _ = read_tensors(same.folder / "model.safetensors")
    assert all(torch.equal(one[key], other[key]) for key in one)
    test = load(same.recipe.data).test
    np.testing.assert_array_equal(same.embed(test), Run.open(fitted).embed(test))


def test_a_module_and_views_of_one_s_own(tmp_path: Path) -> None:
    import diabolo
    from diabolo.views.noise import GaussianNoise

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    before = network[1].weight.clone()
    images = load(Data(name="digits")).train
    trained = diabolo.fit(
        images,
        method="simclr",
        epochs=1,
        encoder=network,
        transforms=[GaussianNoise(scale=0.1)],
        settings={"training.batch_size": 64},
        out=tmp_path / "run",
        quiet=True,
    )
    assert torch.equal(network[1].weight, before), "the user's module is copied"
    assert trained.embed(images).shape == (len(images), 10)
    assert {"encoder", "random", "pca", "pixels"} <= trained.scores.keys()
    again = Run.open(tmp_path / "run", encoder=network)
    np.testing.assert_array_equal(again.embed(images), trained.embed(images))
    with pytest.raises(diabolo.UserError, match="a module of yours"):
        Run.open(tmp_path / "run").embed(images)


class Undrawn(View):
    """Draws nothing, by returning nothing."""

    def draw(self, n: int, shape: tuple[int, ...], rng: torch.Generator) -> Any:
        return None

    def apply(self, x: Tensor, drawn: Any) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda x: x, r"of type function: give objects of a subclass of diabolo\.views\.base\.View"),
        (Undrawn(), r"Undrawn\(\): draw returns a dictionary of tensors, not NoneType"),
    ],
)
def test_what_is_no_view_is_refused(transform: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        diabolo.fit("digits", "simclr", transforms=[transform], out=tmp_path / "run", quiet=True)


def test_arrays_train_and_embed_as_they_are() -> None:
    import diabolo

    pixels, _ = pictures()
    settings = {"training.batch_size": 16, "encoder": {"name": "mlp", "widths": [16]}}
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        trained = diabolo.fit(pixels[:, 0], "ae", epochs=1, settings=settings, out=out, quiet=True)
        assert trained.embed(pixels[:5, 0]).shape == (5, 32)
        np.testing.assert_array_equal(trained.embed(pixels[:5] / 255.0), trained.embed(pixels[:5]))
        with pytest.raises(diabolo.UserError, match="give them again"):
            diabolo.evaluate(out, quiet=True)


def test_a_run_with_views_of_one_s_own_is_scored_without_them_but_not_continued(tmp_path: Path) -> None:
    import diabolo
    from diabolo.views.noise import GaussianNoise

    settings = {"training.batch_size": 64, "encoder": {"name": "mlp", "widths": [16]}}
    views = [GaussianNoise(scale=0.1)]
    options = {"epochs": 1, "settings": settings, "transforms": views, "evaluate": False, "quiet": True}
    trained = diabolo.fit("digits", "ae", out=tmp_path / "run", **options)
    assert run("evaluate", trained.folder) == 0
    assert (trained.folder / "report.html").exists()
    (trained.folder / "model.safetensors").unlink()
    with pytest.raises(diabolo.UserError, match="pass them again as transforms"):
        diabolo.fit(out=trained.folder, resume=True, quiet=True)


def test_an_encoder_of_one_s_own_has_a_decoder_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 24))
    settings = {"training.batch_size": 64, "evaluation.probes": ["knn"], "evaluation.references": False}
    run = diabolo.fit("digits", "vae", encoder=encoder, epochs=1, settings=settings, out=tmp_path / "run")
    assert "encoder 'custom' has no mirror: its decoder is mlp" in capsys.readouterr().err
    assert run.recipe.decoder["name"] == "mlp"


def test_grouped_batch_norm_is_scored_beside_its_untrained_twin(tmp_path: Path) -> None:
    moco = ["--method", "moco", "--set", "method.group=16", "--set", "method.queue=64"]
    conv = ["--set", "encoder={name: conv, filters: [4, 8], hidden: 16, batch_norm: true}"]
    probes = ["--set", "evaluation.probes=[knn, {name: finetune, epochs: 1}]"]
    start = ["fit", "digits", *moco, *conv, *probes, "--epochs", "1", "--set", "training.batch_size=32"]
    assert run(*start, "--out", tmp_path / "run") == 0
    scores = Run.open(tmp_path / "run").scores
    assert {"knn", "finetune"} <= scores["encoder"].keys() & scores["random"].keys()


def test_references_follow_the_labels(tmp_path: Path) -> None:
    pixels, labels = pictures(count=200)
    scores = []
    for i, classes in enumerate((labels, np.random.default_rng(0).permutation(labels))):
        np.savez(tmp_path / "data.npz", images=pixels, labels=classes)
        start = ["fit", tmp_path / "data.npz", "--method", "ae", *QUICK, "--set", "evaluation.probes=[knn]"]
        assert run(*start, "--out", tmp_path / str(i)) == 0
        scores.append(Run.open(tmp_path / str(i)).scores["pixels"]["knn"]["accuracy"])
    assert scores[0] > scores[1] + 0.3


def test_runs_without_a_name_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert run("fit", "digits", "--method", "ae", *QUICK, "--no-evaluate") == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits-ae-0", "digits-ae-0-2"]
    shutil.rmtree(tmp_path / "runs" / "digits-ae-0")
    assert run("fit", "digits", "--method", "ae", *QUICK, "--no-evaluate") == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits-ae-0-2", "digits-ae-0-3"]


def test_the_newest_run_is_resumed_whatever_was_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    start = ["fit", "digits", "--method", "ae", *QUICK, "--no-evaluate"]
    for name in ("digits-ae-0", "digits-ae-0-10", "digits-ae-0-9", "digits-ae-1"):
        assert run(*start, "--out", tmp_path / "runs" / name) == 0
    capsys.readouterr()
    assert run(*start, "--resume") == 0
    assert capsys.readouterr().out == "runs/digits-ae-0-10\n"


def test_two_devices_train_what_one_does(tmp_path: Path) -> None:
    start = ["-m", "diabolo", "fit", "digits", "--method", "simclr", *QUICK]
    start += ["--accelerator", "cpu", "--no-evaluate"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    runs = []
    for name, launcher, options in (
        ("one", [], []),
        ("two", [], ["--devices", "2"]),
        ("torchrun", torchrun, []),
    ):
        command = [sys.executable, *launcher, *start, *options, "--out", str(tmp_path / name)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.splitlines() == [str(tmp_path / name)]
        runs.append(Run.open(tmp_path / name).metrics)
    one, *others = runs
    for other in others:
        assert [row["step"] for row in one] == [row["step"] for row in other]
        losses = [[row["loss"] for row in rows if row["kind"] == "train"] for rows in (one, other)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_an_error_in_one_process_ends_both_with_its_line_alone(tmp_path: Path) -> None:
    """The first process, which alone writes, may not write what is larger than a few pages."""
    command = [sys.executable, "-m", "diabolo", "fit", "digits", "--method", "ae", "--epochs", "1000"]
    command += ["--devices", "2", "--accelerator", "cpu", "--out", str(tmp_path / "run")]
    command += ["--set", "training.checkpoint_every=0", "--set", "evaluation.live=0"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("diabolo: ")]
    assert re.match(r"diabolo: cannot write .*checkpoints/.*File too large", line)


@pytest.mark.parametrize(("error", "says"), [(MemoryTooSmallError, "diabolo: full\n"), (UserError, "")])
def test_a_process_speaks_for_all_or_of_its_own_device(
    error: type[UserError], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error("full")

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("diabolo.verbs.fit.fit", fail)
    assert run("fit", "digits", "--method", "ae") == 2
    assert capsys.readouterr().err == says


def test_a_warm_start_takes_the_other_run_s_weights(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["fit", "digits", "--method", "ae", "--init", fitted, *QUICK, "--no-evaluate", "--epochs", "0"]
    assert run(*start, "--out", tmp_path / "warm") == 0
    assert f"weights of {fitted}\n" in capsys.readouterr().err
    one, _ = read_tensors(fitted / "model.safetensors")
    other, _ = read_tensors(tmp_path / "warm" / "model.safetensors")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_what_a_warm_start_does_not_take_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    size, tiny = ["--set", "encoder={name: resnet18, width: 0.0625}"], ["--no-evaluate", "--epochs", "0"]
    np.save(tmp_path / "small.npy", rng.integers(0, 256, (40, 8, 8), np.uint8))
    np.save(tmp_path / "large.npy", rng.integers(0, 256, (40, 16, 16), np.uint8))
    one, other = tmp_path / "one", tmp_path / "other"
    fit = [*size, *tiny, "--set", "training.batch_size=16"]
    assert run("fit", tmp_path / "small.npy", "--method", "simclr", *fit, "--out", one) == 0
    assert run("fit", tmp_path / "large.npy", "--method", "vae", *fit, "--init", one, "--out", other) == 0
    said = capsys.readouterr().err
    assert f"weights of {one}, but for decoder, log_variance, mean, of examples of shape (1, 8, 8)" in said


def test_started_from_other_weights_and_not_trained_it_stands_beside_its_untrained_twin(
    fitted: Path, tmp_path: Path
) -> None:
    start = ["fit", "digits", "--method", "ae", "--init", fitted, *QUICK, "--epochs", "0"]
    assert run(*start, "--out", tmp_path / "warm", "--set", "evaluation.probes=[knn]") == 0
    scores = Run.open(tmp_path / "warm").scores
    assert scores["random"]["centred_rank"] != scores["encoder"]["centred_rank"]


# A user's own data, made from real images


def pictures(name: str = "digits", count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    train = load(Data(name=name)).train
    some = torch.arange(count)
    assert train.labels is not None
    return train.pixels[some].numpy(), train.labels[some].numpy()


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def made(kind: str, folder: Path, pixels: np.ndarray, labels: np.ndarray) -> Path:
    """The same labelled images as a folder of PNGs, a zip or a tar of JPEGs, or an array file."""
    suffix = "png" if kind == "folder" else "jpeg"
    files = {
        f"class{y}/{i}.{suffix}": encoded(x, suffix)
        for i, (x, y) in enumerate(zip(pixels, labels, strict=True))
    }
    path = (
        folder / {"folder": "photos", "zip": "photos.zip", "tar": "photos.tar.gz", "npz": "photos.npz"}[kind]
    )
    if kind == "folder":
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    elif kind == "tar":
        with tarfile.open(path, "w:gz") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    else:
        np.savez(path, images=pixels, labels=labels)
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "npz"])
@pytest.mark.parametrize("data", ["digits", pytest.param("cifar10", marks=pytest.mark.data("cifar10"))])
def test_fit_takes_what_a_user_brings(kind: str, data: str, tmp_path: Path) -> None:
    path = made(kind, tmp_path, *pictures(data))
    out = tmp_path / "run"
    probes = ["--set", "evaluation.probes=[knn]", "--set", "data.test=0.3"]
    assert run("fit", path, "--method", "ae", "--out", out, *QUICK, *probes) == 0
    trained = Run.open(out)
    assert trained.facts.shape == load(Data(name=data)).train.shape
    assert 0 <= trained.scores["encoder"]["knn"]["accuracy"] <= 1


def test_folders_that_are_no_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made("folder", tmp_path, *pictures())
    fit = [
        "fit",
        path,
        "--method",
        "ae",
        *QUICK,
        "--set",
        "evaluation.probes=[knn]",
        "--set",
        "data.test=0.3",
    ]
    assert run(*fit, "--out", tmp_path / "labelled") == 0
    said = capsys.readouterr().err
    assert re.search(
        r"10 classes to train on: class0 \(\d+\), .*, … \(data\.labels=false leaves them out\)", said
    )
    assert re.search(
        r"accuracy is read on \d+ labelled test images, which tells little: data\.test holds", said
    )
    assert "knn" in Run.open(tmp_path / "labelled").scores["encoder"]
    bare = ["fit", path, "--method", "ae", *QUICK, "--set", "data.labels=false", "--out", tmp_path / "bare"]
    assert run(*bare) == 0
    assert "classes" not in capsys.readouterr().err
    assert Run.open(tmp_path / "bare").facts.classes == ()
    assert "linear" not in Run.open(tmp_path / "bare").scores["encoder"]
    assert "judged by its rank only" in Run.open(tmp_path / "bare").scores["verdict"][-1]
    assert run("embed", tmp_path / "bare", path, "-o", tmp_path / "z.npz") == 0
    capsys.readouterr()
    (path / "class0").rename(path / "unlabelled")
    assert run("embed", tmp_path / "bare", path / "unlabelled", "-o", tmp_path / "z.npz") == 0
    assert "cuts one at random" not in capsys.readouterr().err  # there are no labels to be scored by


def test_a_run_is_used_from_anywhere_and_after_its_project_was_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "project"
    home.mkdir()
    made("npz", home, *pictures())
    monkeypatch.chdir(home)
    options = ["--method", "ae", *QUICK, "--set", "evaluation.probes=[knn]", "--set", "data.test=0.3"]
    assert run("fit", "photos.npz", "--out", "runs/one", *options, "--no-evaluate") == 0
    home = home.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert run("fit", "--resume", "--out", home / "runs" / "one") == 0
    accuracy = Run.open(home / "runs" / "one").scores["encoder"]["knn"]["accuracy"]
    assert run("evaluate", home / "runs" / "one") == 0
    assert Run.open(home / "runs" / "one").scores["encoder"]["knn"]["accuracy"] == accuracy
    assert yaml.safe_load((home / "runs" / "one" / "recipe.yaml").read_text())["data"]["name"] == "photos.npz"
    (home / "photos.npz").unlink()
    message = refused(capsys, "evaluate", home / "runs" / "one")
    assert "was trained on photos.npz, and there is no such path, from here or from the folders" in message


def test_images_without_labels_are_judged_by_their_rank(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", pictures()[0])
    assert run("fit", tmp_path / "images.npy", "--method", "vae", "--out", tmp_path / "run", *QUICK) == 0
    scores = Run.open(tmp_path / "run").scores
    assert "knn" not in scores["encoder"]
    assert any("rank only" in line for line in scores["verdict"])


def test_a_collapsed_vae_is_called_so_without_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", pictures(count=500)[0])
    arguments = ["--set", "method.latent=8", "--set", "method.beta=300", *QUICK, "--epochs", "10"]
    assert (
        run("fit", tmp_path / "images.npy", "--method", "beta-vae", "--out", tmp_path / "run", *arguments)
        == 0
    )
    scores = Run.open(tmp_path / "run").scores
    assert scores["encoder"]["active_units"] == 0
    assert scores["verdict"][0].startswith("collapsed: none of 8 units")


def test_a_masked_autoencoder_of_tiny_images_needs_no_settings(tmp_path: Path) -> None:
    quick = ("--epochs", "1", "--limit", "128", "--no-evaluate", "--out", tmp_path / "run")
    assert run("fit", "digits", "--method", "mae", *quick) == 0
    assert Run.open(tmp_path / "run").method.encoder.network.patch == 2


def test_vectors_train_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "rows.npz",
        features=rng.normal(size=(200, 12)).astype(np.float32),
        labels=np.arange(200) % 2,
    )
    for method in ("vae", "simclr", "simvae"):
        assert run("fit", tmp_path / "rows.npz", "--method", method, "--out", tmp_path / method, *QUICK) == 0
        assert Run.open(tmp_path / method).facts.shape == (12,)


# What a user can get wrong


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "digitz", "--method", "ae"], "unknown data set 'digitz': did you mean 'digits'?"),
        (["fit", "digits", "--method", "simclar"], "unknown method 'simclar': did you mean 'simclr'?"),
        (
            ["fit", "digits", "--recipe", "mancini-a"],
            "unknown recipe 'mancini-a': did you mean 'mancini-ae'?",
        ),
        (["fit", "digits"], "which method?"),
        (["fit", "--resume"], "run: there is no such folder"),
        (["fit", "digits", "--method", "ae", "--set", "trainig.epochs=2"], "unknown key 'trainig'"),
        (["fit", "digits", "--method", "ae", "--set", "method.latnt=2"], "did you mean 'method.latent'?"),
        (["fit", "digits", "--method", "ae", "--epochs", "two"], "Invalid value for '--epochs'"),
        (
            ["fit", "digits", "--method", "ae", "--set", "training.batch_size=5000"],
            "only 1293 training images",
        ),
        (["fit", "digits", "--method", "ae", "--set", "evaluation.space=y"], "unknown space 'y'"),
        (["fit", "digits", "--method", "moco", "--epochs", "1", "--set", "views.count=1"], "takes 2 views"),
        (["fit", "digits", "--method", "random", "--epochs", "1"], "nothing to train"),
        (["fit", "digits", "--method", "ae", "--set", "training.accumulate=50"], "fewer than the 50"),
        (
            ["fit", "digits", "--method", "ae", "--set", "training={compile: graphs, accumulate: 2}"],
            "set training.accumulate=1",
        ),
        (["fit", "digits", "--method", "ae", "--set", "training.compile=graph"], "training.compile"),
        (["fit", "digits", "--method", "ae", "--devices", "0"], "'--devices'"),
        (["fit", "digits", "--method", "vae", "--accelerator", "gpuu"], "--accelerator gpuu"),
        (
            ["fit", "digits", "--method", "ae", "--set", "training.epochs.x=1"],
            "training.epochs: input should",
        ),
        (["fit", "digits", "--method", "simclr", "--set", "local_views={count: 2}"], "does not take smaller"),
        (
            [
                "fit",
                "digits",
                "--method",
                "ae",
                "--set",
                "views.transforms=[{name: random-resized-crop, size: 4}]",
            ],
            "does not pass through method 'ae'",
        ),
        (
            [
                "fit",
                "digits",
                "--method",
                "dino",
                "--set",
                "local_views={count: 2, transforms: [{name: random-resized-crop, size: 4}]}",
            ],
            "; views of (1, 4, 4) need an encoder that takes them, such as a resnet",
        ),
        (
            ["fit", "digits", "--method", "ae", "--set", "data.without=9"],
            "expected a list, such as [a, b], got 9",
        ),
        (["fit", "digits", "--method", "ae", "--set", "data.without=[ten]"], "unknown class in data.without"),
        (["fit", "digits", "--method", "ae", "--set", "data.size=100000"], "less than or equal to 4096"),
        (["fit", "digits", "--method", "mae", "--set", "encoder=conv"], "cannot: use encoder=vit"),
        (["fit", "digits", "--method", "ae", "--init", "nowhere"], "no model file at nowhere"),
        (
            ["fit", "digits", "--method", "ae", "--set", "data.name=mnist"],
            "data.name: the settings say mnist, but the data given are digits",
        ),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *arguments, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_path_that_is_nearly_there_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "labelled").mkdir()
    monkeypatch.chdir(tmp_path)
    for given, near in (("labeled", "labelled"), (f"{tmp_path}/labeled", f"{tmp_path}/labelled")):
        message = refused(capsys, "fit", given, "--method", "ae")
        assert f"{given}: there is no such file or folder: did you mean '{near}'?" in message


def test_data_that_went_away_are_said_to_be_the_run_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "images.npy"
    np.save(images, pictures()[0])
    out = tmp_path / "run"
    assert run("fit", images, "--method", "ae", "--no-evaluate", "--out", out, *QUICK) == 0
    images.unlink()
    assert f"{out} was trained on {images}" in refused(capsys, "reconstruct", out)


def test_ctrl_c_while_a_run_is_scored_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("diabolo.verbs.fit.score_run", interrupt)
        assert run("fit", "digits", "--method", "ae", "--out", out, *QUICK) == 130
    assert f"continue with --out {out} --resume" in capsys.readouterr().err
    assert run("fit", "--out", out, "--resume") == 0
    assert Run.open(out).scored


def test_without_a_command_there_is_help_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "Usage" in captured.out + captured.err
    assert "diabolo: " not in captured.err


def test_without_a_compiler_nothing_is_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fit", "digits", "--method", "ae", "--set", "training.compile=true", "--accelerator", "cpu"]
    with torch._inductor.config.patch({"cpp.cxx": (str(tmp_path / "no-compiler"),)}):
        message = refused(capsys, *arguments, "--out", str(tmp_path / "run"))
    assert "training.compile: there is no C++ compiler" in message
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_used_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    (tmp_path / "empty").mkdir()
    (tmp_path / "letter.png").write_text("no image")
    np.save(tmp_path / "unlabelled.npy", pictures()[0])
    np.savez(tmp_path / "one.npz", images=pictures()[0], labels=np.zeros(60, int))
    cases = {
        "empty": (["--method", "ae"], "no image found"),
        "letter.png": (["--method", "ae"], "letter.png"),
        "unlabelled.npy": (["--method", "supervised"], "method 'supervised' needs labels"),
    }
    for name, (options, message) in cases.items():
        assert message in refused(capsys, "fit", tmp_path / name, *options, "--out", out)
    asked = ["--method", "ae", "--set", "evaluation.probes=[linear]", "--set", "training.batch_size=32"]
    for name in ("unlabelled.npy", "one.npz"):
        message = refused(capsys, "fit", tmp_path / name, *asked, "--out", out)
        assert "probe 'linear' needs labels in train, validation and test, of two classes or more" in message
    assert not out.exists()


def test_unreadable_files_are_skipped_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = made("folder", tmp_path, *pictures())
    (folder / "class0" / "broken.png").write_bytes(b"broken")
    start = ["fit", folder, "--method", "ae", "--no-evaluate", *QUICK]
    assert run(*start, "--out", tmp_path / "run") == 0
    assert "broken.png" in capsys.readouterr().err
    assert "broken.png" in refused(capsys, *start, "--strict", "--out", tmp_path / "strict")
    assert not (tmp_path / "strict").exists()


def test_a_folder_that_holds_another_run_is_left_alone(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in fitted.rglob("*") if path.is_file()}
    start = ["fit", "digits", "--method", "ae", *QUICK, "--out", fitted]
    assert "already holds a run" in refused(capsys, *start)
    assert "was started with seed = 0, not 1" in refused(capsys, *start, "--resume", "--seed", "1")
    (tmp_path / "file").write_text("mine")
    assert "not empty" in refused(capsys, "fit", "digits", "--method", "ae", *QUICK, "--out", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_folder_one_is_in_cannot_be_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "name one in it" in refused(capsys, "fit", "digits", "--method", "ae", *QUICK, "--out", ".")
    assert not list(tmp_path.iterdir())


def test_a_run_in_use_is_refused(fitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run.open(fitted).lock():
        message = refused(capsys, "fit", "--out", fitted, "--resume")
    assert "in use" in message


def test_a_loss_that_is_not_finite_names_its_term_and_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = [
        "fit",
        "digits",
        "--method",
        "vae",
        *QUICK,
        "--set",
        "optimiser.lr=1e20",
        "--out",
        tmp_path / "run",
    ]
    message = refused(capsys, *start)
    assert "training stopped at step" in message
    assert any(word in message for word in ("is nan", "is inf", "is -inf"))
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("what", "message"),
    [("nothing.npz", "no such file"), ("pyproject.toml", "not an .npz"), ("src", "not a run folder")],
)
def test_evaluate_says_what_it_expects(what: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parent.parent
    assert message in refused(capsys, "evaluate", root / what)


def test_features_without_labels_refuse_a_probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "z.npz", features=np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    assert run("evaluate", tmp_path / "z.npz") == 0
    assert "probe 'linear': it needs labels" in refused(
        capsys, "evaluate", tmp_path / "z.npz", "--probe", "linear"
    )


def test_a_damaged_model_is_refused(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    shutil.copytree(fitted, tmp_path / "copy")
    (tmp_path / "copy" / "model.safetensors").write_bytes(b"\x00" * 100)
    assert "not a readable model file" in refused(
        capsys, "embed", tmp_path / "copy", "digits", "-o", tmp_path / "z.npz"
    )
    assert not (tmp_path / "z.npz").exists()


def test_lists_name_everything(capsys: pytest.CaptureFixture[str]) -> None:
    from diabolo.data.catalog import CATALOG
    from diabolo.recipe import RECIPES
    from diabolo.tables import METHODS

    for command, names in (
        ("methods", METHODS.entries),
        ("datasets", CATALOG),
        ("recipes", RECIPES.titles()),
    ):
        assert run(command) == 0
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(names)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == version("diabolo")


@pytest.mark.parametrize("command", ["--help", "methods", "datasets", "recipes", "studies", "suites"])
def test_what_only_tells_imports_no_torch(command: str) -> None:
    code = f"import sys; from diabolo.cli import main; main(['{command}']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
