"""What the exercises of chapter 02 teach is what the library, SciPy and PyTorch do."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import assignments
import notebooks
import numpy as np
import pytest
import scipy
import torch
from answer_cells import check_visibly
from torch.distributions import Normal, TransformedDistribution, transforms

from course_lib import divergences

ROOT = Path(__file__).resolve().parent.parent.parent
CHAPTER = "02_likelihood_and_divergences"


@pytest.fixture(scope="module")
def text():
    return notebooks.read_text(ROOT / assignments.SOURCE / CHAPTER / f"{CHAPTER}.md")


def probabilities(*shape):
    return torch.softmax(torch.randn(*shape, dtype=torch.float64), -1)


def joint(rows, columns):
    return probabilities(rows * columns).view(rows, columns)


# --- What the text says --------------------------------------------------------------------------


def test_more_statistics_match_more_moments(cells):
    table = check_visibly(cells, "match_moments", cells["match_moments"])["table"]
    divergence = [table[degree][-1] for degree in (0, 1, 2, 4)]
    assert divergence == sorted(divergence, reverse=True) and divergence[3] < 0.2 * divergence[2]
    for degree in (1, 2):
        assert table[degree][:degree] == pytest.approx(table[4][:degree], abs=1e-6)


def test_two_statistics_make_one_curve_of_two_humps(answer):
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    t = torch.stack([x, x**2], 1)
    p = torch.exp(-8 * (x - 1) ** 2) + 0.5 * torch.exp(-8 * (x + 1) ** 2)
    p = p / p.sum()
    q = torch.softmax(t @ answer("match_moments")(p, t), 0)
    tops = [((s[1:-1] > s[:-2]) & (s[1:-1] > s[2:])).sum().item() for s in (p, q)]
    assert tops == [2, 1]


def test_forward_covers_both_humps_and_reverse_one(answer):
    p = torch.tensor([[0.48, 0.02], [0.02, 0.48]], dtype=torch.float64)
    margins = p.sum(1), p.sum(0)
    assert all(part.abs() < 1e-12 for part in answer("forward_parts")(p, *margins)[:2])
    forward = torch.outer(*margins)
    reverse = torch.outer(*answer("best_mean_field")(p))
    assert (forward == 0.25).all()
    kept = max(reverse[0, 0], reverse[1, 1])
    assert kept > 0.85 and reverse[0, 0] + reverse[1, 1] - kept < 0.01
    p, forward, reverse = p.flatten(), forward.flatten(), reverse.flatten()
    assert divergences.kl(p, forward) < 0.5 * divergences.kl(p, reverse)
    assert divergences.kl(reverse, p) < 0.75 * divergences.kl(forward, p)


def test_pinskers_bound_allows_more_than_the_judge_reaches(cells):
    table = check_visibly(cells, "looks_needed", cells["looks_needed"])["table"]
    assert all(reached < allowed for reached, allowed in table.values())
    assert table[64][0] < 0.8 < 0.9 < table[64][1], "it allows 0.9 long before that is reached"


def test_outside_the_domain_the_bound_is_none(cells):
    table = check_visibly(cells, "variational_bound", cells["variational_bound"])["table"]
    (best, error), _ = table["the best, (1 - √(q/p)) / 2"]
    assert abs(best - (1 - math.exp(-1 / 8))) < 3 * error
    assert all(value[0] < best + 2 * error for value, _ in table.values())
    bounded, unbounded = table["3 + |v|"]
    assert bounded[0] == -math.inf and unbounded[0] > 1


def test_the_correction_makes_up_for_a_part_of_the_bias(cells):
    table = check_visibly(cells, "entropy_estimates", cells["entropy_estimates"])["table"]
    for plug_in, gap, formula, corrected in table.values():
        truth = plug_in + gap
        assert gap > 0 and abs(truth - corrected) < 0.65 * gap
        if table[1000][0] == plug_in:
            assert gap == pytest.approx(formula, rel=0.1)
    assert table[10][1] < 0.9 * table[10][2], "the first term only, for large n"


STRETCH = (lambda z: 1 - 2 * z, lambda x: (1 - x) / 2, lambda z: math.log(2) + 0 * z)
BEND = (torch.sinh, torch.asinh, lambda z: z.cosh().log())


@pytest.fixture
def densities(text, cells):
    """The listed density with each single fault of its three, with none, and with all."""
    (listing,) = [c.source for c in text.cells if c.source.startswith("def faulty_log_density")]
    mends = {
        "order": ("in layers:", "in layers[::-1]:"),
        "argument": (
            "        total = total + log_slope(z)\n        z = inverse(z)",
            "        z = inverse(z)\n        total = total + log_slope(z)",
        ),
        "sign": ("+ total\n", "- total\n"),
    }
    made = {}
    for kept in (*mends, "none", "all"):
        code = listing + "\n"
        for name, (old, new) in mends.items():
            assert code.count(old) == 1
            code = code if kept in (name, "all") else code.replace(old, new)
        namespace = {}
        exec(cells["setup"] + "\n" + code, namespace)
        made[kept] = namespace["faulty_log_density"]
    return made


def test_the_listed_density_runs_and_each_fault_shows(densities, answer):
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    right = answer("flow_log_density")(x, [STRETCH, BEND])
    got = {kept: density(x, [STRETCH, BEND]) for kept, density in densities.items()}
    assert got["all"].isfinite().all()
    assert [k for k, value in got.items() if torch.allclose(value, right)] == ["none"]


def test_the_integral_shows_the_sign_and_in_curved_layers_the_argument(densities):
    def areas(layers):
        place = torch.cat([-torch.logspace(7, -8, 60_001), torch.logspace(-8, 7, 60_001)]).double()
        return {
            k: float(torch.trapezoid(d(place, layers).exp(), place)) for k, d in densities.items()
        }

    one = areas([STRETCH])
    assert one == pytest.approx(
        {"order": 1, "argument": 1, "sign": 4, "none": 1, "all": 4}, rel=1e-4
    )

    def wave(z):
        return z + z.tanh()

    def back(x):
        low, high = x - 1, x + 1
        for _ in range(60):
            middle = (low + high) / 2
            is_below = wave(middle) < x
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        return (low + high) / 2

    curved = areas([BEND, (wave, back, lambda z: (2 - z.tanh() ** 2).log())])
    assert curved["order"] == pytest.approx(1, rel=1e-4)
    assert curved["none"] == pytest.approx(1, rel=1e-4)
    assert abs(curved["argument"] - 1) > 0.01 and abs(curved["sign"] - 1) > 0.01


# --- What the library and others do --------------------------------------------------------------


def test_kl(answer):
    p, q = probabilities(2, 1, 5), probabilities(3, 5)
    p[0, 0, 1] = 0
    p = p / p.sum(-1, keepdim=True)
    got = answer("kl")(p, q, False)
    torch.testing.assert_close(got, divergences.kl(p, q))
    expected = scipy.stats.entropy(p.expand(2, 3, 5), q.expand(2, 3, 5), base=2, axis=-1)
    np.testing.assert_allclose(answer("kl")(p, q, True), expected)
    certain = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for first, second in ((certain, certain.flip(0)), (certain, certain)):
        assert answer("kl")(first, second, False) == divergences.kl(first, second)


def test_the_chain_rule(answer):
    p, q = joint(4, 3), joint(4, 3)
    whole = divergences.kl(p.flatten(), q.flatten())
    margins = divergences.kl(p.sum(1), q.sum(1))
    torch.testing.assert_close(answer("conditional_kl")(p, q), whole - margins)


def test_matched_moments_are_the_best_likelihood(answer):
    p, t = probabilities(30), torch.randn(30, 3, dtype=torch.float64)
    theta = answer("match_moments")(p, t)
    best = divergences.kl(p, torch.softmax(t @ theta, 0))
    for _ in range(50):
        other = theta + 0.05 * torch.randn(3, dtype=torch.float64)
        assert divergences.kl(p, torch.softmax(t @ other, 0)) > best


def test_x_and_its_square_make_a_gaussian(answer):
    x = torch.linspace(-12, 12, 2401, dtype=torch.float64)
    p = torch.softmax(Normal(0.5, 1.3).log_prob(x), 0) * 0.7
    p = p + torch.softmax(Normal(-1.0, 0.4).log_prob(x), 0) * 0.3
    t = torch.stack([x / 4, x**2 / 40], 1)  # of the size that is promised
    q = torch.softmax(t @ answer("match_moments")(p, t), 0)
    mean = p @ x
    expected = Normal(mean, (p @ (x - mean) ** 2).sqrt()).log_prob(x).exp() * 0.01
    torch.testing.assert_close(q, expected, atol=1e-7, rtol=0)


def test_the_laplace_distribution_is_scipys(answer):
    x = torch.randn(11, dtype=torch.float64)
    p = torch.full((11,), 1 / 11, dtype=torch.float64)
    assert answer("best_laplace")(x, p) == pytest.approx(scipy.stats.laplace.fit(x.numpy()))


def test_the_parts_make_the_divergence_and_the_margins_are_the_best(answer):
    p = joint(3, 4)
    margins = p.sum(1), p.sum(0)
    first, second, rest = answer("forward_parts")(p, *margins)
    torch.testing.assert_close(rest, divergences.kl(p.flatten(), torch.outer(*margins).flatten()))
    assert abs(first) < 1e-12 and abs(second) < 1e-12
    for _ in range(50):
        a, b = probabilities(3), probabilities(4)
        parts = answer("forward_parts")(p, a, b)
        whole = divergences.kl(p.flatten(), torch.outer(a, b).flatten())
        torch.testing.assert_close(sum(parts), whole)
        torch.testing.assert_close(parts[2], rest)
        assert parts[0] > 0 and parts[1] > 0


def test_every_sweep_lowers_the_reverse_divergence(answer):
    p, b = joint(4, 5), probabilities(5)
    values = []
    for _ in range(6):
        a, b = answer("mean_field_sweep")(p, b)
        values.append(float(divergences.kl(torch.outer(a, b).flatten(), p.flatten())))
    assert values == sorted(values, reverse=True) and values[-1] < values[0]
    for _ in range(50):  # b is the best for this a
        other = torch.softmax(b.log() + 0.1 * torch.randn(5), 0)
        assert divergences.kl(torch.outer(a, other).flatten(), p.flatten()) > values[-1]


def test_no_product_has_a_smaller_reverse_divergence(answer):
    """Another way to the minimum: descent on the logits, from many starts."""
    p = torch.tensor(
        [[0.35, 0.01, 0.01], [0.01, 0.15, 0.16], [0.01, 0.15, 0.15]], dtype=torch.float64
    )
    q = torch.outer(*answer("best_mean_field")(p))
    logits = (3 * torch.randn(40, 6, dtype=torch.float64)).requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.05)
    for _ in range(600):
        a, b = logits[:, :3].softmax(1), logits[:, 3:].softmax(1)
        values = divergences.kl((a[:, :, None] * b[:, None]).flatten(1), p.flatten())
        optimiser.zero_grad()
        values.sum().backward()
        optimiser.step()
    found = divergences.kl(q.flatten(), p.flatten())
    assert abs(found - values.detach().min()) < 1e-4 < values.detach().max() - found


def test_the_judge_reaches_the_total_variation(answer):
    p, q = probabilities(2, 6)
    _, accuracy = answer("best_judge")(p, q, 0.5)
    torch.testing.assert_close(accuracy, (1 + divergences.total_variation(p, q)) / 2)
    says_p, accuracy = answer("best_judge")(p, q, 0.3)
    rules = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 6)
    reached = rules @ (0.3 * p) + (1 - rules) @ (0.7 * q)
    assert torch.equal(rules[reached.argmax()].bool(), says_p)
    torch.testing.assert_close(reached.max(), accuracy)


@pytest.mark.parametrize("accuracy", [0.55, 0.7, 0.8])
def test_fewer_looks_than_the_bound_asks_for_are_too_few(answer, accuracy):
    p, q = torch.tensor([[0.5, 0.5], [0.58, 0.42]], dtype=torch.float64)
    n = answer("looks_needed")(p, q, accuracy)
    k = np.arange(n)  # heads in n - 1 looks
    tables = [scipy.stats.binom.pmf(k, n - 1, float(chance[0])) for chance in (p, q)]
    assert 0.5 * np.maximum(*tables).sum() < accuracy
    smaller = float(min(divergences.kl(p, q), divergences.kl(q, p)))
    assert math.sqrt((n - 1) * smaller / 2) < 2 * accuracy - 1 <= math.sqrt(n * smaller / 2)


def test_the_conjugates(answer):
    t = torch.linspace(-6, 3, 91, dtype=torch.float64) + 0.01
    for name in ("squared hellinger", "pearson chi2"):
        expected = divergences.F_DIVERGENCES[name].conjugate(t)
        torch.testing.assert_close(answer("conjugate")(t, name), expected)


@pytest.mark.parametrize("name", ["kl", "jensen-shannon", "squared hellinger", "pearson chi2"])
def test_the_bound_from_samples(answer, name):
    """With frequencies that are exact in the samples, the best critic reaches the divergence."""
    counts_p, counts_q = torch.tensor([40, 25, 15]), torch.tensor([10, 20, 30])
    p, q = counts_p / counts_p.sum().double(), counts_q / counts_q.sum().double()
    f = divergences.F_DIVERGENCES[name]
    critic = f.slope(p / q)
    at_p, at_q = critic.repeat_interleave(counts_p), critic.repeat_interleave(counts_q)
    value, error = answer("variational_bound")(at_p, at_q, f.conjugate)
    assert value == pytest.approx(float(divergences.f_divergence(p, q, name)))
    assert value == pytest.approx(float(divergences.variational_bound(at_p, at_q, name)))
    again = [
        answer("variational_bound")(
            at_p[torch.randint(80, (80,))], at_q[torch.randint(60, (60,))], f.conjugate
        )[0]
        for _ in range(1000)
    ]
    assert np.std(again) == pytest.approx(error, rel=0.1)


def test_the_critic_of_any_output(answer):
    """T(v) = (1 - e^-v) / 2 turns the Hellinger bound into an exponential loss."""
    v_p, v_q = torch.randn(7, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    conjugate = functools.partial(answer("conjugate"), name="squared hellinger")
    at_p, at_q = (-torch.expm1(-v) / 2 for v in (v_p, v_q))
    value, _ = answer("variational_bound")(at_p, at_q, conjugate)
    assert value == pytest.approx(float(1 - (-v_p).exp().mean() / 2 - v_q.exp().mean() / 2))


def test_quantiles_are_numpys(answer):
    x, repeats = torch.randn(9, dtype=torch.float64), torch.tensor([1, 3, 0, 2, 4, 1, 1, 3, 1])
    levels = torch.arange(1, 33, dtype=torch.float64) / 32
    expected = np.quantile(
        x.repeat_interleave(repeats).numpy(), levels.numpy(), method="inverted_cdf"
    )
    np.testing.assert_array_equal(answer("quantiles")(x, repeats / 16.0, levels.float()), expected)


@pytest.mark.parametrize("order", [1, 1.7, 2, 5])
def test_the_wasserstein_distance(answer, order):
    x, y = torch.randn(6, dtype=torch.float64), 2 * torch.randn(9, dtype=torch.float64)
    weights_x, weights_y = probabilities(6), probabilities(9)
    got = answer("wasserstein")(x, y, weights_x, weights_y, order)
    torch.testing.assert_close(
        got, divergences.wasserstein_1d(x, y, order, weights_x, weights_y), rtol=1e-6, atol=0
    )
    # As a linear programme over all ways to carry the weight
    cost = ((x[:, None] - y).abs() ** order).flatten().numpy()
    rows = np.kron(np.eye(6), np.ones(9))
    columns = np.kron(np.ones(6), np.eye(9))
    plan = scipy.optimize.linprog(
        cost,
        A_eq=np.vstack([rows, columns])[:-1],  # the last condition follows from the others
        b_eq=np.concatenate([weights_x, weights_y])[:-1],
    )
    assert float(got) == pytest.approx(plan.fun ** (1 / order), rel=1e-6)
    if order == 1:
        expected = scipy.stats.wasserstein_distance(x, y, weights_x, weights_y)
        assert float(got) == pytest.approx(expected)


def test_the_entropy_of_frequencies(answer):
    counts = torch.tensor([[3, 0, 5, 1], [2, 2, 2, 2]])
    plug_in, corrected = answer("entropy_estimates")(counts)
    torch.testing.assert_close(
        plug_in, divergences.entropy(counts / counts.sum(1)[:, None].double())
    )
    np.testing.assert_allclose(plug_in, scipy.stats.entropy(counts.numpy(), axis=1))
    torch.testing.assert_close(corrected - plug_in, torch.tensor([2 / 18, 3 / 16]).double())


def test_comparing_models_is_a_monte_carlo_estimate(answer):
    """If one of the two is p itself, the difference is the divergence of the other."""
    x = torch.randn(500, dtype=torch.float64)
    log_q, log_p = Normal(0.5, 1.5).log_prob(x), Normal(0.0, 1.0).log_prob(x)
    expected = divergences.kl_monte_carlo(log_p, log_q)
    got = answer("compare_models")(log_q, log_p)
    assert got == pytest.approx([float(part) for part in expected])


def test_the_flow_is_that_of_torch(answer):
    layers = [
        (lambda z: 0.3 - 1.5 * z, lambda x: (0.3 - x) / 1.5, lambda z: math.log(1.5) + 0 * z),
        (
            torch.nn.functional.softplus,
            lambda x: x.expm1().log(),
            torch.nn.functional.logsigmoid,
        ),
        (torch.exp, torch.log, lambda z: z),
    ]
    flow = TransformedDistribution(
        Normal(0.0, 1.0),
        [
            transforms.AffineTransform(0.3, -1.5),
            transforms.SoftplusTransform(),
            transforms.ExpTransform(),
        ],
    )
    z = torch.randn(20, dtype=torch.float64)
    x, log_density = answer("draw_with_log_density")(z, layers)
    torch.testing.assert_close(log_density, flow.log_prob(x))
    torch.testing.assert_close(answer("flow_log_density")(x, layers), log_density)
