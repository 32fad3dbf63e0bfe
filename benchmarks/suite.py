"""The full suite on cached features, beside the same work done with scikit-learn alone.

    python benchmarks/suite.py

The features are the first 64 principal components of MNIST: 54,000 to fit on, 6,000 for choices, 10,000 test.
Both sides fit, choose on validation and read test; scikit-learn's side is written as its users write it, one
estimator for each k and for each penalty. Of its mixture a tenth of the restarts is run and its time taken
ten times: extrapolated.
"""

import argparse
import statistics
import warnings

import numpy as np
from page import keep, timed
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler, normalize

from diabolo.data.splits import load
from diabolo.evaluation import few_shot
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.probes import SELECTION_ROWS
from diabolo.evaluation.suite import score
from diabolo.evaluation.suites import read_suite
from diabolo.recipe import Data

WIDTH = 64
WITH_MORE = ("attributes", "ridge")  # probes of attributes and quantities, which these features lack
SKIPPED = 10  # the share of scikit-learn's restarts that is run is one in so many


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    turns = parser.parse_args().turns
    features = components()
    probes = [spec for spec in read_suite("full").probes if spec["name"] not in WITH_MORE]
    ours: dict[str, list[float]] = {"all": []}
    theirs: dict[str, list[float]] = {"all": []}
    for turn in range(turns):
        wall, _, scored = timed(lambda turn=turn: score(features, probes, turn))
        ours["all"].append(wall)
        for spec in probes:
            ours.setdefault(spec["name"], []).append(scored.scores[spec["name"]]["seconds"])
        total = 0.0
        for name, work in SCIKIT_LEARN.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of iterations that do not suffice, and of few shots
                wall, _, _ = timed(lambda work=work, turn=turn: work(features, turn))
            theirs.setdefault(name, []).append(wall * (SKIPPED if name == "gmm" else 1))
            total += theirs[name][-1]
        theirs["all"].append(total)
    rows = []
    for name in (*SCIKIT_LEARN, "all"):
        one, other = (statistics.median(side[name]) for side in (ours, theirs))
        rows.append([name, f"{one:.1f}", f"{other:.1f}", f"{other / one:.1f}"])
    keep(
        "suite",
        "The full suite on 60,000 × 64 features",
        "The first 64 principal components of MNIST, 10,000 test examples; the median of "
        f"{turns} turns. scikit-learn's mixture is extrapolated from 2 of its 20 restarts. The last "
        "line is the whole suite in one call, ranks included.",
        ["probe", "diabolo, s", "scikit-learn alone, s", "ratio"],
        rows,
    )


def components() -> Features:
    splits = load(Data(name="mnist"))
    parts = splits.train, splits.validation, splits.test
    pixels = [part.floats().flatten(1).numpy() for part in parts]
    model = PCA(WIDTH, random_state=0).fit(pixels[0])
    values = [model.transform(part).astype(np.float32) for part in pixels]
    labels = [part.labels.numpy().astype(np.int64) for part in parts]
    found = [Part(z, y) for z, y in zip(values, labels, strict=True)]
    return Features(*found, classes=splits.train.classes)


def linear(features: Features, seed: int) -> float:
    x, v, t = standardised(features)
    train, validation, test = features.train, features.validation, features.test
    few = slice(0, SELECTION_ROWS)
    found = {
        C: LogisticRegression(C=C).fit(x[few], train.labels[few]).score(v, validation.labels)
        for C in (0.001, 0.01, 0.1, 1.0)
    }
    return LogisticRegression(C=max(found, key=found.get)).fit(x, train.labels).score(t, test.labels)


def mlp(features: Features, seed: int) -> float:
    x, _, t = standardised(features)
    model = MLPClassifier((256,), batch_size=256, max_iter=20, early_stopping=True, random_state=seed)
    return model.fit(x, features.train.labels).score(t, features.test.labels)


def knn(features: Features, seed: int) -> float:
    x, v, t = (normalize(part.values) for part in (features.train, features.validation, features.test))
    models = {
        k: KNeighborsClassifier(k, algorithm="brute").fit(x, features.train.labels) for k in range(1, 21)
    }
    found = {k: model.score(v, features.validation.labels) for k, model in models.items()}
    return models[max(found, key=found.get)].score(t, features.test.labels)


def shots(features: Features, seed: int) -> float:
    x, v, t = standardised(features)
    train, rng = features.train, np.random.default_rng(seed)
    for number in (1, 5, 10, 0.01):
        drawn = [few_shot.draw(train.labels, number, rng) for _ in range(10)]
        found = {}
        for penalty in few_shot.PENALTIES:
            models = [RidgeClassifier(alpha=penalty * len(i)).fit(x[i], train.labels[i]) for i in drawn]
            found[penalty] = np.mean([m.score(v, features.validation.labels) for m in models]), models
        best = max(found.values(), key=lambda pair: pair[0])[1]
        accuracy = np.mean([model.score(t, features.test.labels) for model in best])
    return float(accuracy)


def gmm(features: Features, seed: int) -> float:
    restarts = 20 // SKIPPED
    model = GaussianMixture(10, n_init=restarts, random_state=seed).fit(features.train.values)
    return agreement(model, features)


def kmeans(features: Features, seed: int) -> float:
    return agreement(KMeans(10, n_init=10, random_state=seed).fit(features.train.values), features)


def retrieval(features: Features, seed: int) -> float:
    model = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(normalize(features.train.values))
    found = model.kneighbors(normalize(features.test.values), return_distance=False)
    return float((features.train.labels[found] == features.test.labels[:, None]).mean())


def agreement(model: GaussianMixture | KMeans, features: Features) -> float:
    clusters, labels = model.predict(features.test.values), features.test.labels
    return normalized_mutual_info_score(labels, clusters) + adjusted_rand_score(labels, clusters)


def standardised(features: Features) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scale = StandardScaler().fit(features.train.values)
    train, validation, test = (
        scale.transform(part.values) for part in (features.train, features.validation, features.test)
    )
    return train, validation, test


SCIKIT_LEARN = {
    "linear": linear,
    "mlp": mlp,
    "knn": knn,
    "few-shot": shots,
    "gmm": gmm,
    "kmeans": kmeans,
    "retrieval": retrieval,
}

if __name__ == "__main__":
    main()
