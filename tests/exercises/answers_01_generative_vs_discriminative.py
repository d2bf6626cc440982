"""Plausible answers to the exercises of chapter 01: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution. ``HINTS``
names faults that the visible check must catch, and words of the message that they get.
"""

from answer_cells import changed, with_body

_DISTRIBUTIONS = """
def distributions(counts):
    p = counts.double()
    n = p.sum()
    p_y_given_x = torch.empty_like(p)
    for x in range(len(p)):
        row = p[x] if p[x].sum() > 0 else p.sum(0)
        p_y_given_x[x] = row / row.sum()
    return p.sum(1) / n, p.sum(0) / n, p_y_given_x, p / p.sum(0, keepdim=True)
""".strip()

_DECISIONS = """
def cheapest_decisions(counts, cost):
    decisions = []
    for row in counts:
        p = row if row.sum() > 0 else counts.sum(0)
        p = (p / p.sum()).to(cost.dtype)
        expected = p @ cost
        decisions.append(int(torch.argmin(expected)))
    return torch.tensor(decisions)
""".strip()

_QUADRATIC = """
def quadratic_logit(prior, mean, covariance):
    P0, P1 = torch.linalg.inv(covariance[0]), torch.linalg.inv(covariance[1])
    Q = 0.5 * P0 - 0.5 * P1
    w = P1 @ mean[1] - P0 @ mean[0]
    b = torch.log(prior[1] / prior[0])
    b = b + 0.5 * (torch.logdet(covariance[0]) - torch.logdet(covariance[1]))
    b = b + 0.5 * (mean[0] @ P0 @ mean[0])
    b = b - 0.5 * (mean[1] @ P1 @ mean[1])
    return Q, w, b
""".strip()

_POISSON = """
def poisson_logit(prior, rate):
    w = torch.log(rate[1] / rate[0])
    b = torch.log(prior[1]) - torch.log(prior[0]) + rate[0].sum() - rate[1].sum()
    return w, b
""".strip()

_FIT_PIXELS = """
def fit_pixels(x, y, classes, smoothing):
    theta = torch.empty(classes, x.shape[1], dtype=x.dtype)
    size = torch.empty(classes, dtype=x.dtype)
    for k in range(classes):
        own = x[y == k]
        size[k] = len(own)
        theta[k] = (own.sum(0) + smoothing) / (len(own) + 2 * smoothing)
    return (size / size.sum()).log(), theta
""".strip()

_PIXEL_POSTERIOR = """
def pixel_log_posterior(x, log_prior, theta):
    each = torch.where(x[:, None] > 0.5, theta.log(), (1 - theta).log())
    joint = log_prior + each.sum(2)
    return joint - torch.logsumexp(joint, dim=1, keepdim=True)
""".strip()

_OBJECTIVE = """
def logistic_objective(x, y, w, b, penalty):
    a = x @ w + b
    each = y * F.logsigmoid(a) + (1 - y) * F.logsigmoid(-a)
    return -each.sum() + 0.5 * penalty * (w**2).sum()
""".strip()

_NEWTON = """
def newton_step(x, y, w, b, penalty):
    n, d = x.shape
    p = torch.sigmoid(x @ w + b)
    s = p * (1 - p)
    g = torch.empty(d + 1, dtype=x.dtype)
    g[:d] = (p - y) @ x + penalty * w
    g[d] = (p - y).sum()
    H = torch.empty(d + 1, d + 1, dtype=x.dtype)
    H[:d, :d] = torch.einsum("n,ni,nj->ij", s, x, x) + penalty * torch.eye(d)
    H[:d, d] = s @ x
    H[d, :d] = s @ x
    H[d, d] = s.sum()
    step = torch.linalg.inv(H) @ g
    return w - step[:d], b - step[d]
""".strip()

_FIT_CLASSES = """
def fit_classes(x, y, classes):
    mean = torch.stack([x[y == k].mean(0) for k in range(classes)])
    centred = x - mean[y]
    covariance = []
    for k in range(classes):
        own = centred[y == k]
        covariance.append(torch.einsum("ni,nj->ij", own, own) / len(own))
    return mean, torch.stack(covariance)
""".strip()

_LOG_DENSITY = """
def log_density(x, mean, covariance):
    factor = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)
    squares = (white**2).sum(0)
    log_root = factor.diagonal().log().sum()
    return -squares / 2 - log_root - mean.shape[0] * math.log(2 * math.pi) / 2
""".strip()

_OF_CLASSES = """
def posterior_of_classes(log_densities, y):
    classes = log_densities.shape[1]
    count = torch.stack([(y == k).sum() for k in range(classes)]).double()
    joint = log_densities + torch.log(count)
    return joint - joint.logsumexp(1, keepdim=True)
""".strip()

_GAPS = """
def posterior_with_gaps(x, prior, mean, covariance):
    result = torch.empty(len(x), len(prior), dtype=x.dtype)
    for i in range(len(x)):
        j = torch.nonzero(~torch.isnan(x[i])).flatten()
        for k in range(len(prior)):
            z = x[i, j] - mean[k, j]
            S = covariance[k][j][:, j]
            result[i, k] = torch.log(prior[k])
            result[i, k] -= 0.5 * torch.logdet(S) if len(j) else 0
            result[i, k] -= 0.5 * (z @ torch.linalg.inv(S) @ z)
    return result.softmax(1)
""".strip()

_FILL = """
def fill_gaps(x, posterior, mean, covariance):
    out = x.clone()
    for i in range(len(x)):
        m = x[i].isnan()
        total = torch.zeros(int(m.sum()), dtype=x.dtype)
        for k in range(len(mean)):
            S = covariance[k]
            regression = S[m][:, ~m] @ torch.linalg.inv(S[~m][:, ~m])
            total += posterior[i, k] * (mean[k, m] + regression @ (x[i, ~m] - mean[k, ~m]))
        out[i, m] = total
    return out
""".strip()

_LIKELIHOOD = """
def partly_labelled_log_likelihood(x, y, prior, mean, variance):
    total = torch.zeros((), dtype=x.dtype)
    for value, label in zip(x, y.tolist(), strict=True):
        log_density = -((value - mean) ** 2) / (2 * variance) - 0.5 * torch.log(variance)
        joint = prior.log() + log_density - 0.5 * math.log(2 * math.pi)
        total = total + (joint[label] if label >= 0 else joint.logsumexp(0))
    return total
""".strip()

_EM = """
def em_step(x, y, prior, mean, variance):
    logs = prior.log() - (x[:, None] - mean) ** 2 / (2 * variance) - 0.5 * variance.log()
    r = torch.exp(logs - logs.logsumexp(1, keepdim=True))
    for i in range(len(x)):
        if y[i] >= 0:
            r[i] = 0
            r[i, y[i]] = 1
    size = r.sum(0)
    new_mean = (r * x[:, None]).sum(0) / size
    away = x[:, None] - new_mean
    new_variance = (r * away**2).sum(0) / size
    return size / size.sum(), new_mean, new_variance
""".strip()

_DRAWS = """
def log_densities_of_draws(covariance):
    d = covariance.shape[0]
    log_det = 2 * torch.linalg.cholesky(covariance).diagonal().log().sum()
    entropy = 0.5 * (d + d * math.log(2 * math.pi) + log_det)
    highest = d / 2 - entropy
    return highest, -entropy, torch.tensor((d / 2) ** 0.5)
""".strip()

