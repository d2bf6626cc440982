"""Two ways to a classifier: Gaussian classes, which are a model of x too, and logistic regression.

A *generative* classifier fits p(x, y) = π_y N(x; μ_y, Σ_y) and gets p(y|x) by Bayes' rule. A
*discriminative* one fits p(y|x) = softmax(W x + b) and knows nothing of p(x). With the same Σ for
all classes both have a posterior of the same form (Efron 1975,
https://doi.org/10.1080/01621459.1975.10480319) and differ in what they are fitted to (Ng & Jordan
2002, see reading_list.md).

Examples are rows: images are flattened first, ``images.flatten(1)``. Logarithms are natural ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import linear, one_hot

from course_lib import checks

# Quadratic discriminant analysis; Gaussian naive Bayes; linear discriminant analysis; naive Bayes
# with variances that all classes share, the partner of logistic regression in Ng & Jordan 2002.
COVARIANCES = ("full", "diagonal", "shared", "shared diagonal")

_NEWTON_STEPS = 200

# --- The generative one --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)  # == of tensors has no single truth value
class GaussianClassifier:
    """p(x, y) = π_y N(x; μ_y, Σ_y).

    Every method computes in the dtype of ``mean``, on its device, and can be differentiated.

    Raises:
        ValueError: for shapes or dtypes that do not fit, a mean that is not finite, a prior that
            is no distribution, or covariances that are not symmetric; methods that need one that
            is positive definite say so, too.
    """

    prior: Float[Tensor, " classes"]  # π, adds up to 1
    mean: Float[Tensor, "classes features"]
    covariance: Float[Tensor, "classes features features"]

    def __post_init__(self) -> None:
        shape = (*self.mean.shape, *self.mean.shape[1:])
        if self.mean.ndim != 2 or self.prior.shape != shape[:1] or self.covariance.shape != shape:
            raise ValueError(
                "prior, mean and covariance must be (classes,), (classes, features) and (classes, "
                f"features, features), got {tuple(self.prior.shape)}, {tuple(self.mean.shape)} and "
                f"{tuple(self.covariance.shape)}"
            )
        types = [tensor.dtype for tensor in (self.prior, self.mean, self.covariance)]
        if len(set(types)) > 1 or types[0] not in (torch.float32, torch.float64):
            raise ValueError(
                f"prior, mean and covariance must all be float32, or all float64, got {types}; use "
                ".double()"
            )
        if self.mean.is_meta:  # has no values
            return
        if not bool(self.mean.isfinite().all()):
            raise ValueError("mean must be finite, but holds NaN or infinite values; fit it anew")
        if not (
            bool((self.prior >= 0).all()) and abs(float(self.prior.detach().sum()) - 1) <= 1e-5
        ):
            raise ValueError(
                "prior must hold probabilities that add up to 1, got "
                f"{self.prior.tolist()}; use prior / prior.sum()"
            )
        gap = (self.covariance - self.covariance.mT).abs().max()
        if not bool(gap <= 1e-5 * self.covariance.abs().max()):
            raise ValueError(
                "covariance must be symmetric and finite, but differs from its transpose by "
                f"{float(gap):.3g}; use (covariance + covariance.mT) / 2"
            )

    def log_joint(self, x: Float[Tensor, "n features"]) -> Float[Tensor, "n classes"]:
        """log p(x, y) of each example and class, in nats (a density in x: it may be positive)."""
        x = _rows(x, self.mean)
        constant = x.shape[1] * math.log(2 * math.pi)
        columns = []
        # One class at a time: all at once would take n × classes × features numbers.
        for prior, mean, factor in zip(
            self.prior, self.mean, _cholesky(self.covariance), strict=True
        ):
            white = torch.linalg.solve_triangular(factor, (x - mean).mT, upper=False)
            log_det = 2 * factor.diagonal().log().sum()
            columns.append(prior.log() - (white.square().sum(0) + log_det + constant) / 2)
        return torch.stack(columns, 1)

    def log_prob(self, x: Float[Tensor, "n features"]) -> Float[Tensor, " n"]:
        """log p(x) = log Σ_y p(x, y) of each example, in nats."""
        return self.log_joint(x).logsumexp(1)

    def log_posterior(self, x: Float[Tensor, "n features"]) -> Float[Tensor, "n classes"]:
        """log p(y|x) of each example and class, in nats, by Bayes' rule."""
        return self.log_joint(x).log_softmax(1)

    def predict(self, x: Float[Tensor, "n features"]) -> Int[Tensor, " n"]:
        """The most probable class of each example."""
        return self.log_joint(x).argmax(1)

    def sample(
        self, n: int, *, seed: int = 0, label: int | None = None
    ) -> tuple[Float[Tensor, "n features"], Int[Tensor, " n"]]:
        """Draws (x, y) from p(x, y), or from p(x|y = label) if a label is given.

        Raises:
            ValueError: for n below 1, or a label that is no class.
        """
        rules = {"n": checks.whole(1), "label": checks.optional(checks.whole(0))}
        checks.check(rules, {"n": n, "label": label})
        classes, features = self.mean.shape
        if label is not None and label >= classes:
            raise ValueError(f"label must be a class from 0 to {classes - 1}, got {label}")
        generator = torch.Generator().manual_seed(seed)  # the same draws on every device
        y = torch.multinomial(self.prior.detach().cpu(), n, replacement=True, generator=generator)
        y = (y if label is None else torch.full((n,), label)).to(self.mean.device)
        noise = torch.randn(n, features, generator=generator, dtype=self.mean.dtype)
        x = self.mean[y]
        for index, factor in enumerate(_cholesky(self.covariance)):
            own = y == index
            x[own] += noise.to(x.device)[own] @ factor.mT
        return x, y

    def marginal(self, known: Bool[Tensor, " features"]) -> GaussianClassifier:
        """The same model of the features that are ``known``, the others integrated out.

        Raises:
            ValueError: when ``known`` is no bool tensor (features,), or True nowhere.
        """
        features = self.mean.shape[1]
        if known.dtype != torch.bool or known.shape != (features,) or not known.any():
            raise ValueError(
                f"known must be a bool tensor ({features},), True at one feature or more, got "
                f"{known.dtype} {tuple(known.shape)} with {int(known.sum())} of them"
            )
        covariance = self.covariance[:, known][:, :, known]
        return GaussianClassifier(self.prior, self.mean[:, known], covariance)

    def fill_in(
        self, x: Float[Tensor, "n features"], known: Bool[Tensor, " features"]
    ) -> Float[Tensor, "n features"]:
        """x with each unknown feature replaced by its expectation given the known ones.

        E[x_u | x_k] = Σ_y p(y | x_k) (μ_u + Σ_uk Σ_kk⁻¹ (x_k - μ_k)), with the mean and the
        covariance of class y in the sum (Bishop 2006, eq. 2.81, averaged over the classes). What
        x holds at the unknown features is not read and may be NaN.

        Raises:
            ValueError: as :meth:`marginal`; for known features that are not finite.
        """
        marginal = self.marginal(known)
        x = _rows(x, self.mean, known)
        seen = x[:, known]
        posterior = marginal.log_posterior(seen).exp()
        cross = self.covariance[:, known][:, :, ~known]
        slopes = torch.cholesky_solve(cross, _cholesky(marginal.covariance))
        filled = x.clone()
        filled[:, ~known] = sum(
            weight[:, None] * (mean[~known] + (seen - mean[known]) @ slope)
            for weight, mean, slope in zip(posterior.mT, self.mean, slopes, strict=True)
        )
        return filled


