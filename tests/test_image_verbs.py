"""neighbours and predict on digits, in Python and on the command line; and the lists that verbs write."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diabolo
import diabolo.verbs.predict as predict_verb
from diabolo.cli import main
from diabolo.data.arrays import conform
from diabolo.data.images import Images, Splits
from diabolo.data.parts import Parts
from diabolo.data.splits import load
from diabolo.errors import UserError
from diabolo.evaluation.suite import write_scores
from diabolo.recipe import Data
from diabolo.report.grids import grid
from diabolo.runs.inputs import splits_of, trained_on
from diabolo.runs.run import Run

NAMES = ("nought", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load(Data(name="digits"))


@pytest.fixture(scope="module")
def ae(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A scored run on digits; of its probes one has settings of its own."""
    return diabolo.fit(
        "digits",
        "ae",
        epochs=15,
        out=tmp_path_factory.mktemp("runs") / "ae",
        settings={
            "encoder": {"name": "mlp", "widths": [64]},
            "optimiser.lr": 0.003,
            "evaluation.live": 0,
            "evaluation.references": False,
            "evaluation.probes": ["linear", {"name": "knn", "k": 3, "weighted": True}, "mlp", "gmm"],
        },
        quiet=True,
    )


def listed(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def as_files(images: Images, folder: Path, name: Callable[[int], str]) -> Path:
    for i, pixels in enumerate(images.pixels[:].numpy()):
        path = folder / name(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0]).save(path)
    return folder


@pytest.mark.parametrize("probe", ["linear", "knn", "mlp", "gmm"])
def test_predictions_of_test_are_those_that_were_scored(ae, splits, tmp_path, probe, capsys):
    arrays = diabolo.predict(ae, probe=probe, out=tmp_path)
    accuracy = ae.scores["encoder"][probe]["accuracy"]
    assert (arrays["predictions"] == splits.test.labels.numpy()).mean() == accuracy
    assert f"test: {100 * accuracy:.1f} % of 360 images of known class are right" in capsys.readouterr().err
    assert arrays["labels"].tolist() == splits.test.labels.tolist()
    assert arrays["classes"].tolist() == list(splits.test.classes)
    assert set(arrays["parts"]) == {"test"}
    rows = listed(tmp_path / "predict.csv")
    assert [row["name"] for row in rows] == arrays["names"].tolist()
    assert [row["label"] for row in rows] == [splits.test.classes[i] for i in splits.test.labels]
    if probe == "gmm":
        assert "probabilities" not in arrays
        assert {row["probability"] for row in rows} == {""}
    else:
        assert arrays["probabilities"].argmax(axis=1).tolist() == arrays["predictions"].tolist()
        sure = arrays["probabilities"].max(axis=1)
        np.testing.assert_allclose([float(row["probability"]) for row in rows], sure, atol=1e-4)
        assert sure.max() > 0.9
    with np.load(tmp_path / "predict.npz", allow_pickle=False) as file:
        assert set(file) == set(arrays)
    with Image.open(tmp_path / "predict.png") as picture:
        assert min(picture.size) > 50


def test_predictions_of_any_images_do_not_read_their_labels(ae, splits, tmp_path, capsys):
    """The same images with true labels, with wrong ones, and without."""
    few = splits.test.take(torch.arange(40))
    right = diabolo.predict(ae, few, out=tmp_path, quiet=True)
    assert "parts" not in right
    for other in (replace(few, labels=(few.labels + 1) % 10), Images(few.pixels)):
        found = diabolo.predict(ae, other, out=tmp_path)
        np.testing.assert_array_equal(found["probabilities"], right["probabilities"])
    said = capsys.readouterr().err
    first = f"{found['classes'][found['predictions'][0]]} ({found['probabilities'][0].max():.2f})"
    assert f"{found['names'][0]}: {first}" in said
    assert "of 40 images as many are: " in said
    whole = diabolo.predict(ae, out=tmp_path, quiet=True)
    np.testing.assert_allclose(right["probabilities"], whole["probabilities"][:40], atol=1e-5)


