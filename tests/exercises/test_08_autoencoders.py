"""What the exercises of chapter 08 teach is what the library does, and other libraries too."""

from __future__ import annotations

import functools
from pathlib import Path

import assignments
import notebooks
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import mannwhitneyu
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from course_lib import autoencoder, latent_networks

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = "08_autoencoders"


@pytest.fixture
def exercises_08():
    return notebooks.read_text(ROOT / assignments.SOURCE / CHAPTER / f"{CHAPTER}.md")


@pytest.fixture
def stream():
    return torch.Generator().manual_seed(8)


@pytest.fixture
def samples(stream):
    """300 samples in six dimensions, of different variances, away from 0."""
    mixing = torch.randn(6, 6, generator=stream) * torch.tensor([3.0, 2.0, 1.0, 0.5, 0.4, 0.3])
    return torch.randn(300, 6, generator=stream) @ mixing.T + 2


def test_pca_is_that_of_scikit_learn(answer, samples):
    samples = samples.double()
    left_over = answer("left_over")(samples)
    for d in (1, 3, 6):
        other = PCA(d).fit(samples.numpy())
        mean, directions, share = answer("pca")(samples, d)
        torch.testing.assert_close(mean, torch.from_numpy(other.mean_))
        overlap = (torch.from_numpy(other.components_) @ directions).abs()
        torch.testing.assert_close(overlap, torch.eye(d, dtype=torch.float64), atol=1e-6, rtol=0)
        assert share == pytest.approx(other.explained_variance_ratio_.sum())
        rebuilt = torch.from_numpy(other.inverse_transform(other.transform(samples.numpy())))
        error = (samples - rebuilt).square().sum(dim=1).mean()
        torch.testing.assert_close(left_over[d], error, atol=1e-9, rtol=1e-9)


