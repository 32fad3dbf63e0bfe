"""The verdict on runs whose answer is known."""

import json
import re

import numpy as np
import pytest

from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.suite import score
from diabolo.evaluation.verdict import compare, verdict
from diabolo.tables import PROBES

LINEAR_KNN = [PROBES.complete(name, "probes") for name in ("linear", "knn")]


def entry(rank, knn=None, linear=None, width=128, n=10_000):
    probes = {
        name: {"accuracy": value} for name, value in (("knn", knn), ("linear", linear)) if value is not None
    }
    return {"width": width, "centred_rank": rank, "effective_rank": rank, "test_size": n} | probes


RANDOM = entry(60, 0.85, 0.90)


def test_a_good_run():
    lines = verdict(
        {
            "encoder": entry(70, 0.95, 0.97),
            "random": RANDOM,
            "pca": entry(64, 0.93, 0.97, width=64),
            "pixels": entry(300, 0.97, 0.92, width=784),
        }
    )
    assert lines == [
        "beats a random encoder of the same architecture on kNN (95.0 % against 85.0 %) "
        "and linear (97.0 % against 90.0 %)",
        "70 of 128 dimensions carry information",
        "beats PCA to 64 dimensions on kNN (95.0 % against 93.0 %); "
        "cannot be told apart from it on linear (97.0 % against 97.0 %)",
        "beats raw pixels on linear (97.0 % against 92.0 %); does not beat it on kNN (95.0 % against 97.0 %)",
    ]


@pytest.mark.parametrize(
    ("knn", "linear", "n", "blind"),
    [
        (0.62, 0.63, 500, True),
        (0.50, 0.40, 500, True),
        (0.62, 0.68, 500, False),
        (0.62, 0.66, 500, True),
        (0.62, 0.68, 40, True),
    ],
)
def test_a_guess_that_looks_at_no_image_is_a_reference_too(knn, linear, n, blind):
    """Whatever the untrained encoder does."""
    rows = {
        "encoder": entry(70, knn, linear, n=n) | {"majority": 0.63},
        "random": entry(60, 0.3, 0.3, n=n),
    }
    lines = verdict(rows)
    words = f"no better than always giving the commonest class (63.0 %) on kNN ({100 * knn:.1f} %) and linear"
    assert lines[n < 100].startswith(("failed: " if n >= 100 else "") + words) == blind
    assert any(line.startswith("beats a random encoder") for line in lines)


def test_the_commonest_class_is_that_of_train():
    labels = [np.array(of) for of in ([0, 1, 1], [0, 1], [0, 0, 0, 1])]
    parts = [Part(np.arange(2.0 * len(y), dtype=np.float32).reshape(-1, 2), y) for y in labels]
    assert score(Features(*parts, ("a", "b")), [], 0).scores["majority"] == 0.25
    assert "majority" not in score(Features(*(Part(part.values) for part in parts)), [], 0).scores


def test_few_train_examples_span_few_dimensions_and_are_no_collapse():
    wide = entry(43, width=2048) | {"train_size": 48}
    assert verdict({"encoder": wide})[0] == (
        "43 of 2048 dimensions carry information, of 47 that 48 train examples can span"
    )
    assert verdict({"encoder": wide | {"train_size": 10_000}})[0].endswith("likely collapse")
    assert "collapse" not in " ".join(verdict({"encoder": entry(1.9, width=20) | {"train_size": 4}}))
    assert verdict({"encoder": entry(1.9, width=20) | {"train_size": 400}})[0].startswith("collapsed")


def test_a_code_without_an_active_unit_is_collapsed_whatever_its_rank():
    collapsed = "collapsed: none of 32 units of the code is active, it hardly depends on the image"
    code = entry(22, 0.5, width=32)
    healthy = "22 of 32 dimensions carry information"
    assert verdict({"encoder": code | {"active_units": 0}})[0] == collapsed
    assert verdict({"encoder": code | {"active_units": 1}})[0] == f"{healthy}; 1 of 32 units are active"
    behind = {"width": 16, "centred_rank": 15.0, "active_units": 0}
    assert verdict({"encoder": code | {"embedding": behind}})[:2] == [
        "collapsed behind h: none of 16 units of the code is active, it hardly depends on the image",
        healthy,
    ]
    assert verdict({"encoder": code | {"embedding": behind | {"active_units": 3}}})[0] == healthy
    better = {"encoder": code | {"active_units": 0}, "random": entry(20, 0.3, width=32)}
    assert f"{healthy}: no unit is active, yet better than a random encoder" in verdict(better)


