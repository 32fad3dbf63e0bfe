"""Ridge regression in closed form, against scikit-learn's; its penalty is chosen on validation."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference
from sklearn.metrics import r2_score

from diabolo.errors import UserError
from diabolo.evaluation import regression
from diabolo.evaluation.regression import PENALTIES, Ridge, determine


def rows(n: int, width: int = 6, noise: float = 1.0, seed: int = 0):
    """Two targets linear in x, of which one is far from zero, with noise."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(width, 2))
    x = (rng.normal(size=(n, width)) * np.arange(1, width + 1) + 3).astype(np.float32)
    return x, x @ truth + [0, 100] + noise * rng.normal(size=(n, 2))


@pytest.mark.parametrize("n", [5, 50], ids=["fewer rows than dimensions", "more"])
@pytest.mark.parametrize("penalty", [1e-3, 1.0])
def test_it_is_the_solution_of_scikit_learn(n, penalty):
    x, y = rows(n, width=8)
    model = Ridge(x, y)
    reference = Reference(alpha=penalty * n, solver="cholesky").fit(x.astype(np.float64), y)
    np.testing.assert_allclose(model.weights(penalty), reference.coef_.T, rtol=1e-6, atol=1e-9)
    several = model.predict(x, [7.0, penalty])
    assert several.shape == (2, n, 2)
    np.testing.assert_allclose(several[1], reference.predict(x.astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize("n", [5, 50])
def test_in_blocks_as_at_once(n, monkeypatch):
    x, y = rows(n, width=8)
    whole = Ridge(x, y).predict(x, [0.1])
    monkeypatch.setattr(regression, "BLOCK", 24)  # three rows
    np.testing.assert_allclose(Ridge(x, y).predict(x, [0.1]), whole, rtol=1e-10)


def test_r2_is_read_on_test_by_what_validation_chose():
    train, validation, test = (
        rows(20, noise=20, seed=1),
        rows(60, noise=20, seed=2),
        rows(80, noise=20, seed=3),
    )
    found = determine(train, validation, test)
    mean, deviation = train[0].mean(axis=0), train[0].std(axis=0)
    for target in range(2):
        fits = {
            penalty: Reference(alpha=penalty * 20).fit((train[0] - mean) / deviation, train[1][:, target])
            for penalty in PENALTIES
        }
        on_validation, on_test = (
            {
                penalty: r2_score(y[:, target], fit.predict((x - mean) / deviation))
                for penalty, fit in fits.items()
            }
            for x, y in (validation, test)
        )
        best = max(on_validation, key=on_validation.get)
        assert found.penalties[target] == best
        assert found.validation[target] == pytest.approx(on_validation[best], abs=1e-4)
        assert found.r2[target] == pytest.approx(on_test[best], abs=1e-4)


def test_what_is_linear_is_determined_and_noise_is_not():
    (x, y), (v, w), (t, u) = (
        rows(500, noise=0, seed=1),
        rows(100, noise=0, seed=2),
        rows(100, noise=0, seed=3),
    )
    assert (determine((x, y), (v, w), (t, u)).r2 > 0.9999).all()
    noise = np.random.default_rng(0).normal(size=(700, 1))
    unknown = determine((x, noise[:500]), (v, noise[500:600]), (t, noise[600:]))
    assert abs(unknown.r2[0]) < 0.1


def test_one_example_that_excites_a_dead_dimension_does_not_decide():
    parts = [rows(n, noise=1, seed=n) for n in (500, 200, 100)]
    dead = [np.zeros((len(x), 1), np.float32) for x, _ in parts]
    dead[0][:3] = 1e-4 * parts[0][1][:3, :1]  # by chance it goes with the target
    dead[2][0] = 1.0
    train, validation, test = (
        (np.concatenate([x, more], axis=1), y) for (x, y), more in zip(parts, dead, strict=True)
    )
    assert determine(train, validation, test).r2.min() > 0.9  # −15 without a floor


def test_the_penalty_is_not_chosen_on_test():
    """Test's targets are what the weakest penalty predicts; validation prefers a strong one."""
    train, validation, test = (rows(n, width=30, noise=60, seed=n) for n in (40, 200, 100))
    mean, deviation = train[0].mean(axis=0), train[0].std(axis=0)
    weakest = Ridge((train[0] - mean) / deviation, train[1]).predict(
        (test[0] - mean) / deviation, [min(PENALTIES)]
    )
    planted = (test[0], weakest[0].numpy())
    assert determine(train, validation, planted, [min(PENALTIES)]).r2.min() > 0.999
    found = determine(train, validation, planted)
    assert (found.penalties > min(PENALTIES)).all()
    assert found.r2.max() < 0.999
    np.testing.assert_array_equal(found.penalties, determine(train, validation, test).penalties)


def test_a_target_that_does_not_vary():
    train, validation, test = rows(20), rows(20), rows(20)
    constant = np.concatenate([test[1][:, :1], np.ones((20, 1))], axis=1)
    with pytest.raises(UserError, match="ridge: target 1 is the same for every example of test"):
        determine(train, validation, (test[0], constant))
    with pytest.raises(UserError, match="every example of validation"):
        determine(train, (validation[0], constant), test)