def test_labels_of_other_data_are_matched_by_the_names_of_their_classes(ae, splits, tmp_path, capsys):
    few = splits.test.take(torch.arange(60))
    known = as_files(few, tmp_path / "known", lambda i: f"{few.labels[i]}/{i:02}.png")
    arrays = diabolo.predict(ae, known, out=tmp_path, quiet=True)
    by_name = {row["name"]: row for row in listed(tmp_path / "predict.csv")}
    assert len(by_name) == len(arrays["names"]) == 60
    assert all(row["label"] == name.partition("/")[0] for name, row in by_name.items())
    whole = diabolo.predict(ae, out=tmp_path, quiet=True)["predictions"][:60]
    for name, found in zip(arrays["names"], arrays["predictions"], strict=True):
        assert found == whole[int(name[2:4])]

    mixed = as_files(
        few, tmp_path / "mixed", lambda i: f"{'7' if few.labels[i] == 7 else NAMES[few.labels[i]]}/{i:02}.png"
    )
    found = diabolo.predict(ae, mixed, out=tmp_path)
    sevens = np.array([name.startswith("7/") for name in found["names"]])
    assert 0 < sevens.sum() < 60
    np.testing.assert_array_equal(found["labels"], np.where(sevens, 7, -1))
    said = capsys.readouterr().err
    assert (
        "not classes of the probe, they are not counted: eight, five, four, nine, nought and 4 more" in said
    )
    assert f"% of {sevens.sum()} images of known class are right" in said
    rows = listed(tmp_path / "predict.csv")
    assert [row["label"] for row in rows] == [name.partition("/")[0] for name in found["names"]]


def test_of_the_runs_own_data_the_part_in_training_is_said(ae, splits, tmp_path, capsys):
    arrays = diabolo.predict(ae, "digits", probe="knn", out=tmp_path)
    assert len(arrays["names"]) == 1797
    for part in ("train", "validation", "test"):
        mine = arrays["parts"] == part
        assert sorted(arrays["labels"][mine]) == sorted(getattr(splits, part).labels.tolist())
    right = arrays["predictions"] == arrays["labels"]
    assert right[arrays["parts"] == "test"].mean() == ae.scores["encoder"]["knn"]["accuracy"]
    said = capsys.readouterr().err
    on_train = 100 * right[arrays["parts"] == "train"].mean()
    assert f"{on_train:.1f} % of 1,293 images of known class are right, on which the probe was fitted" in said
    assert "images of known class are right, by which the probe was chosen" in said
    assert {row["part"] for row in listed(tmp_path / "predict.csv")} == {"train", "validation", "test"}