def test_a_few_test_examples_decide_nothing():
    rows = {"encoder": entry(10, 1.0, 0.75, n=4), "random": entry(10, 1.0, 0.25, n=4)}
    rows["pixels"] = entry(15, 1.0, 0.0, n=4)
    lines = verdict(rows)
    assert not any("beat" in line or "failed" in line for line in lines)
    assert lines[0] == "too few test examples to tell most differences: 4"
    rows = {name: row | {"test_size": 10_000} for name, row in rows.items()}
    assert verdict(rows)[0].startswith("beats a random encoder")
    assert not any("only" in line for line in verdict(rows))


def test_the_papers_own_linear_probes_are_judged_too():
    rows = {"encoder": entry(60), "random": entry(60)}
    for row, accuracy in (("encoder", 0.90), ("random", 0.80)):
        rows[row] |= {"sgd-linear": {"accuracy": accuracy}}
    assert verdict(rows)[0].endswith("on linear by SGD (90.0 % against 80.0 %)")


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (entry(60, 0.80, 0.85), "does not beat"),
        (entry(60, 0.855, 0.901), "cannot be told apart from"),
    ],
)
def test_a_run_that_learned_nothing_has_failed(encoder, words):
    line = verdict({"encoder": encoder, "random": RANDOM})[0]
    assert line.startswith(f"failed: {words} a random encoder of the same architecture on kNN")


def test_one_probe_won_is_not_a_failure_and_both_are_named():
    line = verdict({"encoder": entry(60, 0.90, 0.85), "random": RANDOM})[0]
    assert line.startswith("beats a random encoder of the same architecture on kNN")
    assert "does not beat it on linear (85.0 % against 90.0 %)" in line


def test_the_size_of_the_test_set_decides_what_can_be_told_apart():
    for n, side in ((100, 0), (10_000, 1)):
        assert compare(entry(9, 0.87, n=n), entry(9, 0.85, n=n)) == {"knn": side}
    assert compare(entry(9, 0.85), entry(9, 0.87)) == {"knn": -1}
    assert compare(entry(9, 1.0, linear=1.0), entry(9, 1.0)) == {"knn": 0}


@pytest.mark.parametrize(
    ("rank", "width", "random_rank", "line"),
    [
        (13, 128, 60, "13 of 128 dimensions carry information"),  # a tenth is low, not collapse
        (12, 128, 60, "12 of 128 dimensions carry information: likely collapse"),
        (10, 128, 15, "10 of 128 dimensions carry information"),  # the architecture is that narrow
        (1.2, 128, 2.0, "collapsed: 1 of 128 dimensions carry information"),
        (0.0, 128, 60, "collapsed: 0 of 128 dimensions carry information"),
        (0.0, 2, 1.9, "collapsed: 0 of 2 dimensions carry information"),
        (1.9, 2, 1.9, "2 of 2 dimensions carry information"),
    ],
)
def test_collapse_is_called_collapse(rank, width, random_rank, line):
    scores = {"encoder": entry(rank, 0.5, 0.5, width), "random": entry(random_rank, 0.85, 0.9, width)}
    assert verdict(scores).index(line) == (0 if "collapse" in line else 1)


def test_a_narrow_representation_that_works_is_not_called_collapsed():
    scores = {"encoder": entry(9, 0.95, 0.95, 512), "random": entry(60, 0.85, 0.9, 512)}
    narrow = "9 of 512 dimensions carry information: narrow, yet better than a random encoder"
    assert verdict(scores)[1] == narrow


BEHIND = "collapsed behind h: "
ONE_OF_128 = BEHIND + "1 of 128 dimensions of z carry information"


@pytest.mark.parametrize(
    ("embedding", "line"),
    [
        ({"width": 128, "centred_rank": 1.2, "spread": 0.9}, ONE_OF_128),
        ({"width": 128, "centred_rank": 1.2}, ONE_OF_128),  # of a loss without a scale of its own
        (
            {"width": 256, "centred_rank": 150, "spread": 0.0293},
            BEHIND + "all embeddings lie near one point (spread 0.029 of 1)",
        ),
        ({"width": 2, "centred_rank": 0.0}, BEHIND + "0 of 2 dimensions of z carry information"),
    ],
)
def test_collapse_behind_the_projector_is_named_first_however_good_h_is(embedding, line):
    lines = verdict({"encoder": entry(70, 0.95, 0.97) | {"embedding": embedding}, "random": RANDOM})
    assert lines[0] == line
    assert lines[1].startswith("beats a random encoder")
    assert lines[2] == "70 of 128 dimensions carry information"


