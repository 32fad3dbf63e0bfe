"""EM for Gaussian mixtures, against scikit-learn's."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from diabolo.errors import UserError
from diabolo.evaluation import mixtures
from diabolo.evaluation.mixtures import Mixture, Starts, climb, fit, seeded, step, whitened
from diabolo.seeds import generator

RIDGE = 1e-6


def planted(n: int = 1500, width: int = 4, components: int = 3, apart: float = 3.0, seed: int = 0):
    """Rows of a mixture with unlike covariances, and the component of each."""
    rng = np.random.default_rng(seed)
    means = apart * rng.normal(size=(components, width))
    mixing = rng.normal(size=(components, width, width)) / np.sqrt(width)
    belongs = rng.choice(components, n, p=np.arange(1, components + 1) / np.arange(1, components + 1).sum())
    noise = (mixing[belongs] @ rng.normal(size=(n, width, 1)))[..., 0]
    return means[belongs] + noise, belongs, means


def arbitrary(width: int, components: int, seed: int = 0) -> Mixture:
    rng = torch.Generator().manual_seed(seed)
    mixing = torch.randn(components, width, width, generator=rng, dtype=torch.float64)
    covariances = mixing @ mixing.mT + 0.1 * torch.eye(width)
    weights = torch.rand(components, generator=rng, dtype=torch.float64)
    means = torch.randn(components, width, generator=rng, dtype=torch.float64)
    return Mixture(weights / weights.sum(), means, covariances)


def in_sklearn(mixture: Mixture) -> GaussianMixture:
    model = GaussianMixture(len(mixture.weights), reg_covar=RIDGE)
    model.weights_, model.means_ = mixture.weights.numpy(), mixture.means.numpy()
    model.covariances_ = mixture.covariances.numpy()
    model.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(model.covariances_))
    return model


def as_starts(rows: mixtures.Rows, *several: Mixture) -> Starts:
    """Mixtures in the coordinates of whitened rows."""
    parts = [
        (m.weights, (m.means - rows.mean) @ rows.inverse.T, rows.inverse @ m.covariances @ rows.inverse.T)
        for m in several
    ]
    return Starts(*(torch.stack(part) for part in zip(*parts, strict=True)))


def log_scale(rows: mixtures.Rows) -> float:
    """log p(u) − log p(x)."""
    return float(rows.factor.diagonal().log().sum())


@pytest.fixture(scope="module")
def projected() -> np.ndarray:
    """Ten principal components of scikit-learn's digits."""
    from sklearn.datasets import load_digits

    return PCA(10, random_state=0).fit_transform(load_digits().data).astype(np.float32)


def test_the_density_is_that_of_scikit_learn():
    mixture, x = arbitrary(width=5, components=3), planted(400, width=5)[0]
    model = in_sklearn(mixture)
    joint = mixture.joint(x)
    np.testing.assert_allclose(joint.logsumexp(dim=1), model.score_samples(x), rtol=1e-10)
    np.testing.assert_allclose(joint.softmax(dim=1), model.predict_proba(x), atol=1e-10)