_TYPICALITY = """
def typicality(x, mean, covariance):
    white = torch.linalg.inv(torch.linalg.cholesky(covariance)) @ (x - mean).T
    m = white.square().sum(0)
    half = torch.tensor(x.shape[1] / 2, dtype=x.dtype)
    low = torch.special.gammainc(half, m / 2)
    high = torch.special.gammaincc(half, m / 2)
    return 2 * torch.where(low < high, low, high)
""".strip()


def _faults(right: str, *listed: tuple) -> list[tuple[str, str]]:
    """``(the fault, change, change …)`` for each, the changes made in a right answer."""
    return [(fault, changed(right, *changes)) for fault, *changes in listed]


WRONG: dict[str, list[tuple[str, str]]] = {
    "distributions": _faults(
        _DISTRIBUTIONS,
        (
            "the conditionals exchanged",
            ("p_y_given_x, p / p.sum(0, keepdim=True)", "p / p.sum(0, keepdim=True), p_y_given_x"),
        ),
        (
            "0 / 0 where x never occurred",
            ("p[x] if p[x].sum() > 0 else p.sum(0)", "p[x]"),
        ),
        (
            "equal probabilities where x never occurred",
            ("p.sum(0)\n        p_y", "torch.ones_like(p[x])\n        p_y"),
        ),
        (
            "zeros where x never occurred",
            ("row / row.sum()", "p[x] / p[x].sum().clamp(min=1)"),
        ),
        ("the joint in place of the posterior", ("row / row.sum()", "row / n")),
        ("the joint in place of p(x|y)", ("p / p.sum(0, keepdim=True)", "p / n")),
        ("the margins exchanged", ("p.sum(1) / n, p.sum(0) / n", "p.sum(0) / n, p.sum(1) / n")),
        ("counts in the margins", ("p.sum(1) / n, p.sum(0) / n", "p.sum(1), p.sum(0)")),
        ("one added to each count", ("counts.double()", "counts.double() + 1")),
        (
            "means in place of sums",
            ("p.sum(1) / n, p.sum(0) / n", "(p / n).mean(1), (p / n).mean(0)"),
        ),
        ("one table", ("p_y_given_x, p / p.sum(0, keepdim=True)", "p_y_given_x, p_y_given_x")),
        ("no p(x|y)", (", p / p.sum(0, keepdim=True)", "")),
        ("the input overwritten", ("counts.double()", "counts.clamp_(min=1).double()")),
    ),
    "cheapest_decisions": [
        *_faults(
            _DECISIONS,
            ("the cost transposed", ("p @ cost", "cost @ p")),
            ("the most probable class", ("torch.argmin(expected)", "p.argmax()")),
            ("the dearest decision", ("argmin", "argmax")),
            ("no prior where x never occurred", ("row if row.sum() > 0 else counts.sum(0)", "row")),
            (
                "equal probabilities where x never occurred",
                ("else counts.sum(0)", "else torch.ones_like(row)"),
            ),
            ("p(x|y) in place of p(y|x)", ("p = (p / p.sum())", "p = (p / counts.sum(0))")),
            (
                "the largest cost in place of the expected one",
                ("p @ cost", "((p > 0)[:, None] * cost).amax(0)"),
            ),
            (
                "a tie to the larger number",
                (
                    "int(torch.argmin(expected))",
                    "len(expected) - 1 - int(torch.argmin(expected.flip(0)))",
                ),
            ),
            ("the lowest expected cost itself", ("int(torch.argmin(expected))", "expected.min()")),
            ("the prior for all", ("row if row.sum() > 0 else counts.sum(0)", "counts.sum(0)")),
            ("costs not weighed", ("p @ cost", "cost.sum(0)")),
        ),
        (
            "a threshold at 1/2",
            with_body(
                "cheapest_decisions(counts, cost)",
                """
                p = counts / counts.sum(1, keepdim=True)
                return (p[:, -1] > 0.5).long()
                """,
            ),
        ),
    ],
    "quadratic_logit": _faults(
        _QUADRATIC,
        ("Q with the other sign", ("0.5 * P0 - 0.5 * P1", "0.5 * P1 - 0.5 * P0")),
        ("Q without the half", ("0.5 * P0 - 0.5 * P1", "P0 - P1")),
        (
            "covariances not inverted in Q",
            ("0.5 * P0 - 0.5 * P1", "0.5 * covariance[0] - 0.5 * covariance[1]"),
        ),
        ("no Q", ("0.5 * P0 - 0.5 * P1", "0 * P0")),
        ("w with the other sign", ("P1 @ mean[1] - P0 @ mean[0]", "P0 @ mean[0] - P1 @ mean[1]")),
        ("one covariance in w", ("P1 @ mean[1] - P0 @ mean[0]", "P1 @ (mean[1] - mean[0])")),
        (
            "the mean covariance in w",
            (
                "P1 @ mean[1] - P0 @ mean[0]",
                "torch.linalg.inv(covariance.mean(0)) @ (mean[1] - mean[0])",
            ),
        ),
        ("w doubled", ("P1 @ mean[1] - P0 @ mean[0]", "2 * (P1 @ mean[1] - P0 @ mean[0])")),
        (
            "no determinants",
            ("b + 0.5 * (torch.logdet(covariance[0])", "b + 0 * (torch.logdet(covariance[0])"),
        ),
        (
            "determinants without the half",
            ("b + 0.5 * (torch.logdet(covariance[0])", "b + (torch.logdet(covariance[0])"),
        ),
        (
            "determinants with the other sign",
            ("b + 0.5 * (torch.logdet(covariance[0])", "b - 0.5 * (torch.logdet(covariance[0])"),
        ),
        (
            "no squares of the means",
            ("b = b - 0.5 * (mean[1] @ P1 @ mean[1])", "b = b + 0"),
            ("b = b + 0.5 * (mean[0] @ P0 @ mean[0])", "b = b + 0"),
        ),
        (
            "squares of the means with the other sign",
            ("b = b - 0.5 * (mean[1]", "b = b + 0.5 * (mean[1]"),
            ("b = b + 0.5 * (mean[0]", "b = b - 0.5 * (mean[0]"),
        ),
        (
            "squares of the means without the half",
            ("b - 0.5 * (mean[1]", "b - (mean[1]"),
            ("b + 0.5 * (mean[0]", "b + (mean[0]"),
        ),
        ("the first mean forgotten in b", ("b = b + 0.5 * (mean[0] @ P0 @ mean[0])", "b = b + 0")),
        ("the prior forgotten", ("torch.log(prior[1] / prior[0])", "torch.zeros_like(prior[0])")),
        ("the prior upside down", ("prior[1] / prior[0]", "prior[0] / prior[1]")),
        (
            "the prior without a logarithm",
            ("torch.log(prior[1] / prior[0])", "prior[1] / prior[0] - 1"),
        ),
        (
            "the diagonal alone",
            ("torch.linalg.inv(covariance[0])", "torch.diag(1 / covariance[0].diagonal())"),
            ("torch.linalg.inv(covariance[1])", "torch.diag(1 / covariance[1].diagonal())"),
        ),
        ("Q not symmetric", ("return Q, w, b", "return 2 * Q.triu() - Q.diagonal().diag(), w, b")),
    ),
    "poisson_logit": _faults(
        _POISSON,
        ("the rates forgotten in b", (" + rate[0].sum() - rate[1].sum()", "")),
        (
            "the rates with the other sign",
            ("+ rate[0].sum() - rate[1].sum()", "- rate[0].sum() + rate[1].sum()"),
        ),
        ("w upside down", ("rate[1] / rate[0])", "rate[0] / rate[1])")),
        ("w without a logarithm", ("torch.log(rate[1] / rate[0])", "rate[1] - rate[0]")),
        ("the prior forgotten", ("torch.log(prior[1]) - torch.log(prior[0]) + ", "")),
        (
            "the prior upside down",
            (
                "torch.log(prior[1]) - torch.log(prior[0])",
                "torch.log(prior[0]) - torch.log(prior[1])",
            ),
        ),
        (
            "logarithms of the rates in b",
            ("rate[0].sum() - rate[1].sum()", "rate[0].log().sum() - rate[1].log().sum()"),
        ),
        ("mean rates", ("rate[0].sum() - rate[1].sum()", "rate[0].mean() - rate[1].mean()")),
        ("a b for each feature", ("rate[0].sum() - rate[1].sum()", "rate[0] - rate[1]")),
        (
            "Gaussians of the same moments",
            ("torch.log(rate[1] / rate[0])", "(rate[1] - rate[0]) / rate.mean(0)"),
        ),
    ),
    "fit_pixels": _faults(
        _FIT_PIXELS,
        (
            "no smoothing",
            ("own.sum(0) + smoothing", "own.sum(0)"),
            ("len(own) + 2 * smoothing", "max(len(own), 1)"),
        ),
        ("α once in the denominator", ("2 * smoothing", "smoothing")),
        ("α for each pixel in the denominator", ("2 * smoothing", "x.shape[1] * smoothing")),
        (
            "α in the denominator forgotten",
            (" / (len(own) + 2 * smoothing)", " / max(len(own), 1)"),
        ),
        ("divided by all images", ("(len(own) + 2 * smoothing)", "(len(x) + 2 * smoothing)")),
        (
            "divided by the pixels that are on",
            ("(len(own) + 2 * smoothing)", "(own.sum() + 2 * smoothing)"),
        ),
        (
            "divided by the pixels that are on, of a multinomial",
            ("(len(own) + 2 * smoothing)", "(own.sum() + x.shape[1] * smoothing)"),
        ),
        ("the prior smoothed", ("size[k] = len(own)", "size[k] = len(own) + smoothing")),
        (
            "zeros without examples",
            ("    return (size", "    theta[size == 0] = 0\n    return (size"),
        ),
        (
            "equal priors",
            ("(size / size.sum()).log()", "torch.full((classes,), 1 / classes).log()"),
        ),
        ("the prior without a logarithm", ("(size / size.sum()).log()", "size / size.sum()")),
        ("the logarithm of the counts", ("(size / size.sum()).log()", "size.log()")),
        ("the probabilities of off", ("own.sum(0) + smoothing", "(1 - own).sum(0) + smoothing")),
        ("pixels first", ("size.sum()).log(), theta", "size.sum()).log(), theta.T")),
        (
            "only the classes that occur",
            ("size.sum()).log(), theta", "size.sum()).log()[size > 0], theta[size > 0]"),
        ),
        ("the logarithm of θ", ("size.sum()).log(), theta", "size.sum()).log(), theta.log()")),
    ),
    "pixel_log_posterior": [
        *_faults(
            _PIXEL_POSTERIOR,
            ("pixels that are off ignored", ("(1 - theta).log()", "torch.zeros_like(theta)")),
            ("θ for all pixels", ("(1 - theta).log()", "theta.log()")),
            ("on and off exchanged", ("> 0.5", "< 0.5")),
            ("the prior forgotten", ("log_prior + each", "each")),
            ("the prior without a logarithm", ("log_prior + each", "log_prior.exp() + each")),
            ("the mean over the pixels", ("each.sum(2)", "each.mean(2)")),
            ("not normalised", (" - torch.logsumexp(joint, dim=1, keepdim=True)", "")),
            ("normalised over the images", ("dim=1, keepdim", "dim=0, keepdim")),
            (
                "the probabilities",
                (
                    "return joint - torch.logsumexp(joint, dim=1, keepdim=True)",
                    "return joint.softmax(1)",
                ),
            ),
            (
                "the softmax, then the logarithm",
                (
                    "return joint - torch.logsumexp(joint, dim=1, keepdim=True)",
                    "return joint.softmax(1).log()",
                ),
            ),
            (
                "divided by the largest",
                ("torch.logsumexp(joint, dim=1, keepdim=True)", "joint.amax(1, keepdim=True)"),
            ),
            (
                "exponentials that underflow",
                (
                    "torch.logsumexp(joint, dim=1, keepdim=True)",
                    "joint.exp().sum(1, keepdim=True).log()",
                ),
            ),
            (
                "a small number in each logarithm",
                ("theta.log(), (1 - theta).log()", "(theta + 0.01).log(), (1.01 - theta).log()"),
            ),
            (
                "images second",
                (
                    "return joint - torch.logsumexp(joint, dim=1, keepdim=True)",
                    "return (joint - torch.logsumexp(joint, dim=1, keepdim=True)).T",
                ),
            ),
            (
                "the prior for each pixel",
                ("log_prior + each.sum(2)", "(log_prior[:, None] + each).sum(2)"),
            ),
        ),
        (
            "products, and a small number against 0 / 0",
            with_body(
                "pixel_log_posterior(x, log_prior, theta)",
                """
                each = torch.where(x[:, None] > 0.5, theta, 1 - theta)
                joint = log_prior.exp() * each.prod(2)
                joint = joint + 1e-30
                return torch.log(joint / joint.sum(1, keepdim=True))
                """,
            ),
        ),
    ],
    "logistic_objective": _faults(
        _OBJECTIVE,
        ("the mean", ("-each.sum()", "-each.mean()")),
        ("the log-likelihood", ("return -each.sum() + 0.5", "return each.sum() - 0.5")),
        ("the bias penalised", ("(w**2).sum()", "((w**2).sum() + b**2)")),
        ("the half forgotten", ("0.5 * penalty", "penalty")),
        ("the length not squared", ("(w**2).sum()", "w.norm()")),
        ("the mean of the squared weights", ("(w**2).sum()", "(w**2).mean()")),
        ("the penalty subtracted", ("+ 0.5 * penalty", "- 0.5 * penalty")),
        (
            "the classes exchanged",
            (
                "F.logsigmoid(a) + (1 - y) * F.logsigmoid(-a)",
                "F.logsigmoid(-a) + (1 - y) * F.logsigmoid(a)",
            ),
        ),
        ("only the class 1", (" + (1 - y) * F.logsigmoid(-a)", "")),
        ("the bias forgotten", ("x @ w + b", "x @ w")),
        (
            "logarithms of rounded probabilities",
            (
                "F.logsigmoid(a) + (1 - y) * F.logsigmoid(-a)",
                "torch.sigmoid(a).log() + (1 - y) * (1 - torch.sigmoid(a)).log()",
            ),
        ),
        (
            "clipped probabilities",
            (
                "F.logsigmoid(a) + (1 - y) * F.logsigmoid(-a)",
                "(torch.sigmoid(a) + 1e-12).log() + (1 - y) * (1 - torch.sigmoid(a) + 1e-12).log()",
            ),
        ),
        (
            "PyTorch's clipped logarithm",
            ("-each.sum()", "F.binary_cross_entropy(a.sigmoid(), y, reduction='sum')"),
        ),
        ("a sigmoid too many", ("a = x @ w + b", "a = torch.sigmoid(x @ w + b)")),
        (
            "the logarithm of one plus an exponential",
            ("-each.sum()", "(torch.log(1 + torch.exp(a)) - y * a).sum()"),
        ),
        ("a number for each example", ("-each.sum()", "-each")),
    ),
    "newton_step": [
        *_faults(
            _NEWTON,
            ("the wrong way", ("w - step[:d], b - step[d]", "w + step[:d], b + step[d]")),
            ("y - p", ("(p - y) @ x", "(y - p) @ x"), ("(p - y).sum()", "(y - p).sum()")),
            (
                "the bias penalised",
                ("(p - y).sum()", "(p - y).sum() + penalty * b"),
                ("= s.sum()", "= s.sum() + penalty"),
            ),
            ("the bias penalised in the Hessian", ("= s.sum()", "= s.sum() + penalty")),
            ("no penalty in the gradient", (" + penalty * w", "")),
            ("no penalty in the Hessian", (" + penalty * torch.eye(d)", "")),
            ("no penalty", (" + penalty * w", ""), (" + penalty * torch.eye(d)", "")),
            (
                "half the penalty",
                ("+ penalty * w", "+ penalty / 2 * w"),
                ("+ penalty * torch.eye(d)", "+ penalty / 2 * torch.eye(d)"),
            ),
            (
                "twice the penalty",
                ("+ penalty * w", "+ 2 * penalty * w"),
                ("+ penalty * torch.eye(d)", "+ 2 * penalty * torch.eye(d)"),
            ),
            ("the penalty in all entries", ("penalty * torch.eye(d)", "penalty")),
            ("the Hessian without p (1 - p)", ("s = p * (1 - p)", "s = torch.ones_like(p)")),
            ("p in place of p (1 - p)", ("s = p * (1 - p)", "s = p")),
            (
                "no entries in common",
                ("H[:d, d] = s @ x", "H[:d, d] = 0"),
                ("H[d, :d] = s @ x", "H[d, :d] = 0"),
            ),
            (
                "means, and the penalty as it is",
                ("(p - y) @ x", "(p - y) @ x / n"),
                ("(p - y).sum()", "(p - y).mean()"),
                ("s = p * (1 - p)", "s = p * (1 - p) / n"),
            ),
            (
                "the mean gradient",
                ("(p - y) @ x", "(p - y) @ x / n"),
                ("(p - y).sum()", "(p - y).mean()"),
            ),
            ("gradient descent", ("torch.linalg.inv(H) @ g", "g")),
            ("the bias stays", ("b - step[d]", "b")),
            ("the bias forgotten in the logits", ("x @ w + b)", "x @ w)")),
            (
                "exponentials that overflow",
                ("torch.sigmoid(x @ w + b)", "torch.exp(x @ w + b) / (1 + torch.exp(x @ w + b))"),
            ),
            (
                "the weights overwritten",
                ("w - step[:d], b - step[d]", "w.sub_(step[:d]), b - step[d]"),
            ),
            ("the bias of shape (1,)", ("b - step[d]", "b - step[d:]")),
            ("no step", ("w - step[:d], b - step[d]", "w, b")),
            ("one p (1 - p) for all", ("s = p * (1 - p)", "s = (p * (1 - p)).mean().expand(n)")),
        ),
        (
            "the column of ones before the features, and the bias last",
            with_body(
                "newton_step(x, y, w, b, penalty)",
                """
                X = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], 1)
                p = torch.sigmoid(x @ w + b)
                ridge = penalty * torch.eye(X.shape[1], dtype=x.dtype)
                ridge[0, 0] = 0
                old = torch.cat([b[None], w])
                H = X.T @ torch.diag(p * (1 - p)) @ X + ridge
                new = old - torch.linalg.solve(H, X.T @ (p - y) + ridge @ old)
                return new[:-1], new[-1]
                """,
            ),
        ),
        (
            "the column of ones before the features, and w and b in the other order",
            with_body(
                "newton_step(x, y, w, b, penalty)",
                """
                X = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], 1)
                old = torch.cat([w, b[None]])
                p = torch.sigmoid(x @ w + b)
                ridge = penalty * torch.diag(torch.cat([torch.ones_like(w), torch.zeros(1)]))
                H = X.T @ torch.diag(p * (1 - p)) @ X + ridge
                new = old - torch.linalg.solve(H, X.T @ (p - y) + ridge @ old)
                return new[:-1], new[-1]
                """,
            ),
        ),
    ],
    "fit_classes": _faults(
        _FIT_CLASSES,
        ("the mean of all classes", ("x - mean[y]", "x - x.mean(0)")),
        ("divided by n - 1", ("/ len(own)", "/ max(len(own) - 1, 1)")),
        ("divided by all examples", ("/ len(own)", "/ len(x)")),
        ("not divided", (" / len(own)", "")),
        ("not centred", ("x - mean[y]", "x")),
        (
            "the diagonal alone",
            ('torch.einsum("ni,nj->ij", own, own) / len(own)', "torch.diag(own.square().mean(0))"),
        ),
        ("one covariance for all", ("own = centred[y == k]", "own = centred")),
        (
            "the mean covariance",
            (
                "return mean, torch.stack(covariance)",
                "S = torch.stack(covariance)\n    return mean, S.mean(0).expand_as(S)",
            ),
        ),
        (
            "the other axis",
            ('"ni,nj->ij", own, own) / len(own)', '"ni,nj->ij", own, own) / own.shape[1]'),
        ),
        ("one mean for all", ("return mean,", "return x.mean(0).expand_as(mean),")),
    ),
    "log_density": _faults(
        _LOG_DENSITY,
        ("no determinant", (" - log_root", "")),
        ("the determinant without the half", ("- log_root", "- 2 * log_root")),
        ("the determinant with the other sign", ("- log_root", "+ log_root")),
        ("the constant of one feature", ("mean.shape[0] * math.log", "math.log")),
        ("no constant", (" - mean.shape[0] * math.log(2 * math.pi) / 2", "")),
        ("π without the 2", ("math.log(2 * math.pi)", "math.log(math.pi)")),
        ("the half of the exponent forgotten", ("-squares / 2", "-squares")),
        ("the sign of the exponent", ("-squares / 2", "squares / 2")),
        ("not centred", ("(x - mean).T", "x.T")),
        (
            "the factor transposed",
            (
                "torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)",
                "torch.linalg.solve_triangular(factor.T, (x - mean).T, upper=True)",
            ),
        ),
        (
            "the covariance not inverted",
            (
                "torch.linalg.solve_triangular(factor, (x - mean).T, upper=False)",
                "factor.T @ (x - mean).T",
            ),
        ),
        (
            "the determinant itself, which is 0",
            ("factor.diagonal().log().sum()", "torch.linalg.det(covariance).log() / 2"),
        ),
        (
            "the density",
            ("return -squares", "return torch.exp(-squares"),
            ("math.log(2 * math.pi) / 2", "math.log(2 * math.pi) / 2)"),
        ),
        ("the mean of the squares", ("(white**2).sum(0)", "(white**2).mean(0)")),
        ("one number", ("(white**2).sum(0)", "(white**2).sum()")),
    ),
    "posterior_of_classes": _faults(
        _OF_CLASSES,
        ("no prior", (" + torch.log(count)", "")),
        ("the prior without a logarithm", ("torch.log(count)", "count / count.sum()")),
        ("the prior subtracted", ("+ torch.log(count)", "- torch.log(count)")),
        ("normalised over the inputs", ("logsumexp(1, keepdim", "logsumexp(0, keepdim")),
        ("not normalised", (" - joint.logsumexp(1, keepdim=True)", "")),
        (
            "the probabilities",
            ("return joint - joint.logsumexp(1, keepdim=True)", "return joint.softmax(1)"),
        ),
        (
            "exponentials that underflow",
            ("joint.logsumexp(1, keepdim=True)", "joint.exp().sum(1, keepdim=True).log()"),
        ),
        ("the frequencies smoothed", ("torch.log(count)", "torch.log(count + 1)")),
        (
            "the prior after the normalisation",
            (
                "joint = log_densities + torch.log(count)",
                "joint = log_densities.log_softmax(1) + torch.log(count / count.sum())",
            ),
            ("return joint - joint.logsumexp(1, keepdim=True)", "return joint"),
        ),
    ),
    "posterior_with_gaps": [
        *_faults(
            _GAPS,
            ("the prior forgotten", ("torch.log(prior[k])", "0")),
            (
                "no determinant",
                ("result[i, k] -= 0.5 * torch.logdet(S) if len(j) else 0", "result[i, k] -= 0"),
            ),
            (
                "the determinant of all features",
                ("0.5 * torch.logdet(S) if len(j) else 0", "0.5 * torch.logdet(covariance[k])"),
            ),
            (
                "a part of the inverse",
                ("torch.linalg.inv(S) @ z", "torch.linalg.inv(covariance[k])[j][:, j] @ z"),
            ),
            (
                "a part of the inverse, and its determinant",
                (
                    "S = covariance[k][j][:, j]",
                    "S = torch.linalg.inv(torch.linalg.inv(covariance[k])[j][:, j])",
                ),
            ),
            (
                "the diagonal alone",
                ("S = covariance[k][j][:, j]", "S = torch.diag(covariance[k].diagonal()[j])"),
            ),
            ("the logarithms", ("result.softmax(1)", "result.log_softmax(1)")),
            ("normalised over the examples", ("result.softmax(1)", "result.softmax(0)")),
            (
                "not a number",
                ("j = torch.nonzero(~torch.isnan(x[i])).flatten()", "j = torch.arange(x.shape[1])"),
            ),
            (
                "no density where all is missing",
                (
                    "return result.softmax(1)",
                    "result[x.isnan().all(1)] = 0\n    return result.softmax(1)",
                ),
            ),
            (
                "no density where something is missing",
                (
                    "return result.softmax(1)",
                    "result[x.isnan().any(1)] = prior.log()\n    return result.softmax(1)",
                ),
            ),
            (
                "the mean of the squares",
                (
                    "0.5 * (z @ torch.linalg.inv(S) @ z)",
                    "0.5 * (z @ torch.linalg.inv(S) @ z) / max(len(j), 1)",
                ),
            ),
            (
                "densities that underflow",
                ("result.softmax(1)", "result.exp() / result.exp().sum(1, keepdim=True)"),
            ),
            (
                "gaps filled with 0 in the input",
                ("result = torch.empty", "x.nan_to_num_()\n    result = torch.empty"),
            ),
            (
                "gaps filled with 0",
                (
                    "    for i in range(len(x)):\n        j",
                    "    x = x.nan_to_num()\n    for i in range(len(x)):\n        j",
                ),
            ),
            (
                "gaps filled with the mean of all",
                (
                    "    for i in range(len(x)):\n        j",
                    "    x = torch.where(x.isnan(), prior @ mean, x)\n    for i in range(len(x)):\n"
                    "        j",
                ),
            ),
            (
                "gaps filled with the mean of each class",
                ("z = x[i, j] - mean[k, j]", "z = (x[i] - mean[k]).nan_to_num()"),
                ("S = covariance[k][j][:, j]", "S = covariance[k]"),
            ),
            (
                "known features only where all examples have them",
                ("~torch.isnan(x[i])", "~torch.isnan(x).any(0)"),
            ),
        ),
    ],
    "fill_gaps": _faults(
        _FILL,
        ("the mean of the classes", (" + regression @ (x[i, ~m] - mean[k, ~m])", "")),
        (
            "not divided by the variance",
            ("torch.linalg.inv(S[~m][:, ~m])", "torch.eye(int((~m).sum())).double()"),
        ),
        (
            "the variance of the gap",
            (
                "S[m][:, ~m] @ torch.linalg.inv(S[~m][:, ~m])",
                "torch.linalg.solve(S[m][:, m], S[m][:, ~m])",
            ),
        ),
        (
            "the inverse of the whole",
            ("torch.linalg.inv(S[~m][:, ~m])", "torch.linalg.inv(S)[~m][:, ~m]"),
        ),
        ("the known features not centred", ("(x[i, ~m] - mean[k, ~m])", "x[i, ~m]")),
        ("the sign", ("+ regression @", "- regression @")),
        ("the likeliest class alone", ("posterior[i, k] *", "(k == int(posterior[i].argmax())) *")),
        ("a plain average", ("posterior[i, k] *", "1 / len(mean) *")),
        ("not weighed", ("posterior[i, k] * ", "")),
        (
            "averaged parameters",
            ("S = covariance[k]", "S = (posterior[i, :, None, None] * covariance).sum(0)"),
        ),
        ("the input filled", ("out = x.clone()", "out, x = x, x.clone()")),
        (
            "known features predicted too",
            ("out[i, m] = total", "out[i] = posterior[i] @ mean\n        out[i, m] = total"),
        ),
        ("weights of another example", ("posterior[i, k]", "posterior[0, k]")),
        ("filled with 0", ("out[i, m] = total", "out[i, m] = 0")),
    ),
    "partly_labelled_log_likelihood": _faults(
        _LIKELIHOOD,
        ("the prior forgotten", ("prior.log() + log_density", "log_density")),
        (
            "labels ignored",
            ("joint[label] if label >= 0 else joint.logsumexp(0)", "joint.logsumexp(0)"),
        ),
        ("-1 as an index", ("joint[label] if label >= 0 else joint.logsumexp(0)", "joint[label]")),
        ("unlabelled examples ignored", ("else joint.logsumexp(0)", "else 0")),
        ("the logarithms of the classes added", ("joint.logsumexp(0)", "joint.sum()")),
        ("the likeliest class", ("joint.logsumexp(0)", "joint.amax()")),
        ("densities that underflow", ("joint.logsumexp(0)", "joint.exp().sum().log()")),
        ("the mean", ("return total", "return total / len(x)")),
        (
            "standard deviations",
            (
                "(2 * variance) - 0.5 * torch.log(variance)",
                "(2 * variance**2) - torch.log(variance)",
            ),
        ),
        ("no 2π", (" - 0.5 * math.log(2 * math.pi)", "")),
        ("no variance in the constant", (" - 0.5 * torch.log(variance)", "")),
        (
            "the prior for labelled examples only",
            ("joint.logsumexp(0))", "(joint - prior.log()).logsumexp(0))"),
        ),
        ("p(x|y) for labelled examples", ("joint[label] if", "(joint - prior.log())[label] if")),
        ("-log", ("return total", "return -total")),
    ),
    "em_step": _faults(
        _EM,
        ("labels ignored", ("if y[i] >= 0", "if False")),
        (
            "hard decisions",
            (
                "r = torch.exp(logs - logs.logsumexp(1, keepdim=True))",
                "r = F.one_hot(logs.argmax(1), len(prior)).to(x.dtype)",
            ),
        ),
        (
            "unlabelled examples ignored",
            ("    size = r.sum(0)", "    r[y < 0] = 0\n    size = r.sum(0)"),
        ),
        ("labelled examples ignored", ("            r[i, y[i]] = 1\n", "")),
        ("-1 as a label", ("if y[i] >= 0", "if True")),
        (
            "equal weights",
            (
                "r = torch.exp(logs - logs.logsumexp(1, keepdim=True))",
                "r = torch.full_like(logs, 1 / len(prior))",
            ),
        ),
        (
            "the prior forgotten",
            ("prior.log() - (x", "-((x"),
            ("(2 * variance) -", "(2 * variance)) -"),
        ),
        ("no variance in the constant", (" - 0.5 * variance.log()", "")),
        (
            "normalised over the examples",
            ("logs.logsumexp(1, keepdim=True)", "logs.logsumexp(0, keepdim=True)"),
        ),
        (
            "densities that underflow",
            (
                "torch.exp(logs - logs.logsumexp(1, keepdim=True))",
                "logs.exp() / logs.exp().sum(1, keepdim=True)",
            ),
        ),
        (
            "the old mean in the variance",
            ("away = x[:, None] - new_mean", "away = x[:, None] - mean"),
        ),
        (
            "the standard deviation",
            ("(r * away**2).sum(0) / size", "((r * away**2).sum(0) / size).sqrt()"),
        ),
        ("weights squared", ("(r * away**2)", "((r * away) ** 2)")),
        ("divided by n", ("(r * x[:, None]).sum(0) / size", "(r * x[:, None]).sum(0) / len(x)")),
        (
            "the variance divided by n",
            ("(r * away**2).sum(0) / size", "(r * away**2).sum(0) / len(x)"),
        ),
        ("the prior over labelled examples", ("size / size.sum()", "r[y >= 0].mean(0)")),
        ("the prior as it was", ("return size / size.sum()", "return prior")),
        ("counts in place of the prior", ("return size / size.sum()", "return size")),
        (
            "one variance for all",
            (
                "new_variance = (r * away**2).sum(0) / size",
                "new_variance = ((r * away**2).sum() / len(x)).expand(len(prior))",
            ),
        ),
    ),
    "log_densities_of_draws": _faults(
        _DRAWS,
        ("the expectation at the mean", ("highest, -entropy", "highest, highest")),
        ("the entropy", ("highest, -entropy", "highest, entropy")),
        ("d in place of half of it", ("highest, -entropy", "highest, highest - d")),
        ("one half for all d", ("highest, -entropy", "highest, highest - 0.5")),
        ("the variance", ("(d / 2) ** 0.5", "d / 2")),
        ("the standard deviation of m", ("(d / 2) ** 0.5", "(2 * d) ** 0.5")),
        ("standard deviations added", ("(d / 2) ** 0.5", "d * 0.5**0.5")),
        ("the root of d", ("(d / 2) ** 0.5", "d**0.5")),
        ("no determinant", ("+ log_det", "+ 0 * log_det")),
        ("the determinant without the half", ("+ log_det", "+ 2 * log_det")),
        (
            "the diagonal alone",
            (
                "2 * torch.linalg.cholesky(covariance).diagonal().log().sum()",
                "covariance.diagonal().log().sum()",
            ),
        ),
        (
            "the determinant itself, which is 0",
            (
                "2 * torch.linalg.cholesky(covariance).diagonal().log().sum()",
                "torch.linalg.det(covariance).log()",
            ),
        ),
        ("the constant of one feature", ("d * math.log(2 * math.pi)", "math.log(2 * math.pi)")),
        ("no constant", ("d + d * math.log(2 * math.pi)", "d")),
        (
            "a typical density in place of its logarithm",
            ("highest, -entropy", "highest, torch.exp(-entropy)"),
        ),
    ),
    "typicality": _faults(
        _TYPICALITY,
        ("one side: farther off", ("torch.where(low < high, low, high)", "high")),
        ("one side, once", ("2 * torch.where(low < high, low, high)", "high")),
        ("the smaller once", ("2 * torch.where", "torch.where")),
        ("the larger", ("low < high", "low > high")),
        ("d in place of half of it", ("x.shape[1] / 2", "x.shape[1]")),
        (
            "m in place of half of it",
            ("low = torch.special.gammainc(half, m / 2)", "low = torch.special.gammainc(half, m)"),
            (
                "high = torch.special.gammaincc(half, m / 2)",
                "high = torch.special.gammaincc(half, m)",
            ),
        ),
        ("the distance not squared", ("white.square().sum(0)", "white.square().sum(0).sqrt()")),
        ("not centred", ("(x - mean).T", "x.T")),
        (
            "not in units of the covariance",
            ("torch.linalg.inv(torch.linalg.cholesky(covariance)) @ (x - mean).T", "(x - mean).T"),
        ),
        (
            "variances alone",
            (
                "torch.linalg.inv(torch.linalg.cholesky(covariance)) @ (x - mean).T",
                "((x - mean) / covariance.diagonal().sqrt()).T",
            ),
        ),
        (
            "divided by the covariance twice",
            (
                "torch.linalg.inv(torch.linalg.cholesky(covariance)) @",
                "torch.linalg.inv(covariance) @",
            ),
        ),
        (
            "the factor transposed",
            (
                "torch.linalg.inv(torch.linalg.cholesky(covariance)) @",
                "torch.linalg.inv(torch.linalg.cholesky(covariance)).T @",
            ),
        ),
        ("1 less a rounded number", ("torch.special.gammaincc(half, m / 2)", "1 - low")),
        (
            "a normal approximation",
            (
                "low = torch.special.gammainc(half, m / 2)",
                "low = torch.special.ndtr((m - 2 * half) / (4 * half).sqrt())",
            ),
            ("torch.special.gammaincc(half, m / 2)", "1 - low"),
        ),
        ("the mean of the squares", ("white.square().sum(0)", "white.square().mean(0)")),
        (
            "one number",
            ("torch.where(low < high, low, high)", "torch.where(low < high, low, high).mean()"),
        ),
    ),
}


