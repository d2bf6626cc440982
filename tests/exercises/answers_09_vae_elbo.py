"""Plausible answers to the exercises of chapter 09: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution.
"""

from answer_cells import changed, with_body

_KL = """
def gaussian_kl(mean_q, log_variance_q, mean_p, log_variance_p):
    change = log_variance_q - log_variance_p
    distance = (mean_q - mean_p) * torch.exp(-log_variance_p / 2)
    return 0.5 * (distance.square() + torch.expm1(change) - change).sum(dim=1)
""".strip()


def _kl(*changes: tuple[str, str]) -> str:
    return changed(_KL, *changes)


def _kl_body(body: str) -> str:
    return with_body("gaussian_kl(mean_q, log_variance_q, mean_p, log_variance_p)", body)


def _codes(expression: str) -> str:
    return with_body("draw_codes(mean, log_variance, noise)", f"return {expression}")


def _term(expression: str) -> str:
    return with_body("kl_term(mean, log_variance)", f"return {expression}")


_LOSS = """
def negative_elbo(logits, x, kl):
    cross_entropy = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return cross_entropy / len(x) + kl
""".strip()


def _loss(*changes: tuple[str, str]) -> str:
    return changed(_LOSS, *changes)


_WEIGHTS = """
def log_weights(log_likelihood, z, mean, log_variance):
    log_prior = -0.5 * z.square()
    log_posterior = -0.5 * ((z - mean).square() / torch.exp(log_variance) + log_variance)
    return log_likelihood + log_prior.sum(2) - log_posterior.sum(2)
""".strip()


def _weights(*changes: tuple[str, str]) -> str:
    return changed(_WEIGHTS, *changes)


def _bound(expression: str) -> str:
    return with_body("iwae_bound(logs)", f"return {expression}")


def _join(expression: str) -> str:
    return with_body("join_bounds(first, k_first, second, k_second)", f"return {expression}")


_ESTIMATE = """
def log_evidence_estimate(x, w, b, s, mean, log_variance, noise):
    z = mean + math.exp(log_variance / 2) * noise
    residual = x - b - z.unsqueeze(2) * w
    constant = math.log(2 * math.pi) / 2 + math.log(s)
    log_joint = (-residual.square() / (2 * s**2) - constant).sum(2) - z.square() / 2
    log_q = -noise.square() / 2 - log_variance / 2
    logs = log_joint - log_q
    return torch.logsumexp(logs, 1) - math.log(logs.shape[1])
""".strip()


def _estimate(*changes: tuple[str, str]) -> str:
    return changed(_ESTIMATE, *changes)


def _predicted(body: str) -> str:
    return with_body("predicted_bias(logs, k)", body)


_POSTERIOR = """
def posterior(x, w, b, s):
    variance = s**2 / (s**2 + w @ w)
    means = variance * ((x - b) @ w) / s**2
    return means, variance
""".strip()


def _posterior(*changes: tuple[str, str]) -> str:
    return changed(_POSTERIOR, *changes)


_ELBO = """
def exact_elbo(x, w, b, s, mean, log_variance):
    variance = log_variance.exp()
    squares = (x - b - torch.outer(mean, w)).square().sum(1) + variance * (w @ w)
    constant = len(w) / 2 * math.log(2 * math.pi * s**2)
    kl = (mean.square() + variance - 1 - log_variance) / 2
    return -squares / (2 * s**2) - constant - kl
""".strip()


def _elbo(*changes: tuple[str, str]) -> str:
    return changed(_ELBO, *changes)


_REPARAMETERISED = """
def reparameterised(f, mean, log_variance, noise):
    std = math.exp(log_variance / 2)
    z = mean + std * noise
    z.requires_grad_()
    slope = torch.autograd.grad(f(z).sum(), z)[0]
    return torch.stack([slope, slope * std / 2 * noise], 1)
""".strip()


def _reparameterised(*changes: tuple[str, str]) -> str:
    return changed(_REPARAMETERISED, *changes)


_SCORE = """
def score_function(f, mean, log_variance, noise):
    std = math.exp(log_variance / 2)
    value = f(mean + std * noise)
    return torch.stack([value * noise / std, value * 0.5 * (noise**2 - 1)], 1)
""".strip()


def _score(*changes: tuple[str, str]) -> str:
    return changed(_SCORE, *changes)


def _variances(first: str, second: str) -> str:
    return with_body("gradient_variances(mean, std)", f"return {first}, {second}")


_SCORE_VARIANCE = "mean**4 / std**2 + 14 * mean**2 + 15 * std**2"

_LIKELIHOOD = """
def gaussian_log_likelihood(x, mean, noise_scale):
    squares = (x - mean).square().flatten(1)
    constant = math.log(noise_scale) + math.log(2 * math.pi) / 2
    return -squares.sum(1) / (2 * noise_scale**2) - squares.shape[1] * constant
""".strip()


def _likelihood(*changes: tuple[str, str]) -> str:
    return changed(_LIKELIHOOD, *changes)


def _scale(expression: str) -> str:
    return with_body(
        "best_noise_scales(x, mean)",
        f"e = (x - mean).transpose(0, 1).flatten(1)\nreturn {expression}",
    )


def _implied(expression: str) -> str:
    return with_body("implied_noise_scale(values, kl_weight)", f"return {expression}")


def _active(expression: str) -> str:
    return with_body("active_units(means, threshold=0.01)", f"return {expression}")


def _free(expression: str) -> str:
    """An answer in terms of kl, shape (batch, groups): the divergence of each group."""
    body = f"kl = kl.unflatten(1, (-1, group_size)).sum(2)\nreturn {expression}"
    return with_body("free_bits_kl(kl, free_bits, group_size)", body)