def test_the_principal_directions_of_a_trained_linear_autoencoder(answer, samples):
    """Exercise 2 holds for what training finds, up to what training leaves undone."""
    samples = samples - samples.mean(dim=0)
    shapes = {"network": "perceptron", "hidden": ()}
    torch.manual_seed(0)
    model = autoencoder.Autoencoder(
        latent_networks.build_encoder((6,), 2, **shapes),
        latent_networks.build_decoder(2, (6,), **shapes),
        bounded=False,
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(1000):
        loss = autoencoder.squared_error(model, samples, samples)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    decoder = autoencoder_columns(model)
    gram = decoder.T @ decoder
    cosine = gram[0, 1] / (gram[0, 0] * gram[1, 1]).sqrt()
    assert cosine.abs() > 0.02, "the columns are orthogonal by themselves: nothing is shown"
    _, directions, _ = answer("pca")(samples, 2)
    projection = answer("projection")(decoder)
    torch.testing.assert_close(projection, directions @ directions.T, atol=0.01, rtol=0)
    codes = autoencoder.encode(model, samples)
    found, variances = answer("principal_axes")(decoder, codes)
    torch.testing.assert_close((found.T @ directions).abs(), torch.eye(2), atol=0.01, rtol=0)
    errors = answer("left_over")(samples)
    torch.testing.assert_close(variances, errors[:2] - errors[1:3], atol=0, rtol=0.01)
    assert loss.item() == pytest.approx(errors[2].item(), rel=0.01)


def autoencoder_columns(model):
    """W of a linear decoder: what the unit codes add to what the code 0 decodes to."""
    with torch.no_grad():
        origin, *columns = model.decode(torch.cat([torch.zeros(1, 2), torch.eye(2)]))
    return torch.stack([column - origin for column in columns], dim=1)


def test_denoising_loss(answer):
    model = autoencoder.build(autoencoder.configure("tiny"), (1, 4, 4))
    x = torch.rand(7, 1, 4, 4) * 2 - 1
    got = answer("denoising_loss")(model, x, 0.3, torch.Generator().manual_seed(3))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    noisy = autoencoder.corrupt(x, 0.3, noise=noise)
    torch.testing.assert_close(got, autoencoder.squared_error(model, x, noisy))


def test_both_denoisers_agree_with_tweedie(answer, stream):
    """Scores from torch.distributions; both ways through Exercise 5."""
    noisy = 2 * torch.randn(9, 3, generator=stream, dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    factor = torch.randn(3, 3, generator=stream, dtype=torch.float64)
    covariance, sigma = factor @ factor.T, 0.7
    identity = torch.eye(3, dtype=torch.float64)
    density = torch.distributions.MultivariateNormal(mean, covariance + sigma**2 * identity)
    expected = answer("denoiser_from_log_density")(density.log_prob, noisy, sigma)
    denoise = functools.partial(
        answer("denoise_gaussian"), mean=mean, covariance=covariance, noise_scale=sigma
    )
    torch.testing.assert_close(denoise(noisy), expected)
    score = answer("score_from_denoiser")(denoise, noisy, sigma)
    torch.testing.assert_close(score, autoencoder.score_from_denoiser(denoise, noisy, sigma))
    torch.testing.assert_close(noisy + sigma**2 * score, expected)
    # One round cluster is a Gaussian.
    one = torch.ones(1, dtype=torch.float64)
    torch.testing.assert_close(
        answer("denoise_mixture")(noisy, one, mean[None], 1.5 * one, sigma),
        answer("denoise_gaussian")(noisy, mean, 2.25 * identity, sigma),
    )


def test_the_share_is_a_rank_statistic(answer, stream):
    """Mann and Whitney's U, of Mahalanobis distances by SciPy."""
    train = torch.randn(80, 3, generator=stream, dtype=torch.float64)
    train = train @ torch.randn(3, 3, generator=stream, dtype=torch.float64)
    drawn = answer("gaussian_codes")(train, 50, seed=2)
    held_out = train[:20] + 0.1
    inverse = torch.linalg.inv(torch.cov(train.T)).numpy()

    def nearest(codes):
        return cdist(codes.numpy(), train.numpy(), "mahalanobis", VI=inverse).min(axis=1)

    expected = mannwhitneyu(nearest(drawn), nearest(held_out)).statistic / (50 * 20)
    assert answer("share_farther")(train, held_out, drawn) == pytest.approx(expected)


def test_codes_from_one_distribution_give_one_half(answer, stream):
    codes = torch.randn(3, 2000, 4, generator=stream)
    assert answer("share_farther")(*codes) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("one_scale", [False, True])
def test_the_probe_is_a_pipeline_of_scikit_learn(answer, samples, one_scale):
    labels = torch.arange(300) % 3
    labels[:40] = 1
    chosen = answer("choose_labelled")(labels, 5, seed=1)
    scaler = StandardScaler().fit(samples[chosen].numpy())
    if one_scale:
        scaler.scale_[:] = scaler.var_.mean() ** 0.5
    one_hot = torch.nn.functional.one_hot(labels[chosen]).float()
    ridge = Ridge(alpha=3.0).fit(scaler.transform(samples[chosen].numpy()), one_hot.numpy())
    expected = torch.from_numpy(ridge.predict(scaler.transform(samples.numpy()))).float()
    got = answer("probe_scores")(samples[chosen], labels[chosen], samples, 3.0, one_scale)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_what_the_text_says_about_the_digits(exercises_08):
    """The cells that no grade hangs on: their numbers must bear out the sentences below them."""
    namespace = {}
    with torch.random.fork_rng():
        for cell in exercises_08.cells:
            is_check = cell.metadata.get("nbgrader", {}).get("grade", False)
            if cell.cell_type == "code" and not is_check:
                exec(cell.source, namespace)
    assert namespace["outside"] > 0.95
    rates = {case: values.mean().item() for case, values in namespace["rates"].items()}
    spreads = [values.std().item() for values in namespace["rates"].values()]
    for penalty in (10.0, 100.0):
        own, one = (
            {name: rates[one_scale, name, penalty] for name in ("pixels", "PCA", "code")}
            for one_scale in (False, True)
        )
        gain = {name: one[name] - own[name] for name in own}
        lead, left = (rate["code"] - max(rate["pixels"], rate["PCA"]) for rate in (own, one))
        assert lead > 0.03, rates
        assert min(gain["pixels"], gain["PCA"]) > gain["code"] + 0.02, rates
        assert left < 0.6 * lead and left < min(spreads), rates
    assert abs(left) < 0.015, rates  # with the larger penalty
    quietest = {
        name: float(values.std(0).sort().values[: len(values.T) // 4].mean() / values.std(0).max())
        for name, values in namespace["features"].items()
    }
    assert quietest["code"] > 1.5 * max(quietest["pixels"], quietest["PCA"]), quietest