@pytest.mark.parametrize(
    "embedding",
    [
        {"width": 2048, "centred_rank": 9, "spread": 0.9},  # classes that contracted, in few dimensions
        {"width": 2048, "centred_rank": 3, "spread": 0.2},
        {"width": 10, "centred_rank": 5},  # logits
        {"width": 2, "centred_rank": 1.0},  # of two classes, which are one direction
    ],
)
def test_an_embedding_of_low_rank_is_not_called_collapsed(embedding):
    scores = {"encoder": entry(70, 0.95, 0.97), "random": RANDOM}
    with_embedding = scores | {"encoder": scores["encoder"] | {"embedding": embedding}}
    assert verdict(with_embedding) == verdict(scores)


def test_where_both_have_collapsed_the_representation_comes_first():
    collapsed = {"width": 64, "centred_rank": 1.0, "spread": 0.0}
    lines = verdict({"encoder": entry(1.2, 0.2, 0.2) | {"embedding": collapsed}, "random": RANDOM})
    assert lines[0] == "collapsed: 1 of 128 dimensions carry information"
    assert lines[1] == BEHIND + "1 of 64 dimensions of z carry information"
    assert lines[2].startswith("failed: ")


def test_without_labels_or_references():
    assert verdict({"encoder": entry(3)}) == [
        "3 of 128 dimensions carry information: likely collapse",
        "not scored by kNN or a linear probe: judged by its rank only",
    ]
    scores = {"encoder": entry(60), "random": entry(57), "pca": entry(40), "pixels": entry(90)}
    assert verdict(scores) == [
        "60 of 128 dimensions carry information",
        "not scored by kNN or a linear probe: judged by its rank only, like that of a random encoder (57), "
        "above that of PCA (40), below that of raw pixels (90)",
    ]


def planted(rng: np.random.Generator) -> dict[str, Features]:
    """Representations of one planted data set, 16 wide but for the pixels.

    Pixels are six classes, centres in 8 dimensions with a deviation of 1 around them, beside 14 dimensions of
    nuisance that are far louder. A good encoder keeps the 8 and drops the rest; a supervised one keeps the
    class alone; a collapsed one nothing, but for noise along a line.
    """
    sizes = (900, 300, 900)
    labels = [rng.integers(0, 6, n) for n in sizes]
    centres = 1.2 * rng.normal(size=(6, 8))
    signal = [centres[y] + rng.normal(size=(len(y), 8)) for y in labels]
    x = [np.hstack([s, 12 * rng.normal(size=(len(s), 14))]) for s in signal]
    axes = np.linalg.svd(x[0] - x[0].mean(0), full_matrices=False)[2]
    simplex = rng.normal(size=(6, 16))
    wide = rng.normal(size=(8, 16))
    line = rng.normal(size=(1, 16))

    def features(values: list[np.ndarray]) -> Features:
        parts = [Part(v.astype(np.float32), y) for v, y in zip(values, labels, strict=True)]
        return Features(*parts, classes=tuple("abcdef"))

    def untrained() -> Features:
        first, second = rng.normal(size=(22, 4)), rng.normal(size=(4, 16))
        return features([np.maximum(v @ first, 0) @ second for v in x])

    return {
        "random": untrained(),
        "another random": untrained(),
        "pixels": features(x),
        "pca": features([v @ axes[:16].T for v in x]),
        "supervised": features([simplex[y] + 0.02 * rng.normal(size=(len(y), 16)) for y in labels]),
        "good": features([v @ wide + 0.5 * rng.normal(size=(len(v), 16)) for v in signal]),
        "collapsed": features([3 + 1e-3 * rng.normal(size=(len(v), 1)) @ line for v in signal]),
    }


@pytest.fixture(scope="module")
def rows():
    found = planted(np.random.default_rng(0))
    return json.loads(json.dumps({name: score(f, LINEAR_KNN, 0).scores for name, f in found.items()}))


CANDIDATES = ("another random", "collapsed", "pixels", "pca", "supervised", "good")


def said_of(rows: dict[str, dict], *references: str) -> dict[str, list[str]]:
    """The verdict on each candidate beside the references."""
    beside = {name: rows[name] for name in references}
    return {name: verdict({"encoder": rows[name], **beside}) for name in CANDIDATES}


def different(said: dict[str, list[str]]) -> bool:
    """Whether the words alone tell them apart."""
    return len({re.sub(r"[0-9]", "", "; ".join(lines)) for lines in said.values()}) == len(said)


