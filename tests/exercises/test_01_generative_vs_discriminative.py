"""What the exercises of chapter 01 teach is what the library and scikit-learn do."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import assignments
import notebooks
import pytest
import torch
from answer_cells import check_visibly
from scipy.stats import chi2
from sklearn.naive_bayes import BernoulliNB
from torch.distributions import MultivariateNormal, Poisson

from course_lib import classifiers

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = "01_generative_vs_discriminative"


@pytest.fixture(scope="module")
def text():
    return notebooks.read_text(ROOT / assignments.SOURCE / CHAPTER / f"{CHAPTER}.md")


@pytest.fixture(scope="module")
def faulty_classifier(text):
    (listing,) = [cell.source for cell in text.cells if "def faulty_classifier" in cell.source]
    namespace = {"torch": torch, "math": math}
    exec(listing, namespace)
    return namespace["faulty_classifier"]


def random_classes(classes=2, features=3):
    """Gaussian classes of the library."""
    root = torch.randn(classes, features, features, dtype=torch.float64)
    covariance = root @ root.mT + 0.3 * torch.eye(features)
    mean = torch.randn(classes, features, dtype=torch.float64)
    prior = torch.softmax(torch.randn(classes, dtype=torch.float64), 0)
    return classifiers.GaussianClassifier(prior, mean, covariance)


def mended(answer, x_new, x, y, classes):
    """The three steps of exercise 5 in a row."""
    moments = answer("fit_classes")(x, y, classes)
    columns = [answer("log_density")(x_new, *each) for each in zip(*moments, strict=True)]
    return answer("posterior_of_classes")(torch.stack(columns, 1), y)


# --- What the text says --------------------------------------------------------------------------


def test_newton_squares_the_error_and_the_weight_of_separated_examples_grows(cells):
    table = check_visibly(cells, "newton_step", cells["newton_step"])["table"]
    lengths, free, held = zip(*table, strict=True)
    near = [(a, b) for a, b in itertools.pairwise(lengths) if b > 1e-10 and a < 1]
    assert len(near) >= 2 and all(b < a**1.5 for a, b in near)
    growth = [b - a for a, b in itertools.pairwise(free)]
    assert all(growth[i] > growth[i + 1] > 1 for i in range(6)) and growth[-1] < 1.001
    assert abs(held[-1] - held[-2]) < 1e-6
    # ... where λ w is the slope of the two examples
    assert 0.01 * held[-1] == pytest.approx(2 / (1 + math.exp(held[-1])), rel=1e-6)


def test_a_filled_gap_is_taken_for_evidence(cells):
    table = check_visibly(cells, "fill_gaps", cells["fill_gaps"])["table"]
    rows = list(table.values())
    assert len(rows) == 4
    for right, believed, _ in rows[:2]:
        assert abs(right - believed) < 0.03
    for right, believed, loss in rows[2:]:
        assert believed > right + 0.1 and right < rows[1][0] - 0.05 and loss > 1.8 * rows[1][2]


def test_em_raises_the_likelihood_whether_it_helps_or_not(cells):
    table = check_visibly(cells, "em_step", cells["em_step"])["table"]
    helped, harmed = table.values()
    for rows in (helped, harmed):
        assert (rows[:, 0].diff() > 0).all()
    assert helped[-1, 1] > helped[0, 1] + 0.02
    assert harmed[-1, 1] < harmed[0, 1] - 0.1


def test_typicality_sees_what_the_density_does_not(cells):
    names = check_visibly(cells, "typicality", cells["typicality"])
    for d, share in names["ordinary"].items():
        assert share == pytest.approx(chi2.median(d) / d, abs=0.001)
    table = names["table"]
    assert abs(table["draws"][1] - 0.05) < 0.015
    for name in ("draws, halved contrast", "the mean itself"):
        assert table[name][0] > table["draws"][0] + 100 and table[name][1] == 1
    assert table["noise, evenly from -3 to 3"][1] == 1
    ones = table["all features equal to 1"]
    assert ones[1] == 0 and abs(ones[0] - table["draws"][0]) < 5


def test_the_mean_is_denser_than_every_draw(answer):
    highest, expected, deviation = answer("log_densities_of_draws")(torch.eye(784).double())
    draws = torch.randn(2000, 784, dtype=torch.float64)
    density = MultivariateNormal(torch.zeros(784).double(), torch.eye(784).double()).log_prob(draws)
    assert density.max() < highest - 300
    assert abs(density.mean() - expected) < 4 * deviation / math.sqrt(2000)
    assert abs(density.std() / deviation - 1) < 0.07


def test_the_faults_are_silent_for_classes_alike(answer, faulty_classifier):
    """As many examples, the same covariance: other probabilities, but the same decisions."""
    x = torch.randn(40, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
    x = torch.cat([x, x + torch.tensor([1.0, -2.0, 0.5])])
    y = torch.arange(80) // 40
    x_new = x.mean(0) + 3 * torch.randn(500, 3, dtype=torch.float64)
    right, wrong = mended(answer, x_new, x, y, 2), faulty_classifier(x_new, x, y, 2)
    assert torch.equal(right.argmax(1), wrong.argmax(1))
    assert (right - wrong).abs().max() > 0.1


@pytest.mark.parametrize("fault", ["the mean of all", "no determinant", "no prior"])
def test_each_fault_of_the_listing_changes_decisions(answer, faulty_classifier, fault):
    """Data on which the two other faults are silent: the faulty classifier still differs."""
    x = torch.randn(400, 2, dtype=torch.float64)
    other = torch.randn(400, 2, dtype=torch.float64)
    if fault == "the mean of all":  # determinants and frequencies equal, shapes different
        x, other = x * torch.tensor([3.0, 1 / 3]), other * torch.tensor([1 / 3, 3.0]) + 1
        x[:, 0] += 4
    elif fault == "no determinant":  # one centre, equal frequencies
        x, other = x - x.mean(0), 4 * (other - other.mean(0))
    else:  # one centre, one shape, moved by so little that the mean of all is nearly its own
        x, other = x, x[:40] + 0.5
    data, y = torch.cat([x, other]), torch.tensor([0] * len(x) + [1] * len(other))
    right, wrong = mended(answer, data, data, y, 2), faulty_classifier(data, data, y, 2)
    assert (right.argmax(1) != wrong.argmax(1)).double().mean() > 0.02


def test_the_boundary_of_one_covariance_is_rarely_at_right_angles(answer):
    model = random_classes()
    same = model.covariance[:1].expand(2, 3, 3)
    Q, w, _ = answer("quadratic_logit")(model.prior, model.mean, same)
    line = model.mean[1] - model.mean[0]
    assert Q.abs().max() < 1e-10
    assert torch.cosine_similarity(w, line, dim=0) < 0.99
    _, w, _ = answer("quadratic_logit")(
        model.prior, model.mean, torch.eye(3).double().expand(2, 3, 3)
    )
    assert torch.cosine_similarity(w, line, dim=0) > 1 - 1e-12


# --- What the library does -----------------------------------------------------------------------


def test_distributions_of_two_gaussian_bins(answer):
    """Counts of a feature in bins: p(y|x) and p(x|y) give back the joint both ways."""
    counts = torch.randint(1, 30, (6, 4))
    p_x, p_y, posterior, likelihood = answer("distributions")(counts)
    joint = counts / counts.sum()
    torch.testing.assert_close(p_x[:, None] * posterior, joint)
    torch.testing.assert_close(p_y * likelihood, joint)


def test_the_cheapest_decisions_cost_least_on_the_table(answer):
    counts, cost = torch.randint(0, 40, (4, 3)), torch.rand(3, 3)
    total = {}
    for rule in torch.cartesian_prod(*[torch.arange(3)] * 4):
        paid = (counts * cost[:, rule].T).sum()
        total[tuple(rule.tolist())] = float(paid)
    best = min(total.values())
    got = tuple(answer("cheapest_decisions")(counts, cost).tolist())
    assert total[got] == pytest.approx(best)


def test_quadratic_logit(answer):
    model, x = random_classes(), torch.randn(20, 3, dtype=torch.float64)
    Q, w, b = answer("quadratic_logit")(model.prior, model.mean, model.covariance)
    expected = model.log_posterior(x).diff(dim=1).squeeze(1)
    torch.testing.assert_close(((x @ Q) * x).sum(1) + x @ w + b, expected)


def test_logistic_regression_finds_the_logit_of_poisson_counts(answer):
    """The discriminative model knows nothing of counts and still comes to the same w and b."""
    rate = torch.tensor([[1.0, 3.0], [2.0, 2.0]], dtype=torch.float64)
    prior = torch.tensor([0.4, 0.6], dtype=torch.float64)
    y = torch.bernoulli(torch.full((20_000,), 0.6)).long()
    x = Poisson(rate[y]).sample()
    w, b = answer("poisson_logit")(prior, rate)
    model = classifiers.fit_logistic_regression(x, y)
    torch.testing.assert_close(model.weight.diff(dim=0)[0], w, atol=0.08, rtol=0)
    torch.testing.assert_close(model.bias.diff()[0], b, atol=0.15, rtol=0)


def test_naive_bayes_of_pixels_is_that_of_scikit_learn(answer):
    x = (torch.rand(60, 50) < 0.3).float()
    y = torch.arange(60) % 4
    log_prior, theta = answer("fit_pixels")(x, y, 4, 0.7)
    model = BernoulliNB(alpha=0.7).fit(x.numpy(), y.numpy())
    torch.testing.assert_close(
        theta.log().double(), torch.from_numpy(model.feature_log_prob_).double(), atol=1e-5, rtol=0
    )
    got = answer("pixel_log_posterior")(x, log_prior, theta)
    expected = torch.from_numpy(model.predict_log_proba(x.numpy())).double()
    torch.testing.assert_close(got.double(), expected, atol=1e-4, rtol=1e-4)


def test_newton_reaches_the_minimum_of_the_library(answer):
    """Two classes of softmax: half the penalty on each of two opposite weights, twice in sum."""
    x = torch.randn(80, 3, dtype=torch.float64)
    y = torch.bernoulli(torch.sigmoid(x[:, 0] - 0.5)).long()
    w, b = torch.zeros(3).double(), torch.zeros(()).double()
    for _ in range(10):
        w, b = answer("newton_step")(x, y.double(), w, b, 0.8)
    model = classifiers.fit_logistic_regression(x, y, penalty=1.6)
    torch.testing.assert_close(w, model.weight[1] - model.weight[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(b, model.bias[1] - model.bias[0], atol=1e-5, rtol=0)
    objective = answer("logistic_objective")
    least = objective(x, y.double(), w, b, 0.8)
    for _ in range(20):
        off = 0.1 * torch.randn(3, dtype=torch.float64)
        assert objective(x, y.double(), w + off, b + off[0], 0.8) > least


def test_the_mended_classifier(answer):
    x = torch.randn(90, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64)
    y = torch.arange(90).sqrt().long() % 3
    model = classifiers.fit_gaussian_classifier(x, y)
    x_new = 2 * torch.randn(20, 4, dtype=torch.float64)
    torch.testing.assert_close(mended(answer, x_new, x, y, 3), model.log_posterior(x_new))


def test_gaps(answer):
    model, nan = random_classes(3, 5), math.nan
    x = torch.randn(6, 5, dtype=torch.float64)
    known = torch.tensor([True, False, True, True, False])
    gaps = torch.where(known, x, nan)
    case = model.mean, model.covariance
    posterior = answer("posterior_with_gaps")(gaps, model.prior, *case)
    expected = model.marginal(known).log_posterior(x[:, known]).exp()
    torch.testing.assert_close(posterior, expected)
    torch.testing.assert_close(answer("fill_gaps")(gaps, posterior, *case), model.fill_in(x, known))


def test_em(answer):
    """The M-step is the library's fit with what each example counts for each class."""
    x = torch.randn(30, dtype=torch.float64)
    y = torch.arange(30) % 4 - 1  # every fourth without a label
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    mean, variance = torch.randn(3).double(), torch.rand(3).double() + 0.5
    model = classifiers.GaussianClassifier(prior, mean[:, None], variance[:, None, None])
    weights = model.log_posterior(x[:, None]).exp()
    weights[y >= 0] = torch.eye(3, dtype=torch.float64)[y[y >= 0]]
    fitted = classifiers.fit_gaussian_classifier(x[:, None], weights)
    got = answer("em_step")(x, y, prior, mean, variance)
    torch.testing.assert_close(got[0], fitted.prior)
    torch.testing.assert_close(got[1], fitted.mean[:, 0])
    torch.testing.assert_close(got[2], fitted.covariance[:, 0, 0])
    joint = model.log_joint(x[:, None])
    expected = model.log_prob(x[y < 0, None]).sum() + joint[y >= 0, y[y >= 0]].sum()
    likelihood = answer("partly_labelled_log_likelihood")
    torch.testing.assert_close(likelihood(x, y, prior, mean, variance), expected)
    assert likelihood(x, y, *got) > likelihood(x, y, prior, mean, variance)


def test_typicality_of_draws_is_uniform(answer):
    """So that 5 % of them are below 0.05, whatever the dimension and the covariance."""
    model = random_classes(1, 6)
    draws, _ = model.sample(4000, seed=1)
    got = answer("typicality")(draws, model.mean[0], model.covariance[0]).sort().values
    uniform = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    assert (got - uniform).abs().max() < 1.63 / math.sqrt(4000)  # Kolmogorov-Smirnov, 1 %
    density = model.log_prob(draws)
    highest, expected, deviation = answer("log_densities_of_draws")(model.covariance[0])
    assert abs(density.mean() - expected) < 4 * deviation / math.sqrt(4000)
    torch.testing.assert_close(model.log_prob(model.mean)[0], highest)
