"""The generative verbs on digits, in Python and on the command line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

import diabolo
from diabolo.cli import main
from diabolo.data.images import Images, Splits
from diabolo.data.splits import load
from diabolo.recipe import Data
from diabolo.runs.run import Run

LISTED = ("anomalies", "duplicates", "neighbours")  # what lists images, with labels or without
SMALL = ["encoder.name=mlp", "encoder.widths=[64]", "optimiser.lr=0.003", "evaluation.live=0"]


def train(folder: Path, method: str, data: object = "digits", *settings: str, epochs: int = 15) -> Run:
    return diabolo.fit(
        data,
        method,
        epochs=epochs,
        out=folder / method,
        settings=[*SMALL, *settings],
        evaluate=False,
        quiet=True,
    )


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs"), "vae", "digits", "method.latent=8")


@pytest.fixture(scope="module")
def splits():
    return load(Data(name="digits"))


@pytest.fixture
def written(tmp_path):
    """Checks that what a verb returns is what it wrote, and that its picture is one."""

    def check(name: str, arrays: dict[str, np.ndarray], folder: Path = tmp_path) -> None:
        with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
            assert set(file) == set(arrays)
            for key in file:
                np.testing.assert_array_equal(file[key], arrays[key])
        with Image.open(folder / f"{name}.png") as picture:
            picture.load()
            assert min(picture.size) > 50
        assert not list(folder.glob(".*"))  # nothing half-written

    return check


def test_reconstruct_measures_every_image_and_writes_some(vae, splits, tmp_path, written):
    arrays = diabolo.reconstruct(vae, n=20, out=tmp_path, quiet=True)
    written("reconstruct", arrays)
    x = splits.test.floats()
    with torch.no_grad():
        output = vae.method.reconstruct(x)
    np.testing.assert_array_equal(arrays["input"], splits.test.pixels[:20])
    np.testing.assert_allclose(arrays["output"], output[:20], atol=1e-5)
    error = (x - output).double().square().mean((1, 2, 3))
    np.testing.assert_allclose(arrays["error"], error, rtol=1e-4)
    assert float(arrays["mse"]) == pytest.approx(float(error.mean()), rel=1e-4)
    assert float(arrays["psnr"]) == pytest.approx(-10 * np.log10(float(error.mean())), rel=1e-4)
    assert error.mean() < splits.train.floats().var(0).mean()  # better than the mean image
    assert "view" not in arrays


def test_reconstruct_shows_a_view_where_the_recipe_has_one(tmp_path, splits, written):
    run = train(tmp_path, "denoising-ae", epochs=1)
    arrays = diabolo.reconstruct(run, quiet=True)
    written("reconstruct", arrays, run.folder / "generated")
    difference = arrays["view"] - splits.test.floats().numpy()
    assert difference.std() == pytest.approx(0.3, abs=0.01)
    with torch.no_grad():
        again = run.method.reconstruct(torch.from_numpy(arrays["view"]))
    np.testing.assert_allclose(arrays["view_output"], again, atol=1e-5)


def test_denoise_stands_beside_its_baselines(tmp_path, written):
    run = train(tmp_path, "denoising-ae", "digits", "method.latent=16", epochs=40)
    arrays = diabolo.denoise(run, n=30, out=tmp_path, quiet=True)
    written("denoise", arrays)
    clean = arrays["original"] / 255
    for name in ("noisy", "denoised", "pca", "wiener"):
        error = np.square(arrays[name] - clean).mean((1, 2, 3))
        np.testing.assert_allclose(arrays[f"error_{name}"][:30], error, rtol=1e-3)
        mse = arrays[f"error_{name}"].mean()
        assert float(arrays[f"psnr_{name}"]) == pytest.approx(-10 * np.log10(mse), rel=1e-6)
    assert len(arrays["error_noisy"]) == 360
    assert float(arrays["psnr_noisy"]) == pytest.approx(10.46, abs=0.1)
    assert arrays["psnr_noisy"] < arrays["psnr_wiener"] < arrays["psnr_denoised"]
    assert arrays["width"] == 16


def test_samples_of_a_class_lie_among_its_codes(vae, splits, tmp_path, written):
    arrays = diabolo.sample(vae, n=20, source="classes", out=tmp_path, quiet=True)
    written("sample-classes", arrays)
    assert arrays["labels"].tolist() == [label for label in range(10) for _ in range(20)]
    assert arrays["classes"].tolist() == list(splits.train.classes)
    z, labels = vae.embed(splits.train, "z"), splits.train.labels.numpy()
    means = np.stack([z[labels == label].mean(0) for label in range(10)])
    nearest = np.linalg.norm(arrays["codes"][:, None] - means, axis=2).argmin(1)
    own = np.linalg.norm(z[:, None] - means, axis=2).argmin(1)
    # As often as the codes of train themselves are nearest to their class's mean.
    assert (nearest == arrays["labels"]).mean() == pytest.approx((own == labels).mean(), abs=0.1)
    with torch.no_grad():
        decoded = vae.method.decode(torch.from_numpy(arrays["codes"]).float())
    np.testing.assert_allclose(arrays["images"], decoded, atol=1e-5)


def test_samples_follow_their_source_and_their_seed(vae, splits, tmp_path, written):
    prior = diabolo.sample(vae, n=4000, out=tmp_path, quiet=True)
    assert abs(prior["codes"].mean()) < 0.02
    np.testing.assert_allclose(np.cov(prior["codes"].T), np.eye(8), atol=0.1)
    latents = diabolo.sample(vae, n=4000, source="latents", out=tmp_path, quiet=True)
    z = vae.embed(splits.train, "z")
    np.testing.assert_allclose(latents["codes"].mean(0), z.mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(latents["codes"].T), np.cov(z.T), atol=0.15)
    again = diabolo.sample(vae, n=9, out=tmp_path, quiet=True)
    written("sample-prior", again)
    same = diabolo.sample(vae, n=9, out=tmp_path, quiet=True)
    other = diabolo.sample(vae, n=9, out=tmp_path, seed=1, quiet=True)
    np.testing.assert_array_equal(again["images"], same["images"])
    assert (again["images"] != other["images"]).any()


def test_a_line_begins_and_ends_with_the_reconstructions(vae, tmp_path, written):
    arrays = diabolo.interpolate(vae, pairs=3, steps=5, out=tmp_path, quiet=True)
    written("interpolate", arrays)
    assert arrays["images"].shape == (3, 5, 1, 8, 8)
    for end, images in ((0, arrays["first"]), (-1, arrays["second"])):
        with torch.no_grad():
            expected = vae.method.reconstruct(torch.from_numpy(images) / 255)
        np.testing.assert_allclose(arrays["images"][:, end], expected, atol=1e-5)


def test_traverse_takes_the_dimensions_that_vary_most(vae, splits, tmp_path, written):
    arrays = diabolo.traverse(vae, span=2, steps=3, out=tmp_path, quiet=True)
    written("traverse", arrays)
    z = vae.embed(splits.train, "z")
    assert arrays["dimensions"].tolist() == np.argsort(-z.std(0)).tolist()
    np.testing.assert_allclose(arrays["start"], z.mean(0), atol=1e-5)
    for i, dimension in enumerate(arrays["dimensions"]):
        moved = arrays["codes"][i, :, dimension] - arrays["start"][dimension]
        np.testing.assert_allclose(moved, np.array([-2, 0, 2]) * z.std(0)[dimension], atol=1e-5)
    one = diabolo.traverse(vae, dimensions=[3], image=7, steps=3, out=tmp_path, quiet=True)
    with torch.no_grad():
        output = vae.method.reconstruct(splits.test.floats(slice(7, 8)))
    np.testing.assert_allclose(one["images"][0, 1], output[0], atol=1e-5)


def without(splits: Splits, held_out: int) -> Splits:
    kept = [
        part.take(torch.nonzero(part.labels != held_out).flatten())
        for part in (splits.train, splits.validation)
    ]
    return Splits(*kept, splits.test)


def test_anomalies_finds_the_class_that_was_held_out(splits, tmp_path, written, capsys):
    known = without(splits, 0)
    run = train(tmp_path, "vae", known, epochs=30)
    arrays = diabolo.anomalies(run, known, held_out=["0"], out=tmp_path)
    written("anomalies", arrays)
    shown = capsys.readouterr().err
    for name in ("reconstruction", "nll", "knn"):
        auroc = roc_auc_score(splits.test.labels == 0, arrays[name])
        assert float(arrays[f"auroc_{name}"]) == pytest.approx(auroc)
        assert auroc > 0.7
        assert f"AUROC {auroc:.3f}" in shown
    strangest = arrays["names"][arrays["reconstruction"].argmax()]
    assert f"most anomalous {strangest}," in shown
    with pytest.raises(diabolo.UserError, match="class '3' is among the training images"):
        diabolo.anomalies(run, known, held_out=["3"], quiet=True)
    with pytest.raises(diabolo.UserError, match="unknown class 'zero'"):
        diabolo.anomalies(run, known, held_out=["zero"], quiet=True)
    assert len(diabolo.anomalies(run, quiet=True)["names"]) == len(known.test)
    with pytest.raises(diabolo.UserError, match="was trained on arrays"):
        diabolo.anomalies(Run.open(run.folder), quiet=True)


def test_without_the_class_that_was_left_out_images_are_scored_alone(tmp_path, splits):
    settings = ("data.without=[3]",)
    run = diabolo.fit(
        "digits", "ae", epochs=1, out=tmp_path / "run", evaluate=False, quiet=True, settings=settings
    )
    pixels = splits.test.pixels[:20]
    labels = torch.arange(20) % 2
    for images in (
        Images(pixels),
        Images(pixels, labels, ("cat", "dog")),
        Images(pixels, torch.full((20,), 3), tuple("0123456789")),
    ):
        arrays = diabolo.anomalies(run, images, out=tmp_path, quiet=True)
        assert {"reconstruction", "knn"} < set(arrays)
        assert not [name for name in arrays if name.startswith("auroc")]
    mixed = Images(pixels, 3 * labels, tuple("0123456789"))
    assert "auroc_knn" in diabolo.anomalies(run, mixed, out=tmp_path, quiet=True)


def test_scores_that_do_not_exist_are_named_with_their_reason(tmp_path, capsys):
    run = train(tmp_path, "ae", epochs=1)
    arrays = diabolo.anomalies(run)
    assert {"reconstruction", "knn"} < set(arrays)
    assert "nll" not in arrays
    assert "no score by −log p: " in capsys.readouterr().err
    run = train(tmp_path, "simclr", epochs=1)
    arrays = diabolo.anomalies(run)
    assert set(arrays) == {"knn", "names", "labels", "classes"}
    assert "no score by reconstruction error: SimCLR has no decoder" in capsys.readouterr().err


def test_a_method_without_a_decoder_gets_one_and_keeps_it(tmp_path, splits, capsys):
    run = train(tmp_path, "simclr", epochs=2)
    arrays = diabolo.reconstruct(run)
    assert "SimCLR has no decoder: training one" in capsys.readouterr().err
    mean_image = splits.train.floats().mean(0)
    baseline = float((splits.test.floats() - mean_image).square().mean())
    assert float(arrays["mse"]) < 0.7 * baseline  # the representation tells the images apart

    before = {name: tensor.clone() for name, tensor in run.method.state_dict().items()}
    again = diabolo.reconstruct(Run.open(run.folder))
    assert "has no decoder" not in capsys.readouterr().err
    np.testing.assert_array_equal(again["output"], arrays["output"])
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.method.state_dict().items())

    (run.folder / "decoder.safetensors").unlink()
    with pytest.raises(diabolo.UserError, match=r"simclr has no prior: .* \(--from latents\)"):
        diabolo.sample(Run.open(run.folder), quiet=True)
    assert not (run.folder / "decoder.safetensors").exists()  # refused before one was trained
    diabolo.interpolate(run, quiet=True)
    diabolo.traverse(run, quiet=True)
    assert diabolo.sample(run, source="latents", quiet=True)["images"].shape == (64, 1, 8, 8)
    assert {"psnr_denoised", "psnr_pca"} < set(diabolo.denoise(run, quiet=True))
    (run.folder / "decoder.safetensors").write_bytes(b"damaged")
    with pytest.raises(diabolo.UserError, match="not a readable model file"):
        diabolo.reconstruct(run, quiet=True)


def test_scoring_and_reconstructing_share_one_decoder(tmp_path, capsys):
    run = train(tmp_path, "simclr", epochs=1)
    scores = diabolo.evaluate(run, probes=["knn"], measures=["reconstruction"])
    capsys.readouterr()
    arrays = diabolo.reconstruct(run)
    assert "has no decoder" not in capsys.readouterr().err
    assert scores["encoder"]["measures"]["reconstruction"]["mse"] == pytest.approx(float(arrays["mse"]))


def test_vectors_give_arrays_and_no_picture(tmp_path):
    vectors = Images(torch.randn(200, 6, generator=torch.Generator().manual_seed(0)))
    parts = Splits(vectors.take(torch.arange(150)), vectors.take(torch.arange(150, 170)), vectors)
    run = train(tmp_path, "vae", parts, "method.latent=2", epochs=1)
    diabolo.reconstruct(run, parts, quiet=True)
    denoised = diabolo.denoise(run, parts, quiet=True)
    diabolo.sample(run, quiet=True)
    diabolo.interpolate(run, parts, quiet=True)
    diabolo.traverse(run, parts, quiet=True)
    diabolo.anomalies(run, parts, quiet=True)
    diabolo.duplicates(run, parts, quiet=True)
    diabolo.neighbours(run, parts, quiet=True)
    assert "mse_pca" in denoised
    assert not {"psnr_denoised", "wiener"} & set(denoised)
    made = sorted(path.name for path in (run.folder / "generated").iterdir())
    arrays = [*LISTED, "denoise", "interpolate", "reconstruct", "sample-prior", "traverse"]
    assert made == sorted([f"{name}.npz" for name in arrays] + [f"{name}.csv" for name in LISTED])
    with pytest.raises(diabolo.UserError, match="no labels: sample from all of train, with --from latents"):
        diabolo.sample(run, parts, source="classes", quiet=True)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["reconstruct", "--n", "5"], "reconstruct"),
        (["denoise", "--noise", "0.1", "--n", "5"], "denoise"),
        (["sample", "--n", "4"], "sample-prior"),
        (["sample", "--from", "latents", "--n", "4"], "sample-latents"),
        (["sample", "--from", "classes", "--n", "2"], "sample-classes"),
        (["interpolate", "--pairs", "2", "--steps", "3"], "interpolate"),
        (["traverse", "--dimension", "1", "--dimension", "0", "--image", "2"], "traverse"),
        (["anomalies", "--samples", "2", "--neighbours", "1"], "anomalies"),
        (["duplicates", "digits", "--above", "0.9999", "--space", "h"], "duplicates"),
        (["neighbours", "--among", "digits", "-k", "2", "--space", "h"], "neighbours"),
        (["predict", "digits", "--probe", "knn", "--space", "h"], "predict"),
    ],
)
def test_the_command_line_writes_all_files(vae, tmp_path, capsys, arguments, name):
    verb, *options = arguments
    assert main([verb, str(vae.folder), *options, "--out", str(tmp_path / "made")]) == 0
    kinds = ["csv", "npz", "png"] if name in (*LISTED, "predict") else ["npz", "png"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [f"{name}.{kind}" for kind in kinds]
    assert f"{name}.png" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["reconstruct", "--n", "0"], "n must be at least 1, got 0"),
        (["denoise", "--noise", "0"], "it must be more than 0, got 0.0"),
        (["sample", "--from", "nowhere"], "nowhere"),
        (["interpolate", "--pairs", "181"], "181 pairs take 362 images, and there are 360"),
        (["interpolate", "--steps", "1"], "steps must be at least 2"),
        (["traverse", "--dimension", "8"], "dimensions 0 to 7"),
        (["traverse", "--dimension", "1", "--dimension", "1"], "each is moved along once, got 1, 1"),
        (["traverse", "--span", "0"], "more than 0, got 0"),
        (["traverse", "--image", "360"], "numbered from 0 to 359"),
        (["anomalies", "--neighbours", "0"], "neighbours must be at least 1"),
        (["anomalies", "--neighbours", "9999"], "9999 are asked for, and there are 1,"),
        (["anomalies", "--held-out", "3"], "class '3' is among the training images"),
        (["duplicates", "--above", "1.5"], "above is a cosine, from −1 to 1, got 1.5"),
        (["reconstruct", "no-such-folder"], "unknown data set 'no-such-folder'"),
    ],
)
def test_mistakes_are_one_line(vae, tmp_path, capsys, arguments, message):
    verb, *options = arguments
    assert main([verb, str(vae.folder), *options, "--out", str(tmp_path / "made")]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("diabolo: ")
    assert "\n" not in error
    assert not (tmp_path / "made").exists()


def test_without_a_prior_the_error_says_what_to_do(tmp_path, capsys):
    run = train(tmp_path, "ae", epochs=1)
    assert main(["sample", str(run.folder)]) == 2
    assert "--from latents" in capsys.readouterr().err
    assert main(["sample", str(run.folder), "--from", "latents"]) == 0


def test_images_of_another_shape_and_a_file_for_a_folder_are_refused(vae, splits, tmp_path):
    wide = replace(splits.test, pixels=splits.test.pixels[..., :5])
    with pytest.raises(diabolo.UserError, match=r"takes examples of shape \(1, 8, 8\), not \(1, 8, 5\)"):
        diabolo.reconstruct(vae, wide, quiet=True)
    (tmp_path / "taken").touch()
    for verb in (diabolo.sample, diabolo.reconstruct, diabolo.duplicates):
        with pytest.raises(diabolo.UserError, match="is a file"):
            verb(vae, out=tmp_path / "taken", quiet=True)