def fit_gaussian_classifier(
    x: Float[Tensor, "n features"],
    labels: Int[Tensor, " n"] | Float[Tensor, "n classes"],
    covariance: str = "full",
    *,
    classes: int | None = None,
    ridge: float | int = 0.0,
) -> GaussianClassifier:
    """The Gaussian classes of maximum likelihood: counts, means and covariances (divided by n).

    Args:
        x: the examples.
        labels: the class of each example; or what each example counts for each class, 0 or more.
            With the posterior of a model for these weights, this is the M-step of EM for a
            mixture of Gaussians (Bishop 2006, eq. 9.24-9.26); rows of zeros are left out.
        covariance: one of ``COVARIANCES``.
        classes: number of classes; None: the largest label and one, or the columns of ``labels``.
        ridge: added to the variance of every feature in every class, in units of x².

    Raises:
        ValueError: for labels that do not fit, a class without examples, or a covariance that is
            singular (fewer examples than features, a constant feature, one that repeats others).
    """
    rules = {"covariance": checks.one_of(COVARIANCES), "ridge": checks.number(0)}
    checks.check(rules, {"covariance": covariance, "ridge": ridge})
    weights = _weights(x, labels, classes)
    prior = weights.sum(0) / weights.sum()
    means, spreads = [], []
    for weight in (weights / weights.sum(0)).mT:
        own = weight > 0  # with labels, most examples are another class's
        mean = weight[own] @ x[own]
        rest = (x[own] - mean) * weight[own, None].sqrt()
        means.append(mean)
        spreads.append(rest.square().sum(0) if "diagonal" in covariance else rest.mT @ rest)
    spread = torch.stack(spreads)
    if "shared" in covariance:
        spread = torch.tensordot(prior, spread, 1).expand_as(spread)
    if "diagonal" in covariance:
        spread = torch.diag_embed(spread)
    spread = spread + ridge * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    _cholesky(spread)  # now, where the remedy is at hand
    return GaussianClassifier(prior, torch.stack(means), spread)