@pytest.mark.parametrize("by", ["path", "table"])
def test_the_runs_own_data_are_known_however_classes_were_told(by, splits, tmp_path, monkeypatch, capsys):
    """From another folder as well, and by another path."""
    project = tmp_path / "project"
    some = splits.train.take(torch.arange(60))
    as_files(some, project / "photos", lambda i: f"{'even' if i % 2 else 'odd'}/{i % 3}/{i}.png")
    (project / "table.csv").write_text("image,class\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(60)))
    monkeypatch.chdir(project)
    settings = {"data.classes": "path" if by == "path" else "table.csv", "data.test": 0.3}
    settings |= {"evaluation.probes": ["knn"], "evaluation.references": False, "training.batch_size": 16}
    run = diabolo.fit("photos", "ae", epochs=1, settings=settings, out=project / "runs" / "r", quiet=True)
    monkeypatch.chdir(tmp_path)
    for data in ("project/photos", str(project / "photos")):
        found = diabolo.predict("project/runs/r", data, probe="knn", out=tmp_path, quiet=True)
        assert found["classes"].tolist() == list(run.facts.classes)
        assert (found["parts"] == "test").sum() == 18
        right = found["predictions"] == found["labels"]
        expected = run.scores["encoder"]["knn"]["accuracy"]
        assert right[found["parts"] == "test"].mean() == pytest.approx(expected)
    shutil.copytree(project / "photos", tmp_path / "others")
    found = diabolo.predict("project/runs/r", tmp_path / "others", probe="knn", out=tmp_path, quiet=True)
    assert (found["labels"] >= 0).all() == (by == "path"), "a table is of the run's images alone"


def test_labels_from_elsewhere_make_the_classes(splits, tmp_path, capsys):
    """A run that has no labels; the probe is fitted on others, of which some are asked for as well."""
    bare = Images(splits.train.pixels[:])
    settings = {"encoder": {"name": "mlp", "widths": [32]}, "evaluation.live": 0}
    run = diabolo.fit(bare, "ae", epochs=5, out=tmp_path / "run", settings=settings, quiet=True)
    with pytest.raises(UserError, match=r"has no labels of two classes or more .* with --labelled"):
        diabolo.predict(run, splits.test.pixels, quiet=True)
    few = splits.validation
    known = as_files(few, tmp_path / "known", lambda i: f"{NAMES[few.labels[i]]}/{i:03}.png")
    asked = replace(splits.test, classes=NAMES)
    found = diabolo.predict(run, asked, labelled=known, out=tmp_path)
    assert "the probe has 130 images to fit on, 14 to choose by" in capsys.readouterr().err
    assert set(found["classes"]) == set(NAMES)
    assert found["classes"][found["labels"]].tolist() == [NAMES[i] for i in splits.test.labels]
    assert (found["predictions"] == found["labels"]).mean() > 0.6  # a tenth by chance
    assert "parts" not in found

    command = ["predict", str(run.folder), str(known), "--labelled", str(known), "--out", str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "of 130 images of known class are right, on which the probe was fitted" in said
    assert "of 14 images of known class are right, by which the probe was chosen" in said
    assert {row["part"] for row in listed(tmp_path / "predict.csv")} == {"train", "validation"}
    with pytest.raises(UserError, match="the labelled images: no image is left for"):
        diabolo.predict(run, asked, labelled=(few.pixels[:1], [3]), quiet=True)
    with pytest.raises(UserError, match="the labelled images have no labels of two classes or more"):
        diabolo.predict(run, asked, labelled=bare, quiet=True)


def test_a_validation_part_of_the_labelled_is_what_the_probe_is_chosen_by(ae, splits, tmp_path, capsys):
    def name(part: str) -> Callable[[int], str]:
        return lambda i: f"{part}/{getattr(splits, part).labels[i]}/{i:04}.png"

    for part in ("train", "validation"):
        as_files(getattr(splits, part), tmp_path / "all", name(part))
    found = diabolo.predict(ae, splits.test, labelled=tmp_path / "all", out=tmp_path)
    assert "the probe has 1,293 images to fit on, 144 to choose by" in capsys.readouterr().err
    own = diabolo.predict(ae, splits.test, out=tmp_path, quiet=True)
    assert (found["predictions"] == own["predictions"]).mean() > 0.99


def test_what_cannot_be_predicted_is_refused(ae, splits, tmp_path):
    with pytest.raises(UserError, match="probe 'finetune' does not read classes from features alone"):
        diabolo.predict(ae, probe="finetune", quiet=True)
    with pytest.raises(UserError, match="probe 'retrieval' gives no class"):
        diabolo.predict(ae, probe="retrieval", quiet=True)
    with pytest.raises(UserError, match="unknown probe 'liner': did you mean 'linear'"):
        diabolo.predict(ae, probe="liner", quiet=True)
    bare = replace(splits, **{p: Images(getattr(splits, p).pixels) for p in ("train", "validation", "test")})
    with pytest.raises(UserError, match="its data has no labels of two classes or more to fit a probe on"):
        diabolo.predict(ae, bare, quiet=True)
    with pytest.raises(UserError, match=r"takes examples of shape \(1, 8, 8\), not \(1, 9, 9\)"):
        diabolo.predict(ae, Images(torch.zeros(3, 1, 9, 9, dtype=torch.uint8)), quiet=True)


def test_neighbours_are_the_literal_ones(ae, splits, tmp_path):
    arrays = diabolo.neighbours(ae, k=5, out=tmp_path, quiet=True)
    train, test = (ae.embed(part).astype(np.float64) for part in (splits.train, splits.test))
    length = [np.sqrt((part**2).sum(axis=1)) for part in (train, test)]
    cosines = test @ train.T / length[1][:, None] / length[0]
    np.testing.assert_allclose(arrays["cosines"], -np.sort(-cosines, axis=1)[:, :5], atol=1e-5)
    of_found = np.take_along_axis(cosines, arrays["neighbours"], axis=1)
    np.testing.assert_allclose(of_found, arrays["cosines"], atol=1e-5)
    agree = splits.train.labels.numpy()[arrays["neighbours"]] == splits.test.labels.numpy()[:, None]
    assert agree.mean() > 0.8  # a tenth by chance
    rows = listed(tmp_path / "neighbours.csv")
    assert len(rows) == 360 * 5
    assert rows[6]["name"] == arrays["names"][1]
    assert rows[6]["rank"] == "2"
    assert rows[6]["neighbour"] == arrays["among_names"][arrays["neighbours"][1, 1]]
    assert float(rows[6]["cosine"]) == pytest.approx(arrays["cosines"][1, 1], abs=1e-6)
    with Image.open(tmp_path / "neighbours.png") as picture:
        assert min(picture.size) > 50


def test_neighbours_of_one_photo_in_a_folder(ae, splits, tmp_path, capsys):
    few = splits.test.take(torch.arange(5))
    folder = as_files(splits.test.take(torch.arange(30)), tmp_path / "photos", lambda i: f"p-{i:02}.png")
    asked = ["neighbours", str(ae.folder), str(folder / "p-17.png"), "--among", str(folder), "-k", "3"]
    assert main([*asked, "--out", str(tmp_path / "made")]) == 0
    assert "p-17.png: nearest p-17.png (cosine 1.000)" in capsys.readouterr().err
    rows = listed(tmp_path / "made" / "neighbours.csv")
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert len({row["neighbour"] for row in rows}) == 3
    assert main([*asked[:-1], "31", "--out", str(tmp_path / "made")]) == 2
    assert "k is 31, and there are only 30 images to look among" in capsys.readouterr().err
    assert (
        len(diabolo.neighbours(ae, few, among=few, out=tmp_path / "made", quiet=True)["neighbours"][0]) == 5
    )
    assert (
        main(["predict", str(ae.folder), str(folder), "--probe", "knn", "--out", str(tmp_path / "made")]) == 0
    )
    assert {row["label"] for row in listed(tmp_path / "made" / "predict.csv")} == {""}


def test_what_is_surely_wrong_is_framed(ae, splits, tmp_path, monkeypatch):
    """Of the first 40 one label is changed, and one taken away."""
    drawn: list[dict] = []
    monkeypatch.setattr(predict_verb, "grid", lambda *rows, **more: drawn.append(more) or grid(*rows, **more))
    few = splits.test.take(torch.arange(40))
    right = diabolo.predict(ae, few, out=tmp_path, quiet=True)
    wrong = right["predictions"] != right["labels"]
    assert sum(int(row.sum()) for row in drawn[0]["framed"]) == wrong.sum()
    known = np.flatnonzero(~wrong)[:2]
    few.labels[known[0]] = (few.labels[known[0]] + 1) % 10
    few.labels[known[1]] = -1
    diabolo.predict(ae, few, out=tmp_path, quiet=True)
    diabolo.predict(ae, replace(few, classes=NAMES), out=tmp_path, quiet=True)
    before, after, named = (sum(int(row.sum()) for row in one["framed"]) for one in drawn)
    assert after == before + 1
    assert named == 39  # called by no name of the run's; one has none


def test_images_are_compared_by_their_pixels(ae, splits, tmp_path):
    """Whatever the encoder makes of them: flatter and brighter copies, whose correlation is one."""
    few = splits.test.take(torch.arange(60))
    paler = (few.pixels[:].float() / 2 + 60).round().to(torch.uint8)
    both = Images(torch.cat([few.pixels[:], paler]))
    found = diabolo.neighbours(ae, Images(paler), among=few, k=2, space="pixels", out=tmp_path, quiet=True)
    assert found["neighbours"][:, 0].tolist() == list(range(60))
    x, y = (part[:].flatten(1).double().numpy() for part in (paler, few.pixels))
    expected = np.corrcoef(x, y)[:60, 60:]
    np.testing.assert_allclose(found["cosines"], -np.sort(-expected, axis=1)[:, :2], atol=1e-4)
    blank = Images(torch.tensor([0, 0, 100, 255], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 8, 8))
    [like, *_] = diabolo.neighbours(ae, blank, among=blank, k=4, space="pixels", out=tmp_path, quiet=True)[
        "cosines"
    ]
    np.testing.assert_allclose(like, [1, 1, np.cos(100 / 255 * np.pi / 2), 0], atol=1e-3)
    pairs = diabolo.duplicates(ae, both, above=0.999, space="pixels", out=tmp_path, quiet=True)
    assert {(i, i + 60) for i in range(60)} <= {tuple(pair) for pair in pairs["pairs"].tolist()}


def test_of_several_files_those_that_cannot_be_read_are_skipped(ae, splits, tmp_path, capsys):
    whole, broken = tmp_path / "whole.png", tmp_path / "broken.png"
    Image.fromarray(splits.test.pixels[0, 0].numpy()).save(whole)
    broken.write_bytes(b"no image")
    found = diabolo.predict(ae, [broken, whole], out=tmp_path)
    assert found["names"].tolist() == [str(whole)]
    assert "skipped: broken.png: unreadable image (cannot identify image file)\n" in capsys.readouterr().err
    for files in ([broken], [broken, broken]):
        with pytest.raises(UserError, match=r"unreadable|none of the files"):
            diabolo.predict(ae, files, out=tmp_path, quiet=True)


def test_images_that_the_probe_was_fitted_on_are_counted(ae, splits, tmp_path, capsys):
    seen = np.concatenate([splits.train.pixels[:5].numpy(), splits.test.pixels[:2].numpy()])
    found = diabolo.predict(ae, seen, out=tmp_path)
    assert found["parts"].tolist() == ["train"] * 5 + [""] * 2
    assert "the probe was fitted on 5 of these images" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [diabolo.duplicates, diabolo.neighbours])
def test_images_compared_in_what_has_failed_bring_the_verdict(verb, ae, tmp_path, capsys):
    run = Run.open(shutil.copytree(ae.folder, tmp_path / "run"))
    scores = run.scores | {"verdict": ["4 of 32 dimensions carry information", "failed: no better"]}
    write_scores(run.folder / "scores.json", scores)
    said = "verdict on this run: failed: no better: --space pixels"
    verb(run, out=tmp_path)
    assert said in capsys.readouterr().err
    verb(run, space="pixels", out=tmp_path)
    verb(ae, out=tmp_path)
    assert said not in capsys.readouterr().err


def test_several_files_are_looked_at_together(ae, splits, tmp_path, capsys):
    """As a shell's pattern gives them; a single one is what it is."""
    few = splits.test.take(torch.arange(6))
    folder = as_files(few, tmp_path / "photos", lambda i: f"{few.labels[i]}/p-{i}.png")
    files = sorted(str(path) for path in folder.rglob("*.png"))
    whole = diabolo.predict(ae, folder, out=tmp_path, quiet=True)
    by_name = dict(zip(whole["names"].tolist(), whole["probabilities"], strict=True))
    assert main(["predict", str(ae.folder), *files, "--out", str(tmp_path)]) == 0
    assert "images of 6 paths are taken as the run knows them: 8×8, grey" in capsys.readouterr().err
    with np.load(tmp_path / "predict.npz") as found:
        assert found["names"].tolist() == files
        for name, row in zip(found["names"], found["probabilities"], strict=True):
            np.testing.assert_allclose(row, by_name[Path(name).relative_to(folder).as_posix()], atol=1e-5)
        assert set(found["labels"].tolist()) == {-1}
    np.save(folder / "a.npy", few.pixels[:2].numpy())
    several = [folder, files[0], folder / "a.npy"]
    expected = [*files, files[0], *(f"{folder}/a.npy/train/{i}" for i in range(2))]
    names = diabolo.neighbours(ae, several, k=1, out=tmp_path, quiet=True)["names"].tolist()
    assert names == expected
    assert len(diabolo.anomalies(ae, [Path(files[0])], out=tmp_path, quiet=True)["names"]) == 1
    for wrong in ([], [few.pixels[0]]):
        with pytest.raises(UserError, match="a list is of paths"):
            diabolo.predict(ae, wrong, quiet=True)


def test_duplicates_and_anomalies_are_listed_too(ae, splits, tmp_path):
    found = diabolo.duplicates(ae, out=tmp_path, quiet=True)
    rows = listed(tmp_path / "duplicates.csv")
    assert len(rows) == len(found["pairs"]) >= 12
    for row, (one, other) in zip(rows, found["pairs"], strict=True):
        assert [row["name"], row["other"]] == found["names"][[one, other]].tolist()
        assert [row["part"], row["other_part"]] == found["parts"][[one, other]].tolist()
        close = float(row["cosine"]) >= found["above"]
        assert row["group"] == (str(found["groups"][one]) if close else "")
    scores = diabolo.anomalies(ae, out=tmp_path, quiet=True)
    rows = listed(tmp_path / "anomalies.csv")
    assert [row["name"] for row in rows] == scores["names"].tolist()
    assert [row["label"] for row in rows] == [splits.test.classes[i] for i in splits.test.labels]
    np.testing.assert_allclose(
        [float(row["reconstruction"]) for row in rows], scores["reconstruction"], rtol=1e-4
    )


def test_a_name_that_is_no_text_is_written_in_the_list(ae, splits, tmp_path):
    few = replace(splits.test.take(torch.arange(2)), names=("a,\udcff.png", 'b "\n".png'))
    diabolo.neighbours(ae, few, k=1, out=tmp_path, quiet=True)
    assert [row["name"] for row in listed(tmp_path / "neighbours.csv")] == ["a,\\udcff.png", 'b "\n".png']


def test_arrays_are_looked_at_as_they_are(ae, splits, tmp_path):
    """In every layout that `fit` takes, and named after what they are."""
    few = splits.test.take(torch.arange(6))
    expected = diabolo.predict(ae, few, out=tmp_path, quiet=True)["probabilities"]
    for array in (few.pixels, few.pixels[:, 0].numpy(), few.pixels.numpy()):
        found = diabolo.predict(ae, array, out=tmp_path, quiet=True)
        np.testing.assert_array_equal(found["probabilities"], expected)
    np.testing.assert_array_equal(diabolo.embed(ae, few.pixels.numpy(), quiet=True), ae.embed(few))
    assert (
        diabolo.neighbours(ae, few.pixels, k=1, among=few.pixels, out=tmp_path, quiet=True)["cosines"] > 0.999
    ).all()
    assert len(diabolo.anomalies(ae, few.pixels.numpy(), out=tmp_path, quiet=True)["names"]) == 6
    np.save(tmp_path / "mine.npy", few.pixels[:, 0].numpy())
    found = diabolo.neighbours(ae, tmp_path / "mine.npy", k=1, out=tmp_path, quiet=True)
    assert found["names"].tolist() == [f"mine/train/{i}" for i in range(6)]
    assert found["among_names"][0].startswith("train/")


def test_a_run_on_arrays_knows_its_data_while_it_is_at_hand(splits, tmp_path):
    whole = Parts(splits.train, splits.validation, splits.test).together()
    images = Images(whole.pixels[:], whole.labels)
    settings = {
        "encoder": {"name": "mlp", "widths": [32]},
        "evaluation.live": 0,
        "evaluation.probes": ["knn"],
    }
    run = diabolo.fit(images, "ae", epochs=2, out=tmp_path / "run", settings=settings, quiet=True)
    own = diabolo.predict(run, probe="knn", quiet=True)
    accuracy = run.scores["encoder"]["knn"]["accuracy"]
    assert (own["predictions"] == own["labels"]).mean() == accuracy
    new = diabolo.predict(run, images.pixels[:20].numpy(), probe="knn", quiet=True)

    opened = diabolo.Run.open(run.folder)
    with pytest.raises(
        UserError, match=r"was trained on arrays: give them again, as Run.open\(folder, data=…\)"
    ):
        diabolo.predict(opened, images.pixels[:20], quiet=True)
    opened = diabolo.Run.open(run.folder, data=images)
    again = diabolo.predict(opened, images.pixels[:20], probe="knn", quiet=True)
    np.testing.assert_array_equal(again["predictions"], new["predictions"])
    assert diabolo.evaluate(opened, quiet=True)["encoder"]["knn"]["accuracy"] == accuracy
    assert diabolo.evaluate(run.folder, data=images, quiet=True)["encoder"]["knn"]["accuracy"] == accuracy
    for other in (images.take(torch.arange(1000)), images.pixels[:].numpy()):  # fewer, and without labels
        with pytest.raises(UserError, match="these data are not what the run was trained on"):
            diabolo.Run.open(run.folder, data=other)


def test_what_a_run_is_given_is_resized_and_limited_as_for_its_training(splits, tmp_path):
    settings = {"encoder": {"name": "mlp", "widths": [16]}, "evaluation.live": 0, "data.limit": 150}
    options = {"method": "ae", "epochs": 1, "evaluate": False, "quiet": True}
    large = splits.train.pixels[:300].repeat_interleave(2, 2).repeat_interleave(2, 3).numpy()
    run = diabolo.fit(large, out=tmp_path / "arrays", settings=settings | {"data.size": 8}, **options)
    small = conform(torch.from_numpy(large), size=8, colour="as-is").numpy()
    assert run.facts.shape == (1, 8, 8)
    assert len(run.own.splits.train) == 150
    assert diabolo.Run.open(run.folder, data=large).facts == run.facts
    np.testing.assert_array_equal(run.embed(large[:9]), run.embed(small[:9]))
    np.testing.assert_array_equal(diabolo.embed(run, large[:9], quiet=True), run.embed(small[:9]))
    assert len(diabolo.embed(run, large, out=tmp_path / "e.npz", quiet=True)) == 300
    with np.load(tmp_path / "e.npz") as written:
        assert set(written["parts"]) == {"train", "validation", "test"}

    limited = diabolo.fit(splits, out=tmp_path / "splits", settings=settings, **options)
    opened = diabolo.Run.open(limited.folder)
    assert len(splits_of(opened, splits).train) == 150
    assert trained_on(opened, splits).digest() == limited.facts.digest
    assert len(splits_of(opened, replace(splits, train=splits.test)).train) == len(splits.test)
