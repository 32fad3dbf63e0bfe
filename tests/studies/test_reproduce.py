"""Reproducing: what is finished is not run again, and several workers give what one gives."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diabolo.errors import MemoryTooSmallError, UserError
from diabolo.pages.illustrate import illustrate
from diabolo.studies.results import Store
from diabolo.studies.section import section
from diabolo.studies.study import Job, Study, read_study, study_from
from diabolo.verbs import work as work_module
from diabolo.verbs.reproduce import reproduce, studies_of, write_page
from diabolo.verbs.work import share, work
from tests.studies.planted import plant, plant_trials

VALUES: dict[str, Any] = {
    "title": "Two autoencoders on digits",
    "columns": ["knn"],
    "seeds": 2,
    "shared": {
        "data.name": "digits",
        "encoder": {"name": "mlp", "widths": [16]},
        "training.epochs": 1,
        "evaluation.probes": ["knn"],
    },
    "rows": {
        "AE": {"method": "ae", "settings": {"method.latent": 4}},
        "VAE": {"method": "vae", "trials": [{"method.latent": 2}, {"method.latent": 8}]},
    },
}


@pytest.fixture
def study() -> Study:
    return study_from(VALUES, "digits")


def files(folder: Path) -> dict[str, Any]:
    """What was found, without what time it took."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".json":
            values = json.loads(path.read_text())
            values["cost"].pop("seconds")
            values.pop("environment", None)
            found[path.name] = json.loads(json.dumps(values), object_hook=_timeless)
        else:
            found[path.name] = path.read_text()
    return found


def _timeless(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "seconds"}


