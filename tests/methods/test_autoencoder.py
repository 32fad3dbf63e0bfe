"""The autoencoder family: its presets, its identities, and what it refuses."""

import math
from dataclasses import replace
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from diabolo.data.images import Splits
from diabolo.data.splits import load
from diabolo.errors import UserError
from diabolo.latents import DiagonalGaussian
from diabolo.methods.build import Facts, build_method, build_pipelines, facts_of
from diabolo.recipe import Data, complete_for, compose
from diabolo.tables import METHODS
from diabolo.training.loop import Feed
from tests.methods.autoencoders import VECTORS, batch, build, loss

FAMILY = [name for name, entry in METHODS.entries.items() if entry.path.endswith(":Autoencoder")]


@pytest.fixture
def same_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example, view and sample draws the same z: noise that does not depend on the batch's shape."""
    monkeypatch.setattr(
        "diabolo.latents.normal_like",
        lambda x: torch.linspace(-1, 1.5, x.shape[-1], dtype=x.dtype).expand_as(x),
    )


@cache
def digits() -> tuple[Splits, Facts]:
    splits = load(Data(name="digits"))
    return splits, facts_of(splits)


def test_the_family_is_complete() -> None:
    named = "linear-ae ae denoising-ae sparse-ae contractive-ae aaae vae beta-vae cr-vae aavae simvae"
    assert named.split() == FAMILY


@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, ()) for name in FAMILY]
    + [
        ("sparse-ae", ("method.penalties=[kl-sparsity]", "method.code=sigmoid", "method.latent=128")),
        ("contractive-ae", ("method.latent=8",)),
        ("denoising-ae", ("views.transforms=[masking]",)),
        ("denoising-ae", ("views.transforms=[salt-and-pepper]",)),
        ("aaae", ("method.target=view",)),
        ("aavae", ("method.track_original=true", "method.head=mlp", "method.likelihood.space=normalised")),
        ("aavae", ("method.prior=standard-normal", "method.beta=0.1", "method.samples=4")),
        ("vae", ("method.objective=iwae", "method.samples=5")),
        ("vae", ("method.likelihood={name: gaussian, variance: learned}",)),
        ("vae", ("method.likelihood={name: gaussian, variance: pixel}",)),
        ("vae", ("method.likelihood=categorical", "decoder={name: conv, filters: [4, 8]}")),
        ("vae", ("method.likelihood={name: discretised-logistic, scale: pixel}",)),
        ("vae", ("method.likelihood=cross-entropy-as-coded",)),
        ("simvae", ("method.prior.form=as-coded", "method.likelihood=squared-error-as-coded")),
        ("simvae", ("method.prior.form=gaussian", "views.count=2", "method.target=original")),
    ],
)
def test_a_preset_takes_a_step_with_a_finite_gradient_everywhere(
    name: str, settings: tuple[str, ...]
) -> None:
    splits, facts = digits()
    composed = compose([{"data": {"name": "digits"}, "method": name}], settings)
    recipe = complete_for(composed, facts.shape)
    method = build_method(recipe, facts).train()
    feed = Feed(splits.train, build_pipelines(recipe), 32, 0, torch.device("cpu"))
    before = loss(method, feed(0, 0, 0.0))
    before.backward()
    for parameter_name, parameter in method.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name
    torch.optim.Adam(method.parameters(), 1e-3).step()
    assert loss(method, feed(0, 0, 0.0)) < before


FLAT, ROUND = ({"name": "cluster", "form": form} for form in ("uniform", "gaussian"))
TWINS = ["contraction", "consistency"]