# --- The discriminative one ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)  # == of tensors has no single truth value
class LogisticRegression:
    """p(y|x) = softmax(W x + b)."""

    weight: Float[Tensor, "classes features"]  # W
    bias: Float[Tensor, " classes"]

    def log_posterior(self, x: Float[Tensor, "n features"]) -> Float[Tensor, "n classes"]:
        """log p(y|x) of each example and class, in nats."""
        return linear(_rows(x, self.weight), self.weight, self.bias).log_softmax(1)

    def predict(self, x: Float[Tensor, "n features"]) -> Int[Tensor, " n"]:
        """The most probable class of each example."""
        return self.log_posterior(x).argmax(1)


def fit_logistic_regression(
    x: Float[Tensor, "n features"],
    labels: Int[Tensor, " n"] | Float[Tensor, "n classes"],
    *,
    classes: int | None = None,
    penalty: float | int = 1e-4,
) -> LogisticRegression:
    """Minimises Σ -log p(y|x) + penalty / 2 · Σ W², the bias free, in double precision.

    Of 784 raw pixels, 4,000 images take about 15 s on one core with penalty 1, 50 s with 1e-4;
    400 images take less than a second. No gradient passes through the fit.

    Args:
        x: the examples.
        labels, classes: as in :func:`fit_gaussian_classifier`.
        penalty: 0 or more; scikit-learn's ``LogisticRegression`` calls 1 / penalty C (with two
            classes 2 / penalty, for it keeps one vector w, the difference of our two).

    Raises:
        ValueError: for labels that do not fit; when there is no minimum, since with penalty 0 the
            weights grow for ever where a hyperplane separates classes (Albert & Anderson 1984,
            https://doi.org/10.1093/biomet/71.1.1); when 200 steps do not reach it.
    """
    checks.check({"penalty": checks.number(0)}, {"penalty": penalty})
    target = _weights(x, labels, classes).detach().double()
    total = target.sum()
    target = target / total
    # In units of their standard deviations, so that a slope of 1e-12 is small whether a feature is
    # counted in thousands or in thousandths.
    data, row = x.detach().double(), target.sum(1)
    centre = row @ data
    scale = (row @ (data - centre).square()).sqrt()
    scale[scale <= 1e-10 * centre.abs()] = math.inf  # a constant, but for rounding: weight 0
    design = torch.cat([(data - centre) / scale, torch.ones_like(row)[:, None]], 1)
    decay = torch.cat([penalty / total / scale.square(), torch.zeros_like(total)[None]])
    theta = torch.zeros(target.shape[1], design.shape[1], dtype=torch.float64, device=x.device)
    if penalty == 0:
        # Where there is a minimum, a penalty a thousandth as large leaves the logits where they
        # are; where there is none, they grow by about log 1000.
        weak = _minimise(design, target, decay + 1e-7, theta)
        theta = _minimise(design, target, decay + 1e-10, weak)
        if (design @ (theta - weak).mT).abs().max() > 1:
            raise ValueError(
                "penalty must be more than 0 for this x: a hyperplane separates classes, so that "
                "weights grow for ever; use penalty=1e-4"
            )
    theta = _minimise(design, target, decay, theta)
    weight = theta[:, :-1] / scale
    bias = theta[:, -1] - weight @ centre
    return LogisticRegression(weight.to(x.dtype), bias.to(x.dtype))


