"""The classifiers against scikit-learn, torch.distributions, quadrature and other formulas."""

import inspect
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.linear_model import LogisticRegression as ScikitLogistic
from sklearn.naive_bayes import GaussianNB
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from course_lib import classifiers
from course_lib.classifiers import (
    COVARIANCES,
    GaussianClassifier,
    LogisticRegression,
    fit_gaussian_classifier,
    fit_logistic_regression,
)
from course_lib.datasets import digits


def draw(n: int = 200, features: int = 3, classes: int = 3, *, seed: int = 0, apart: float = 1.5):
    """Correlated classes of different sizes, places and shapes."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.multinomial(torch.arange(1.0, classes + 1), n, replacement=True, generator=generator)
    y[:classes] = torch.arange(classes)
    mix = torch.randn(classes, features, features, generator=generator, dtype=torch.float64)
    centre = apart * torch.randn(classes, features, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, features, generator=generator, dtype=torch.float64)
    return centre[y] + torch.einsum("nij,nj->ni", mix[y], noise), y


X, Y = draw()
MODEL = fit_gaussian_classifier(X, Y)


def grid(limit: float, n: int, features: int) -> tuple[torch.Tensor, float]:
    """The points of a regular grid and the volume of a cell."""
    axis = torch.linspace(-limit, limit, n, dtype=torch.float64)
    return torch.cartesian_prod(*features * [axis]), float(axis[1] - axis[0]) ** features


# --- The generative one --------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_fit_is_that_of_counts_and_moments(covariance: str) -> None:
    model = fit_gaussian_classifier(X, Y, covariance, ridge=0.1)
    parts = [X[k == Y].numpy() for k in range(3)]
    shares = np.array([len(part) for part in parts]) / len(X)
    expected = np.stack([np.cov(part.T, bias=True) for part in parts])
    if "shared" in covariance:
        expected = np.broadcast_to(np.tensordot(shares, expected, 1), expected.shape)
    if "diagonal" in covariance:
        expected = expected * np.eye(3)
    np.testing.assert_allclose(model.prior, shares)
    np.testing.assert_allclose(model.mean, np.stack([part.mean(0) for part in parts]))
    np.testing.assert_allclose(model.covariance, expected + 0.1 * np.eye(3), atol=1e-12)


def test_naive_bayes_and_linear_discriminants_are_those_of_scikit_learn() -> None:
    new, _ = draw(seed=1)
    naive = GaussianNB(var_smoothing=0).fit(X, Y)
    found = fit_gaussian_classifier(X, Y, "diagonal")
    np.testing.assert_allclose(found.log_joint(new), naive.predict_joint_log_proba(new.numpy()))
    # The solver "lsqr" divides by n, as maximum likelihood does; "svd" by n - classes.
    linear = LinearDiscriminantAnalysis(solver="lsqr").fit(X, Y)
    found = fit_gaussian_classifier(X, Y, "shared")
    np.testing.assert_allclose(found.log_posterior(new), linear.predict_log_proba(new), atol=1e-9)
    np.testing.assert_array_equal(found.predict(new), linear.predict(new))


def test_quadratic_discriminants_are_those_of_scikit_learn() -> None:
    """Its versions divide by n or by n - 1, so it is given and asked for its covariances."""
    new, _ = draw(seed=1)
    quadratic = QuadraticDiscriminantAnalysis(store_covariance=True).fit(X, Y)
    covariance = torch.from_numpy(np.stack(quadratic.covariance_))
    found = GaussianClassifier(MODEL.prior, MODEL.mean, covariance).log_posterior(new)
    np.testing.assert_allclose(found, quadratic.predict_log_proba(new), atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_densities_are_those_of_torch(dtype: torch.dtype) -> None:
    model = fit_gaussian_classifier(X.to(dtype), Y)
    parts = MultivariateNormal(MODEL.mean, MODEL.covariance)
    joint = parts.log_prob(X[:, None]) + MODEL.prior.log()
    mixture = MixtureSameFamily(Categorical(MODEL.prior), parts).log_prob(X)
    posterior = (joint.softmax(1)).log()
    tolerance = {"rtol": 1e-4, "atol": 1e-3} if dtype == torch.float32 else {}
    for found, expected in (
        (model.log_joint(X.to(dtype)), joint),
        (model.log_prob(X.to(dtype)), mixture),
        (model.log_posterior(X.to(dtype)), posterior),
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected.to(dtype), **tolerance)
    torch.testing.assert_close(MODEL.log_joint(X.float()), MODEL.log_joint(X), rtol=1e-5, atol=1e-5)


def test_the_density_integrates_to_one() -> None:
    x, y = draw(features=2)
    points, volume = grid(30, 600, 2)
    model = fit_gaussian_classifier(x, y)
    assert float(model.log_prob(points).exp().sum()) * volume == pytest.approx(1, abs=1e-6)
    masses = model.log_joint(points).exp().sum(0) * volume
    torch.testing.assert_close(masses, model.prior, rtol=0, atol=1e-6)


def test_far_from_all_classes_the_posterior_is_still_one() -> None:
    """Each density is 0 in double precision there, their ratio is not."""
    identity = torch.eye(2, dtype=torch.float64)
    mean = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    model = GaussianClassifier(torch.tensor([0.5, 0.5]).double(), mean, torch.stack(2 * [identity]))
    x = torch.tensor([[1e4, 1e4], [-1e4, 0.0], [0.5, -1e6]], dtype=torch.float64)
    assert model.log_prob(x).max() < -1e7 and model.predict(x).tolist()[:2] == [1, 0]
    logits = model.log_posterior(x).diff(dim=1)[:, 0]
    torch.testing.assert_close(logits, x[:, 0] - 0.5, rtol=1e-3, atol=1e-3)  # (1.9) by hand
    assert model.log_posterior(x).exp().sum(1).tolist() == pytest.approx([1, 1, 1])


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_the_logit_is_linear_where_the_classes_share_their_covariance(covariance: str) -> None:
    model = fit_gaussian_classifier(X, Y, covariance)
    generator = torch.Generator().manual_seed(2)
    start, step = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64)
    before, here, after = (model.log_posterior(start + k * step) for k in (-1, 0, 1))
    curvature = ((before + after - 2 * here)[:, 1:] - (before + after - 2 * here)[:, :1]).abs()
    assert bool(curvature.max() < 1e-9) == ("shared" in covariance)


# --- What only it can do -------------------------------------------------------------------------


def test_marginals_are_integrals() -> None:
    """Over the third feature of three, by a sum on a fine grid."""
    known = torch.tensor([True, False, True])
    hidden = torch.linspace(-40, 40, 4001, dtype=torch.float64)
    x = X[:5, None].repeat(1, len(hidden), 1)
    x[:, :, 1] = hidden
    joint = MODEL.log_joint(x.flatten(0, 1)).exp().view(5, -1, 3)
    expected = torch.trapezoid(joint, hidden, dim=1).log()
    torch.testing.assert_close(MODEL.marginal(known).log_joint(X[:5][:, known]), expected)


@pytest.mark.parametrize("known", [(True, False, True), (False, False, True), (True, True, True)])
def test_filled_in_features_are_conditional_expectations(known: tuple[bool, ...]) -> None:
    """E[x_u | x_k] as a ratio of two sums over a grid of the unknown features."""
    mask = torch.tensor(known)
    x = X[:4].clone()
    x[:, ~mask] = torch.nan  # not read
    found = MODEL.fill_in(x, mask)
    assert torch.equal(found[:, mask], X[:4, mask]) and x[:, ~mask].isnan().all()
    if mask.all():
        return
    points = grid(25, 2001 if sum(known) == 2 else 401, 3 - sum(known))[0].reshape(
        -1, 3 - sum(known)
    )
    for row, filled in zip(X[:4], found, strict=True):
        full = row.repeat(len(points), 1)
        full[:, ~mask] = points
        density = MODEL.log_prob(full).softmax(0)
        torch.testing.assert_close(filled[~mask], density @ points, rtol=1e-5, atol=1e-5)


def test_filling_in_agrees_with_the_precision_matrix() -> None:
    """μ_u - Λ_uu⁻¹ Λ_uk (x_k - μ_k), Bishop 2006, eq. 2.75; one class, eleven features."""
    x, _ = draw(features=11, classes=1)
    model = fit_gaussian_classifier(x, torch.zeros(len(x), dtype=torch.int64))
    known = torch.arange(11) % 3 > 0
    precision = model.covariance[0].inverse()
    left, right = precision[~known][:, ~known], precision[~known][:, known]
    rest = (x - model.mean)[:, known]
    expected = model.mean[0, ~known] - torch.linalg.solve(left, right @ rest.mT).mT
    torch.testing.assert_close(model.fill_in(x, known)[:, ~known], expected)


def test_samples_have_the_moments_of_the_model() -> None:
    x, y = MODEL.sample(100_000, seed=1)
    again = fit_gaussian_classifier(x, y)
    deviation = (MODEL.prior * (1 - MODEL.prior) / 1e5).sqrt()
    assert ((again.prior - MODEL.prior).abs() < 5 * deviation).all()
    variance = MODEL.covariance.diagonal(dim1=1, dim2=2)
    count = y.bincount()[:, None]
    assert ((again.mean - MODEL.mean).abs() < 5 * (variance / count).sqrt()).all()
    scale = (variance[:, :, None] * variance[:, None]).sqrt()
    error = (again.covariance - MODEL.covariance).abs()
    assert (error < 5 * scale * (2 / count[:, :, None]).sqrt()).all()


def test_samples_obey_seed_and_label_and_leave_the_global_state_alone() -> None:
    state = torch.get_rng_state()
    (x, y), (same, _), (other, _) = (MODEL.sample(50, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(x, same) and not torch.equal(x, other)
    x, y = MODEL.sample(4000, label=2)
    assert (y == 2).all() and x.dtype == torch.float64
    torch.testing.assert_close(x.mean(0), MODEL.mean[2], rtol=0, atol=0.25)
    fit_logistic_regression(X, Y)
    fit_gaussian_classifier(X, Y)
    assert torch.equal(torch.get_rng_state(), state)


# --- EM ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_responsibilities_of_zero_and_one_are_labels(covariance: str) -> None:
    weights = torch.nn.functional.one_hot(Y).double()
    model, same = (fit_gaussian_classifier(X, of, covariance) for of in (Y, weights))
    counted = fit_gaussian_classifier(X, 3 * weights * (torch.arange(200) > 9)[:, None], covariance)
    without = fit_gaussian_classifier(X[10:], Y[10:], covariance)
    for name in ("prior", "mean", "covariance"):
        torch.testing.assert_close(getattr(same, name), getattr(model, name))
        torch.testing.assert_close(getattr(counted, name), getattr(without, name))


def test_an_example_that_counts_twice_is_there_twice() -> None:
    weights = torch.nn.functional.one_hot(Y).double()
    weights[7] *= 2
    twice = fit_gaussian_classifier(torch.cat([X, X[7:8]]), torch.cat([Y, Y[7:8]]))
    found = fit_gaussian_classifier(X, weights)
    for name in ("prior", "mean", "covariance"):
        torch.testing.assert_close(getattr(found, name), getattr(twice, name))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), covariance=st.sampled_from(COVARIANCES))
def test_em_never_lowers_the_likelihood(seed: int, covariance: str) -> None:
    x, _ = draw(60, 2, 2, seed=seed)
    start = torch.rand(60, 2, generator=torch.Generator().manual_seed(seed)).double() + 0.1
    model = fit_gaussian_classifier(x, start / start.sum(1, keepdim=True), covariance)
    before = model.log_prob(x).sum()
    for _ in range(5):
        model = fit_gaussian_classifier(x, model.log_posterior(x).exp(), covariance)
        after = model.log_prob(x).sum()
        assert after >= before - 1e-9 * before.abs()
        before = after


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_no_other_parameters_are_more_likely(covariance: str) -> None:
    """The gradient of Σ log p(x, y) at the fit is zero along everything that may move."""
    fitted = fit_gaussian_classifier(X, Y, covariance)
    logits, mean = fitted.prior.log().requires_grad_(), fitted.mean.requires_grad_()
    shape = torch.zeros(1 if "shared" in covariance else 3, 3, 3).double().requires_grad_()
    move = (shape + shape.mT) * (torch.eye(3) if "diagonal" in covariance else 1)
    model = GaussianClassifier(logits.softmax(0), mean, fitted.covariance + move)
    (model.log_joint(X)[torch.arange(200), Y].mean()).backward()
    for moved in (logits, mean, shape):
        assert moved.grad is not None and moved.grad.abs().max() < 1e-10


# --- The discriminative one ----------------------------------------------------------------------


def theirs(x: torch.Tensor, y: torch.Tensor, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's weights and biases, with three classes or more."""
    c = 1 / penalty if penalty else math.inf
    found = ScikitLogistic(C=c, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    found.fit(x.numpy(), y.numpy())
    return found.coef_, found.intercept_


@pytest.mark.parametrize("penalty", [0, 1e-4, 1.0, 50.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logistic_regression_is_that_of_scikit_learn(penalty: float, dtype: torch.dtype) -> None:
    x = X.to(dtype)
    model = fit_logistic_regression(x, Y, penalty=penalty)
    weight, bias = theirs(x.double(), Y, penalty)
    assert model.weight.dtype == model.bias.dtype == dtype
    np.testing.assert_allclose(model.weight, weight, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.bias, bias, rtol=1e-5, atol=1e-5)
    expected = (x.double().numpy() @ weight.T + bias).T
    expected = torch.from_numpy((expected - expected.max(0)).T).log_softmax(1)
    torch.testing.assert_close(model.log_posterior(x), expected.to(dtype), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(model.predict(x), expected.argmax(1))


def test_of_two_classes_only_the_difference_of_the_weights_counts() -> None:
    """W_1 = -W_0 = w / 2 at the minimum, so the penalty is half of that of one vector w."""
    own = Y > 0
    x, y = X[own], Y[own] - 1
    found = fit_logistic_regression(x, y, penalty=0.5)
    one = ScikitLogistic(C=2 / 0.5, tol=1e-10, solver="newton-cholesky").fit(x.numpy(), y.numpy())
    np.testing.assert_allclose(found.weight.diff(dim=0), one.coef_, atol=1e-6)
    np.testing.assert_allclose(found.bias.diff(), one.intercept_, atol=1e-6)
    torch.testing.assert_close(found.weight[0], -found.weight[1])


def test_features_of_any_unit_are_fitted_to_the_end() -> None:
    unit = torch.tensor([1000.0, 0.001, 1.0], dtype=torch.float64)
    x = X * unit + torch.tensor([5000.0, 3.0, 0.0], dtype=torch.float64)
    model = fit_logistic_regression(x, Y)
    logits = x @ model.weight.mT + model.bias
    gap = logits.softmax(1) - torch.nn.functional.one_hot(Y)
    assert gap.sum(0).abs().max() < 1e-5
    slope = gap.mT @ (x - x.mean(0)) + 1e-4 * model.weight
    assert (slope.abs() / unit).max() < 1e-4  # of sums over 200 examples
    again = fit_logistic_regression(X, Y, penalty=0)
    free = fit_logistic_regression(x, Y, penalty=0)
    torch.testing.assert_close(free.weight * unit, again.weight, rtol=1e-4, atol=1e-4)


def test_where_classes_are_separated_the_penalty_decides() -> None:
    x, y = draw(60, 2, 3, apart=20)
    weight, bias = theirs(x, y, 1e-3)
    model = fit_logistic_regression(x, y, penalty=1e-3)
    assert (model.predict(x) == y).all()
    np.testing.assert_allclose(model.weight, weight, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.bias, bias, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", ["all", "some", "edge"])
def test_without_a_minimum_it_says_so(case: str) -> None:
    if case == "all":  # every example lies on its side
        x, y = draw(60, 2, 3, apart=20)
    elif case == "some":  # a flag that only class 1 has
        flag = ((Y == 1) & (torch.arange(200) % 5 == 0)).double()[:, None]
        x, y = torch.cat([X, flag], 1), Y
    else:  # apart but for one place, where both classes are
        x = torch.tensor([[-1.0], [-2.0], [0.0], [0.0], [1.0], [2.0]], dtype=torch.float64)
        y = torch.tensor([0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="penalty must be more than 0 for this x"):
        fit_logistic_regression(x, y, penalty=0)
    assert fit_logistic_regression(x, y, penalty=1e-4).weight.isfinite().all()


@pytest.mark.parametrize("n", [100, 1400])
def test_small_penalties_on_images_reach_the_minimum_in_seconds(n: int) -> None:
    """The classes are separated, the curvature almost vanishes, and full steps would diverge."""
    data = digits()
    x, y = data.train_images.flatten(1)[:n].double(), data.train_labels[:n]
    start = time.process_time()
    model = fit_logistic_regression(x, y, penalty=1e-6)
    assert time.process_time() - start < 6
    p = model.log_posterior(x).exp()
    slope = (p - torch.nn.functional.one_hot(y)).mT @ x + 1e-6 * model.weight
    assert slope.abs().max() < 1e-3 * (1e-6 * model.weight).abs().max()
    torch.testing.assert_close(model.bias.sum(), torch.zeros(()).double(), rtol=0, atol=1e-9)


def test_it_says_so_when_it_stops_before_the_minimum(monkeypatch) -> None:
    monkeypatch.setattr(classifiers, "_NEWTON_STEPS", 2)
    with pytest.raises(ValueError, match="penalty is too small for this x: after 2 steps"):
        fit_logistic_regression(X, Y)


def test_a_constant_or_repeated_feature_takes_no_minimum_away() -> None:
    constant = torch.full((200, 1), 0.3, dtype=torch.float64)
    expected = fit_logistic_regression(X, Y, penalty=0)
    found = fit_logistic_regression(torch.cat([X, constant, X], 1), Y, penalty=0)
    assert (found.weight[:, 3] == 0).all()
    for part in (found.weight[:, :3], found.weight[:, 4:]):
        torch.testing.assert_close(2 * part, expected.weight, rtol=1e-4, atol=1e-4)


def test_weights_of_examples_count_in_logistic_regression_too() -> None:
    weights = torch.nn.functional.one_hot(Y).double()
    weights[7] *= 2
    found = fit_logistic_regression(X, weights, penalty=1.0)
    twice = fit_logistic_regression(torch.cat([X, X[7:8]]), torch.cat([Y, Y[7:8]]), penalty=1.0)
    torch.testing.assert_close(found.weight, twice.weight, rtol=1e-5, atol=1e-6)
    soft = torch.full((200, 3), 0.2).double() + 0.4 * torch.nn.functional.one_hot(Y)
    mild = fit_logistic_regression(X.clone().requires_grad_(), soft.requires_grad_(), penalty=0)
    assert not mild.weight.requires_grad and not mild.bias.requires_grad
    torch.testing.assert_close(mild.log_posterior(X).exp().mean(0), soft.mean(0))


# --- Both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_both_take_half_precision_and_the_meta_device(device: str) -> None:
    prior = torch.tensor([0.3, 0.7], device=device)
    mean = torch.randn(2, 5, device=device).requires_grad_()
    covariance = torch.eye(5, device=device).repeat(2, 1, 1).requires_grad_()
    weight = torch.zeros(2, 5, device=device).requires_grad_()
    x = torch.ones(4, 5, device=device).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=device == "cpu"):
        generative = GaussianClassifier(prior, mean, covariance).log_posterior(x)
        discriminative = LogisticRegression(weight, weight[:, 0]).log_posterior(x)
        (generative[:, 0].sum() + discriminative[:, 0].sum()).backward()
    assert generative.shape == discriminative.shape == (4, 2)
    assert generative.dtype == torch.float32
    for moved in (mean, covariance, weight, x):
        assert moved.grad is not None and moved.grad.device.type == device
        assert moved.grad.is_meta or moved.grad.isfinite().all()


def test_ten_classes_of_images_take_seconds() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 784, generator=generator, dtype=torch.float64)
    start = time.process_time()
    model = fit_gaussian_classifier(x, torch.arange(2000) % 10, "full", ridge=0.1)
    fitted = time.process_time()
    assert model.log_joint(x[:1000]).isfinite().all()
    assert fitted - start < 6 and time.process_time() - fitted < 4


LABELS = torch.tensor([0, 1, 0, 1, 0, 1])
POINTS = torch.randn(6, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
BAD = torch.tensor([[math.nan, 0.0]]).repeat(6, 1).double()
FITS = [
    (POINTS, LABELS[:5], {}, r"labels must be classes, int \(6,\), .*got torch.int64 \(5,\)"),
    (POINTS, LABELS.bool(), {}, "labels must be classes, int .*got torch.bool"),
    (POINTS, LABELS.double(), {}, "labels must be classes, int .*got torch.float64"),
    (POINTS, LABELS - 1, {}, "labels must be classes from 0 to 0, got -1 to 0"),
    (POINTS, LABELS, {"classes": 1}, "labels must be classes from 0 to 0, got 0 to 1; classes"),
    (POINTS, LABELS, {"classes": 0}, "classes must be None, or a whole number .*got 0"),
    (POINTS, 2 * LABELS, {}, r"every class from 0 to 2 an example, got none for \[1\]"),
    (POINTS, LABELS, {"classes": 3}, r"every class from 0 to 2 an example, got none for \[2\]"),
    (POINTS, -POINTS.abs(), {}, "labels as weights must be 0 or more and finite, in 2 columns"),
    (POINTS, BAD, {}, "labels as weights must be 0 or more and finite"),
    (POINTS, POINTS.abs(), {"classes": 3}, "in 3 columns, got 2 columns"),
    (BAD, LABELS, {}, "x holds NaN or infinite values in 6 of 6 examples"),
    (POINTS[:0], LABELS[:0], {}, "x must be a tensor of at least one example"),
    (POINTS[:, :, None], LABELS, {}, r"x must be float32 or float64 \(n, features\), got"),
    (POINTS.half(), LABELS, {}, "x must be float32 or float64 .*got torch.float16"),
    (LABELS[:, None], LABELS, {}, "x must be a float tensor"),
]


@pytest.mark.parametrize("fit", [fit_gaussian_classifier, fit_logistic_regression])
@pytest.mark.parametrize(("x", "labels", "options", "message"), FITS)
def test_what_cannot_be_fitted_is_refused(fit, x, labels, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(fit)(x, labels, **options)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (POINTS, {"covariance": "tied"}, r"covariance must be one of \['full', .*got 'tied'"),
        (POINTS, {"ridge": -1.0}, "ridge must be a finite number .*got -1.0"),
        (POINTS.repeat(1, 2), {}, "of class 0 must be positive definite.*ridge=1e-3"),
        (POINTS * LABELS[:, None], {"covariance": "diagonal"}, "of class 0 must be positive"),
        (POINTS[:, :1] @ torch.ones(1, 2).double(), {"covariance": "shared"}, "repeats others"),
    ],
)
def test_a_singular_covariance_is_refused_and_ridge_mends_it(x, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(fit_gaussian_classifier)(x, LABELS, **options)
    mended = fit_gaussian_classifier(x, LABELS, ridge=1e-3)
    assert mended.log_prob(x).isfinite().all()


def test_a_repeated_feature_is_refused_however_its_covariance_is_rounded() -> None:
    for seed in range(30):
        x, y = draw(60, 3, 2, seed=seed)
        x = torch.cat([x, x @ x.new_tensor([[0.3], [0.5], [-0.2]])], 1)
        for dtype in (torch.float32, torch.float64):
            with pytest.raises(ValueError, match="must be positive definite, but is singular"):
                fit_gaussian_classifier(x.to(dtype), y)


@pytest.mark.parametrize("wrong", [-1.0, math.inf, math.nan])
def test_a_penalty_that_is_none_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="penalty must be a finite number"):
        fit_logistic_regression(POINTS, LABELS, penalty=wrong)


def test_parameters_that_do_not_fit_are_refused() -> None:
    init = inspect.unwrap(GaussianClassifier.__init__)
    prior, mean, covariance = MODEL.prior, MODEL.mean, MODEL.covariance
    for wrong, message in (
        (
            (prior[:2], mean, covariance),
            r"prior, mean and covariance must be .*got \(2,\), \(3, 3\)",
        ),
        ((prior * 1.001, mean, covariance), "prior must hold probabilities that add up to 1"),
        ((prior - prior[0] - 0.1, mean, covariance), "prior must hold probabilities"),
        ((prior, mean, covariance + torch.eye(3).double()[0]), "covariance must be symmetric"),
        ((prior, mean, covariance * math.nan), "covariance must be symmetric and finite"),
        ((prior, mean / 0, covariance), "mean must be finite"),
        ((prior, mean, covariance.float()), r"must all be float32, .* got .*float64, torch.float3"),
        ((prior.half(), mean.half(), covariance.half()), "must all be float32, or all float64"),
    ):
        with pytest.raises(ValueError, match=message):
            init(GaussianClassifier.__new__(GaussianClassifier), *wrong)
    rounded = covariance.clone()
    rounded[0, 0, 1] *= 1 + 1e-7
    assert GaussianClassifier(prior * (1 + 1e-6), mean, rounded).log_prob(X).isfinite().all()
    rounded[0, 0, 1] *= 1 + 1e-3
    with pytest.raises(ValueError, match="covariance must be symmetric"):
        GaussianClassifier(prior, mean, rounded)
    with pytest.raises(ValueError, match="covariance of class 0 must be positive definite"):
        GaussianClassifier(prior, mean, -covariance).log_prob(X)


def test_what_cannot_be_evaluated_is_refused() -> None:
    regression = fit_logistic_regression(X, Y)
    for wrong, message in (
        (X[:, :2], r"x must be \(n, 3\) for this model, got \(200, 2\); flatten"),
        (X[0], r"x must be \(n, 3\) for this model, got \(3,\)"),
        (X * math.nan, "x holds NaN or infinite values in 200 of 200"),
    ):
        for method in (MODEL.log_joint, regression.log_posterior):
            with pytest.raises(ValueError, match=message):
                inspect.unwrap(method.__func__)(method.__self__, wrong)
    for options, message in (
        ({"n": 0}, "n must be a whole number .*got 0"),
        ({"n": 5, "label": 3}, "label must be a class from 0 to 2, got 3"),
        ({"n": 5, "label": -1}, "label must be None, or a whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            MODEL.sample(**options)
    marginal = inspect.unwrap(GaussianClassifier.marginal)
    for known in (torch.zeros(3).bool(), torch.ones(2).bool(), torch.ones(3).long()):
        with pytest.raises(ValueError, match=r"known must be a bool tensor \(3,\), True at one"):
            marginal(MODEL, known)
    mask = torch.tensor([True, False, True])
    with pytest.raises(ValueError, match="x holds NaN or infinite values in 200"):
        MODEL.fill_in(X * math.nan, mask)
    fill_in = inspect.unwrap(GaussianClassifier.fill_in)
    with pytest.raises(ValueError, match=r"x must be \(n, 3\) for this model, got \(200, 2\)"):
        fill_in(MODEL, X[:, :2], mask)
