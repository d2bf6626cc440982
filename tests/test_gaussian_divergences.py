"""The divergences of Gaussians against torch, SciPy's matrix roots, quadrature and quantiles."""

import inspect
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.linalg import sqrtm
from torch.distributions import MultivariateNormal, kl_divergence

from course_lib import divergences, gaussian_divergences, vae
from course_lib.divergences import wasserstein_1d
from course_lib.gaussian_divergences import kl_gaussians, wasserstein_gaussians


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def covariances(*shape: int, seed: int = 0) -> torch.Tensor:
    factor = normal(*shape, shape[-1], seed=seed)
    return factor @ factor.mT + 0.1 * torch.eye(shape[-1], dtype=torch.float64)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_kl_of_gaussians_is_that_of_torch(d: int) -> None:
    p = normal(4, 1, d), covariances(3, d)
    q = normal(3, d, seed=1), covariances(4, 1, d, seed=2)
    expected = kl_divergence(
        MultivariateNormal(p[0].expand(4, 3, d), p[1].expand(4, 3, d, d)),
        MultivariateNormal(q[0].expand(4, 3, d), q[1].expand(4, 3, d, d)),
    )
    torch.testing.assert_close(kl_gaussians(*p, *q), expected)
    torch.testing.assert_close(
        kl_gaussians(*(x.float() for x in (*p, *q))), expected.float(), rtol=1e-3, atol=1e-3
    )
    assert kl_gaussians(*p, *p).abs().max() < 1e-13
    assert kl_gaussians(*p, q[0].float(), q[1]).dtype == torch.float64


def test_kl_of_gaussians_by_quadrature() -> None:
    p, q = stats.norm(0.7, 0.5), stats.norm(-0.2, 1.3)
    expected, _ = quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -10, 10)
    tensors = [torch.tensor(v, dtype=torch.float64) for v in ([0.7], [[0.25]], [-0.2], [[1.69]])]
    assert kl_gaussians(*tensors).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_wasserstein_of_gaussians_is_the_formula_with_roots(d: int) -> None:
    means, others = normal(3, d), normal(3, d, seed=1)
    first, second = covariances(3, d, seed=2), covariances(d, seed=3)
    value = wasserstein_gaussians(means, first, others, second)
    back = wasserstein_gaussians(others, second, means, first)
    torch.testing.assert_close(value, back)
    for i in range(3):
        root = sqrtm(second.numpy())
        cross = np.trace(sqrtm(root @ first[i].numpy() @ root).real)
        squares = (means[i] - others[i]).square().sum() + first[i].trace() + second.trace()
        assert value[i].item() ** 2 == pytest.approx(squares.item() - 2 * cross, rel=1e-9)
    assert wasserstein_gaussians(means, first, means, first).max() < 1e-13, "no root of rounding"


def test_wasserstein_of_singular_gaussians() -> None:
    zero, plane = torch.zeros(2).double(), torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double()
    flat = torch.zeros(2, 2).double()
    points = wasserstein_gaussians(zero, flat, zero + torch.tensor([3.0, 4.0]).double(), flat)
    assert points.item() == pytest.approx(5)
    assert wasserstein_gaussians(zero, plane, zero, flat).item() == pytest.approx(math.sqrt(2))
    twice = wasserstein_gaussians(zero, plane, zero, 4 * plane)
    assert twice.item() == pytest.approx(math.sqrt(2))
    mixed = torch.stack([plane, torch.eye(2).double()]).requires_grad_()
    value = wasserstein_gaussians(zero, mixed, zero, 9 * torch.eye(2).double())
    # of the plane's eigenvalues 2 and 0: (3 - √2)² + 3²; of the identity's: 2 · (3 - 1)²
    expected = torch.tensor([math.hypot(3 - math.sqrt(2), 3), math.sqrt(8)]).double()
    torch.testing.assert_close(value.detach(), expected)
    (gradient,) = torch.autograd.grad(value.sum(), mixed)
    assert (gradient[0] == 0).all()
    # d √(Σ (3 - √λ)²) / dλ = -(3 - √λ) / (2 √λ · value)
    torch.testing.assert_close(gradient[1], -torch.eye(2).double() / math.sqrt(8))


def test_wasserstein_of_gaussians_on_lines() -> None:
    """Of N(0, v vᵀ) and N(0, w wᵀ) it is √(|v|² + |w|² - 2 |v · w|)."""
    v, w, zero = normal(200, 4), normal(200, 4, seed=1), torch.zeros(4).double()
    first, second = (u[:, :, None] * u[:, None] for u in (v, w))
    assert torch.linalg.eigvalsh(first).min() < 0, "rounding makes eigenvalues negative"
    squares = v.square().sum(1) + w.square().sum(1) - 2 * (v * w).sum(1).abs()
    torch.testing.assert_close(wasserstein_gaussians(zero, first, zero, second), squares.sqrt())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_a_covariance_is_symmetric_up_to_rounding(dtype: torch.dtype, tolerance: float) -> None:
    mean = torch.zeros(2, dtype=dtype)
    for part, good in ((0.5, True), (2, False)):
        off = torch.tensor([[0.0, part * tolerance], [0.0, 0.0]], dtype=dtype)
        for scale in (1e-3, 1e3):
            arguments = mean, scale * (torch.eye(2, dtype=dtype) + off), mean, torch.eye(2).to(mean)
            if good:
                assert kl_gaussians(*arguments).isfinite()
            else:
                with pytest.raises(ValueError, match="covariance_p must be symmetric"):
                    kl_gaussians(*arguments)