WRONG: dict[str, list[tuple[str, str]]] = {
    "gaussian_kl": [
        (
            "the other direction",
            _kl_body("""
                mean_q, mean_p = mean_p, mean_q
                change = log_variance_p - log_variance_q
                distance = (mean_q - mean_p) * torch.exp(-log_variance_q / 2)
                return 0.5 * (distance.square() + torch.expm1(change) - change).sum(dim=1)
            """),
        ),
        ("averaged over the dimensions", _kl((".sum(dim=1)", ".mean(dim=1)"))),
        ("the half forgotten", _kl(("0.5 * (distance", "(distance"))),
        ("averaged over the batch as well", _kl((".sum(dim=1)", ".sum(dim=1).mean()"))),
        ("summed over the batch", _kl((".sum(dim=1)", ".sum(dim=0)"))),
        (
            "log-variances taken for log standard deviations",
            _kl_body("""
                change = 2 * (log_variance_q - log_variance_p)
                distance = (mean_q - mean_p) * torch.exp(-log_variance_p)
                return 0.5 * (distance.square() + torch.expm1(change) - change).sum(dim=1)
            """),
        ),
        ("sign of the logarithm", _kl(("- change).sum", "+ change).sum"))),
        ("the distance not squared", _kl(("distance.square()", "distance.abs()"))),
        (
            "the distance not in units of p",
            _kl((" * torch.exp(-log_variance_p / 2)", "")),
        ),
        (
            "the distance in units of q",
            _kl(("torch.exp(-log_variance_p / 2)", "torch.exp(-log_variance_q / 2)")),
        ),
        (
            "the distance over the square of p's variance",
            _kl(("torch.exp(-log_variance_p / 2)", "torch.exp(-log_variance_p)")),
        ),
        (
            "the standard normal prior whatever p is",
            _kl_body("""
                kl = mean_q.square() + torch.expm1(log_variance_q) - log_variance_q
                return 0.5 * kl.sum(1)
            """),
        ),
        (
            "one subtracted once, not in each dimension",
            _kl_body("""
                change = log_variance_q - log_variance_p
                distance = (mean_q - mean_p) * torch.exp(-log_variance_p / 2)
                return 0.5 * ((distance.square() + torch.exp(change) - change).sum(1) - 1)
            """),
        ),
        (
            "two exponentials: infinity over infinity",
            _kl(("torch.expm1(change)", "log_variance_q.exp() / log_variance_p.exp() - 1")),
        ),
        (
            "0 times infinity",
            _kl(
                ("(mean_q - mean_p) * torch.exp(-log_variance_p / 2)", "mean_q - mean_p"),
                ("distance.square()", "distance.square() * torch.exp(-log_variance_p)"),
            ),
        ),
        ("the rounding of 1", _kl(("torch.expm1(change)", "torch.exp(change) - 1"))),
        (
            "log-variances clamped",
            _kl_body("""
                log_variance_q = log_variance_q.clamp(-20, 20)
                log_variance_p = log_variance_p.clamp(-20, 20)
                change = log_variance_q - log_variance_p
                distance = (mean_q - mean_p) * torch.exp(-log_variance_p / 2)
                return 0.5 * (distance.square() + torch.expm1(change) - change).sum(dim=1)
            """),
        ),
        (
            "torch.distributions, where a ratio rounds to 0",
            _kl_body("""
                q = torch.distributions.Normal(mean_q, torch.exp(log_variance_q / 2))
                p = torch.distributions.Normal(mean_p, torch.exp(log_variance_p / 2))
                return torch.distributions.kl_divergence(q, p).sum(1)
            """),
        ),
    ],
    "draw_codes": [
        (
            "the fault of the listing: the variance as standard deviation",
            _codes("mean + torch.exp(log_variance) * noise"),
        ),
        (
            "the log-variance as standard deviation",
            _codes("mean + log_variance * noise"),
        ),
        ("its root", _codes("mean + log_variance.abs().sqrt() * noise")),
        ("the exponent halved twice", _codes("mean + torch.exp(0.25 * log_variance) * noise")),
        ("the precision", _codes("mean + torch.exp(-0.5 * log_variance) * noise")),
        ("the noise added as it is", _codes("mean + torch.exp(0.5 * log_variance) + noise")),
        (
            "noise of its own",
            _codes("mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)"),
        ),
        (
            "torch.distributions' own draw, without gradient",
            _codes("torch.distributions.Normal(mean, torch.exp(0.5 * log_variance)).sample()"),
        ),
        ("the mean alone", _codes("mean + 0 * log_variance * noise")),
        (
            "detached from the encoder",
            _codes("(mean + torch.exp(0.5 * log_variance) * noise).detach()"),
        ),
        (
            "the log-variance detached",
            _codes("mean + torch.exp(0.5 * log_variance.detach()) * noise"),
        ),
        (
            "softplus",
            _codes("mean + F.softplus(log_variance) * noise"),
        ),
        (
            "one noise for all dimensions",
            _codes("mean + torch.exp(0.5 * log_variance) * noise[:, :1]"),
        ),
        (
            "the noise overwritten",
            _codes("noise.mul_(torch.exp(0.5 * log_variance)).add_(mean)"),
        ),
    ],
    "kl_term": [
        (
            "the fault of the listing: averaged over the dimensions",
            _term("0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()"),
        ),
        (
            "summed over the batch",
            _term("0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()"),
        ),
        (
            "divided by the dimensions, not by the batch",
            _term(
                "0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum() / mean.shape[1]",
            ),
        ),
        (
            "one for each image",
            _term("0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)"),
        ),
        (
            "the other direction",
            _term(
                "0.5 * ((1 + mean**2) / log_variance.exp() - 1 + log_variance).sum(1).mean()",
            ),
        ),
        (
            "sign",
            _term("-0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()"),
        ),
        (
            "the half forgotten",
            _term("(mean**2 + log_variance.exp() - 1 - log_variance).sum(1).mean()"),
        ),
        (
            "the constant forgotten",
            _term("0.5 * (mean**2 + log_variance.exp() - log_variance).sum(1).mean()"),
        ),
        (
            "log standard deviation",
            _term(
                "0.5 * (mean**2 + torch.exp(2 * log_variance) - 1 - 2 * log_variance)"
                ".sum(1).mean()",
            ),
        ),
        (
            "the mean not squared",
            _term("0.5 * (mean.abs() + log_variance.exp() - 1 - log_variance).sum(1).mean()"),
        ),
    ],
    "negative_elbo": [
        (
            "the fault of the listing: the divergence subtracted",
            _loss(("len(x) + kl", "len(x) - kl")),
        ),
        ("the ELBO, not its negative", _loss(("return cross", "return -cross"), ("+ kl", "- kl"))),
        ("averaged over the pixels", _loss(('reduction="sum"', 'reduction="mean"'))),
        (
            "averaged over the pixels, summed over nothing",
            _loss(("/ len(x)", "/ x.numel()")),
        ),
        ("summed over the batch", _loss((" / len(x)", ""))),
        ("the divergence forgotten", _loss((" + kl", ""))),
        ("the divergence divided by the pixels", _loss(("+ kl", "+ kl / x.shape[1]"))),
        ("a second sigmoid", _loss(("logits(logits, x", "logits(torch.sigmoid(logits), x"))),
        ("colours exchanged", _loss(("logits(logits, x", "logits(logits, 1 - x"))),
        (
            "probabilities, whose logarithm is cut at -100",
            _loss(
                ("binary_cross_entropy_with_logits(logits", "binary_cross_entropy(logits.sigmoid()")
            ),
        ),
        (
            "probabilities: infinity",
            with_body(
                "negative_elbo(logits, x, kl)",
                """
                p = torch.sigmoid(logits)
                return -(x * p.log() + (1 - x) * (1 - p).log()).sum(1).mean() + kl
                """,
            ),
        ),
        (
            "squared error",
            with_body(
                "negative_elbo(logits, x, kl)",
                "return (torch.sigmoid(logits) - x).square().sum(1).mean() + kl",
            ),
        ),
        (
            "one for each image",
            with_body(
                "negative_elbo(logits, x, kl)",
                "return F.softplus((1 - 2 * x) * logits).sum(1) + kl",
            ),
        ),
    ],
    "log_weights": [
        ("the prior forgotten", _weights((" + log_prior.sum(2)", ""))),
        ("q forgotten", _weights((" - log_posterior.sum(2)", ""))),
        ("sign of q", _weights(("- log_posterior", "+ log_posterior"))),
        ("sign of the prior", _weights(("+ log_prior", "- log_prior"))),
        (
            "the log-variance in q forgotten",
            _weights((" + log_variance)", ")")),
        ),
        (
            "sign of the log-variance",
            _weights(("+ log_variance)", "- log_variance)")),
        ),
        (
            "the constant in q only",
            _weights(("+ log_variance)", "+ log_variance + math.log(2 * math.pi))")),
        ),
        ("the prior at the mean of q", _weights(("z.square()", "mean.expand_as(z).square()"))),
        (
            "the standard deviation for the variance",
            _weights(("torch.exp(log_variance)", "torch.exp(0.5 * log_variance)")),
        ),
        (
            "averaged over the dimensions",
            _weights(("prior.sum(2)", "prior.mean(2)"), ("terior.sum(2)", "terior.mean(2)")),
        ),
        (
            "the exact divergence in place of the ratio",
            with_body(
                "log_weights(log_likelihood, z, mean, log_variance)",
                """
                kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
                return log_likelihood - kl
                """,
            ),
        ),
        (
            "summed over the codes",
            _weights(("log_prior.sum(2)", "log_prior.sum(0)"), ("terior.sum(2)", "terior.sum(0)")),
        ),
    ],
    "iwae_bound": [
        ("without the largest logarithm", _bound("logs.exp().mean(0).log()")),
        ("the mean of the logarithms", _bound("logs.mean(0)")),
        ("log k forgotten", _bound("torch.logsumexp(logs, 0)")),
        ("log k added", _bound("torch.logsumexp(logs, 0) + math.log(len(logs))")),
        ("divided by k", _bound("torch.logsumexp(logs, 0) / len(logs)")),
        ("the wrong axis", _bound("torch.logsumexp(logs, 1) - math.log(logs.shape[1])")),
        (
            "the number of images for the number of codes",
            _bound("torch.logsumexp(logs, 0) - math.log(logs.shape[1])"),
        ),
        ("the largest alone", _bound("logs.max(0).values")),
        ("log base 2", _bound("torch.logsumexp(logs, 0) - math.log2(len(logs))")),
        (
            "one largest logarithm for all images",
            with_body(
                "iwae_bound(logs)",
                """
                largest = logs.max()
                return largest + (logs - largest).exp().mean(0).log()
                """,
            ),
        ),
        (
            "a small number inside the logarithm",
            _bound("(logs.exp().mean(0) + 1e-30).log()"),
        ),
        (
            "averaged over the images",
            _bound("(torch.logsumexp(logs, 0) - math.log(len(logs))).mean()"),
        ),
        (
            "weights of 0 left out of the mean",
            _bound("torch.logsumexp(logs, 0) - logs.isfinite().sum(0).log()"),
        ),
        (
            "infinity less infinity",
            with_body(
                "iwae_bound(logs)",
                """
                largest = logs.max(0).values
                return largest + (logs - largest).exp().mean(0).log()
                """,
            ),
        ),
    ],
    "join_bounds": [
        ("the mean of both", _join("(first + second) / 2")),
        (
            "the weighted mean of the logarithms",
            _join("(k_first * first + k_second * second) / (k_first + k_second)"),
        ),
        (
            "as if both had the same number",
            _join("torch.logaddexp(first, second) - math.log(2)"),
        ),
        ("the sum of both means", _join("torch.logaddexp(first, second)")),
        (
            "the sum of all weights",
            _join("torch.logaddexp(first + math.log(k_first), second + math.log(k_second))"),
        ),
        (
            "overflow",
            _join(
                "((k_first * first.exp() + k_second * second.exp()) / (k_first + k_second)).log()",
            ),
        ),
        (
            "the numbers exchanged",
            _join(
                "torch.logaddexp(first + math.log(k_second), second + math.log(k_first))"
                " - math.log(k_first + k_second)",
            ),
        ),
        (
            "multiplied outside the logarithm",
            _join(
                "torch.logaddexp(first * k_first, second * k_second)"
                " - math.log(k_first + k_second)",
            ),
        ),
        ("the larger of both", _join("torch.maximum(first, second)")),
    ],
    "log_evidence_estimate": [
        (
            "the mean of the logarithms",
            _estimate(("torch.logsumexp(logs, 1) - math.log(logs.shape[1])", "logs.mean(1)")),
        ),
        ("log k forgotten", _estimate((" - math.log(logs.shape[1])", ""))),
        (
            "the mean over the repeats",
            _estimate(("logsumexp(logs, 1)", "logsumexp(logs, 0)"), ("shape[1])", "shape[0])")),
        ),
        (
            "one estimate of all",
            _estimate(
                (
                    "torch.logsumexp(logs, 1) - math.log(logs.shape[1])",
                    "torch.logsumexp(logs.flatten(), 0) - math.log(logs.numel())",
                )
            ),
        ),
        (
            "no logarithms kept: 0 for an unlikely x",
            _estimate(
                (
                    "torch.logsumexp(logs, 1) - math.log(logs.shape[1])",
                    "logs.exp().mean(1).log()",
                )
            ),
        ),
        (
            "the likelihood alone, with codes from q",
            _estimate((" - z.square() / 2", ""), ("log_joint - log_q", "log_joint")),
        ),
        ("the prior forgotten", _estimate((" - z.square() / 2", " - math.log(2 * math.pi) / 2"))),
        ("q not divided out", _estimate(("log_joint - log_q", "log_joint"))),
        (
            "the scale of q forgotten in its density",
            _estimate((" / 2 - log_variance / 2", " / 2")),
        ),
        (
            "the variance as standard deviation",
            _estimate(("math.exp(log_variance / 2)", "math.exp(log_variance)")),
        ),
        (
            "codes from the prior, weights of q",
            _estimate(("mean + math.exp(log_variance / 2) * noise", "noise")),
        ),
        (
            "log 2π of the likelihood forgotten",
            _estimate(("math.log(2 * math.pi) / 2 + math.log(s)", "math.log(s)")),
        ),
        (
            "the noise scale missing in the constant",
            _estimate((" + math.log(s)", "")),
        ),
        ("b forgotten", _estimate(("x - b - z", "x - z"))),
        (
            "the exact value, from a formula",
            with_body(
                "log_evidence_estimate(x, w, b, s, mean, log_variance, noise)",
                """
                cov = torch.outer(w, w) + s**2 * torch.eye(len(w))
                exact = torch.distributions.MultivariateNormal(b, cov).log_prob(x)
                return exact.expand(len(noise))
                """,
            ),
        ),
    ],
    "predicted_bias": [
        (
            "the variance of the logarithms",
            _predicted("return -float(logs.var()) / (2 * k)"),
        ),
        (
            "without the largest logarithm",
            _predicted("""
                weights = logs.exp()
                return -float(weights.var() / weights.mean() ** 2) / (2 * k)
            """),
        ),
        (
            "the mean not squared",
            _predicted("""
                weights = (logs - logs.max()).exp()
                return -float(weights.var() / weights.mean()) / (2 * k)
            """),
        ),
        (
            "not divided by the mean",
            _predicted("return -float((logs - logs.max()).exp().var()) / (2 * k)"),
        ),
        (
            "sign",
            _predicted("return float((logs.softmax(0) * len(logs)).var()) / (2 * k)"),
        ),
        (
            "the half forgotten",
            _predicted("return -float((logs.softmax(0) * len(logs)).var()) / k"),
        ),
        (
            "k forgotten",
            _predicted("return -float((logs.softmax(0) * len(logs)).var()) / 2"),
        ),
        (
            "the root of k, as of a standard error",
            _predicted("return -float((logs.softmax(0) * len(logs)).var()) / (2 * k**0.5)"),
        ),
        (
            "the standard deviation",
            _predicted("return -float((logs.softmax(0) * len(logs)).std()) / (2 * k)"),
        ),
        (
            "weights that sum to 1, not with mean 1",
            _predicted("return -float(logs.softmax(0).var()) / (2 * k)"),
        ),
        (
            "a tensor",
            _predicted("return -(logs.softmax(0) * len(logs)).var() / (2 * k)"),
        ),
    ],
    "posterior": [
        (
            "the prior forgotten: least squares",
            _posterior(("s**2 / (s**2 + w @ w)", "s**2 / (w @ w)")),
        ),
        (
            "the noise scale taken for 1",
            _posterior(("s**2 / (s**2 + w @ w)", "1 / (1 + w @ w)")),
        ),
        (
            "the scale not squared",
            _posterior(("s**2 / (s**2 + w @ w)", "s / (s + w @ w)")),
        ),
        (
            "the length of w not squared",
            _posterior(("s**2 / (s**2 + w @ w)", "s**2 / (s**2 + w.norm())")),
        ),
        ("b forgotten", _posterior(("((x - b) @ w)", "(x @ w)"))),
        (
            "the standard deviation",
            _posterior(("return means, variance", "return means, variance.sqrt()")),
        ),
        (
            "the precision",
            _posterior(("return means, variance", "return means, 1 / variance")),
        ),
        (
            "order exchanged",
            _posterior(("return means, variance", "return variance, means")),
        ),
        (
            "the mean without the noise scale",
            _posterior((" / s**2\n", "\n")),
        ),
        (
            "the variance for every row",
            _posterior(("return means, variance", "return means, variance.expand(len(x))")),
        ),
        (
            "the slope of the other regression, of x on z",
            _posterior(("means = variance * ((x - b) @ w) / s**2", "means = (x - b) @ w")),
        ),
    ],
    "exact_elbo": [
        (
            "the variance of q forgotten in the reconstruction",
            _elbo((" + variance * (w @ w)", "")),
        ),
        ("the constant forgotten", _elbo((" - constant", ""))),
        ("the constant once, not D times", _elbo(("len(w) / 2", "1 / 2"))),
        ("the half in the exponent forgotten", _elbo(("/ (2 * s**2)", "/ s**2"))),
        ("the noise scale not squared", _elbo(("/ (2 * s**2)", "/ (2 * s)"))),
        (
            "the noise scale missing in the constant",
            _elbo(("math.log(2 * math.pi * s**2)", "math.log(2 * math.pi)")),
        ),
        ("the divergence added", _elbo(("- constant - kl", "- constant + kl"))),
        ("the divergence forgotten", _elbo(("- constant - kl", "- constant"))),
        (
            "the negative",
            _elbo(
                ("-squares / (2 * s**2) - constant - kl", "squares / (2 * s**2) + constant + kl")
            ),
        ),
        (
            "the variance times the length of w, not its square",
            _elbo(("variance * (w @ w)", "variance * w.norm()")),
        ),
        (
            "the standard deviation in the reconstruction",
            _elbo(("variance * (w @ w)", "variance.sqrt() * (w @ w)")),
        ),
        (
            "log p(x) itself",
            with_body(
                "exact_elbo(x, w, b, s, mean, log_variance)",
                """
                cov = torch.outer(w, w) + s**2 * torch.eye(len(w))
                return torch.distributions.MultivariateNormal(b, cov).log_prob(x)
                """,
            ),
        ),
        (
            "drawn",
            with_body(
                "exact_elbo(x, w, b, s, mean, log_variance)",
                """
                z = mean + torch.exp(log_variance / 2) * torch.randn(5000, len(mean))
                normal = torch.distributions.Normal
                likelihood = normal(b + z[..., None] * w, s).log_prob(x).sum(2).mean(0)
                return likelihood - (mean.square() + log_variance.exp() - 1 - log_variance) / 2
                """,
            ),
        ),
    ],
    "reparameterised": [
        ("the half forgotten", _reparameterised(("std / 2 *", "std *"))),
        (
            "with respect to the standard deviation",
            _reparameterised(("slope * std / 2 * noise", "slope * noise")),
        ),
        (
            "the variance for the standard deviation",
            _reparameterised(("math.exp(log_variance / 2)", "math.exp(log_variance)")),
        ),
        ("the noise forgotten", _reparameterised(("std / 2 * noise", "std / 2"))),
        (
            "the value for the slope",
            _reparameterised(("torch.autograd.grad(f(z).sum(), z)[0]", "f(z).detach()")),
        ),
        (
            "the mean over the draws",
            _reparameterised(("std / 2 * noise], 1)", "std / 2 * noise], 1).mean(0)")),
        ),
        ("divided by the number of draws", _reparameterised(("f(z).sum()", "f(z).mean()"))),
        ("the wrong axis", _reparameterised(("std / 2 * noise], 1)", "std / 2 * noise], 0)"))),
        ("the code for the noise", _reparameterised(("std / 2 * noise", "std / 2 * z.detach()"))),
        (
            "the graph kept",
            _reparameterised(("std / 2 * noise], 1)", "std / 2 * noise], 1) + 0 * z.unsqueeze(1)")),
        ),
    ],
    "score_function": [
        (
            "the code for the noise",
            _score(
                ("value * noise / std", "value * z / std"),
                ("    value", "    z = mean + std * noise\n    value"),
            ),
        ),
        (
            "the variance for the standard deviation",
            _score(("math.exp(log_variance / 2)", "math.exp(log_variance)")),
        ),
        ("not divided by the standard deviation", _score(("value * noise / std", "value * noise"))),
        ("divided by the variance", _score(("noise / std", "noise / std**2"))),
        ("sign", _score(("return torch.stack", "return -torch.stack"))),
        ("the half forgotten", _score(("value * 0.5 *", "value *"))),
        (
            "the normalising constant forgotten",
            _score(("(noise**2 - 1)", "noise**2")),
        ),
        (
            "with respect to the standard deviation",
            _score(("value * 0.5 * (noise**2 - 1)", "value * (noise**2 - 1) / std")),
        ),
        (
            "a baseline, which adds a bias: it knows each draw",
            _score(
                (
                    "    return",
                    "    value = value - value.mean()\n    return",
                )
            ),
        ),
        (
            "the reparameterised one again",
            _REPARAMETERISED.replace("reparameterised", "score_function"),
        ),
        (
            "the density, not its logarithm",
            _score(
                (
                    "    return",
                    "    value = value * torch.exp(-noise * noise / 2) / (2.5066 * std)\n"
                    "    return",
                )
            ),
        ),
        ("the mean over the draws", _score(("(noise**2 - 1)], 1)", "(noise**2 - 1)], 1).mean(0)"))),
    ],
    "gradient_variances": [
        (
            "the squared mean not subtracted",
            _variances("4 * std**2 + 4 * mean**2", "mean**4 / std**2 + 18 * mean**2 + 15 * std**2"),
        ),
        ("exchanged", _variances(_SCORE_VARIANCE, "4 * std**2")),
        ("the standard deviations", _variances("2 * std", f"({_SCORE_VARIANCE}) ** 0.5")),
        ("right at 0 only", _variances("4 * std**2", "15 * std**2")),
        (
            "the moments of order four and six taken for 1",
            _variances("4 * std**2", "mean**4 / std**2 + 2 * mean**2 + std**2"),
        ),
        (
            "the score not divided by the scale",
            _variances("4 * std**2", "mean**4 + 18 * mean**2 * std**2 + 15 * std**4 - 4 * mean**2"),
        ),
        ("the factor 2 not squared", _variances("2 * std**2", _SCORE_VARIANCE)),
        ("the variance of z alone", _variances("std**2", _SCORE_VARIANCE)),
        (
            "drawn, with four million draws",
            with_body(
                "gradient_variances(mean, std)",
                """
                eps = torch.randn(4_000_000, generator=torch.Generator().manual_seed(0))
                z = mean + std * eps
                return float((2 * z).var()), float((z**2 * eps / std).var())
                """,
            ),
        ),
        (
            "drawn, with few draws",
            with_body(
                "gradient_variances(mean, std)",
                """
                eps = torch.randn(100)
                z = mean + std * eps
                return float((2 * z).var()), float((z**2 * eps / std).var())
                """,
            ),
        ),
    ],
    "gaussian_log_likelihood": [
        ("the constant forgotten", _likelihood((" - squares.shape[1] * constant", ""))),
        ("the constant once", _likelihood(("squares.shape[1] * constant", "constant"))),
        (
            "the noise scale missing in the constant",
            _likelihood(("math.log(noise_scale) + ", "")),
        ),
        ("log 2π forgotten", _likelihood((" + math.log(2 * math.pi) / 2", ""))),
        ("log 2π not halved", _likelihood(("math.log(2 * math.pi) / 2", "math.log(2 * math.pi)"))),
        (
            "half of the logarithm of the scale",
            _likelihood(("math.log(noise_scale)", "math.log(noise_scale) / 2")),
        ),
        (
            "the half in the exponent forgotten",
            _likelihood(("(2 * noise_scale**2)", "noise_scale**2")),
        ),
        ("the scale not squared", _likelihood(("(2 * noise_scale**2)", "(2 * noise_scale)"))),
        ("sign", _likelihood(("return -squares", "return squares"))),
        (
            "averaged over the values",
            _likelihood(
                ("squares.sum(1)", "squares.mean(1)"), ("squares.shape[1] * constant", "constant")
            ),
        ),
        (
            "averaged squares with the constant of all",
            _likelihood(("squares.sum(1)", "squares.mean(1)")),
        ),
        (
            "the first axis of values only",
            _likelihood((".flatten(1)", "")),
        ),
        (
            "one for the batch",
            _likelihood(("squares.sum(1)", "squares.sum()")),
        ),
    ],
    "best_noise_scales": [
        ("the variance", _scale("e.square().mean(1)")),
        (
            "of a whole image",
            _scale("(x - mean).square().flatten(2).sum(2).mean(0).sqrt()"),
        ),
        ("the mean absolute error", _scale("e.abs().mean(1)")),
        ("the mean error taken out", _scale("e.std(1, correction=0)")),
        (
            "one for each image, averaged",
            _scale("(x - mean).square().flatten(2).mean(2).sqrt().mean(0)"),
        ),
        ("half of the squares", _scale("(e.square().mean(1) / 2).sqrt()")),
        ("the spread of the data", _scale("x.transpose(0, 1).flatten(1).std(1)")),
        ("one for all channels", _scale("e.square().mean().sqrt().expand(len(e))")),
        ("one for all values, a float", _scale("float(e.square().mean().sqrt())")),
        ("one for each image", _scale("(x - mean).square().flatten(1).mean(1).sqrt()")),
        (
            "each the scale of all values of an example",
            _scale("(e.square().sum(1) / len(x)).sqrt()"),
        ),
        ("1, as everybody does", _scale("torch.ones(x.shape[1], dtype=x.dtype)")),
    ],
    "implied_noise_scale": [
        ("1", _implied("1.0")),
        ("the number of values forgotten", _implied("math.sqrt(kl_weight / 2)")),
        ("the weight forgotten", _implied("math.sqrt(values / 2)")),
        ("divided by the weight", _implied("math.sqrt(values / (2 * kl_weight))")),
        ("the 2 of the exponent forgotten", _implied("math.sqrt(values * kl_weight)")),
        ("the variance", _implied("values * kl_weight / 2")),
        ("the weight squared", _implied("kl_weight * math.sqrt(values / 2)")),
        ("the quotient upside down", _implied("math.sqrt(2 / (values * kl_weight))")),
        ("the values below the line", _implied("math.sqrt(kl_weight / (2 * values))")),
    ],
    "active_units": [
        ("the standard deviation", _active("int((means.std(0) > threshold).sum())")),
        (
            "the mean square: a constant counts",
            _active("int((means.square().mean(0) > threshold).sum())"),
        ),
        ("over the dimensions", _active("int((means.var(1) > threshold).sum())")),
        ("those that are not", _active("int((means.var(0) <= threshold).sum())")),
        ("the threshold of the paper, always", _active("int((means.var(0) > 0.01).sum())")),
        ("a tensor", _active("(means.var(0) > threshold).sum()")),
        ("the share", _active("float((means.var(0) > threshold).float().mean())")),
        ("which, not how many", _active("(means.var(0) > threshold).tolist()")),
        ("the mean absolute value", _active("int((means.abs().mean(0) > threshold).sum())")),
        (
            "the variance summed, not averaged",
            _active("int(((means - means.mean(0)).square().sum(0) > threshold).sum())"),
        ),
    ],
    "free_bits_kl": [
        ("image by image", _free("kl.clamp(min=free_bits).mean(0).sum()")),
        (
            "groups forgotten: λ for each dimension",
            with_body(
                "free_bits_kl(kl, free_bits, group_size)",
                "return kl.mean(0).clamp(min=free_bits).sum()",
            ),
        ),
        (
            "the maximum first, then the groups",
            with_body(
                "free_bits_kl(kl, free_bits, group_size)",
                "return kl.mean(0).clamp(min=free_bits / group_size).sum()",
            ),
        ),
        (
            "groups of every g-th dimension",
            with_body(
                "free_bits_kl(kl, free_bits, group_size)",
                """
                groups = kl.mean(0).view(group_size, -1).sum(0)
                return groups.clamp(min=free_bits).sum()
                """,
            ),
        ),
        (
            "averaged within a group",
            with_body(
                "free_bits_kl(kl, free_bits, group_size)",
                """
                groups = kl.mean(0).view(-1, group_size).mean(1)
                return groups.clamp(min=free_bits).sum()
                """,
            ),
        ),
        (
            "one maximum for the sum",
            _free("kl.sum(1).mean().clamp(min=free_bits * kl.shape[1])"),
        ),
        ("one maximum, of λ", _free("kl.sum(1).mean().clamp(min=free_bits)")),
        ("the smaller of both", _free("kl.mean(0).clamp(max=free_bits).sum()")),
        ("what is above λ", _free("(kl.mean(0) - free_bits).clamp(min=0).sum()")),
        ("averaged over the dimensions", _free("kl.mean(0).clamp(min=free_bits).mean()")),
        ("summed over the batch", _free("kl.sum(0).clamp(min=free_bits).sum()")),
        ("λ added", _free("(kl.mean(0) + free_bits).sum()")),
        ("the axes exchanged", _free("kl.mean(1).clamp(min=free_bits).sum()")),
        ("no free bits", _free("kl.mean(0).sum()")),
        ("one for each dimension", _free("kl.mean(0).clamp(min=free_bits)")),
        (
            "dimensions below λ cost nothing",
            _free("torch.where(kl.mean(0) > free_bits, kl.mean(0), 0 * kl.mean(0)).sum()"),
        ),
        ("detached", _free("kl.detach().mean(0).clamp(min=free_bits).sum()")),
    ],
}