@pytest.mark.parametrize("posterior", ["point", "gaussian"])
@pytest.mark.parametrize("prior", ["none", "standard-normal", FLAT, ROUND], ids=str)
def test_every_combination_of_the_slots_works_or_is_refused(posterior: str, prior: Any) -> None:
    likelihoods = ("gaussian", "bernoulli", "categorical", "squared-error-as-coded")
    penalty_lists = (None, ["l1"], TWINS, ["kl-sparsity"])
    slots = product(
        likelihoods, ("view", "original"), (False, True), penalty_lists, (("elbo", 1), ("iwae", 3))
    )
    for likelihood, target, with_original, penalties, (objective, samples) in slots:
        settings = {
            "method__posterior": posterior,
            "method__prior": prior,
            "method__likelihood": likelihood,
            "method__target": target,
            "method__with_original": with_original,
            "method__penalties": penalties,
            "method__objective": objective,
            "method__samples": samples,
            "decoder": {"name": "conv", "filters": [4]},  # which any likelihood takes
        }
        bounded = (
            posterior == "gaussian"
            and prior in ("standard-normal", ROUND)
            and likelihood != "squared-error-as-coded"
        )
        if (
            (prior == FLAT and not with_original)
            or (objective == "iwae" and not bounded)
            or (penalties == TWINS and not (posterior == "gaussian" and with_original))
            or penalties == ["kl-sparsity"]
        ):
            with pytest.raises(UserError):
                build("ae", **settings)
            continue
        method = build("ae", **settings)
        value = loss(method, batch())
        value.backward()
        assert value.isfinite(), settings
        assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters()), settings


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"method__samples": 2}, "a point posterior has one value to draw"),
        ({"method__posterior": "gaussian", "method__code": "sigmoid"}, r"spreads beyond \(0, 1\)"),
        ({"method__prior": "cluster"}, "the entropy alone diverges"),
        ({"method__penalties": ["kl-sparsity"]}, "use method.code=sigmoid"),
        ({"method__penalties": ["consistency"]}, "method.with_original=true"),
        ({"method__penalties": ["contraction"], "method__head": "mlp"}, "batch norm mixes the batch"),
        ({"method__likelihood": {"name": "bernoulli", "space": "normalised"}}, "use space=pixels"),
        ({"method__likelihood": {"name": "categorical", "space": "normalised"}}, "use space=pixels"),
        ({"method__likelihood": "categorical"}, "use discretised-logistic, or decoder=conv"),
        ({"method__likelihood": "categorical", "decoder": "linear"}, "256 levels of each pixel"),
        ({"method__objective": "iwae"}, "a point posterior gives no bound"),
        ({"method__objective": "iwae", "method__posterior": "gaussian"}, "prior 'none' .* gives no bound"),
        ({"method__with_original": True, "method__track_original": True}, "drop one"),
    ],
)
def test_what_is_ill_posed_is_refused_with_its_reason(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        build("ae", **settings)
    assert "\n" not in str(error.value)


def test_more_refusals() -> None:
    with pytest.raises(UserError, match="has no β"):
        build("beta-vae", method__objective="iwae")
    with pytest.raises(UserError, match="a loss and no density"):
        build("vae", method__objective="iwae", method__likelihood="squared-error-as-coded")
    with pytest.raises(UserError, match="uniform form of the cluster prior"):
        build("simvae", method__objective="iwae", views__transforms="none")
    with pytest.raises(UserError, match="vectors have no 256 levels"):
        build("vae", VECTORS, method__likelihood="discretised-logistic")


def test_the_vae_s_loss_is_reconstruction_plus_kl(same_noise: None) -> None:
    method, examples = build("beta-vae", method__beta=3.0), batch()
    q = method.posterior(examples.views[0][:, 0])
    assert isinstance(q, DiagonalGaussian)
    normal = Normal(q.mean, (0.5 * q.log_variance).exp())
    z = q.mean + normal.stddev * torch.linspace(-1, 1.5, 4, dtype=torch.float64)
    out = method.decoder(z)
    log_p = Normal(out, 0.02**0.5).log_prob(examples.views[0][:, 0]).flatten(1).sum(1)
    kl = kl_divergence(normal, Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(loss(method, examples), (3.0 * kl - log_p).mean())


def test_simvae_of_one_view_is_the_vae() -> None:
    cluster = {"name": "cluster", "form": "gaussian", "variance": 0.15, "content_variance": 0.85}
    vae = build("vae")
    simvae = build("simvae", method__prior=cluster, views__count=1, views__transforms="none")
    torch.testing.assert_close(loss(simvae, batch()), loss(vae, batch()))


def test_cr_vae_without_its_penalty_is_the_sum_of_two_vaes(same_noise: None) -> None:
    vae, examples = build("vae"), batch()
    without = build("cr-vae", method__penalties=[{"name": "consistency", "weight": 0}])
    of_originals = replace(examples, views=[examples.clean[:, None]])
    torch.testing.assert_close(loss(without, examples), loss(vae, examples) + loss(vae, of_originals))


def test_cr_vae_s_penalty_is_the_kl_from_the_view_to_the_original(same_noise: None) -> None:
    examples = batch()
    without, method = build("cr-vae", method__penalties=None), build("cr-vae")
    view, original = method.posterior(examples.views[0][:, 0]), method.posterior(examples.clean)
    assert isinstance(view, DiagonalGaussian)
    assert isinstance(original, DiagonalGaussian)
    expected = loss(without, examples) + 0.1 * view.kl(original).mean()
    torch.testing.assert_close(loss(method, examples), expected)


def test_aavae_has_no_gradient_of_a_prior_or_an_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the noise is zero, the variance reaches the loss through these alone."""
    monkeypatch.setattr("diabolo.latents.normal_like", torch.zeros_like)
    examples = batch()
    for prior, felt in (("none", False), ("standard-normal", True)):
        method = build("aavae", method__prior=prior, method__beta=0.1)
        loss(method, examples).backward()
        assert method.log_variance is not None
        gradient = method.log_variance.weight.grad
        assert gradient is not None
        assert bool(gradient.any()) == felt
    aavae, aaae = build("aavae"), build("aaae")
    aaae.load_state_dict({k: v for k, v in aavae.state_dict().items() if "log_variance" not in k})
    torch.testing.assert_close(loss(aavae, examples), loss(aaae, examples))
    assert set(aavae(examples).parts) == {"reconstruction"}


def test_a_view_is_decoded_to_itself_or_to_the_original(same_noise: None) -> None:
    examples = batch()
    for target, wanted in (("view", examples.views[0][:, 0]), ("original", examples.clean)):
        method = build("aaae", method__target=target)
        errors = (method.reconstruct(examples.views[0][:, 0]) - wanted).square().flatten(1).sum(1)
        constant = 18 / 2 * math.log(2 * math.pi * 0.02)
        torch.testing.assert_close(loss(method, examples), (errors / 0.04).mean() + constant)


def test_tracking_the_originals_changes_running_statistics_and_nothing_else() -> None:
    apart = build("aavae", method__head="mlp")
    tracked = build("aavae", method__head="mlp", method__track_original=True)
    losses = [loss(method, batch()) for method in (apart, tracked)]
    gradients = [
        torch.autograd.grad(x, list(m.parameters())) for x, m in zip(losses, (apart, tracked), strict=True)
    ]
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(*gradients)
    means = [method.neck[1].running_mean for method in (apart, tracked)]  # type: ignore[index]
    assert not torch.allclose(*means)


def test_several_samples_average_the_reconstruction() -> None:
    examples, many = batch(), 4_000
    one, averaged = build("vae"), build("vae", method__samples=many)
    singles = torch.stack([loss(one, examples, seed).detach() for seed in range(200)])
    assert singles.std() > 0
    error = 4 * singles.std() / math.sqrt(200)
    assert (singles.mean() - loss(averaged, examples)).abs() < error


def test_a_sigmoid_code_lies_between_zero_and_one() -> None:
    z = build("ae", method__code="sigmoid").represent(batch().clean)
    assert ((z > 0) & (z < 1)).all()


@pytest.mark.parametrize("name", ["vae", "simvae"])
def test_validation_averages_more_draws_of_the_same_bound(name: str) -> None:
    method, examples = build(name, method__validation_samples=5), batch(J=3)
    x = examples.views[0]  # [B, J, *shape]
    q = method.posterior(x.flatten(0, 1))
    torch.manual_seed(0)
    noise = torch.randn(6, 3, 5, 4, dtype=torch.float64)
    z = q.mean.view(6, 3, 1, 4) + q.variance().sqrt().view(6, 3, 1, 4) * noise
    drawn = [method.log_likelihood(z[:, :, k].flatten(0, 1)[:, None], x.flatten(0, 1)) for k in range(5)]
    torch.manual_seed(0)
    terms = method.eval()(examples)
    expected = -torch.stack(drawn).mean(0).view(6, 3).sum(1).mean()
    torch.testing.assert_close(terms.parts["reconstruction"], expected)
    prior, entropy = terms.parts["prior"], terms.parts["entropy"]
    torch.testing.assert_close(terms.total, expected + prior - entropy)


@pytest.mark.parametrize(
    ("name", "settings", "training", "held_out"),
    [
        ("vae", {}, 1, 16),
        ("vae", {"method__samples": 3, "method__validation_samples": 8}, 3, 8),
        ("vae", {"method__objective": "iwae", "method__samples": 5}, 5, 5),
        ("ae", {}, 1, 1),
    ],
)
def test_draws_are_more_only_where_the_bound_stays_the_same(
    name: str, settings: dict[str, Any], training: int, held_out: int
) -> None:
    method = build(name, **settings)
    assert (method.train().draws, method.eval().draws) == (training, held_out)