def test_a_study_is_run_once_and_gone_on_with_where_it_stopped(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    work(study, store, tmp_path / "runs", quiet=True)
    whole = files(store.folder)
    assert len(store.results(study)) == 4
    assert "random" in store.results(study)[0].scores  # the first row brings the references
    assert "random" not in store.results(study)[2].scores

    times = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    work(study, store, tmp_path / "runs", quiet=True)
    assert times == {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}

    (store.folder / f"{Job('VAE', 1).name}.json").unlink()  # as if stopped before it was kept
    work(study, store, tmp_path / "runs", quiet=True)
    assert files(store.folder) == whole
    assert [
        path for path, time in times.items() if path.stat().st_mtime_ns != time and path.suffix == ".json"
    ] == [store.folder / "vae-1.json"]


def test_what_a_study_comes_to_score_otherwise_is_scored_anew_without_training(tmp_path: Path) -> None:
    shared = VALUES["shared"] | {"evaluation.references": False, "evaluation.measures": ["similarity"]}
    more = shared | {"evaluation.measures": ["similarity", {"name": "denoising", "noise": 0.3}]}
    before, after = (study_from(VALUES | {"seeds": 1, "shared": each}, "digits") for each in (shared, more))
    store, runs = Store(tmp_path / "results"), tmp_path / "runs"
    work(before, store, runs, quiet=True)
    kept = files(store.folder)
    shutil.rmtree(runs / "vae-0")  # as if it was run elsewhere
    trained = (runs / "ae-0" / "model.safetensors").stat().st_mtime_ns
    assert store.outdated(after, Job("AE", 0)) == "another evaluation.measures"
    assert "AE (another evaluation.measures)" in section("a/study", after, store)
    work(after, store, runs, quiet=True)
    assert (runs / "ae-0" / "model.safetensors").stat().st_mtime_ns == trained
    assert not any(store.outdated(after, job) for job in after.jobs())
    grown = files(store.folder)
    for name in ("ae-0", "vae-0"):
        measures = grown[f"{name}.json"]["scores"]["encoder"]["measures"]
        assert measures.pop("denoising")["noise"] == 0.3
        assert grown[f"{name}.json"] == kept[f"{name}.json"]
        assert "denoising" in grown[f"{name}.yaml"]
    assert kept["vae-trial-0.yaml"] == grown["vae-trial-0.yaml"]  # the test set is nothing to a trial


def test_a_row_whose_training_was_changed_is_made_anew(study: Study, tmp_path: Path) -> None:
    store, runs = Store(tmp_path / "results"), tmp_path / "runs"
    work(study, store, runs, quiet=True)
    before = [result for result in store.results(study) if result.row == "AE"]
    longer = VALUES["rows"] | {"AE": {"method": "ae", "settings": {"method.latent": 4, "training.epochs": 2}}}
    other = study_from(VALUES | {"rows": longer}, "digits")
    assert store.outdated(other, Job("AE", 0)) == "training.epochs = 1, not 2"
    with pytest.raises(
        UserError, match=r"ae-0: .* was started with training.epochs = 1, not 2: .*\(and 1 more\)"
    ):
        work(other, store, runs, quiet=True)  # nothing that was trained is thrown away
    for seed in range(2):
        shutil.rmtree(runs / f"ae-{seed}")
    work(other, store, runs, quiet=True)
    assert all(store.current(other, job) for job in other.jobs())
    assert [2 * result.cost.steps for result in before] == [
        result.cost.steps for result in store.results(other) if result.row == "AE"
    ]


def test_the_better_trial_is_chosen_on_validation(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    work(study, store, tmp_path / "runs", quiet=True)
    found = store.trials(study, "VAE")
    best = max(found, key=lambda trial: trial[1])[0]
    assert found[0][1] != found[1][1]
    recipes = [(store.folder / f"vae-{seed}.yaml").read_text() for seed in range(2)]
    assert all(f"latent: {best['method.latent']}" in recipe for recipe in recipes)
    tried = "; ".join(f"{settings['method.latent']}: {100 * value:#.3g}" for settings, value in found)
    assert f"- VAE: `method.latent` {best['method.latent']} ({tried})" in section("a/study", study, store)


def test_trials_may_be_drawn_from_a_space_and_judged_by_reconstruction(tmp_path: Path) -> None:
    row = {"method": "ae", "trials": {"space": "mancini-ae", "number": 3}}
    shared = VALUES["shared"] | {"evaluation.references": False}
    study = study_from(
        VALUES | {"rows": {"AE": row}, "seeds": 1, "by": "reconstruction", "shared": shared}, "s"
    )
    store = Store(tmp_path / "results")
    work(study, store, tmp_path / "runs", quiet=True)
    errors = [value for _, value in store.trials(study, "AE")]
    assert len(set(errors)) == 3
    best = study.rows["AE"].tried[int(np.argmin(errors))]
    assert store.chosen(study, "AE") == best
    assert f"latent: {best['method.latent']}\n" in (store.folder / "ae-0.yaml").read_text()
    text = section("a/study", study, store)
    assert "Chosen by MSE per dimension on validation:" in text
    middle = sorted(errors)[1]
    assert f"3 drawn from mancini-ae: best {min(errors):#.3g}, median {middle:#.3g}, worst" in text


def test_a_trial_of_other_settings_is_not_taken_for_this_one(tmp_path: Path) -> None:
    rows = {"VAE": {"method": "vae", "trials": [{"method.latent": 2}, {"method.latent": 8}]}}
    study = study_from(VALUES | {"rows": rows}, "digits")
    store = Store(tmp_path)
    plant_trials(store, study, "VAE", [0.9, 0.6])
    assert store.chosen(study, "VAE") == {"method.latent": 2}
    for first, second in ((3, 8), (8, 2)):
        trials = [{"method.latent": first}, {"method.latent": second}]
        other = study_from(VALUES | {"rows": {"VAE": {"method": "vae", "trials": trials}}}, "digits")
        assert store.outdated(other, Job("VAE", 0, 0)) == f"method.latent = 2, not {first}"
        assert not store.ready(other, Job("VAE", 0))
        assert "Chosen by" not in section("a/study", other, store)
    by_rank = study_from(VALUES | {"rows": rows, "by": "rank"}, "digits")
    assert store.outdated(by_rank, Job("VAE", 0, 0)) == "not judged by rank"
    assert store.chosen(by_rank, "VAE") == {}


@pytest.mark.parametrize(
    ("shared", "why"),
    [
        ({"views.transforms": "simvae"}, "another views.transforms"),
        ({"encoder": {"name": "mlp", "widths": [32]}}, "encoder.widths = [16], not [32]"),
        ({"encoder": "conv"}, "encoder.name = 'mlp', not 'conv'"),
        ({"evaluation.space": "h"}, "evaluation.space = None, not 'h'"),
        ({"evaluation.live": 3}, "evaluation.live = None, not 3"),
        ({"evaluation.probes": ["linear"]}, None),  # nothing to a trial
        ({"training.precision": "auto"}, None),  # what was found then stands
    ],
)
def test_what_a_trial_s_value_depends_on_makes_it_outdated(shared: dict, why: str, tmp_path: Path) -> None:
    rows = {"VAE": {"method": "vae", "trials": [{"method.latent": 2}]}}
    store = Store(tmp_path)
    plant_trials(store, study_from(VALUES | {"rows": rows}, "digits"), "VAE", [0.9])
    other = study_from(VALUES | {"rows": rows, "shared": VALUES["shared"] | shared}, "digits")
    assert store.outdated(other, Job("VAE", 0, 0)) == why


def test_what_a_study_no_longer_sets_is_a_departure_too(tmp_path: Path) -> None:
    rows = {"VAE": {"method": "vae", "trials": [{"method.latent": 2}]}}
    store = Store(tmp_path)
    plant_trials(store, study_from(VALUES | {"rows": rows}, "digits"), "VAE", [0.9])
    default = {key: value for key, value in VALUES["shared"].items() if key != "encoder"}
    other = study_from(VALUES | {"rows": rows, "shared": default}, "digits")
    assert "encoder.widths" in str(store.outdated(other, Job("VAE", 0, 0)))


def test_a_stop_between_two_files_leaves_no_figures_beside_another_recipe(
    study: Study, tmp_path: Path, monkeypatch
) -> None:
    store = Store(tmp_path)
    plant_trials(store, study, "VAE", [0.9, 0.6])
    rows = VALUES["rows"] | {"VAE": {"method": "vae", "trials": [{"method.latent": 3}, {"method.latent": 8}]}}
    other = study_from(VALUES | {"rows": rows}, "digits")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("diabolo.studies.results.write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        store.keep_failed(other, Job("VAE", 0, 0), "")
    assert not store.current(other, Job("VAE", 0, 0))


def test_settings_that_a_device_is_too_small_for_are_tried_again(tmp_path: Path, monkeypatch) -> None:
    rows = {"VAE": {"method": "vae", "trials": [{"method.latent": 2}]}, "AE": {"method": "ae"}}
    study = study_from(VALUES | {"rows": rows, "seeds": 1}, "digits")
    store, runs = Store(tmp_path / "results"), tmp_path / "runs"
    with monkeypatch.context() as patch:

        def full(run: Any, by: Any) -> float:
            raise MemoryTooSmallError("CUDA out of memory")

        patch.setattr(work_module, "value_of", full)
        with pytest.raises(UserError, match=r"^vae-trial-0: CUDA out of memory$"):
            work(study, store, runs, quiet=True)
    assert [result.row for result in store.results(study)] == ["AE"]  # it waits for nobody's trials
    work(study, store, runs, quiet=True)
    assert all(store.current(study, job) for job in study.jobs())


def test_a_full_disk_ends_a_job_and_no_other(study: Study, tmp_path: Path, monkeypatch) -> None:
    store = Store(tmp_path / "results")
    keep = Store.keep

    def full(self: Store, job: Job, run: Any) -> None:
        if job == Job("AE", 0):
            raise OSError(28, "No space left on device", "ae-0.json")
        keep(self, job, run)

    monkeypatch.setattr(Store, "keep", full)
    with pytest.raises(UserError, match=r"^ae-0: ae-0\.json: No space left on device$"):
        work(study, store, tmp_path / "runs", quiet=True)
    assert [job.name for job in study.jobs() if not store.has(job)] == ["ae-0"]


def test_a_damaged_result_is_made_again(study: Study, tmp_path: Path) -> None:
    store, runs = Store(tmp_path / "results"), tmp_path / "runs"
    work(study, store, runs, quiet=True)
    whole = files(store.folder)
    for name in ("ae-0", "vae-trial-1"):
        (store.folder / f"{name}.json").write_text("{")
    work(study, store, runs, quiet=True)
    assert files(store.folder) == whole


def test_a_trial_that_cannot_be_trained_is_kept_as_failed_and_not_chosen(tmp_path: Path) -> None:
    trials = [{"method.latent": 2, "optimiser.lr": 1e30}, {"method.latent": 8, "optimiser.lr": 1e-3}]
    rows = {"VAE": {"method": "vae", "trials": trials}}
    study = study_from(VALUES | {"rows": rows, "seeds": 1}, "digits")
    store = Store(tmp_path / "results")
    work(study, store, tmp_path / "runs", quiet=True)
    assert store.trials(study, "VAE")[0][1] is None
    assert "training stopped at step" in json.loads((store.folder / "vae-trial-0.json").read_text())["failed"]
    assert store.chosen(study, "VAE") == trials[1]
    assert "(2, 1e+30: failed; 8, 0.001: " in section("a/study", study, store)
    times = {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}
    work(study, store, tmp_path / "runs", quiet=True)
    assert times == {path: path.stat().st_mtime_ns for path in store.folder.iterdir()}


def test_where_every_trial_fails_the_others_are_done_and_the_row_is_named(tmp_path: Path) -> None:
    rows = {"VAE": {"method": "vae", "trials": [{"optimiser.lr": 1e30}]}, "AE": {"method": "ae"}}
    study = study_from(VALUES | {"rows": rows, "seeds": 1}, "digits")
    store = Store(tmp_path / "results")
    with pytest.raises(UserError, match=r"^vae-0: .* every trial of VAE failed"):
        work(study, store, tmp_path / "runs", quiet=True)
    assert [result.row for result in store.results(study)] == ["AE"]
    assert "- VAE: every trial failed" in section("a/study", study, store)


def test_a_worker_s_error_is_the_user_s(study: Study, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "ae-0").write_text("in the way")
    store = Store(tmp_path / "results")
    with pytest.raises(UserError, match=r"^ae-0: .*runs/ae-0"):
        share(study, store, tmp_path / "runs", 2, quiet=True)
    assert [job.name for job in study.jobs() if not store.has(job)] == ["ae-0"]


def test_two_workers_give_what_one_gives(study: Study, tmp_path: Path) -> None:
    for workers in (1, 2):
        share(study, Store(tmp_path / f"{workers}"), tmp_path / f"runs{workers}", workers)
    one, two = files(tmp_path / "1"), files(tmp_path / "2")
    assert one.keys() == two.keys()
    for name in one:
        if name.endswith(".yaml") or "trial" in name:
            assert one[name] == two[name]
        else:
            knn = [values[name]["scores"]["encoder"]["knn"]["accuracy"] for values in (one, two)]
            assert knn[0] == knn[1]


def test_pictures_are_drawn_once_from_the_runs_and_shown_in_the_section(tmp_path: Path) -> None:
    rows = {"AE": {"method": "ae"}, "SimCLR": {"method": "simclr", "settings": {"training.batch_size": 256}}}
    shared = VALUES["shared"] | {"evaluation.references": False, "evaluation.measures": ["similarity"]}
    several = ["curves", "losses", "reconstructions"]
    each = ["similarity", "denoised", "latents", "confusion"]
    pictures = [*several, *each]
    study = study_from(VALUES | {"rows": rows, "shared": shared, "seeds": 1, "pictures": pictures}, "digits")
    store, runs = Store(tmp_path / "results"), tmp_path / "runs"
    work(study, store, runs, quiet=True)
    illustrate(study, store, runs, quiet=True)
    drawn = {path.name: path.stat().st_mtime_ns for path in store.folder.glob("*.png")}
    assert drawn.keys() == {
        *(f"{kind}.png" for kind in several),
        *(f"{kind}-{row}-0.png" for kind in each for row in ("ae", "simclr")),
    }
    for name in drawn:
        with Image.open(store.folder / name) as picture:
            assert min(picture.size) > 100
    illustrate(study, store, runs, quiet=True)
    again = {path.name: path.stat().st_mtime_ns for path in store.folder.glob("*.png")}
    # there may be more rows than were drawn
    assert {name for name in drawn if drawn[name] != again[name]} == {f"{kind}.png" for kind in several}
    fewer = study_from(VALUES | {"rows": rows | {"VAE": {"method": "vae"}}, "pictures": pictures}, "digits")
    before = (store.folder / "reconstructions.png").stat().st_mtime_ns
    illustrate(fewer, store, runs, quiet=True)  # the runs of a row are elsewhere
    assert (store.folder / "reconstructions.png").stat().st_mtime_ns == before
    text = section("a/study", study, store, [store.folder / "reconstructions.png"])
    assert f"({store.folder / 'reconstructions.png'})" in text
    assert "*Test images, and what each decoder makes of their codes*" in text


def test_style_is_drawn_from_what_was_measured(tmp_path: Path) -> None:
    shared = VALUES["shared"] | {"evaluation.measures": [{"name": "style", "train": 200, "test": 100}]}
    study = study_from(
        VALUES | {"rows": {"AE": {"method": "ae"}}, "shared": shared, "seeds": 1, "pictures": ["style"]}, "s"
    )
    store = Store(tmp_path / "results")
    illustrate(study, store, tmp_path / "runs", quiet=True)
    assert not store.folder.exists()  # nothing was measured yet
    work(study, store, tmp_path / "runs", quiet=True)
    shutil.rmtree(tmp_path / "runs")
    illustrate(study, store, tmp_path / "runs", quiet=True)
    with Image.open(store.folder / "style.png") as picture:
        assert min(picture.size) > 300
        all_rows = picture.height
    path = store.folder / "ae-0.json"
    kept = json.loads(path.read_text())
    for row in ("pca", "pixels"):
        assert kept["scores"][row].pop("measures").keys() == {"style"}
    path.write_text(json.dumps(kept))
    illustrate(study, store, tmp_path / "runs", quiet=True)
    with Image.open(store.folder / "style.png") as picture:
        assert picture.height < all_rows  # PCA and pixels had rows of their own


def test_samples_of_each_row_are_drawn_from_its_prior_or_its_codes(tmp_path: Path) -> None:
    rows = {name: {"method": "vae", "settings": {"method.latent": d}} for name, d in (("2", 2), ("4", 4))}
    rows["no prior"] = {"method": "ae", "settings": {"method.latent": 2}}
    shared = VALUES["shared"] | {"evaluation.references": False}
    study = study_from(
        VALUES | {"rows": rows, "shared": shared, "seeds": 1, "pictures": ["samples"]}, "digits"
    )
    store, runs = Store(tmp_path / "results"), tmp_path / "runs"
    work(study, store, runs, quiet=True)
    illustrate(study, store, runs, quiet=True)
    with Image.open(store.folder / "samples.png") as picture:
        grey = np.asarray(picture.convert("L"), float)
    thirds = [part[: len(grey) // 3] for part in np.array_split(grey, 3)]  # a row of images each
    assert all(third.std() > 20 for third in thirds)
    assert not np.array_equal(*thirds[:2])


def test_a_damaged_result_is_named(study: Study, tmp_path: Path) -> None:
    (tmp_path / "ae-0.json").write_text("{")
    (tmp_path / "ae-0.yaml").write_text(study.recipe(Job("AE", 0), {}).to_yaml())
    assert not Store(tmp_path).results(study)
    assert "ae-0.json: damaged" in (Store(tmp_path).outdated(study, Job("AE", 0)) or "")


def test_the_page_lists_what_was_not_run(tmp_path: Path) -> None:
    text = write_page(tmp_path).read_text()
    assert "## Not run yet" in text
    assert "diabolo reproduce simvae/mnist" in text
    assert "2.6 GB of images and a GPU are needed" in text  # a table of which no row can be run here
    assert "What is claimed" not in text


def test_a_paper_stands_for_all_its_tables() -> None:
    assert set(studies_of("simvae")) >= {"simvae/mnist", "simvae/fashion-mnist"}
    assert studies_of("simvae/mnist") == ["simvae/mnist"]
    with pytest.raises(UserError, match="did you mean 'simvae'"):
        studies_of("simva")


def test_a_study_at_a_share_of_its_recipes_budgets_trains_as_many_images() -> None:
    study = read_study("simvae/mnist")
    at = study.at(0.05)
    assert study.budget("SimVAE") == 0.0025
    assert study.budget("VAE") == 0.025
    assert {at.budget(row) for row in at.rows} == {0.05}
    assert at.recipe(Job("SimVAE", 0), {}).training.epochs == 20
    assert at.recipe(Job("VAE", 0, 1), {}).training.epochs == 20  # trials as well
    assert at.title == f"{study.title}, at 5 % of the recipes' budgets"
    transfer = read_study("mancini/transfer").at(0.01)
    assert transfer.recipe(Job("untrained encoder", 0), {}).training.epochs == 0


def test_the_page_is_written_though_something_failed(tmp_path: Path, monkeypatch) -> None:
    def failing(study: Study, store: Store, runs: Path, workers: int) -> None:
        plant(store.folder, "VAE, 20 epochs", [0.9], [0.01])
        raise UserError("vae-20-epochs-1: no memory")

    monkeypatch.setattr("diabolo.verbs.reproduce.share", failing)
    with pytest.raises(UserError, match=r"^mancini/vae: vae-20-epochs-1: no memory$"):
        reproduce("mancini/vae", out=tmp_path)
    assert "1 of 3" in (tmp_path / "RESULTS.md").read_text()


def test_a_table_at_another_budget_stands_beside_the_study_s_own(tmp_path: Path, monkeypatch) -> None:
    asked = []

    def planting(study: Study, store: Store, runs: Path, workers: int) -> None:
        asked.append((study.recipe(Job("VAE, 20 epochs", 0), {}).training.epochs, runs))
        plant(store.folder, "VAE, 20 epochs", [0.9], [0.01])

    monkeypatch.setattr("diabolo.verbs.reproduce.share", planting)
    reproduce("mancini/vae", out=tmp_path)
    text = reproduce("mancini/vae", budget="50%", out=tmp_path).read_text()
    assert asked == [(20, tmp_path / "runs/mancini/vae"), (10, tmp_path / "runs/mancini/vae@50")]
    assert "    diabolo reproduce mancini/vae\n" in text
    assert "    diabolo reproduce mancini/vae --budget 50%\n" in text
    assert "Fashion-MNIST, at 50 % of the recipes' budgets" in text
    assert write_page(tmp_path).read_text() == text


@pytest.mark.parametrize(
    ("what", "budget", "words"),
    [
        ("mancini/vae", "half", "--budget half: write a share"),
        ("mancini/vae", "-3%", "--budget -3%: write a share"),
        ("mancini/vae", "20m", "--budget 20m: write a share"),
        ("mancini/vae", "500%", "--budget 500%: write a share"),
        ("hare/subspace", "10%", "no row of hare/subspace has a recipe"),
        (None, "10%", "name the paper or the table"),
    ],
)
def test_a_budget_that_cannot_be_had_is_refused(what: str, budget: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        reproduce(what, budget=budget, out=tmp_path)
    assert not any(tmp_path.iterdir())


def test_the_page_begins_with_what_came_of_the_claims(tmp_path: Path) -> None:
    for row, error in (("deep AE, d = 32", 0.01), ("linear AE, d = 32", 0.02)):
        plant(tmp_path / "results/hare/subspace", row, [0.9, 0.91], [error, error + 0.001])
    text = write_page(tmp_path).read_text()
    summary, _ = text.split("## Linear autoencoders")
    assert "## What is claimed, and what came of it" in summary
    assert "- **held**: a deep autoencoder reconstructs better than a linear one of the same width" in summary
    assert "- **not run**: a linear autoencoder spans the principal subspace" in summary