def test_wasserstein_of_gaussians_is_that_of_their_quantiles_on_a_line() -> None:
    levels = (np.arange(20_000) + 0.5) / 20_000
    x, y = (torch.from_numpy(stats.norm(m, s).ppf(levels)) for m, s in ((0.3, 1.0), (-0.5, 2.0)))
    tensors = [torch.tensor(v, dtype=torch.float64) for v in ([0.3], [[1.0]], [-0.5], [[4.0]])]
    closed = wasserstein_gaussians(*tensors).item()
    assert closed == pytest.approx(math.hypot(0.8, 1), rel=1e-12)
    assert wasserstein_1d(x, y, 2).item() == pytest.approx(closed, rel=1e-3)


@pytest.mark.parametrize("function", [kl_gaussians, wasserstein_gaussians])
def test_gradients_of_gaussians(function) -> None:
    def value(means: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        first, second = factors @ factors.mT + 0.3 * torch.eye(3, dtype=torch.float64)
        return function(means[0], first, means[1], second)

    arguments = [normal(2, 4, 3).requires_grad_(), normal(2, 4, 3, 3, seed=1).requires_grad_()]
    assert torch.autograd.gradcheck(value, arguments)
    same = torch.eye(2).double().requires_grad_()
    zero = torch.zeros(2).double()
    (gradient,) = torch.autograd.grad(function(zero, same, zero, torch.eye(2).double()), same)
    assert gradient.abs().max() < 1e-12, "at equality, and with equal eigenvalues"


@pytest.mark.parametrize("function", [kl_gaussians, wasserstein_gaussians])
def test_what_is_no_gaussian_is_refused_by_name(function) -> None:
    mean, good = torch.zeros(2), torch.eye(2)
    for covariance, message in [
        (torch.tensor([[1.0, 0.5], [0.0, 1.0]]), r"must be symmetric.* by 0.5; use \(covariance"),
        (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), r"eigenvalue.* -1; "),
        (torch.full((2, 2), math.nan), "holds NaN"),
        (torch.eye(2).long(), "must be a floating-point tensor, got torch.int64"),
    ]:
        with pytest.raises(ValueError, match=f"^covariance_q .*{message}"):
            inspect.unwrap(function)(mean, good, mean, covariance)
        with pytest.raises(ValueError, match=f"^covariance_p .*{message}"):
            inspect.unwrap(function)(mean, covariance, mean, good)
    for arguments in [
        (torch.zeros(3), good, mean, good),
        (mean, torch.eye(3), mean, good),
        (mean, torch.ones(2, 3), mean, good),
        (mean[:1], good, mean[:1], good),
        (mean[:0], good[:0, :0], mean[:0], good[:0, :0]),
    ]:
        with pytest.raises(ValueError, match=r"with the same d, got mean_p: .*; for plain numbers"):
            inspect.unwrap(function)(*arguments)
    with pytest.raises(ValueError, match=r"must broadcast, got mean_p: \(3,\), covariance_p: \(2"):
        inspect.unwrap(function)(torch.zeros(3, 2), good.expand(2, 2, 2), mean, good)
    with pytest.raises(ValueError, match=r"^mean_p must have the shape \(..., d\)"):
        inspect.unwrap(function)(torch.tensor(0.0), good, mean, good)


def test_a_singular_gaussian_has_no_finite_kl() -> None:
    with pytest.raises(ValueError, match=r"^covariance_p must be positive definite.*is 0; add"):
        kl_gaussians(torch.zeros(2), torch.zeros(2, 2), torch.zeros(2), torch.eye(2))


def test_that_of_the_variational_autoencoder_is_the_same_with_diagonal_covariances() -> None:
    mean, log_variance = normal(6, 4), normal(6, 4, seed=1)
    zero, one = torch.zeros(4).double(), torch.eye(4).double()
    expected = kl_gaussians(mean, log_variance.exp().diag_embed(), zero, one)
    torch.testing.assert_close(vae.gaussian_kl(mean, log_variance), expected)


def test_the_module_of_all_divergences_offers_both() -> None:
    for name in ("kl_gaussians", "wasserstein_gaussians"):
        assert getattr(divergences, name) is getattr(gaussian_divergences, name)