RIGHT: dict[str, list[tuple[str, str]]] = {
    "distributions": [
        ("one row after the other", _DISTRIBUTIONS),
        (
            "0 / 0, replaced at the end",
            with_body(
                "distributions(counts)",
                """
                n = counts.sum()
                p_y = counts.sum(dim=0) / n
                posterior = counts / counts.sum(dim=1, keepdim=True)
                posterior[posterior.isnan().any(1)] = p_y
                return counts.sum(dim=1) / n, p_y, posterior, counts / counts.sum(dim=0)
                """,
            ),
        ),
    ],
    "cheapest_decisions": [
        ("one row after the other", _DECISIONS),
        (
            "from the joint distribution",
            with_body(
                "cheapest_decisions(counts, cost)",
                """
                joint = counts / counts.sum()
                never = joint.sum(1) == 0
                joint[never] = joint.sum(0)
                expected = torch.einsum("xk,ka->xa", joint, cost)
                return expected.min(dim=1).indices
                """,
            ),
        ),
        (
            "by Bayes' rule",
            with_body(
                "cheapest_decisions(counts, cost)",
                """
                prior = counts.sum(0) / counts.sum()
                joint = prior * (counts / counts.sum(0))
                posterior = joint / joint.sum(1, keepdim=True)
                posterior = torch.where(posterior.isnan(), prior, posterior)
                return (posterior @ cost).argmin(dim=1)
                """,
            ),
        ),
    ],
    "quadratic_logit": [
        ("term by term", _QUADRATIC),
        (
            "from the densities themselves",
            with_body(
                "quadratic_logit(prior, mean, covariance)",
                """
                def term(k):
                    L = torch.linalg.cholesky(covariance[k])
                    P = torch.cholesky_inverse(L)
                    constant = prior[k].log() - L.diagonal().log().sum()
                    return -P / 2, P @ mean[k], constant - mean[k] @ P @ mean[k] / 2
                zero, one = term(0), term(1)
                return tuple(b - a for a, b in zip(zero, one))
                """,
            ),
        ),
    ],
    "poisson_logit": [
        ("a ratio", _POISSON),
        (
            "a sum over the features",
            with_body(
                "poisson_logit(prior, rate)",
                """
                w = rate.log().diff(dim=0)[0]
                b = prior.log().diff()[0] - rate.sum(1).diff()[0]
                return w, b
                """,
            ),
        ),
    ],
    "fit_pixels": [
        ("one class after the other", _FIT_PIXELS),
        (
            "counts added up by index",
            with_body(
                "fit_pixels(x, y, classes, smoothing)",
                """
                on = torch.zeros(classes, x.shape[1], dtype=x.dtype).index_add_(0, y, x)
                size = torch.bincount(y, minlength=classes).to(x.dtype)
                on, total = on + smoothing, size + 2 * smoothing
                return size.log() - math.log(len(y)), on / total.unsqueeze(1)
                """,
            ),
        ),
    ],
    "pixel_log_posterior": [
        ("a choice for each pixel", _PIXEL_POSTERIOR),
        (
            "a linear function of the pixels",
            with_body(
                "pixel_log_posterior(x, log_prior, theta)",
                """
                x, theta = x.double(), theta.double()
                logit = theta.log() - (-theta).log1p()
                joint = F.linear(x, logit, log_prior.double() + (-theta).log1p().sum(1))
                return F.log_softmax(joint, dim=-1).float()
                """,
            ),
        ),
    ],
    "logistic_objective": [
        ("the logarithm of the logistic function", _OBJECTIVE),
        (
            "PyTorch's cross-entropy of logits",
            with_body(
                "logistic_objective(x, y, w, b, penalty)",
                """
                logits = torch.mv(x, w) + b
                data = F.binary_cross_entropy_with_logits(logits, y, reduction="sum")
                return data + penalty * w.square().sum() / 2
                """,
            ),
        ),
    ],
    "newton_step": [
        ("block by block", _NEWTON),
        (
            "weighted least squares",
            with_body(
                "newton_step(x, y, w, b, penalty)",
                """
                X = F.pad(x, (0, 1), value=1.0)
                old = torch.cat([w, b.reshape(1)])
                p = (X @ old).sigmoid()
                s = (p * (1 - p)).unsqueeze(1)
                ridge = penalty * torch.diag(torch.tensor([1.0] * len(w) + [0.0], dtype=x.dtype))
                target = X.T @ (s * X) @ old + X.T @ (y - p)
                new = torch.linalg.solve(X.T @ (s * X) + ridge, target)
                return new[:-1], new[-1]
                """,
            ),
        ),
        (
            "the column of ones before the features",
            with_body(
                "newton_step(x, y, w, b, penalty)",
                """
                X = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], 1)
                p = torch.sigmoid(x @ w + b)
                ridge = penalty * torch.eye(X.shape[1], dtype=x.dtype)
                ridge[0, 0] = 0
                old = torch.cat([b[None], w])
                H = X.T @ torch.diag(p * (1 - p)) @ X + ridge
                new = old - torch.linalg.solve(H, X.T @ (p - y) + ridge @ old)
                return new[1:], new[0]
                """,
            ),
        ),
    ],
    "fit_classes": [
        ("centred all at once", _FIT_CLASSES),
        (
            "with torch.cov",
            with_body(
                "fit_classes(x, y, classes)",
                """
                d, mean, covariance = x.shape[1], [], []
                for k in range(classes):
                    mean.append(torch.mean(x[y == k], dim=0))
                    covariance.append(x[y == k].T.cov(correction=0).reshape(d, d))
                return torch.stack(mean), torch.stack(covariance)
                """,
            ),
        ),
        (
            "the mean square less the squared mean",
            with_body(
                "fit_classes(x, y, classes)",
                """
                member = F.one_hot(y, classes).to(x.dtype)
                member = member / member.sum(0)
                mean = member.T @ x
                second = torch.einsum("nk,ni,nj->kij", member, x, x)
                return mean, second - mean[:, :, None] * mean[:, None, :]
                """,
            ),
        ),
    ],
    "log_density": [
        ("by Cholesky factors", _LOG_DENSITY),
        (
            "PyTorch's distribution",
            with_body(
                "log_density(x, mean, covariance)",
                """
                return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)
                """,
            ),
        ),
    ],
    "posterior_of_classes": [
        ("from the counts", _OF_CLASSES),
        (
            "one hot",
            with_body(
                "posterior_of_classes(log_densities, y)",
                """
                prior = F.one_hot(y, log_densities.shape[1]).double().mean(0)
                return F.log_softmax(prior.log()[None] + log_densities, -1)
                """,
            ),
        ),
    ],
    "posterior_with_gaps": [
        ("one class after the other", _GAPS),
        (
            "gaps with a variance without end",
            with_body(
                "posterior_with_gaps(x, prior, mean, covariance)",
                """
                known = ~x.isnan()
                z = torch.where(known[:, None], x[:, None] - mean, 0.0)  # (n, classes, d)
                # Rows and columns of missing features become those of the unit matrix.
                both = (known[:, :, None] & known[:, None, :])[:, None]
                S = torch.where(both, covariance, torch.eye(x.shape[1]).double())
                distance = (z * torch.linalg.solve(S, z[..., None])[..., 0]).sum(-1)
                return (prior.log() - 0.5 * distance - 0.5 * S.logdet()).softmax(-1)
                """,
            ),
        ),
    ],
    "fill_gaps": [
        ("one class after the other", _FILL),
        (
            "by the inverse of the whole covariance",
            with_body(
                "fill_gaps(x, posterior, mean, covariance)",
                """
                precision = torch.linalg.inv(covariance)
                rows = []
                for row, p in zip(x, posterior):
                    m, total = row.isnan(), 0
                    for k, weight in enumerate(p):
                        P, guess = precision[k], mean[k].clone()
                        pull = P[m][:, ~m] @ (row - guess)[~m]
                        guess[m] = guess[m] - torch.linalg.solve(P[m][:, m], pull)
                        total = total + weight * guess
                    rows.append(torch.where(m, total, row))
                return torch.stack(rows)
                """,
            ),
        ),
    ],
    "partly_labelled_log_likelihood": [
        ("one example after the other", _LIKELIHOOD),
        (
            "classes that a label rules out have the probability 0",
            with_body(
                "partly_labelled_log_likelihood(x, y, prior, mean, variance)",
                """
                normal = torch.distributions.Normal(mean, variance.sqrt())
                joint = normal.log_prob(x.unsqueeze(1)) + prior.log()
                possible = (y.unsqueeze(1) < 0) | (y.unsqueeze(1) == torch.arange(len(prior)))
                return joint.masked_fill(~possible, -math.inf).logsumexp(1).sum()
                """,
            ),
        ),
    ],
    "em_step": [
        ("one label after the other", _EM),
        (
            "classes that a label rules out have the weight 0",
            with_body(
                "em_step(x, y, prior, mean, variance)",
                """
                normal = torch.distributions.Normal(mean, variance.sqrt())
                joint = normal.log_prob(x.unsqueeze(1)) + prior.log()
                possible = (y.unsqueeze(1) < 0) | (y.unsqueeze(1) == torch.arange(len(prior)))
                r = joint.masked_fill(~possible, -math.inf).softmax(1)
                share = r / r.sum(0)
                new = torch.einsum("nk,n->k", share, x)
                return r.mean(0), new, torch.einsum("nk,nk->k", share, (x[:, None] - new) ** 2)
                """,
            ),
        ),
    ],
    "log_densities_of_draws": [
        ("by the entropy", _DRAWS),
        (
            "PyTorch's distribution",
            with_body(
                "log_densities_of_draws(covariance)",
                """
                d = covariance.shape[0]
                zero = covariance.new_zeros(d)
                gaussian = torch.distributions.MultivariateNormal(zero, covariance)
                deviation = torch.tensor(2.0 * d, dtype=torch.float64).sqrt() / 2
                return gaussian.log_prob(gaussian.mean), -gaussian.entropy(), deviation
                """,
            ),
        ),
    ],
    "typicality": [
        ("by Cholesky factors", _TYPICALITY),
        (
            "the side chosen by the median",
            with_body(
                "typicality(x, mean, covariance)",
                """
                away = x - mean
                m = torch.einsum("ni,ij,nj->n", away, torch.linalg.inv(covariance), away)
                a = torch.full_like(m, 0.5 * x.shape[1])
                near = torch.special.gammainc(a, 0.5 * m)
                far = torch.special.gammaincc(a, 0.5 * m)
                return torch.where(near < 0.5, 2 * near, 2 * far)
                """,
            ),
        ),
    ],
}