RIGHT: dict[str, list[tuple[str, str]]] = {
    "gaussian_kl": [
        (
            "in double precision",
            _kl_body("""
                mean_q, mean_p = mean_q.double(), mean_p.double()
                log_q, log_p = log_variance_q.double(), log_variance_p.double()
                terms = (mean_q - mean_p) ** 2 / log_p.exp() + torch.exp(log_q - log_p)
                return (0.5 * (terms - 1 - (log_q - log_p)).sum(-1)).to(log_variance_q.dtype)
            """),
        ),
        ("written with square and dim", _KL),
    ],
    "draw_codes": [
        ("the root of the variance", _codes("torch.exp(log_variance).sqrt() * noise + mean")),
        (
            "addcmul",
            _codes("torch.addcmul(mean, (log_variance / 2).exp(), noise)"),
        ),
    ],
    "kl_term": [
        (
            "the sign of Kingma's appendix B",
            _term(
                "-0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp()) / len(mean)",
            ),
        ),
        (
            "torch.distributions",
            with_body(
                "kl_term(mean, log_variance)",
                """
                normal = torch.distributions.Normal
                q, p = normal(mean, torch.exp(log_variance / 2)), normal(0.0, 1.0)
                return torch.distributions.kl_divergence(q, p).sum(dim=1).mean()
                """,
            ),
        ),
    ],
    "negative_elbo": [
        ("summed and divided", _LOSS),
        (
            "softplus",
            with_body(
                "negative_elbo(logits, x, kl)",
                "return (F.softplus(logits) - x * logits).sum(1).mean() + kl",
            ),
        ),
        (
            "torch.distributions",
            with_body(
                "negative_elbo(logits, x, kl)",
                """
                likelihood = torch.distributions.Bernoulli(logits=logits).log_prob(x)
                return kl - likelihood.sum(dim=-1).mean()
                """,
            ),
        ),
    ],
    "log_weights": [
        (
            "torch.distributions",
            with_body(
                "log_weights(log_likelihood, z, mean, log_variance)",
                """
                normal = torch.distributions.Normal
                log_q = normal(mean, torch.exp(log_variance / 2)).log_prob(z).sum(-1)
                return log_likelihood + normal(0.0, 1.0).log_prob(z).sum(-1) - log_q
                """,
            ),
        ),
        ("summed one by one", _WEIGHTS),
    ],
    "iwae_bound": [
        (
            "log k taken off first",
            _bound("(logs - math.log(len(logs))).logsumexp(0)"),
        ),
        (
            "one code after another",
            with_body(
                "iwae_bound(logs)",
                """
                total = logs[0]
                for row in logs[1:]:
                    total = torch.logaddexp(total, row)
                return total - math.log(logs.shape[0])
                """,
            ),
        ),
        (
            "by hand",
            with_body(
                "iwae_bound(logs)",
                """
                largest = logs.max(0).values
                shift = torch.where(largest.isfinite(), largest, 0)
                return shift + (logs - shift).exp().mean(0).log()
                """,
            ),
        ),
    ],
    "join_bounds": [
        (
            "shares inside",
            with_body(
                "join_bounds(first, k_first, second, k_second)",
                """
                share = k_first / (k_first + k_second)
                return torch.logaddexp(first + math.log(share), second + math.log(1 - share))
                """,
            ),
        ),
    ],
    "log_evidence_estimate": [
        ("the terms one by one", _ESTIMATE),
        (
            "torch.distributions",
            with_body(
                "log_evidence_estimate(x, w, b, s, mean, log_variance, noise)",
                """
                normal = torch.distributions.Normal
                q = normal(mean, math.exp(log_variance / 2))
                z = q.mean + q.stddev * noise
                logs = normal(b + z.unsqueeze(-1) * w, s).log_prob(x).sum(-1)
                logs = logs + normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
                return logs.logsumexp(-1) - math.log(z.shape[-1])
                """,
            ),
        ),
    ],
    "predicted_bias": [
        (
            "from the moments",
            _predicted("""
                first = torch.logsumexp(logs, 0) - math.log(len(logs))
                second = torch.logsumexp(2 * (logs - first), 0) - math.log(len(logs))
                return -float(second.exp() - 1) / (2 * k)
            """),
        ),
        (
            "with the largest logarithm",
            _predicted("""
                weights = (logs - logs.max()).exp()
                return -(weights.var(correction=0) / weights.mean() ** 2).item() / 2 / k
            """),
        ),
    ],
    "posterior": [
        ("with s² in the numerator", _POSTERIOR),
        (
            "conditioning the joint Gaussian",
            with_body(
                "posterior(x, w, b, s)",
                """
                cov = torch.outer(w, w) + s**2 * torch.eye(len(w), dtype=w.dtype)
                gain = torch.linalg.solve(cov, w)
                return (x - b) @ gain, 1 - w @ gain
                """,
            ),
        ),
    ],
    "exact_elbo": [
        ("with outer", _ELBO),
        (
            "log p(x) less the gap",
            with_body(
                "exact_elbo(x, w, b, s, mean, log_variance)",
                """
                cov = torch.outer(w, w) + s**2 * torch.eye(len(w), dtype=w.dtype)
                evidence = torch.distributions.MultivariateNormal(b, cov).log_prob(x)
                precision = 1 + w @ w / s**2
                centre = (x - b) @ w / s**2 / precision
                ratio = precision * log_variance.exp()
                gap = precision * (mean - centre) ** 2 + ratio - 1 - torch.log(ratio)
                return evidence - gap / 2
                """,
            ),
        ),
    ],
    "reparameterised": [
        ("in another order", _REPARAMETERISED),
        (
            "one mean and log-variance for each draw",
            with_body(
                "reparameterised(f, mean, log_variance, noise)",
                """
                leaves = torch.tensor([mean, log_variance], dtype=noise.dtype)
                leaves = leaves.repeat(len(noise), 1).requires_grad_()
                z = leaves[:, 0] + torch.exp(leaves[:, 1] / 2) * noise
                return torch.autograd.grad(f(z).sum(), leaves)[0]
                """,
            ),
        ),
    ],
    "score_function": [
        ("in another order", _SCORE),
        (
            "autograd of the log-density",
            with_body(
                "score_function(f, mean, log_variance, noise)",
                """
                z = mean + math.exp(log_variance / 2) * noise
                leaves = torch.tensor([mean, log_variance], dtype=noise.dtype)
                leaves = leaves.repeat(len(noise), 1).requires_grad_()
                q = torch.distributions.Normal(leaves[:, 0], torch.exp(leaves[:, 1] / 2))
                (score,) = torch.autograd.grad(q.log_prob(z).sum(), leaves)
                return f(z)[:, None] * score
                """,
            ),
        ),
    ],
    "gradient_variances": [
        (
            "second moment less squared mean",
            _variances(
                "(2 * std) ** 2",
                "(mean**4 + 18 * mean**2 * std**2 + 15 * std**4) / std**2 - (2 * mean) ** 2",
            ),
        ),
    ],
    "gaussian_log_likelihood": [
        ("summed first", _LIKELIHOOD),
        (
            "torch.distributions",
            with_body(
                "gaussian_log_likelihood(x, mean, noise_scale)",
                """
                each = torch.distributions.Normal(mean, noise_scale).log_prob(x)
                return each.reshape(len(x), -1).sum(dim=-1)
                """,
            ),
        ),
    ],
    "best_noise_scales": [
        (
            "channel by channel",
            _scale("torch.stack([F.mse_loss(a, 0 * a).sqrt() for a in e])"),
        ),
        ("the norm", _scale("e.norm(dim=1) / e.shape[1] ** 0.5")),
    ],
    "implied_noise_scale": [("powers", _implied("(0.5 * kl_weight * values) ** 0.5"))],
    "active_units": [
        ("the variance with n", _active("(means.var(0, correction=0) > threshold).sum().item()")),
        (
            "counted",
            _active("sum(float(column.var()) > threshold for column in means.T)"),
        ),
    ],
    "free_bits_kl": [
        (
            "ReLU",
            _free("(free_bits + F.relu(kl.mean(dim=0) - free_bits)).sum()"),
        ),
        (
            "one dimension after another",
            _free("sum(torch.clamp(column.mean(), min=free_bits) for column in kl.T)"),
        ),
    ],
}

# Faults that the visible check must catch, and words of the hint that they get.
HINTS: dict[str, dict[str, str]] = {
    "gaussian_kl": {
        "the distance in units of q": "In which unit is the distance",
        "the distance over the square of p's variance": "In which unit is the distance",
    },
    "iwae_bound": {
        "infinity less infinity": "Infinity less infinity",
        "weights of 0 left out of the mean": "counts in the mean",
    },
    "log_evidence_estimate": {"the mean of the logarithms": "mean of the logarithms"},
    "reparameterised": {"the variance for the standard deviation": "Is your σ the variance"},
    "score_function": {"the variance for the standard deviation": "Is your σ the variance"},
    "gradient_variances": {"drawn, with four million draws": "nothing is drawn"},
    "best_noise_scales": {"one for all channels": "one for each channel"},
    "free_bits_kl": {"groups forgotten: λ for each dimension": "once for each group"},
}