@pytest.mark.parametrize("width", [1, 2, 6])
def test_a_step_is_that_of_scikit_learn_for_each_start(width):
    x = planted(500, width)[0]
    several = [arbitrary(width, components=3, seed=seed) for seed in (1, 2)]
    rows = whitened(x, RIDGE)
    starts, likelihood = step(rows, as_starts(rows, *several), torch.float64)
    for i, mixture in enumerate(several):
        model = GaussianMixture(
            3,
            max_iter=1,
            reg_covar=RIDGE,
            weights_init=mixture.weights.numpy(),
            means_init=mixture.means.numpy(),
            precisions_init=np.linalg.inv(mixture.covariances.numpy()),
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its one iteration
            model.fit(x)
        reached = rows.restored(starts.take(torch.tensor([i])))
        np.testing.assert_allclose(reached.weights, model.weights_, rtol=1e-8)
        np.testing.assert_allclose(reached.means, model.means_, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(reached.covariances, model.covariances_, rtol=1e-8, atol=1e-10)
        assert likelihood[i] - log_scale(rows) == pytest.approx(model.lower_bound_, rel=1e-10)


def test_far_from_zero_and_with_unlike_scales_the_step_is_exact():
    """The quadratic form would lose every digit in these coordinates; whitened rows keep them."""
    x = planted(500, width=4)[0] * [1e-3, 1, 1e3, 1] + [1e4, -1e4, 1e7, 0]
    mixture = arbitrary(4, 3)
    scale = torch.tensor([1e-3, 1, 1e3, 1], dtype=torch.float64)
    moved = Mixture(
        mixture.weights,
        mixture.means * scale + torch.tensor([1e4, -1e4, 1e7, 0]),
        mixture.covariances * scale * scale[:, None],
    )
    rows = whitened(x, 1e-12)
    _, likelihood = step(rows, as_starts(rows, moved), torch.float64)
    original = (x - [1e4, -1e4, 1e7, 0]) / scale.numpy()
    expected = in_sklearn(mixture).score(original) - float(scale.log().sum())
    assert float(likelihood[0]) - log_scale(rows) == pytest.approx(expected, rel=1e-6)


def test_no_step_lowers_the_likelihood(projected):
    rows = whitened(projected, RIDGE)
    starts = seeded(rows, 5, 8, generator("test"))
    paths = []
    for _ in range(40):
        starts, likelihood = step(rows, starts, torch.float64)
        paths.append(likelihood)
    gains = torch.stack(paths).diff(dim=0)
    assert gains.min() > -1e-9
    assert gains.sum(dim=0).min() > 0.1


def test_a_start_climbs_alone_as_among_others(projected):
    rows = whitened(projected, RIDGE)
    starts = seeded(rows, 4, 5, generator("test"))
    together, likelihood, steps = climb(rows, starts, torch.float64, 1e-3, 50)
    assert len(set(steps.tolist())) > 1
    for i in range(4):
        alone, reached, taken = climb(rows, starts.take(torch.tensor([i])), torch.float64, 1e-3, 50)
        assert (taken[0], reached[0]) == (steps[i], pytest.approx(float(likelihood[i]), rel=1e-10))
        torch.testing.assert_close(alone.means[0], together.means[i], rtol=1e-8, atol=1e-8)


def test_in_blocks_as_at_once(projected, monkeypatch):
    rows, mixture = whitened(projected, RIDGE), arbitrary(10, 4)
    starts = seeded(rows, 3, 4, generator("test"))
    whole = step(rows, starts, torch.float64)
    joint = mixture.joint(projected)
    monkeypatch.setattr(mixtures, "BLOCK", 1)
    assert len(list(rows.blocks(rows.size(1), torch.float64))) > 100
    again = whitened(projected, RIDGE)
    torch.testing.assert_close(again.inverse, rows.inverse, rtol=1e-10, atol=1e-12)
    parts = step(again, starts, torch.float64)
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(mixture.joint(projected), joint, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("components", [5, 10])
def test_as_likely_as_scikit_learn_at_equal_restarts(projected, components):
    theirs = GaussianMixture(components, n_init=10, random_state=0).fit(projected.astype(np.float64))
    ours, _ = fit(projected, components, restarts=10, seed=0)
    reached = ours.joint(projected).logsumexp(dim=1).mean()
    assert reached > theirs.score(projected) - 0.02


def test_a_planted_mixture_is_recovered():
    x, belongs, means = planted(4000, width=4, components=4, apart=4)
    mixture, steps = fit(x.astype(np.float32), 4, restarts=8, tolerance=1e-6)
    order = torch.cdist(torch.from_numpy(means), mixture.means).argmin(dim=1)
    assert sorted(order.tolist()) == [0, 1, 2, 3]
    np.testing.assert_allclose(mixture.means[order], means, atol=0.2)
    np.testing.assert_allclose(mixture.weights[order], [0.1, 0.2, 0.3, 0.4], atol=0.03)
    assert np.mean(order.numpy()[belongs] == mixture.joint(x).argmax(dim=1).numpy()) > 0.98
    assert steps < 100


def test_starts_may_be_compared_in_groups(monkeypatch):
    x = planted(600)[0].astype(np.float32)
    whole = fit(x, 3, restarts=6, tolerance=1e-6)[0].joint(x).logsumexp(dim=1).mean()
    monkeypatch.setattr(mixtures, "GROUP", 1)
    groups = fit(x, 3, restarts=6, tolerance=1e-6)[0].joint(x).logsumexp(dim=1).mean()
    assert float(groups) == pytest.approx(float(whole), abs=1e-3)


def test_starts_are_the_minima_of_k_means(projected):
    """The scatter within the clusters, over twenty starts, beside scikit-learn's of as many."""
    rows = whitened(projected, RIDGE)
    starts = seeded(rows, 20, 6, generator("test"))
    covariances = rows.factor @ starts.covariances @ rows.factor.T
    scatter = (starts.weights * covariances.diagonal(dim1=-2, dim2=-1).sum(dim=-1)).sum(dim=1)
    theirs = [KMeans(6, n_init=1, random_state=seed).fit(projected).inertia_ for seed in range(20)]
    theirs = np.array(theirs) / len(projected)
    assert float(scatter.min()) == pytest.approx(theirs.min(), rel=2e-3)
    assert float(scatter.median()) < np.median(theirs) * 1.02


def test_the_race_is_worth_its_restarts(projected):
    alone = [
        fit(projected, 10, restarts=1, seed=seed)[0].joint(projected).logsumexp(dim=1).mean()
        for seed in range(6)
    ]
    raced = fit(projected, 10, restarts=40)[0].joint(projected).logsumexp(dim=1).mean()
    assert raced > torch.stack(alone).mean() + 0.02
    assert raced > max(alone) - 0.005


def test_it_follows_its_seed(projected):
    one, again, other = (fit(projected, 10, restarts=1, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(one.means, again.means)
    assert not torch.allclose(one.means, other.means)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: np.concatenate([x, np.zeros((len(x), 2)), x[:, :1]], axis=1),  # constant and repeated
        lambda x: np.repeat(x[:2], 100, axis=0),  # fewer distinct rows than components
        lambda x: np.maximum(x, 0),  # half of each dimension is one point
        lambda x: np.concatenate([x, 1e6 + x[:1]]),  # an outlier
        lambda x: 1e-6 * x,
        lambda x: (
            1e5 * np.concatenate([x, x[:, :2], x @ np.ones((4, 1))], axis=1)
        ),  # round-off above the ridge
        lambda x: np.eye(16)[np.arange(len(x)) % 2] + 0.5,
        lambda x: np.full((60, 3), 0.1),
        lambda x: np.zeros((60, 3)),
    ],
    ids=["constant", "repeated", "rectified", "outlier", "tiny", "large", "one-hot", "one point", "zero"],
)
def test_degenerate_rows_have_a_mixture_all_the_same(change):
    x = change(planted(300)[0]).astype(np.float32)
    mixture, _ = fit(x, 3, restarts=4)
    joint = mixture.joint(x)
    assert torch.isfinite(joint.logsumexp(dim=1)).all()
    scale = min(1, x.var(axis=0, dtype=np.float64).mean()) or 1
    covariances = mixture.covariances.diagonal(dim1=-2, dim2=-1)
    assert covariances.min() > 0.5 * RIDGE * scale
    assert float(mixture.weights.sum()) == pytest.approx(1)


def test_few_distinct_rows_are_told_apart():
    """As many components as there are points, and more."""
    points = np.random.default_rng(0).normal(size=(6, 16))
    x = points[np.arange(900) % 6].astype(np.float32)
    for components in (6, 10):
        found = fit(x, components, restarts=20)[0].joint(x).argmax(dim=1)
        assert len({(i % 6, int(label)) for i, label in enumerate(found)}) == 6
        assert len(set(found.tolist())) == 6


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e4])
def test_the_units_of_the_rows_do_not_matter(scale):
    x, belongs, means = planted(2000, width=6, components=4, apart=4)
    mixture, _ = fit((scale * x).astype(np.float32), 4, restarts=8)
    order = torch.cdist(torch.from_numpy(scale * means), mixture.means).argmin(dim=1)
    found = mixture.joint((scale * x).astype(np.float32)).argmax(dim=1).numpy()
    assert np.mean(order.numpy()[belongs] == found) > 0.98


def test_what_has_no_covariance_is_refused():
    with pytest.raises(UserError, match="too different sizes for covariances"):
        mixtures.cholesky(torch.full((2, 2), torch.nan, dtype=torch.float64))


def test_more_components_than_rows():
    with pytest.raises(UserError, match="there are 5 components, but only 4 training examples"):
        fit(np.zeros((4, 2), np.float32), 5)


def test_the_sample_has_the_coordinates_of_all_rows(projected):
    rows = whitened(projected, RIDGE)
    few = replace(rows, x=rows.x[:100])
    u = torch.cat([block[-11:-1] for block in rows.blocks(rows.size(1), torch.float64)], dim=1)
    torch.testing.assert_close(
        torch.cov(u, correction=0), torch.eye(10, dtype=torch.float64), atol=1e-5, rtol=0
    )
    part = torch.cat([block[-11:-1] for block in few.blocks(64, torch.float64)], dim=1)
    torch.testing.assert_close(part, u[:, :100])