def _minimise(design: Tensor, target: Tensor, decay: Tensor, start: Tensor) -> Tensor:
    """The theta of the smallest Σ -target · log p + Σ decay · theta² / 2, (classes, columns).

    Newton's method. Conjugate gradients find its steps, the more exactly the nearer the minimum is
    (Nocedal & Wright 2006, algorithm 7.1), so that no matrix of all second derivatives is needed.
    """

    def loss(theta: Tensor) -> Tensor:
        surprise = -(target * (design @ theta.mT).log_softmax(1)).sum()
        return surprise + (decay * theta.square()).sum() / 2

    theta, squares, count = start, design.square(), target.sum(1, keepdim=True)
    for _ in range(_NEWTON_STEPS):
        p = (design @ theta.mT).softmax(1)
        slope = (count * p - target).mT @ design + decay * theta
        if slope.abs().max() <= 1e-12:
            return theta - theta.mean(0)  # what all classes share changes no p
        # The diagonal of the second derivative; 1e-12 is for columns of zeros.
        diagonal = (count * p * (1 - p)).mT @ squares + decay + 1e-12
        step, rest = torch.zeros_like(theta), -slope
        direction = rest / diagonal
        left = first = (rest * direction).sum()
        for _ in range(500):
            logits = design @ direction.mT
            change = count * p * (logits - (p * logits).sum(1, keepdim=True))
            curved = change.mT @ design + decay * direction  # second derivative times direction
            length = left / (direction * curved).sum()
            step, rest = step + length * direction, rest - length * curved
            scaled = rest / diagonal
            before, left = left, (rest * scaled).sum()
            if left <= first * first.sqrt().clamp(max=0.1):
                break
            direction = scaled + left / before * direction
        size, now, fall = 1.0, loss(theta), (slope * step).sum()
        while loss(theta + size * step) > now + 1e-4 * size * fall + 1e-14:  # 1e-14: rounding
            size /= 2
        theta = theta + size * step
    raise ValueError(
        f"penalty is too small for this x: after {_NEWTON_STEPS} steps the slope is "
        f"{float(slope.abs().max()):.1g} instead of 1e-12; use a larger penalty, or fewer features"
    )


# --- What both need ------------------------------------------------------------------------------


def _rows(x: Tensor, like: Tensor, read: Tensor | slice = slice(None)) -> Tensor:
    """``x`` in the dtype of ``like``, if it has as many columns, and finite values in those read.

    Values are not checked on the meta device, which has none.
    """
    if x.ndim != 2 or x.shape[1] != like.shape[1]:
        raise ValueError(
            f"x must be (n, {like.shape[1]}) for this model, got {tuple(x.shape)}; flatten images "
            "with x.flatten(1)"
        )
    if not x.is_meta:
        checks.check_samples(x[:, read], bounded=False, name="x")
    return x.to(like.dtype)


def _weights(x: Tensor, labels: Tensor, classes: int | None) -> Tensor:
    """What each example counts for each class, (n, classes), after all checks of x and labels."""
    checks.check({"classes": checks.optional(checks.whole(1))}, {"classes": classes})
    checks.check_samples(x, bounded=False, name="x")
    if x.ndim != 2 or x.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"x must be float32 or float64 (n, features), got {x.dtype} {tuple(x.shape)}; use "
            "x.flatten(1) for images, and x.float()"
        )
    weighted = labels.is_floating_point()
    if labels.dtype == torch.bool or labels.shape[:1] != x.shape[:1] or labels.ndim != 1 + weighted:
        raise ValueError(
            f"labels must be classes, int ({len(x)},), or weights, float ({len(x)}, classes), got "
            f"{labels.dtype} {tuple(labels.shape)}"
        )
    count = classes or (labels.shape[1] if weighted else int(labels.max()) + 1)
    if weighted and (
        labels.shape[1] != count or not bool(((labels >= 0) & labels.isfinite()).all())
    ):
        raise ValueError(
            f"labels as weights must be 0 or more and finite, in {count} columns, got "
            f"{labels.shape[1]} columns from {float(labels.min()):.4g} to {float(labels.max()):.4g}"
        )
    if not weighted and not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise ValueError(
            f"labels must be classes from 0 to {count - 1}, got {int(labels.min())} to "
            f"{int(labels.max())}; classes sets how many there are"
        )
    weights = (labels if weighted else one_hot(labels.long(), count)).to(x.dtype)
    empty = (weights.sum(0) == 0).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"labels must give every class from 0 to {count - 1} an example, got none for "
            f"{empty}; add some, or number the classes that there are from 0 on"
        )
    return weights


def _cholesky(covariance: Tensor) -> Tensor:
    """Lower triangular L with L Lᵀ = Σ, of each class; a ValueError names the first without."""
    factor, info = torch.linalg.cholesky_ex(covariance)
    if covariance.is_meta:
        return factor
    # The share of a feature's variance that those before it do not explain; below this, rounding.
    left = factor.diagonal(dim1=1, dim2=2).square() / covariance.diagonal(dim1=1, dim2=2)
    least = covariance.shape[1] * torch.finfo(covariance.dtype).eps
    bad = (info > 0) | ~(left > least).all(1)
    if bad.any():
        raise ValueError(
            f"the covariance of class {int(bad.nonzero()[0])} must be positive definite, but is "
            "singular to rounding: a feature is constant, repeats others, or the examples are "
            "fewer than the features; fit with ridge=1e-3 or another covariance, or leave features "
            "out"
        )
    return factor
