"""Small labelled features for the tests of this folder."""

import numpy as np

from diabolo.evaluation.features import Features, Part


def blobs(
    seed: int = 0, sizes: tuple[int, int, int] = (200, 60, 80), width: int = 5, noise: float = 1.0
) -> Features:
    """Three overlapping Gaussian classes around fixed random centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, width))

    def part(n: int) -> Part:
        labels = rng.integers(0, 3, n)
        return Part((centres[labels] + noise * rng.normal(size=(n, width))).astype(np.float32), labels)

    train, validation, test = (part(n) for n in sizes)
    return Features(train, validation, test, classes=("a", "b", "c"))


def with_test_labels(features: Features, labels: np.ndarray) -> Features:
    return Features(
        features.train, features.validation, Part(features.test.values, labels), classes=features.classes
    )
