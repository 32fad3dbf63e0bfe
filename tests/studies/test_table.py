"""The table and its section, from result files with known figures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from diabolo.errors import UserError
from diabolo.studies.columns import COLUMNS
from diabolo.studies.results import Store
from diabolo.studies.section import section
from diabolo.studies.study import Job, named_studies, read_study, study_from
from diabolo.studies.table import table_of
from tests.studies.planted import plant, plant_trials, planted_study


def planted(folder: Path) -> None:
    plant(folder, "good", [0.95, 0.96, 0.97], [0.010, 0.011, 0.012], references=True)
    plant(folder, "bad", [0.90, 0.91, 0.92], [0.0101, 0.0109, 0.0121])


def test_a_row_shows_mean_deviation_cost_and_its_published_figure(tmp_path: Path) -> None:
    planted(tmp_path)
    study = planted_study()

    table = table_of(study, Store(tmp_path).results(study))
    assert list(table.titles) == ["published kNN %", "kNN %", "MSE × 10³"]
    good, bad, random = table.lines
    assert [cell.text for cell in good.cells] == ["97.0", "96.0 ± 1.0", "11.00 ± 1.00"]
    assert bad.cells[0].text == "–"
    assert good.cost is not None
    assert (good.cost.examples, good.cost.steps, good.seeds) == (2_000_000, 1000, 3)
    assert random.reference
    assert [cell.text for cell in random.cells] == ["", "50.0 ± 0.0", "–"]


def test_bold_is_the_best_and_what_the_seeds_cannot_tell_from_it(tmp_path: Path) -> None:
    planted(tmp_path)
    study = planted_study()

    good, bad, _ = table_of(study, Store(tmp_path).results(study)).lines
    assert [cell.best for cell in good.cells] == [False, True, True]
    assert [cell.best for cell in bad.cells] == [False, False, True]  # five points behind; the same error


def test_a_column_in_which_rows_do_not_compete_has_no_best(tmp_path: Path, monkeypatch) -> None:
    planted(tmp_path)
    study = planted_study()
    monkeypatch.setitem(COLUMNS, "knn", replace(COLUMNS["knn"], ranked=False))
    good, *_ = table_of(study, Store(tmp_path).results(study)).lines
    assert [cell.best for cell in good.cells] == [False, False, True]


def test_what_is_worse_than_the_untrained_encoder_has_failed(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.50, 0.52, 0.47], [0.01] * 3, references=True)  # as good as untrained
    plant(tmp_path, "bad", [0.40, 0.41, 0.42], [0.01] * 3)
    study = planted_study()
    says = "bad is worse than the untrained encoder: kNN % 41.0 against 50.0"
    alike = "good cannot be told apart from the untrained encoder: kNN % 49.7 against 50.0"
    assert table_of(study, Store(tmp_path).results(study)).failed == [alike, says]
    assert f"- **failed**: {says}." in section("a/study", study, Store(tmp_path))
    other = {"good": {"method": "vae"}, "bad": {"method": "ae", "settings": {"encoder": "conv"}}}
    assert table_of(planted_study(rows=other), Store(tmp_path).results(study)).failed == [alike]
    untrained = planted_study(rows={"good": {"method": "vae", "settings": {"training.epochs": 0}}})
    own = [one for one in Store(tmp_path).results(study) if one.row == "good"]
    assert not table_of(untrained, own).failed


def test_rows_that_failed_alike_are_told_in_one_sentence(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.30, 0.31, 0.32], [0.01] * 3, references=True)  # untrained: 50 %
    rows = {"good": {"method": "vae"}, "bad": {"method": "ae"}, "v = 1, wide": {"method": "beta-vae"}}
    plant(tmp_path, "bad", [0.40, 0.41, 0.42], [0.01] * 3)
    two = planted_study(rows={name: row for name, row in rows.items() if name in ("good", "bad")})
    says = "good, bad are worse than the untrained encoder: kNN % 31.0, 41.0 against 50.0"
    assert table_of(two, Store(tmp_path).results(two)).failed == [says]
    plant(tmp_path, "v = 1, wide", [0.20, 0.21, 0.22], [0.01] * 3)
    three = planted_study(rows=rows)
    [said] = table_of(three, Store(tmp_path).results(three)).failed
    assert said.startswith(
        "good; bad; v = 1, wide are worse than the untrained encoder: kNN % 31.0, 41.0, 21.0"
    )


def test_a_row_that_is_ahead_in_one_accuracy_has_not_failed(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.50, 0.52, 0.47], [0.01] * 3, references=True)
    for path in tmp_path.glob("good-*.json"):
        values = json.loads(path.read_text())
        for of, accuracy in (("encoder", 0.9), ("random", 0.8)):
            values["scores"][of]["linear"] = {"accuracy": accuracy}
        path.write_text(json.dumps(values))
    study = planted_study(columns=["knn", "linear"])
    assert not table_of(study, Store(tmp_path).results(study)).failed


def test_what_collapsed_is_told_with_its_verdict(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.9, 0.9], [0.01] * 2)
    path = tmp_path / "good-1.json"
    values = json.loads(path.read_text())
    values["scores"]["verdict"] = ["collapsed behind h: 1 of 9 dimensions of z carry information", "beats it"]
    path.write_text(json.dumps(values))
    study = planted_study(seeds=2)
    told = "good, 1 of 2 seeds: collapsed behind h: 1 of 9 dimensions of z carry information"
    assert table_of(study, Store(tmp_path).results(study)).failed == [told]
    assert f"- **failed**: {told}." in section("a/study", study, Store(tmp_path))


def test_some_seeds_of_which_each_is_behind_have_failed_however_they_vary(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.5, 0.5], [0.01] * 2, references=True)
    plant(tmp_path, "bad", [0.20, 0.40], [0.01] * 2)
    *_, failed = table_of(planted_study(seeds=2), Store(tmp_path).results(planted_study(seeds=2))).failed
    assert failed == "bad is worse than the untrained encoder: kNN % 30.0 against 50.0"


def test_what_no_row_reaches_is_told(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.95], [0.01])
    plant(tmp_path, "bad", [0.40], [0.01])
    path = tmp_path / "good-0.json"
    values = json.loads(path.read_text())
    for name, accuracy in (("pixels", 0.96), ("pca", 0.94)):
        values["scores"][name] = {"width": 64, "test_size": 1000, "knn": {"accuracy": accuracy}}
    path.write_text(json.dumps(values))
    study = planted_study(seeds=1)
    assert table_of(study, Store(tmp_path).results(study)).unreached == ["No row reaches raw pixels in kNN %"]
    assert "No row reaches raw pixels in kNN %." in section("a/study", study, Store(tmp_path))
    values["scores"]["pca"]["knn"]["accuracy"] = 0.97
    path.write_text(json.dumps(values))
    both = "No row reaches PCA in kNN %, nor raw pixels in kNN %"
    assert table_of(study, Store(tmp_path).results(study)).unreached == [both]


def test_that_no_row_reaches_the_common_untrained_encoder_is_told(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.495], [0.01], references=True)
    plant(tmp_path, "bad", [0.49], [0.01])
    twins = {"good": {"method": "vae"}, "bad": {"method": "beta-vae"}}
    study = planted_study(rows=twins, seeds=1)
    told = table_of(study, Store(tmp_path).results(study)).unreached
    assert told == ["No row reaches the random encoder in kNN %"]
    other = planted_study(rows=twins | {"bad": {"method": "ae", "settings": {"encoder": "conv"}}}, seeds=1)
    assert not table_of(other, Store(tmp_path).results(other)).unreached


def test_of_several_untrained_encoders_each_row_is_held_against_its_own(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.60, 0.61, 0.62], [0.01] * 3, references=True)  # untrained: 50 %
    plant(tmp_path, "bad", [0.55, 0.56, 0.57], [0.01] * 3, references=True)
    for path in tmp_path.glob("bad-*.json"):
        values = json.loads(path.read_text())
        values["scores"]["random"]["knn"]["accuracy"] = 0.7
        path.write_text(json.dumps(values))
    rows = {"good": {"method": "vae"}, "bad": {"method": "ae", "settings": {"encoder": "conv"}}}
    study = planted_study(rows=rows, references=["good", "bad"])
    table = table_of(study, Store(tmp_path).results(study))
    assert [line.name for line in table.lines if line.reference] == [
        "random encoder of good",
        "random encoder of bad",
    ]
    assert table.failed == ["bad is worse than the untrained encoder: kNN % 56.0 against 70.0"]
    assert not table.unreached  # good is ahead of its own
    for path in tmp_path.glob("good-*.json"):
        values = json.loads(path.read_text())
        values["scores"]["random"]["knn"]["accuracy"] = 0.65
        path.write_text(json.dumps(values))
    told = table_of(study, Store(tmp_path).results(study)).unreached
    assert told == ["No row reaches its random encoder in kNN %"]


def test_that_style_is_behind_the_untrained_encoder_is_told(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.95], [0.01], references=True)
    path = tmp_path / "good-0.json"
    values = json.loads(path.read_text())
    for of, r2 in (("encoder", 0.3), ("random", 0.4)):
        values["scores"][of].setdefault("measures", {})["style"] = {"mean": r2}
    path.write_text(json.dumps(values))
    study = planted_study(columns=["knn", "style"], rows={"good": {"method": "vae"}}, seeds=1)
    told = table_of(study, Store(tmp_path).results(study)).unreached
    assert told == ["No row reaches the random encoder in style R²"]


def test_a_decoder_that_was_lent_is_told_beside_those_that_are_own(tmp_path: Path) -> None:
    study = planted_study(columns=["knn", "mse"], seeds=1)
    for row, decoder in (("good", "own"), ("bad", "ad hoc")):
        plant(tmp_path, row, [0.5], [0.01])
        path = tmp_path / f"{row}-0.json"
        values = json.loads(path.read_text())
        values["scores"]["encoder"]["measures"]["reconstruction"]["decoder"] = decoder
        path.write_text(json.dumps(values))
    table = table_of(study, Store(tmp_path).results(study))
    [lent] = table.lent
    assert lent.startswith("MSE × 10³ of bad: of a decoder trained afterwards")
    assert (list(table.competing["knn"]), list(table.competing["mse"])) == (["good", "bad"], ["good"])
    assert f"{lent}." in section("a/study", study, Store(tmp_path))
    without = planted_study(columns=["knn"], seeds=1)
    assert not table_of(without, Store(tmp_path).results(without)).lent


def test_with_one_seed_the_test_set_must_tell(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.49], [0.01], references=True)
    plant(tmp_path, "bad", [0.40], [0.01])
    study = planted_study(seeds=1)
    failed = table_of(study, Store(tmp_path).results(study)).failed
    assert failed == [
        "good cannot be told apart from the untrained encoder: kNN % 49.0 against 50.0",
        "bad is worse than the untrained encoder: kNN % 40.0 against 50.0",
    ]


def test_a_code_is_not_held_against_that_of_another_kind_of_head(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.95], [0.01], references=True)
    plant(tmp_path, "bad", [0.40], [0.01])
    for method, told in (("ae", True), ("simclr", False)):  # an AE's code is made as the VAE's is
        rows = {"good": {"method": "vae"}, "bad": {"method": method}}
        study = planted_study(rows=rows, seeds=1, shared={"data.name": "digits", "evaluation.space": "z"})
        assert bool(table_of(study, Store(tmp_path).results(study)).failed) is told


def test_a_column_without_any_figure_is_left_out(tmp_path: Path) -> None:
    store = plant(tmp_path, "good", [0.95], [0.01])
    study = planted_study(columns=["knn", "linear", "mse"], seeds=1)
    assert "linear" not in section("a/study", study, store)
    assert table_of(study, store.results(study)).titles == ["published kNN %", "kNN %", "MSE × 10³"]


def test_a_claim_of_rows_that_were_not_run_says_so(tmp_path: Path) -> None:
    store = plant(tmp_path, "good", [0.95], [0.01])
    claim = {"says": "more is better", "rows": ["good"], "over": ["bad"], "columns": ["knn"]}
    study = planted_study(claims=[claim], seeds=1)
    assert "- **not run**: more is better" in section("a/study", study, store)


def test_a_published_figure_has_the_digits_of_its_source(tmp_path: Path) -> None:
    rows = {"good": {"method": "vae", "published": {"knn": 96.25, "mse": 3.0}}}
    table = table_of(planted_study(rows=rows), [])
    assert [cell.text for cell in table.lines[0].cells] == ["96.25", "3.0"]


def test_a_choice_at_the_edge_of_its_grid_says_so(tmp_path: Path) -> None:
    trials = [{"optimiser.lr": rate} for rate in (1e-4, 1e-3, 1e-2)]
    study = planted_study(rows={"good": {"method": "vae", "trials": trials}}, seeds=1)
    for values, told in (([0.1, 0.3, 0.2], False), ([0.1, 0.2, 0.3], True)):
        plant_trials(Store(tmp_path), study, "good", values)
        text = section("a/study", study, Store(tmp_path))
        assert ("the best is at the edge of what was tried" in text) is told


def test_one_seed_decides_nothing_and_says_so(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.95], [0.010])
    plant(tmp_path, "bad", [0.50], [0.010])
    claims = [{"says": "more is better", "rows": ["good"], "over": ["bad"], "columns": ["knn"]}]
    study = planted_study(claims=claims, seeds=1)
    text = section("a/study", study, Store(tmp_path))
    assert "**undecided**: more is better" in text
    assert "good against bad, kNN %: +45.0 (undecided, one seed)" in text


def test_a_claim_is_judged_in_the_column_s_own_direction(tmp_path: Path) -> None:
    planted(tmp_path)
    claims = [
        {"says": "more is better", "rows": ["good"], "over": ["bad"], "columns": ["knn"], "by": 4.0},
        {"says": "by too much", "rows": ["good"], "over": ["bad"], "columns": ["knn"], "by": 6.0},
        {"says": "enough by itself", "rows": ["good"], "columns": ["knn"], "by": 90.0},
        {"says": "less is better", "rows": ["bad"], "over": ["good"], "columns": ["mse"]},
    ]
    study = planted_study(claims=claims)

    store = Store(tmp_path)
    judged = table_of(study, store.results(study)).claims
    assert [claim.word for claim in judged] == ["held", "not held", "held", "undecided"]
    text = section("a/study", study, store)
    assert "**held**: more is better" in text
    assert "diabolo reproduce a/study" in text
    assert "| good | 97.0 | **96.0 ± 1.0** | **11.00 ± 1.00** | 2.00 M | 1,000 | 2 min | 3 |" in text


def test_a_row_with_a_recipe_says_what_share_of_its_budget_it_had(tmp_path: Path) -> None:
    rows = {
        "whole": {"recipe": "mancini-ae"},
        "less": {"recipe": "mancini-ae", "settings": {"training.epochs": 20}},
        "one view for ten": {"recipe": "simvae-simvae-mnist", "settings": {"views.count": 1}},
        "a view and the original for ten": {
            "recipe": "simvae-simvae-mnist",
            "settings": {"views.count": 1, "method": "cr-vae"},
        },
        "of its own": {"method": "ae"},
        "four turns for ten views": {
            "recipe": "simvae-simvae-mnist",
            "settings": {"views.count": 1, "method": "rotnet"},
        },
    }
    study = planted_study(rows=rows)
    for row in rows:
        plant(tmp_path, row, [0.9], [0.01])

    lines = table_of(study, Store(tmp_path).results(study)).lines
    assert [line.budget for line in lines] == [1, 0.2, 0.1, 0.2, None, 0.4]
    text = section("a/study", study, Store(tmp_path))
    assert "| of the recipe's budget |" in text
    assert "| 20 % | 2.00 M |" in text


def test_a_column_may_be_of_a_further_space(tmp_path: Path) -> None:
    store = plant(tmp_path, "good", [0.9], [0.01], references=True)
    study = planted_study(columns=["knn", "knn-h"], seeds=1)
    [result] = store.results(study)
    further = {
        f"{name}.h": {"knn": {"accuracy": accuracy}, "test_size": 1000}
        for name, accuracy in (("encoder", 0.7), ("random", 0.2))
    }
    result = replace(result, scores={**result.scores, **further})

    good, _, random = table_of(study, [result]).lines
    assert [cell.text for cell in good.cells[1:]] == ["90.0", "70.0"]
    assert [cell.text for cell in random.cells[1:]] == ["50.0", "20.0"]


def of_extractor(folder: Path, row: str, distances: list[float], extractor: str, floor: float) -> None:
    for seed, distance in enumerate(distances):
        path = folder / f"{Job(row, seed).name}.json"
        values = json.loads(path.read_text())
        found = {"distance": distance, "extractor": extractor, "floor": floor}
        values["scores"]["encoder"]["measures"]["frechet"] = found
        path.write_text(json.dumps(values))


def test_frechet_distances_are_named_after_their_extractor(tmp_path: Path) -> None:
    study = planted_study(columns=["knn", "frechet"], seeds=2)
    store = plant(tmp_path, "good", [0.9, 0.8], [0.01, 0.02])
    assert "Fréchet distances" not in section("a/study", study, store)
    of_extractor(tmp_path, "good", [12.3, 12.4], "a classifier, 98.9 % on test", 1.234)
    text = section("a/study", study, store)
    said = "Fréchet distances are in the features of: a classifier, 98.9 % on test (train images: 1.23)."
    assert text.count(said) == 1
    assert "| Fréchet |" in text
    assert "Fréchet distances" not in section("a/study", planted_study(seeds=2), store)


@pytest.mark.parametrize(
    ("other", "floor", "apart"),
    [
        ("a classifier", 1.0, False),
        ("a classifier", 1.0000003, False),
        ("another", 1.0, True),
        ("a classifier", 1.1, True),
    ],
)
def test_distances_of_different_extractors_are_neither_ranked_nor_judged(
    other: str, floor: float, apart: bool, tmp_path: Path
) -> None:
    """One of the same name, trained on another machine, is told by how far it sees train images."""
    claim = {"says": "it draws better", "rows": ["good"], "over": ["bad"], "columns": ["frechet"]}
    study = planted_study(columns=["frechet"], claims=[claim])
    for row in ("good", "bad"):
        plant(tmp_path, row, [0.9] * 3, [0.01] * 3)
    of_extractor(tmp_path, "good", [10.0, 10.1, 10.2], "a classifier", 1.0)
    of_extractor(tmp_path, "bad", [20.0, 20.1, 20.2], other, floor)
    table = table_of(study, Store(tmp_path).results(study))
    best = [line.cells[-1].best for line in table.lines]
    assert best == ([False, False] if apart else [True, False])
    assert table.claims[0].word == ("not comparable" if apart else "held")
    said = "of different extractors, do not compare and have no best: "
    assert (said in section("a/study", study, Store(tmp_path))) == apart


def test_results_of_several_revisions_of_the_code_are_said_to_be(tmp_path: Path) -> None:
    study, store = planted_study(), Store(tmp_path)
    planted(tmp_path)
    assert "revisions" not in section("a/study", study, store)
    path = tmp_path / f"{Job('bad', 1).name}.json"
    values = json.loads(path.read_text())
    values["environment"]["revision"] = "0123456789ab"
    path.write_text(json.dumps(values))
    assert "By 2 revisions of the code" in section("a/study", study, store)


def test_rows_without_results_say_so(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.9], [0.1])
    rows = {
        "good": {"method": "vae"},
        "bad": {"method": "ae"},
        "far": {"method": "ae", "unrun": "needs a GPU"},
    }

    text = section("a/study", planted_study(rows=rows), Store(tmp_path))
    assert "| 1 of 3 |" in text
    assert "not run yet" in text
    assert "needs a GPU" in text


def test_trials_come_before_what_depends_on_them() -> None:
    rows = {
        "a": {"method": "vae", "trials": [{"method.beta": 1.0}, {"method.beta": 2.0}]},
        "b": {"method": "ae"},
    }
    jobs = list(planted_study(rows=rows, seeds=2).jobs())
    assert jobs == [Job("a", 0, 0), Job("a", 0, 1), Job("a", 0), Job("b", 0), Job("a", 1), Job("b", 1)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"columns": ["kn"]}, "did you mean 'knn'"),
        ({"colums": []}, "colums"),
        ({"claims": [{"says": "x", "rows": ["god"], "over": [], "columns": []}]}, "did you mean 'good'"),
        ({"rows": {"a b": {"method": "ae"}, "a-b": {"method": "ae"}}}, "the same name"),
    ],
)
def test_a_study_that_does_not_hold_together_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        planted_study(**changes)


@pytest.mark.parametrize("name", named_studies())
def test_every_named_study_composes_each_of_its_runs(name: str) -> None:
    study = read_study(name)
    for job in study.jobs():
        trials = study.rows[job.row].tried
        recipe = study.recipe(job, trials[0] if job.trial is None and trials else {})
        assert recipe.seed == job.seed


@pytest.mark.parametrize("name", named_studies())
def test_every_named_study_asks_for_what_its_columns_show(name: str) -> None:
    """Rows that cannot be run here compose as well: with the means, they are."""
    study = read_study(name)
    rows = [row for row in study.rows if study.rows[row].recipe or study.rows[row].method]
    scored = [study.recipe(Job(row, 0), {}).evaluation for row in rows]
    asked = {spec["name"] for of in scored for spec in of.measures or ()}
    for of in scored:
        asked |= {"linear", "mlp", "knn"} if of.probes is None else {spec["name"] for spec in of.probes}
    claimed = [key for claim in study.claims for key in claim.columns]
    for key in [*study.columns, *claimed]:
        path = COLUMNS[key].path
        wanted = path[1] if path[0] == "measures" else path[0]
        assert wanted in asked | {"centred_rank", "sparsity"}, key


@pytest.mark.parametrize("name", named_studies())
def test_every_named_study_has_a_section_before_it_is_run(name: str, tmp_path: Path) -> None:
    study = read_study(name)
    text = section(name, study, Store(tmp_path))
    assert all(f"\n| {row} |" in text for row in study.rows)


def test_a_study_from_text_that_is_no_mapping_is_refused() -> None:
    with pytest.raises(UserError, match="test"):
        study_from("text", "test")


def test_what_rebuilds_worse_than_the_mean_image_is_told(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.9, 0.9], [0.01, 0.01])
    plant(tmp_path, "bad", [0.9, 0.9], [0.08, 0.07])
    for path in tmp_path.glob("*.json"):
        values = json.loads(path.read_text())
        values["scores"]["encoder"]["measures"]["reconstruction"]["mse_of_mean"] = 0.064
        path.write_text(json.dumps(values))
    study = planted_study(seeds=2)
    told = "bad (75.00) rebuilds images worse than the mean image does (64.00), MSE × 10³"
    assert table_of(study, Store(tmp_path).results(study)).failed == [told]
    without = planted_study(seeds=2, columns=["knn"])
    assert not table_of(without, Store(tmp_path).results(without)).failed


def test_rows_that_go_without_other_classes_do_not_compete(tmp_path: Path) -> None:
    planted(tmp_path)
    rows = {
        "good": {"method": "vae", "settings": {"data.without": ["1"]}},
        "bad": {"method": "vae", "settings": {"data.without": ["2"]}},
    }
    study = planted_study(rows=rows)
    table = table_of(study, Store(tmp_path).results(study))
    assert not any(cell.best for line in table.lines for cell in line.cells)
    assert table.competing == {"knn": {}, "mse": {}}


def test_a_reference_without_a_figure_has_no_row(tmp_path: Path) -> None:
    plant(tmp_path, "good", [0.9, 0.9], [0.01] * 2, references=True)
    study = planted_study(columns=["mse"], seeds=2, rows={"good": {"method": "vae"}})
    assert [line.name for line in table_of(study, Store(tmp_path).results(study)).lines] == ["good"]