# Faults that the visible check must catch, and words of the hint that they get.
HINTS: dict[str, dict[str, str]] = {
    "distributions": {
        "the conditionals exchanged": "the two are exchanged",
        "0 / 0 where x never occurred": "0 / 0",
        "equal probabilities where x never occurred": "equally likely",
        "the joint in place of the posterior": "divide by p(x)",
        "the margins exchanged": "sums over the other variable",
    },
    "cheapest_decisions": {
        "the cost transposed": "transposed",
        "the most probable class": "Are the costs used",
        "p(x|y) in place of p(y|x)": "neither p(x|y)",
        "no prior where x never occurred": "never occurred",
        "equal probabilities where x never occurred": "equal probabilities",
        "a tie to the larger number": "a tie",
    },
    "quadratic_logit": {
        "Q with the other sign": "which of the two is subtracted",
        "Q without the half": "factor 1/2",
        "one covariance in w": "the covariance of its own class",
        "no determinants": "the determinants are missing",
        "determinants without the half": "the exponent 1/2",
        "determinants with the other sign": "below the line",
        "no squares of the means": "squares of the means are missing",
        "squares of the means without the half": "lack a factor 1/2",
        "the prior forgotten": "four times as frequent",
    },
    "poisson_logit": {
        "the rates forgotten in b": "no term of the rates",
        "the prior forgotten": "three times as rare",
        "w upside down": "one more of the first",
    },
    "fit_pixels": {
        "α once in the denominator": "α for on and by α for off",
        "α for each pixel in the denominator": "not by α times the pixels",
        "divided by all images": "only those of the class belong",
        "divided by the pixels that are on": "not its images",
        "the prior smoothed": "Only pixels are smoothed",
        "the prior without a logarithm": "with the logarithm -inf",
        "zeros without examples": "as many on as off",
    },
    "pixel_log_posterior": {
        "pixels that are off ignored": "a pixel that is off speaks too",
        "θ for all pixels": "has the probability 1 - θ",
        "on and off exchanged": "for pixels that are on",
        "the prior forgotten": "the prior is missing",
        "not normalised": "still lacks p(x)",
        "exponentials that underflow": "not finite",
        "the mean over the pixels": "not averaged",
    },
    "logistic_objective": {
        "the mean": "the mean in place of the sum",
        "the log-likelihood": "to be maximised",
        "the bias penalised": "the bias is in it",
        "logarithms of rounded probabilities": "rounded to 0 is lost",
        "clipped probabilities": "grave error look harmless",
    },
    "newton_step": {
        "the wrong way": "the wrong way",
        "y - p": "not y - p",
        "the bias penalised": "the bias is penalised too",
        "the bias penalised in the Hessian": "penalised in the Hessian",
        "no penalty in the gradient": "missing in the gradient",
        "no penalty in the Hessian": "missing in the Hessian",
        "twice the penalty": "you use 4",
        "no entries in common": "w and b have in common",
        "no step": "has not been taken",
        "the column of ones before the features, and the bias last": "stands after the features",
        "the column of ones before the features, and w and b in the other order": (
            "stands after the features"
        ),
        "the bias forgotten in the logits": "Is the bias in the logits",
        "one p (1 - p) for all": "has each example its own",
        "exponentials that overflow": "is infinite",
    },
    "fit_classes": {
        "the mean of all classes": "the distance of the classes is in it",
        "divided by n - 1": "divides by n",
        "divided by all examples": "the number of all examples",
    },
    "log_density": {
        "no determinant": "must have the area 1",
        "the half of the exponent forgotten": "falls by 9",
        "the constant of one feature": "grows with the number of features",
        "the determinant itself, which is 0": "get its logarithm without it",
    },
    "posterior_of_classes": {
        "no prior": "three of the four examples",
        "normalised over the inputs": "of the classes of each input",
        "exponentials that underflow": "Stay with the logarithms",
    },
    "posterior_with_gaps": {
        "a part of the inverse": "a part of the inverse is",
        "gaps filled with 0": "filled with 0",
        "gaps filled with the mean of all": "filled with the mean of all",
        "gaps filled with the mean of each class": "as if it had been measured",
        "no density where all is missing": "No feature, no evidence",
        "not a number": "a NaN in a sum",
        "the prior forgotten": "Do the prior",
    },
    "fill_gaps": {
        "the mean of the classes": "what is known says more",
        "not divided by the variance": "divided by the variance",
        "the likeliest class alone": "Neither the best",
        "the input filled": "leave x as it is",
    },
    "partly_labelled_log_likelihood": {
        "the prior forgotten": "The prior is missing",
        "-1 as an index": "index from the end",
        "the logarithms of the classes added": "Neither are the logarithms",
        "densities that underflow": "Add them up as logarithms",
    },
    "em_step": {
        "labels ignored": "may change its class",
        "hard decisions": "gives weights to both",
        "unlabelled examples ignored": "without labels have no influence",
        "the prior forgotten": "the prior is missing in the weights",
        "the old mean in the variance": "from the new means",
        "densities that underflow": "Normalise the weights as logarithms",
    },
    "log_densities_of_draws": {
        "the expectation at the mean": "expected squared distance",
        "one half for all d": "minus the entropy",
        "the variance": "Variance or standard deviation",
        "standard deviations added": "not their standard deviations",
        "the determinant itself, which is 0": "only its logarithm",
    },
    "typicality": {
        "one side: farther off": "on the other side",
        "the smaller once": "counts twice",
        "d in place of half of it": "half of d",
        "not in units of the covariance": "units of the covariance",
        "1 less a rounded number": "rounded to 1",
    },
}