def test_representations_are_told_apart_in_words(rows):
    said = said_of(rows, "random", "pca", "pixels", "supervised")
    assert said["another random"][0].startswith("failed: no better than always giving the commonest class")
    assert said["another random"][1].startswith("cannot be told apart from a random encoder")
    assert said["collapsed"][0].startswith("collapsed: 1 of 16 dimensions carry information")
    for name in ("pixels", "pca", "supervised", "good"):
        assert "collapse" not in " ".join(said[name])

    def says(name: str, start: str) -> bool:
        return any(line.startswith(start) for line in said[name])

    assert says("pixels", "cannot be told apart from raw pixels")
    assert says("pca", "cannot be told apart from PCA")
    assert says("supervised", "within 3 points of the same encoder trained with labels")
    assert says("good", "behind the same encoder trained with labels")
    for reference in ("a random encoder", "PCA", "raw pixels"):
        assert says("supervised", f"beats {reference}")
        assert says("good", f"beats {reference}")
    assert different(said)


def test_representations_are_told_apart_without_labels(rows):
    """By the rank, which is all there is; nothing is called good or failed by it.

    Only the count of dimensions sets a supervised encoder apart from a good one.
    """
    bare = {name: {k: v for k, v in row.items() if k not in ("linear", "knn")} for name, row in rows.items()}
    said = said_of(bare, "random", "pca", "pixels")
    assert said["collapsed"][0].startswith("collapsed: 1 of 16 dimensions carry information")
    assert "like that of a random encoder" in said["another random"][-1]
    assert "like that of raw pixels" in said["pixels"][-1]
    assert "like that of PCA" in said["pca"][-1]
    assert not re.search("beats|failed", str(said))
    assert "6 of 16" in said["supervised"][0]
    assert "9 of 16" in said["good"][0]
    assert different({name: lines for name, lines in said.items() if name != "supervised"})


def beside_supervised(encoder, supervised):
    scores = {"encoder": encoder, "random": RANDOM, "supervised": supervised}
    (line,) = (line for line in verdict(scores) if "trained with labels" in line)
    return line


@pytest.mark.parametrize(
    ("encoder", "supervised", "line"),
    [
        (
            entry(60, 0.95, 0.97),
            entry(20, 0.97, 0.99),
            "within 3 points of the same encoder trained with labels on kNN (95.0 % against 97.0 %) "
            "and linear (97.0 % against 99.0 %)",
        ),
        (
            entry(60, 0.90, 0.99),
            entry(20, 0.97, 0.97),
            "ahead of the same encoder trained with labels on linear (99.0 % against 97.0 %); "
            "behind it on kNN (90.0 % against 97.0 %)",
        ),
        (
            entry(60, 0.90, 0.97, n=60),
            entry(20, 0.95, 0.97, n=60),
            "within 3 points of the same encoder trained with labels on linear (97.0 % against 97.0 %); "
            "cannot be told apart from it on kNN (90.0 % against 95.0 %)",
        ),
        (
            entry(60, 0.94),
            entry(20, 0.9701, n=10_000),
            "behind the same encoder trained with labels on kNN (94.0 % against 97.0 %)",
        ),
    ],
)
def test_beside_the_supervised_encoder(encoder, supervised, line):
    assert beside_supervised(encoder, supervised) == line


def test_attributes_count_as_a_probe():
    def attributed(accuracy):
        return entry(60) | {"attributes": {"accuracy": accuracy, "base": 0.8}}

    lines = verdict({"encoder": attributed(0.82), "random": attributed(0.85)})
    assert lines[0] == (
        "failed: does not beat a random encoder of the same architecture "
        "on attributes (82.0 % against 85.0 %)"
    )
    assert lines[-1] == (
        "reads attributes right in 82.0 % on average; always giving the commoner value would in 80.0 %"
    )


def test_other_probes_are_not_judged_by_the_rank():
    scores = {
        "encoder": entry(17) | {"gmm": {"accuracy": 0.9}},
        "random": entry(57) | {"gmm": {"accuracy": 0.6}},
    }
    assert verdict(scores)[-1] == "not scored by kNN or a linear probe, which a verdict rests on"


def test_rebuilding_worse_than_the_mean_image_is_said():
    def lines(mse: float) -> list[str]:
        found = {"measures": {"reconstruction": {"mse": mse, "mse_of_mean": 0.064}}}
        return verdict({"encoder": entry(70, 0.95, 0.97) | found})

    assert "rebuilds test images worse than the mean image of train does: MSE 0.291 against 0.064" in lines(
        0.291
    )
    assert not any("rebuilds" in line for line in lines(0.06))
