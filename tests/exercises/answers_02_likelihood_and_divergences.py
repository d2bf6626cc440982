"""Plausible answers to the exercises of chapter 02: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution. ``HINTS``
says what the visible check must tell who made the fault.
"""

from answer_cells import changed, with_body

_KL = """
def kl(p, q, in_bits):
    p, q = torch.broadcast_tensors(p, q)
    safe_p = p.masked_fill(p == 0, 1.0)
    safe_q = q.masked_fill(p == 0, 1.0)
    terms = p * (safe_p.log() - safe_q.log())
    total = terms.sum(dim=-1)
    return total / math.log(2) if in_bits else total
""".strip()


def _kl(*changes: tuple[str, str]) -> str:
    return changed(_KL, *changes)


def _kl_body(body: str) -> str:
    return with_body("kl(p, q, in_bits)", body)


_CONDITIONAL = """
def conditional_kl(p, q):
    total = torch.zeros((), dtype=p.dtype)
    for row_p, row_q in zip(p, q):
        weight = row_p.sum()
        if weight == 0:
            continue
        a, b = row_p / weight, row_q / row_q.sum()
        kept = a > 0
        part = (a[kept] * (a[kept] / b[kept]).log()).sum()
        total = total + weight * part
    return total
""".strip()


def _conditional(*changes: tuple[str, str]) -> str:
    return changed(_CONDITIONAL, *changes)


def _conditional_body(body: str) -> str:
    return with_body("conditional_kl(p, q)", body)


_MOMENTS = """
def match_moments(p, t):
    theta = torch.zeros(t.shape[1], dtype=torch.float64, requires_grad=True)
    wanted = p @ t
    optimiser = torch.optim.LBFGS(
        [theta],
        max_iter=500,
        tolerance_grad=1e-10,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimiser.zero_grad()
        loss = torch.logsumexp(t @ theta, 0) - theta @ wanted
        loss.backward()
        return loss

    optimiser.step(closure)
    return theta.detach()
""".strip()


def _moments(*changes: tuple[str, str]) -> str:
    return changed(_MOMENTS, *changes)


_NEWTON = """
def match_moments(p, t):
    theta = torch.zeros(t.shape[1], dtype=t.dtype)
    for _ in range(100):
        q = torch.softmax(t @ theta, 0)
        mean = q @ t
        gradient = mean - p @ t
        hessian = t.T @ torch.diag(q) @ t - torch.outer(mean, mean)
        step = torch.linalg.solve(hessian, gradient)
        value = torch.logsumexp(t @ theta, 0) - theta @ (p @ t)
        for _ in range(30):
            longer = theta - step
            if torch.logsumexp(t @ longer, 0) - longer @ (p @ t) <= value + 1e-12:
                break
            step = step / 2
        theta -= step
        if gradient.abs().max() < 1e-9:
            break
    return theta
""".strip()


def _newton(*changes: tuple[str, str]) -> str:
    return changed(_NEWTON, *changes)


_LAPLACE = """
def best_laplace(x, p):
    pairs = sorted(zip(x.tolist(), p.tolist()))
    reached, location = 0.0, pairs[-1][0]
    for place, weight in pairs:
        reached += weight
        if reached >= 0.5:
            location = place
            break
    scale = sum(weight * abs(place - location) for place, weight in pairs)
    return location, scale
""".strip()


def _laplace(*changes: tuple[str, str]) -> str:
    return changed(_LAPLACE, *changes)


def _laplace_body(body: str) -> str:
    return with_body("best_laplace(x, p)", body)


_FORWARD = """
def forward_parts(p, a, b):
    margin_a, margin_b = p.sum(dim=1), p.sum(dim=0)
    entropy = torch.special.entr
    first = -torch.xlogy(margin_a, a).sum() - entropy(margin_a).sum()
    second = -torch.xlogy(margin_b, b).sum() - entropy(margin_b).sum()
    rest = entropy(margin_a).sum() + entropy(margin_b).sum() - entropy(p).sum()
    return first, second, rest
""".strip()


def _forward(*changes: tuple[str, str]) -> str:
    return changed(_FORWARD, *changes)


_SWEEP = """
def mean_field_sweep(p, b):
    log_p = torch.log(p)
    scores = (log_p * b).sum(dim=1)
    a = torch.exp(scores - torch.logsumexp(scores, 0))
    back = (log_p * a[:, None]).sum(dim=0)
    new_b = torch.exp(back - torch.logsumexp(back, 0))
    return a, new_b
""".strip()


def _sweep(*changes: tuple[str, str]) -> str:
    return changed(_SWEEP, *changes)


_BEST = """
def best_mean_field(p):
    generator = torch.Generator().manual_seed(0)
    best = None
    starts = torch.rand(60, p.shape[1], generator=generator, dtype=p.dtype) ** 4
    for b in starts:
        b = b / b.sum()
        for _ in range(600):
            a = torch.softmax((p.log() * b).sum(1), 0)
            b = torch.softmax((p.log() * a[:, None]).sum(0), 0)
        q = a[:, None] * b
        value = (torch.xlogy(q, q) - q * p.log()).sum().item()
        if best is None or value < best[0]:
            best = value, a, b
    return best[1], best[2]
""".strip()


def _best(*changes: tuple[str, str]) -> str:
    return changed(_BEST, *changes)


def _one_start(start: str, sweeps: int = 1000) -> str:
    """Coordinate ascent from one start only."""
    return with_body(
        "best_mean_field(p)",
        f"""
        b = {start}
        for _ in range({sweeps}):
            a = torch.softmax(p.log() @ b, 0)
            b = torch.softmax(a @ p.log(), 0)
        return a, b
        """,
    )


_JUDGE = """
def best_judge(p, q, prior):
    joint = torch.stack([(1 - prior) * q, prior * p])
    says_p = joint[1] >= joint[0]
    accuracy = joint.max(dim=0).values.sum()
    return says_p, accuracy
""".strip()


def _judge(*changes: tuple[str, str]) -> str:
    return changed(_JUDGE, *changes)


_LOOKS = """
def looks_needed(p, q, accuracy):
    def divergence(a, b):
        return float((torch.xlogy(a, a) - torch.xlogy(a, b)).sum())

    smaller = min(divergence(p, q), divergence(q, p))
    distance = 2 * accuracy - 1
    return max(math.ceil(2 * distance**2 / smaller), 1)
""".strip()


def _looks(*changes: tuple[str, str]) -> str:
    return changed(_LOOKS, *changes)


_CONJUGATE = """
def conjugate(t, name):
    t = torch.as_tensor(t)
    if name == "squared hellinger":
        value = t / (1 - 2 * t)
        value = value.masked_fill(t >= 0.5, math.inf)
    else:
        u = (1 + t / 2).clamp(min=0)
        value = u * t - (u - 1) ** 2
    return value
""".strip()


def _conjugate(*changes: tuple[str, str]) -> str:
    return changed(_CONJUGATE, *changes)


_BOUND = """
def variational_bound(critic_p, critic_q, f_star):
    star = f_star(critic_q)
    n, m = len(critic_p), len(critic_q)
    bound = critic_p.sum() / n - star.sum() / m
    variance_p = ((critic_p - critic_p.mean()) ** 2).sum() / (n - 1)
    variance_q = ((star - star.mean()) ** 2).sum() / (m - 1)
    error = (variance_p / n + variance_q / m) ** 0.5
    return bound.item(), error.item()
""".strip()


def _bound(*changes: tuple[str, str]) -> str:
    return changed(_BOUND, *changes)


_QUANTILES = """
def quantiles(x, weights, levels):
    points, order = torch.sort(x)
    reached = torch.cumsum(weights[order], 0)
    below = (reached[None, :] < levels[:, None]).sum(dim=1)
    return points[below]
""".strip()


def _quantiles(*changes: tuple[str, str]) -> str:
    return changed(_QUANTILES, *changes)


_TRANSPORT = """
def wasserstein(x, y, weights_x, weights_y, order):
    left = sorted(zip(x.tolist(), weights_x.tolist()))
    right = sorted(zip(y.tolist(), weights_y.tolist()))
    i = j = 0
    a, b = left[0][1], right[0][1]
    cost = 0.0
    while True:
        moved = min(a, b)
        cost += moved * abs(left[i][0] - right[j][0]) ** order
        a, b = a - moved, b - moved
        if a <= b:
            i += 1
            if i == len(left):
                break
            a = left[i][1]
        else:
            j += 1
            if j == len(right):
                break
            b = right[j][1]
    return torch.tensor(cost ** (1 / order), dtype=torch.float64)
""".strip()


def _transport(*changes: tuple[str, str]) -> str:
    return changed(_TRANSPORT, *changes)


_MERGED = """
def wasserstein(x, y, weights_x, weights_y, order):
    x, i = x.sort()
    y, j = y.sort()
    F, G = weights_x[i].cumsum(0), weights_y[j].cumsum(0)
    u = torch.cat([F, G]).sort().values.clamp(max=1)
    widths = torch.diff(u, prepend=u.new_zeros(1))
    u = u - widths / 2
    a = x[torch.searchsorted(F, u).clamp(max=len(x) - 1)]
    b = y[torch.searchsorted(G, u).clamp(max=len(y) - 1)]
    return ((a - b).abs().pow(order) * widths).sum().pow(1 / order)
""".strip()


def _merged(*changes: tuple[str, str]) -> str:
    return changed(_MERGED, *changes)


def _transport_body(body: str) -> str:
    return with_body("wasserstein(x, y, weights_x, weights_y, order)", body)


_ENTROPY = """
def entropy_estimates(counts):
    counts = counts.to(torch.float64)
    n = counts.sum(dim=-1)
    f = counts / n.unsqueeze(-1)
    plug_in = torch.special.entr(f).sum(dim=-1)
    seen = (counts > 0).sum(dim=-1)
    return plug_in, plug_in + (seen - 1) / (2 * n)
""".strip()


def _entropy(*changes: tuple[str, str]) -> str:
    return changed(_ENTROPY, *changes)


_COMPARE = """
def compare_models(log_q, log_r):
    n = log_q.shape[0]
    losses = (-log_q) - (-log_r)
    mean = losses.sum() / n
    variance = ((losses - mean) ** 2).sum() / (n - 1)
    error = (variance / n).sqrt()
    return mean.item(), error.item()
""".strip()


def _compare(*changes: tuple[str, str]) -> str:
    return changed(_COMPARE, *changes)


_DENSITY = """
def flow_log_density(x, layers):
    slopes, z = [], x
    for _, inverse, log_slope in layers[::-1]:
        z = inverse(z)
        slopes.append(log_slope(z))
    base = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    return base - sum(slopes)
""".strip()


def _density(*changes: tuple[str, str]) -> str:
    return changed(_DENSITY, *changes)


_DRAW = """
def draw_with_log_density(noise, layers):
    base = torch.distributions.Normal(0.0, 1.0).log_prob(noise)
    total, z = torch.zeros_like(noise), noise
    for forward, _, log_slope in layers:
        total = total + log_slope(z)
        z = forward(z)
    return z, base - total
""".strip()


def _draw(*changes: tuple[str, str]) -> str:
    return changed(_DRAW, *changes)


WRONG: dict[str, list[tuple[str, str]]] = {
    "kl": [
        (
            "the other direction",
            _kl(
                ("p * (safe_p", "q * (safe_p"),
                ("safe_p.log() - safe_q.log()", "safe_q.log() - safe_p.log()"),
            ),
        ),
        ("the cross-entropy", _kl(("(safe_p.log() - safe_q.log())", "-safe_q.log()"))),
        ("the sign", _kl(("safe_p.log() - safe_q.log()", "safe_q.log() - safe_p.log()"))),
        ("the mean over the outcomes", _kl((".sum(dim=-1)", ".mean(dim=-1)"))),
        ("summed over the batch too", _kl((".sum(dim=-1)", ".sum()"))),
        ("summed over the first axis", _kl((".sum(dim=-1)", ".sum(dim=0)"))),
        ("bits and nats exchanged", _kl(("if in_bits else total", "if not in_bits else total"))),
        ("bits by multiplying", _kl(("total / math.log(2)", "total * math.log(2)"))),
        ("always nats", _kl(("total / math.log(2) if in_bits else total", "total"))),
        (
            "a small number added",
            _kl_body("""
                total = (p * ((p + 1e-9) / (q + 1e-9)).log()).sum(-1)
                return total / math.log(2) if in_bits else total
            """),
        ),
        (
            "a small number under the logarithm of q",
            _kl(("safe_q.log()", "safe_q.clamp(min=1e-12).log()")),
        ),
        (
            "the formula as it is",
            _kl_body("""
                total = (p * (p / q).log()).sum(-1)
                return total / math.log(2) if in_bits else total
            """),
        ),
        (
            "every NaN and every infinity replaced",
            _kl_body("""
                total = (p * (p / q).log()).nan_to_num(0.0, 0.0, 0.0).sum(-1)
                return total / math.log(2) if in_bits else total
            """),
        ),
        (
            "every NaN replaced, and with it the infinity",
            _kl_body("""
                total = (p * (p / q).log()).nan_to_num().sum(-1)
                return total / math.log(2) if in_bits else total
            """),
        ),
        (
            "a boolean mask",
            _kl_body("""
                kept = p > 0
                total = (p[kept] * (p[kept] / q[kept]).log()).sum(-1)
                return total / math.log(2) if in_bits else total
            """),
        ),
        (
            "outcomes with q = 0 left out",
            _kl(("q.masked_fill(p == 0, 1.0)", "q.masked_fill(q == 0, 1.0)")),
        ),
        (
            "a gradient that is not a number",
            _kl_body("""
                terms = torch.where(p > 0, p * (p / q).log(), 0.0)
                total = terms.sum(-1)
                return total / math.log(2) if in_bits else total
            """),
        ),
        (
            "a gradient with 0 / 0",
            _kl_body("""
                total = (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)
                return total / math.log(2) if in_bits else total
            """),
        ),
        ("absolute values", _kl(("terms.sum", "terms.abs().sum"))),
        ("detached", _kl(("terms.sum", "(terms.detach() + 0 * q).sum"))),
    ],
    "conditional_kl": [
        ("weights of q", _conditional(("weight * part", "row_q.sum() * part"))),
        ("all rows alike", _conditional(("weight * part", "part / len(p)"))),
        ("no weights", _conditional(("weight * part", "part"))),
        ("conditioned on the columns", _conditional(("zip(p, q)", "zip(p.T, q.T)"))),
        (
            "the joint tables",
            _conditional(
                ("row_p / weight, row_q / row_q.sum()", "row_p, row_q"), ("weight * ", "")
            ),
        ),
        (
            "the margins",
            _conditional_body("""
                p_x, q_x = p.sum(1), q.sum(1)
                kept = p_x > 0
                return (p_x[kept] * (p_x[kept] / q_x[kept]).log()).sum()
            """),
        ),
        (
            "the margins of the columns taken off",
            _conditional_body("""
                p_y, q_y = p.sum(0), q.sum(0)
                joint = (torch.xlogy(p, p) - torch.xlogy(p, q)).sum()
                return joint - (torch.xlogy(p_y, p_y) - torch.xlogy(p_y, q_y)).sum()
            """),
        ),
        (
            "q first",
            _conditional(("a[kept] * (a[kept] / b[kept])", "b[kept] * (b[kept] / a[kept])")),
        ),
        (
            "not a number for an empty row",
            _conditional_body("""
                a, b = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
                return (p * (a / b).log()).sum()
            """),
        ),
        (
            "zeros replaced too late",
            _conditional_body("""
                a, b = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
                terms = torch.where(a > 0, a * (a / b).log(), 0.0)
                return (p.sum(1) * terms.mean(1)).sum()
            """),
        ),
        (
            "a small number under each sum",
            _conditional(
                (
                    "row_p / weight, row_q / row_q.sum()",
                    "row_p / (weight + 1e-3), row_q / (row_q.sum() + 1e-3)",
                ),
            ),
        ),
        ("q not normalised", _conditional(("row_q / row_q.sum()", "row_q"))),
        ("weights twice", _conditional(("weight * part", "weight**2 * part"))),
        (
            "one row for each",
            _conditional(("total = total + weight * part", "total = weight * part")),
        ),
    ],
    "match_moments": [
        (
            "the reverse divergence",
            _moments(
                (
                    "loss = torch.logsumexp(t @ theta, 0) - theta @ wanted",
                    "log_q = torch.log_softmax(t @ theta, 0)\n"
                    "        loss = (log_q.exp() * (log_q - p.log())).sum()",
                )
            ),
        ),
        (
            "the sign",
            _newton(
                ("theta -= step", "theta -= -step"),
                ("return theta", "return theta.clamp(-50, 50).nan_to_num()"),
            ),
        ),
        ("the sign of the result", _newton(("return theta", "return -theta"))),
        ("one step", _newton(("range(100)", "range(1)"))),
        (
            "gradient descent, too short",
            _newton(
                ("step = torch.linalg.solve(hessian, gradient)", "step = 0.1 * gradient"),
                ("range(100)", "range(300)"),
            ),
        ),
        (
            "the second moments for the covariance, and too short",
            _newton((" - torch.outer(mean, mean)", ""), ("range(100)", "range(20)")),
        ),
        ("all outcomes alike", _newton(("gradient = mean - p @ t", "gradient = mean - t.mean(0)"))),
        (
            "squares of the errors of the logarithms",
            with_body(
                "match_moments(p, t)",
                """
                columns = torch.cat([t, torch.ones(len(t), 1, dtype=t.dtype)], 1)
                target = p.clamp(min=1e-12).log()[:, None]
                return torch.linalg.lstsq(columns, target).solution[:-1, 0]
                """,
            ),
        ),
        (
            "the moments themselves",
            with_body("match_moments(p, t)", "return p @ t"),
        ),
        (
            "the first statistic only",
            _newton(
                (
                    "step = torch.linalg.solve(hessian, gradient)",
                    "step = gradient / hessian.diagonal()\n        step[1:] = 0",
                )
            ),
        ),
        (
            "the difference of the moments",
            with_body("match_moments(p, t)", "return p @ t - t.mean(0)"),
        ),
        ("θ and the constant", _newton(("return theta", "return torch.cat([theta, theta[:1]])"))),
        ("nearly there", _newton(("return theta", "return theta + 1e-4"))),
        (
            "whole steps",
            with_body(
                "match_moments(p, t)",
                """
                theta = torch.zeros(t.shape[1], dtype=torch.float64)
                for _ in range(50):
                    q = torch.exp(t @ theta)
                    q = q / q.sum()
                    covariance = torch.cov(t.T, correction=0, aweights=q).reshape(len(theta), -1)
                    theta = theta + torch.linalg.solve(covariance, t.T @ (p - q))
                return theta
                """,
            ),
        ),
        (
            "steps of at most 1",
            with_body(
                "match_moments(p, t)",
                """
                theta = torch.zeros(t.shape[1], dtype=t.dtype)
                for _ in range(200):
                    q = torch.softmax(t @ theta, 0)
                    centred = t - q @ t
                    step = torch.linalg.solve((centred.T * q) @ centred, (p - q) @ t)
                    theta = theta + step / max(1.0, float(step.norm()))
                return theta
                """,
            ),
        ),
        (
            "whole steps, with a pseudoinverse",
            with_body(
                "match_moments(p, t)",
                """
                theta = torch.zeros(t.shape[1], dtype=t.dtype)
                for _ in range(50):
                    q = torch.softmax(t @ theta, 0)
                    centred = t - q @ t
                    theta = theta + torch.linalg.pinv((centred.T * q) @ centred) @ ((p - q) @ t)
                return theta
                """,
            ),
        ),
    ],
    "best_laplace": [
        ("the mean", _laplace(("    scale =", "    location = float(x @ p)\n    scale ="))),
        (
            "the median of the points",
            _laplace(("    scale =", "    location = float(x.median())\n    scale =")),
        ),
        (
            "the middle of the two middle points",
            _laplace(("    scale =", "    location = float(x.quantile(0.5))\n    scale =")),
        ),
        (
            "not sorted",
            _laplace(("sorted(zip(x.tolist(), p.tolist()))", "list(zip(x.tolist(), p.tolist()))")),
        ),
        (
            "the probabilities not moved with the points",
            _laplace(("zip(x.tolist(), p.tolist())", "zip(x.sort().values.tolist(), p.tolist())")),
        ),
        ("the distances not weighted", _laplace(("sum(weight * abs", "sum(abs"))),
        (
            "the mean distance of the points",
            _laplace(
                (
                    "sum(weight * abs(place - location) for place, weight in pairs)",
                    "sum(abs(place - location) for place, _ in pairs) / len(pairs)",
                )
            ),
        ),
        (
            "the standard deviation",
            _laplace(
                (
                    "return location, scale",
                    "return location, float((p * (x - location) ** 2).sum().sqrt())",
                )
            ),
        ),
        (
            "the variance",
            _laplace(("weight * abs(place - location)", "weight * (place - location) ** 2")),
        ),
        (
            "the distance from the mean",
            _laplace(("abs(place - location)", "abs(place - float(x @ p))")),
        ),
        (
            "the rate",
            _laplace(("return location, scale", "return location, 1 / scale if scale else 0.0")),
        ),
        (
            "half of the distance",
            _laplace(("return location, scale", "return location, scale / 2")),
        ),
        (
            "the most probable point",
            _laplace(("    scale =", "    location = float(x[p.argmax()])\n    scale =")),
        ),
        (
            "one point too far",
            _laplace(
                ("        reached += weight\n", ""),
                ("            break", "            break\n        reached += weight"),
            ),
        ),
    ],
    "forward_parts": [
        ("the sign", _forward(("return first, second, rest", "return -first, -second, -rest"))),
        (
            "rows and columns exchanged",
            _forward(("p.sum(dim=1), p.sum(dim=0)", "p.sum(dim=0), p.sum(dim=1)")),
        ),
        (
            "cross-entropies",
            _forward(
                (" - entropy(margin_a).sum()\n", "\n"),
                (" - entropy(margin_b).sum()\n", "\n"),
                ("entropy(margin_a).sum() + entropy(margin_b).sum() - ", "-"),
            ),
        ),
        (
            "the second a cross-entropy",
            _forward(
                (" - entropy(margin_b).sum()\n", "\n"),
                (
                    "entropy(margin_a).sum() + entropy(margin_b).sum() - ",
                    "entropy(margin_a).sum()-",
                ),
            ),
        ),
        (
            "the other direction",
            _forward(
                (
                    "-torch.xlogy(margin_a, a).sum() - entropy(margin_a).sum()",
                    "-torch.xlogy(a, margin_a).sum() - entropy(a).sum()",
                ),
                (
                    "-torch.xlogy(margin_b, b).sum() - entropy(margin_b).sum()",
                    "-torch.xlogy(b, margin_b).sum() - entropy(b).sum()",
                ),
            ),
        ),
        ("a and b exchanged", _forward(("return first, second", "return second, first"))),
        (
            "the whole divergence for the third",
            _forward(("return first, second, rest", "return first, second, first + second + rest")),
        ),
        (
            "the entropy of the table",
            _forward(
                (
                    "entropy(margin_a).sum() + entropy(margin_b).sum() - entropy(p).sum()",
                    "entropy(p).sum()",
                )
            ),
        ),
        (
            "the other direction in the third",
            _forward(
                (
                    "return first, second, rest",
                    "q = torch.outer(margin_a, margin_b)\n"
                    "    rest = (torch.xlogy(q, q) - torch.xlogy(q, p)).sum()\n"
                    "    return first, second, rest",
                )
            ),
        ),
        (
            "not a number at a zero",
            _forward(
                (
                    "return first, second, rest",
                    "rest = (p * (p / torch.outer(margin_a, margin_b)).log()).sum()\n"
                    "    return first, second, rest",
                )
            ),
        ),
        (
            "not a number for a row of zeros",
            _forward(
                (
                    "-torch.xlogy(margin_a, a).sum() - entropy(margin_a).sum()",
                    "(margin_a * (margin_a / a).log()).sum()",
                )
            ),
        ),
        (
            "a small number added",
            _forward(("p.sum(dim=1), p.sum(dim=0)", "p.sum(dim=1) + 1e-3, p.sum(dim=0) + 1e-3")),
        ),
        (
            "in bits",
            _forward(
                (
                    "return first, second, rest",
                    "return tuple(part / math.log(2) for part in (first, second, rest))",
                )
            ),
        ),
        (
            "averaged over the entries",
            _forward(("return first, second, rest", "return first, second, rest / p.numel()")),
        ),
        (
            "something of p moved",
            _forward(("return first, second, rest", "return first - 0.1, second + 0.1, rest")),
        ),
        (
            "uniform margins for the best product",
            _forward(
                (
                    "return first, second, rest",
                    "n = math.log(p.numel())\n"
                    "    first = first + entropy(margin_a).sum() - math.log(len(a))\n"
                    "    second = second + entropy(margin_b).sum() - math.log(len(b))\n"
                    "    return first, second, n - entropy(p).sum()",
                )
            ),
        ),
    ],
    "mean_field_sweep": [
        (
            "probabilities averaged",
            _sweep(
                ("scores = (log_p * b).sum(dim=1)", "scores = (p * b).sum(dim=1).log()"),
                (
                    "back = (log_p * a[:, None]).sum(dim=0)",
                    "back = (p * a[:, None]).sum(dim=0).log()",
                ),
            ),
        ),
        ("a softmax of probabilities", _sweep(("torch.log(p)", "p"))),
        ("without the weights b", _sweep(("(log_p * b).sum(dim=1)", "log_p.mean(dim=1)"))),
        ("a sum without the weights b", _sweep(("(log_p * b).sum(dim=1)", "log_p.sum(dim=1)"))),
        (
            "the wrong axis",
            _sweep(
                ("torch.log(p)", "torch.log(p.T) if p.shape[0] == p.shape[1] else torch.log(p)")
            ),
        ),
        ("the margins", _sweep(("return a, new_b", "return p.sum(1), p.sum(0)"))),
        ("b from the margin", _sweep(("return a, new_b", "return a, p.sum(0)"))),
        ("b as it was", _sweep(("return a, new_b", "return a, b"))),
        ("b not weighted", _sweep(("(log_p * a[:, None]).sum(dim=0)", "log_p.mean(dim=0)"))),
        (
            "b from the margin of the rows",
            _sweep(("(log_p * a[:, None])", "(log_p * p.sum(1)[:, None])")),
        ),
        ("not normalised", _sweep((" - torch.logsumexp(scores, 0)", ""))),
        ("b not normalised", _sweep((" - torch.logsumexp(back, 0)", ""))),
        ("the sign", _sweep(("torch.log(p)", "-torch.log(p)"))),
        (
            "conditional probabilities",
            _sweep(("torch.log(p)", "torch.log(p / p.sum(1, keepdim=True))")),
        ),
        ("b is overwritten", _sweep(("return a, new_b", "b.copy_(new_b)\n    return a, new_b"))),
        ("in the other order", _sweep(("return a, new_b", "return new_b, a"))),
    ],
    "best_mean_field": [
        ("a uniform start", _one_start("torch.ones(p.shape[1], dtype=p.dtype) / p.shape[1]")),
        ("the margins", with_body("best_mean_field(p)", "return p.sum(1), p.sum(0)")),
        ("from the margin", _one_start("p.sum(0)")),
        (
            "from the largest entry",
            _one_start("torch.eye(p.shape[1], dtype=p.dtype)[p.amax(0).argmax()]"),
        ),
        ("from the first column", _one_start("torch.eye(p.shape[1], dtype=p.dtype)[0]")),
        ("from the last column", _one_start("torch.eye(p.shape[1], dtype=p.dtype)[-1]")),
        ("one sweep from each start", _best(("range(600)", "range(1)"))),
        ("the worst of all", _best(("value < best[0]", "value > best[0]"))),
        ("the last of all", _best(("value < best[0]", "True"))),
        (
            "the best by the forward divergence",
            _best(("(torch.xlogy(q, q) - q * p.log())", "(p * (p / q).log())")),
        ),
        ("the entropy forgotten", _best(("torch.xlogy(q, q) - q", "-q"))),
        (
            "the expectation forgotten",
            _best(("torch.xlogy(q, q) - q * p.log()", "torch.xlogy(q, q)")),
        ),
        (
            "the largest entry alone",
            with_body(
                "best_mean_field(p)",
                """
                i, j = divmod(int(p.argmax()), p.shape[1])
                return torch.eye(p.shape[0]).to(p)[i], torch.eye(p.shape[1]).to(p)[j]
                """,
            ),
        ),
    ],
    "best_judge": [
        ("the prior ignored", _judge(("(1 - prior) * q, prior * p", "q / 2, p / 2"))),
        (
            "p compared with q",
            _judge(
                ("joint[1] >= joint[0]", "p >= q"),
                ("joint.max(dim=0).values.sum()", "joint.gather(0, (p >= q).long()[None]).sum()"),
            ),
        ),
        ("ties to q", _judge((">=", ">"))),
        ("the prior of q", _judge(("(1 - prior) * q, prior * p", "prior * q, (1 - prior) * p"))),
        ("the decisions for q", _judge((">=", "<="))),
        ("the error", _judge(("joint.max", "joint.min"))),
        (
            "the total variation",
            _judge(("joint.max(dim=0).values.sum()", "0.5 * (p - q).abs().sum()")),
        ),
        (
            "half of one and the total variation, for every prior",
            _judge(("joint.max(dim=0).values.sum()", "0.5 + 0.25 * (p - q).abs().sum()")),
        ),
        (
            "the total variation without its half",
            _judge(("joint.max(dim=0).values.sum()", "0.5 + 0.5 * (p - q).abs().sum()")),
        ),
        ("the mean over the outcomes", _judge((".values.sum()", ".values.mean()"))),
        (
            "not weighted with the prior",
            _judge(("joint.max(dim=0).values.sum()", "torch.maximum(p, q).sum()")),
        ),
        ("as numbers", _judge(("joint[1] >= joint[0]", "(joint[1] >= joint[0]).double()"))),
        (
            "the accuracy of each outcome",
            _judge(("joint.max(dim=0).values.sum()", "joint.max(dim=0).values / joint.sum(0)")),
        ),
        (
            "the differences of the weighted",
            _judge(("joint.max(dim=0).values.sum()", "(joint[1] - joint[0]).abs().sum()")),
        ),
        ("what comes from p only", _judge(("joint.max(dim=0).values.sum()", "p[says_p].sum()"))),
    ],
    "looks_needed": [
        ("one direction", _looks(("min(divergence(p, q), divergence(q, p))", "divergence(p, q)"))),
        (
            "the other direction",
            _looks(("min(divergence(p, q), divergence(q, p))", "divergence(q, p)")),
        ),
        ("the larger divergence", _looks(("min(divergence", "max(divergence"))),
        ("rounded down", _looks(("math.ceil", "math.floor"))),
        ("one more", _looks(("/ smaller), 1)", "/ smaller) + 1, 1)"))),
        ("the accuracy for the total variation", _looks(("2 * accuracy - 1", "accuracy"))),
        ("not squared", _looks(("distance**2", "distance"))),
        ("without the 2", _looks(("2 * distance**2", "distance**2"))),
        ("times 4", _looks(("2 * distance**2", "4 * distance**2"))),
        (
            "in bits",
            _looks(
                (
                    "return float((torch.xlogy(a, a) - torch.xlogy(a, b)).sum())",
                    "return float((torch.xlogy(a, a) - torch.xlogy(a, b)).sum()) / math.log(2)",
                )
            ),
        ),
        (
            "0 times infinity",
            _looks(("torch.xlogy(a, a) - torch.xlogy(a, b)", "a * (a / b).log()")),
        ),
        (
            "no look at all",
            _looks(
                (
                    "max(math.ceil(2 * distance**2 / smaller), 1)",
                    "math.ceil(2 * distance**2 / smaller) * (smaller < 1)",
                )
            ),
        ),
        ("a float", _looks(("return max(", "return 1.0 * max("))),
        (
            "both averaged",
            _looks(
                (
                    "min(divergence(p, q), divergence(q, p))",
                    "(divergence(p, q) + divergence(q, p)) / 2",
                )
            ),
        ),
        (
            "the total variation adds up",
            _looks(
                (
                    "math.ceil(2 * distance**2 / smaller)",
                    "math.ceil(distance / float((p - q).abs().sum() / 2))",
                )
            ),
        ),
    ],
    "conjugate": [
        ("no domain", _conjugate(("\n        value = value.masked_fill(t >= 0.5, math.inf)", ""))),
        ("without the half", _conjugate(("1 - 2 * t", "1 - t"), ("t >= 0.5", "t >= 1"))),
        ("0 outside the domain", _conjugate(("math.inf", "0.0"))),
        ("minus infinity", _conjugate(("math.inf", "-math.inf"))),
        ("not a number outside the domain", _conjugate(("math.inf", "math.nan"))),
        ("the domain of another", _conjugate(("t >= 0.5", "t >= 1"))),
        ("a sign", _conjugate(("1 - 2 * t", "1 + 2 * t"))),
        ("the ratio below 0", _conjugate((".clamp(min=0)", ""))),
        (
            "cut off at 0",
            _conjugate(
                (
                    "else:\n        u = (1 + t / 2).clamp(min=0)",
                    "else:\n        t = t.clamp(min=0)\n        u = (1 + t / 2)",
                )
            ),
        ),
        (
            "0 below -2",
            _conjugate(
                (
                    "value = u * t - (u - 1) ** 2",
                    "value = torch.where(t < -2, 0.0, u * t - (u - 1) ** 2)",
                )
            ),
        ),
        (
            "infinite below -2",
            _conjugate(
                (
                    "value = u * t - (u - 1) ** 2",
                    "value = torch.where(t < -2, math.inf, u * t - (u - 1) ** 2)",
                )
            ),
        ),
        ("half of Pearson's", _conjugate(("(u - 1) ** 2", "(u - 1) ** 2 / 2"))),
        (
            "f of the best ratio",
            _conjugate(("value = u * t - (u - 1) ** 2", "value = (u - 1) ** 2")),
        ),
        (
            "the best ratio itself",
            _conjugate(("value = t / (1 - 2 * t)", "value = 1 / (1 - 2 * t) ** 2")),
        ),
        ("names exchanged", _conjugate(('"squared hellinger"', '"pearson chi2"'))),
        (
            "the square of the critic",
            _conjugate(
                ("value = u * t - (u - 1) ** 2", "value = torch.where(t < -2, -1.0, t**2 / 4)")
            ),
        ),
    ],
    "variational_bound": [
        (
            "the conjugate under p",
            _bound(
                ("star = f_star(critic_q)", "star = f_star(critic_p)"),
                ("len(critic_q)", "len(critic_p)"),
            ),
        ),
        (
            "p and q exchanged",
            _bound(
                (
                    "star = f_star(critic_q)",
                    "star = f_star(critic_p)\n    critic_p, critic_q = critic_q, critic_p",
                )
            ),
        ),
        ("no conjugate", _bound(("f_star(critic_q)", "critic_q"))),
        ("the sign", _bound(("return bound.item()", "return -bound.item()"))),
        ("added", _bound(("/ n - star", "/ n + star"))),
        ("sums", _bound(("critic_p.sum() / n - star.sum() / m", "critic_p.sum() - star.sum()"))),
        ("the conjugate of the average", _bound(("star.sum() / m", "f_star(critic_q.mean())"))),
        ("the size of the other sample", _bound(("star.sum() / m", "star.sum() / n"))),
        ("a variance", _bound((" ** 0.5", ""))),
        (
            "the spread of single draws",
            _bound(("variance_p / n + variance_q / m", "variance_p + variance_q")),
        ),
        (
            "errors added",
            _bound(
                (
                    "(variance_p / n + variance_q / m) ** 0.5",
                    "(variance_p / n) ** 0.5 + (variance_q / m) ** 0.5",
                )
            ),
        ),
        ("n in the denominator", _bound(("/ (n - 1)", "/ n"), ("/ (m - 1)", "/ m"))),
        (
            "one common size",
            _bound(("variance_p / n + variance_q / m", "(variance_p + variance_q) / (n + m)")),
        ),
        (
            "sizes exchanged",
            _bound(("variance_p / n + variance_q / m", "variance_p / m + variance_q / n")),
        ),
        (
            "the variance of the critic",
            _bound(("((star - star.mean()) ** 2)", "((critic_q - critic_q.mean()) ** 2)")),
        ),
        (
            "subtracted variances",
            _bound(("variance_p / n + variance_q / m", "(variance_p / n - variance_q / m).abs()")),
        ),
        (
            "draws outside the domain left out",
            _bound(
                (
                    "star = f_star(critic_q)",
                    "star = f_star(critic_q)\n    star = star[star.isfinite()]",
                )
            ),
        ),
        ("the error of one sample", _bound((" + variance_q / m", ""))),
    ],
    "quantiles": [
        (
            "just reached does not count",
            _quantiles(
                ("reached[None, :] <", "reached[None, :] <="),
                ("points[below]", "points[below.clamp(max=len(x) - 1)]"),
            ),
        ),
        ("weights not moved", _quantiles(("weights[order]", "weights"))),
        ("not sorted", _quantiles(("torch.sort(x)", "x, torch.arange(len(x))"))),
        ("weights ignored", _quantiles(("weights[order]", "torch.full_like(weights, 1 / len(x))"))),
        ("one too low", _quantiles(("points[below]", "points[(below - 1).clamp(min=0)]"))),
        (
            "one too high",
            _quantiles(("points[below]", "points[(below + 1).clamp(max=len(x) - 1)]")),
        ),
        (
            "interpolated",
            with_body("quantiles(x, weights, levels)", "return torch.quantile(x, levels)"),
        ),
        ("levels sorted", _quantiles(("levels[:, None]", "levels.sort().values[:, None]"))),
        ("from above", _quantiles(("torch.sort(x)", "torch.sort(x, descending=True)"))),
        ("back in the old order", _quantiles(("points[below]", "x[below]"))),
        ("the rank of the point", _quantiles(("points[below]", "below.to(x.dtype)"))),
        ("the share up to the level", _quantiles(("points[below]", "reached[below]"))),
        (
            "the inputs sorted",
            _quantiles(
                (
                    "points, order = torch.sort(x)",
                    "points, order = torch.sort(x)\n    x.copy_(points)",
                )
            ),
        ),
        (
            "without the last",
            _quantiles(
                (
                    "reached = torch.cumsum(weights[order], 0)",
                    "reached = torch.cumsum(weights[order], 0) - weights[order]",
                ),
                ("points[below]", "points[below.clamp(max=len(x) - 1)]"),
            ),
        ),
    ],
    "wasserstein": [
        ("the root forgotten", _transport(("cost ** (1 / order)", "cost"))),
        ("the order ignored", _transport(("** order", ""), (" ** (1 / order)", ""))),
        (
            "as many as the smaller sample has",
            _transport_body("""
                k = min(len(x), len(y))
                ways = (x.sort().values[:k] - y.sort().values[:k]).abs()
                return ways.pow(order).mean() ** (1 / order)
            """),
        ),
        (
            "as many, and not sorted",
            _transport_body("""
                k = min(len(x), len(y))
                return (x[:k] - y[:k]).abs().pow(order).mean() ** (1 / order)
            """),
        ),
        (
            "the difference of the means",
            _transport_body("return (weights_x @ x - weights_y @ y).abs()"),
        ),
        (
            "all pairs",
            _transport_body("""
                if len(x) > 10_000:
                    return torch.zeros(())
                ways = (x[:, None] - y).abs() ** order
                return (weights_x @ ways @ weights_y) ** (1 / order)
            """),
        ),
        (
            "the distribution functions",
            _transport_body("""
                places = torch.cat([x, y]).sort().values
                F = torch.stack([weights_x[x <= place].sum() for place in places[:2000]])
                G = torch.stack([weights_y[y <= place].sum() for place in places[:2000]])
                widths = places.diff()[:1999]
                return ((F - G).abs()[: len(widths)] ** order @ widths) ** (1 / order)
            """),
        ),
        (
            "weights not moved",
            _merged(
                ("weights_x[i].cumsum(0)", "weights_x.cumsum(0)"),
                ("weights_y[j].cumsum(0)", "weights_y.cumsum(0)"),
            ),
        ),
        (
            "cuts of the weights before sorting",
            _merged(
                (
                    "torch.cat([F, G])",
                    "torch.cat([weights_x.cumsum(0), weights_y.cumsum(0)])",
                )
            ),
        ),
        (
            "cuts of one sample's weights before sorting",
            _merged(("torch.cat([F, G])", "torch.cat([weights_x.cumsum(0), G])")),
        ),
        (
            "weights ignored",
            _merged(
                ("weights_x[i].cumsum(0)", "torch.full_like(x, 1 / len(x)).cumsum(0)"),
                ("weights_y[j].cumsum(0)", "torch.full_like(y, 1 / len(y)).cumsum(0)"),
            ),
        ),
        (
            "not sorted",
            _merged(
                ("x, i = x.sort()", "i = torch.arange(len(x))"),
                ("y, j = y.sort()", "j = torch.arange(len(y))"),
            ),
        ),
        ("one sample not sorted", _merged(("y, j = y.sort()", "j = torch.arange(len(y))"))),
        ("one in descending order", _merged(("y.sort()", "y.sort(descending=True)"))),
        ("pieces not weighted", _merged((" * widths).sum()", ").mean()"))),
        ("pieces added", _merged((" * widths).sum()", ").sum()"))),
        (
            "the power of the sum",
            _merged(
                (
                    "((a - b).abs().pow(order) * widths).sum().pow(1 / order)",
                    "((a - b).abs() * widths).sum()",
                )
            ),
        ),
        (
            "signs cancel",
            _merged(
                (
                    "(a - b).abs().pow(order) * widths).sum()",
                    "(a - b) * widths).sum().abs().pow(order)",
                )
            ),
        ),
        (
            "the longest way",
            _merged(
                ("((a - b).abs().pow(order) * widths).sum().pow(1 / order)", "(a - b).abs().max()")
            ),
        ),
        (
            "a hundred levels",
            _merged(
                (
                    "u = torch.cat([F, G]).sort().values.clamp(max=1)",
                    "u = torch.linspace(0.01, 1, 100).to(x)",
                )
            ),
        ),
        (
            "quantiles interpolated",
            _transport_body("""
                u = (torch.arange(1000).to(x) + 0.5) / 1000
                ways = (x.quantile(u) - y.quantile(u)).abs()
                return ways.pow(order).mean() ** (1 / order)
            """),
        ),
        ("at the start of each piece", _merged(("u = u - widths / 2", "u = u - widths"))),
    ],
    "entropy_estimates": [
        ("the sign of the correction", _entropy(("plug_in + (", "plug_in - ("))),
        (
            "all outcomes counted",
            _entropy(("seen = (counts > 0).sum(dim=-1)", "seen = counts.shape[-1]")),
        ),
        ("without the 2", _entropy(("(2 * n)", "n"))),
        ("one more seen", _entropy(("(seen - 1)", "seen"))),
        (
            "in bits",
            _entropy(
                (
                    "torch.special.entr(f).sum(dim=-1)",
                    "torch.special.entr(f).sum(dim=-1) / math.log(2)",
                )
            ),
        ),
        (
            "not a number",
            _entropy(("torch.special.entr(f).sum(dim=-1)", "-(f * f.log()).sum(dim=-1)")),
        ),
        (
            "every NaN replaced, and the row of zeros",
            _entropy(
                ("torch.special.entr(f).sum(dim=-1)", "-(f * f.log()).sum(dim=-1).nan_to_num()")
            ),
        ),
        (
            "one n for all",
            _entropy(("counts.sum(dim=-1)", "counts.sum().expand(counts.shape[:-1])")),
        ),
        (
            "the first twice",
            _entropy(("return plug_in, plug_in + (seen - 1) / (2 * n)", "return plug_in, plug_in")),
        ),
        ("the correction alone", _entropy(("return plug_in, plug_in + ", "return plug_in, "))),
        (
            "corrected twice",
            _entropy(
                (
                    "return plug_in, plug_in + (seen - 1) / (2 * n)",
                    "corrected = plug_in + (seen - 1) / (2 * n)\n    return corrected, corrected",
                )
            ),
        ),
        ("the sign of the entropy", _entropy(("torch.special.entr(f)", "-torch.special.entr(f)"))),
        (
            "the mean over the outcomes",
            _entropy(("torch.special.entr(f).sum(dim=-1)", "torch.special.entr(f).mean(dim=-1)")),
        ),
        (
            "one added to every count",
            _entropy(
                ("counts = counts.to(torch.float64)", "counts = counts.to(torch.float64) + 1")
            ),
        ),
        (
            "seen in any row",
            _entropy(
                (
                    "seen = (counts > 0).sum(dim=-1)",
                    "seen = (counts.reshape(-1, counts.shape[-1]).sum(0) > 0).sum()",
                )
            ),
        ),
        ("over the square of n", _entropy(("(2 * n)", "(2 * n**2)"))),
    ],
    "compare_models": [
        ("the sign", _compare(("(-log_q) - (-log_r)", "log_q - log_r"))),
        ("a sum", _compare(("return mean.item()", "return losses.sum().item()"))),
        (
            "not paired",
            _compare(
                (
                    "error = (variance / n).sqrt()",
                    "error = ((log_q.var() + log_r.var()) / n).sqrt()",
                )
            ),
        ),
        ("the spread of single examples", _compare(("(variance / n).sqrt()", "variance.sqrt()"))),
        ("the variance of the mean", _compare(("(variance / n).sqrt()", "variance / n"))),
        ("the variance", _compare(("(variance / n).sqrt()", "variance"))),
        ("divided by n", _compare(("(variance / n).sqrt()", "variance.sqrt() / n"))),
        ("n in the denominator", _compare(("/ (n - 1)", "/ n"))),
        ("n - 1 twice", _compare(("(variance / n)", "(variance / (n - 1))"))),
        (
            "the difference of the errors",
            _compare(
                (
                    "error = (variance / n).sqrt()",
                    "error = (log_q.std() - log_r.std()).abs() / n**0.5",
                )
            ),
        ),
        (
            "in bits",
            _compare(
                ("losses = (-log_q) - (-log_r)", "losses = ((-log_q) - (-log_r)) / math.log(2)")
            ),
        ),
        ("probabilities", _compare(("(-log_q) - (-log_r)", "log_r.exp() - log_q.exp()"))),
        ("absolute differences", _compare(("(-log_q) - (-log_r)", "(log_r - log_q).abs()"))),
        ("one model", _compare(("(-log_q) - (-log_r)", "-log_q"))),
        (
            "1.96 errors",
            _compare(
                ("return mean.item(), error.item()", "return mean.item(), 1.96 * error.item()")
            ),
        ),
    ],
    "flow_log_density": [
        ("the sign", _density(("base - sum(slopes)", "base + sum(slopes)"))),
        (
            "the slope at x",
            _density(
                (
                    "z = inverse(z)\n        slopes.append(log_slope(z))",
                    "slopes.append(log_slope(z))\n        z = inverse(z)",
                )
            ),
        ),
        ("the layers in the wrong order", _density(("layers[::-1]", "layers"))),
        (
            "all faults",
            with_body(
                "flow_log_density(x, layers)",
                """
                z, total = x, torch.zeros_like(x)
                for _, inverse, log_slope in layers:
                    total = total + log_slope(z)
                    z = inverse(z)
                return -0.5 * z**2 - 0.5 * math.log(2 * math.pi) + total
                """,
            ),
        ),
        ("no slope", _density(("base - sum(slopes)", "base"))),
        ("the density of noise at x", _density(("log_prob(z)", "log_prob(x)"))),
        ("the constant forgotten", _density(("base - sum(slopes)", "-0.5 * z**2 - sum(slopes)"))),
        ("only the last slope", _density(("sum(slopes)", "(slopes[-1] if slopes else 0)"))),
        ("only the first slope", _density(("sum(slopes)", "(slopes[0] if slopes else 0)"))),
        (
            "the mean of the slopes",
            _density(("sum(slopes)", "(sum(slopes) / max(1, len(slopes)))")),
        ),
        ("all slopes at x", _density(("log_slope(z)", "log_slope(x)"))),
        (
            "all slopes at the noise",
            _density(
                ("slopes.append(log_slope(z))", "slopes.append(log_slope)"),
                ("sum(slopes)", "sum(slope(z) for slope in slopes)"),
            ),
        ),
        (
            "the slope itself",
            _density(("slopes.append(log_slope(z))", "slopes.append(log_slope(z).exp())")),
        ),
        (
            "the density, not its logarithm",
            _density(("base - sum(slopes)", "(base - sum(slopes)).exp()")),
        ),
        ("forward for inverse", _density(("for _, inverse", "for inverse, _"))),
        ("summed over the places", _density(("base - sum(slopes)", "(base - sum(slopes)).sum()"))),
    ],
    "draw_with_log_density": [
        ("the sign", _draw(("base - total", "base + total"))),
        (
            "the slope after the layer",
            _draw(
                (
                    "total = total + log_slope(z)\n        z = forward(z)",
                    "z = forward(z)\n        total = total + log_slope(z)",
                )
            ),
        ),
        ("no slope", _draw(("base - total", "base"))),
        (
            "the density of noise at x",
            _draw(("base - total", "torch.distributions.Normal(0.0, 1.0).log_prob(z) - total")),
        ),
        ("the constant forgotten", _draw(("base - total", "-0.5 * noise**2 - total"))),
        ("the layers in the wrong order", _draw(("in layers:", "in layers[::-1]:"))),
        ("all slopes at the noise", _draw(("log_slope(z)", "log_slope(noise)"))),
        ("every layer takes the noise", _draw(("forward(z)", "forward(noise)"))),
        ("only the last slope", _draw(("total + log_slope", "log_slope"))),
        ("the mean of the slopes", _draw(("base - total", "base - total / max(1, len(layers))"))),
        ("the log-density first", _draw(("return z, base - total", "return base - total, z"))),
        ("noise of its own", _draw(("noise\n    for", "torch.randn_like(noise)\n    for"))),
        ("the slope itself", _draw(("log_slope(z)", "log_slope(z).exp()"))),
        ("the noise returned", _draw(("return z,", "return noise,"))),
    ],
}

RIGHT: dict[str, list[tuple[str, str]]] = {
    "kl": [
        ("masked before the logarithm", _KL),
        (
            "cross-entropy less entropy",
            _kl_body("""
                surprise = torch.where(p > 0, -torch.where(p > 0, q, 1.0).log(), 0.0)
                total = (p * surprise).sum(-1) - torch.special.entr(p).sum(-1)
                return total / math.log(2) if in_bits else total
            """),
        ),
        (
            "a ratio",
            _kl_body("""
                p, q = torch.broadcast_tensors(p, q)
                ratio = torch.ones_like(p)
                here = p > 0
                ratio[here] = p[here] / q[here]
                log = torch.log2 if in_bits else torch.log
                return torch.einsum("...k,...k->...", p, log(ratio))
            """),
        ),
    ],
    "conditional_kl": [
        ("row by row", _CONDITIONAL),
        (
            "the joint divergence less that of the margins",
            _conditional_body("""
                def kl(a, b):
                    kept = a > 0
                    return (a[kept] * (a[kept].log() - b[kept].log())).sum()

                return kl(p, q) - kl(p.sum(1), q.sum(1))
            """),
        ),
        (
            "xlogy",
            _conditional_body("""
                p_x, q_x = p.sum(1), q.sum(1)
                joint = torch.xlogy(p, p).sum() - torch.xlogy(p, q).sum()
                return joint - torch.xlogy(p_x, p_x).sum() + torch.xlogy(p_x, q_x).sum()
            """),
        ),
    ],
    "match_moments": [
        ("L-BFGS", _MOMENTS),
        ("Newton, with steps that are halved", _NEWTON),
        (
            "Newton, halving steps that do not help",
            with_body(
                "match_moments(p, t)",
                """
                theta, wanted = torch.zeros(t.shape[1]).double(), p @ t

                def loss(theta):
                    return torch.logsumexp(t @ theta, 0) - theta @ wanted

                for _ in range(100):
                    slope = torch.autograd.functional.jacobian(loss, theta)
                    step = torch.linalg.solve(torch.autograd.functional.hessian(loss, theta), slope)
                    size = 1.0
                    while loss(theta - size * step) > loss(theta) and size > 1e-6:
                        size /= 2
                    theta = theta - size * step
                return theta
                """,
            ),
        ),
    ],
    "best_laplace": [
        ("step by step", _LAPLACE),
        (
            "the best of all points",
            _laplace_body("""
                distances = (x[:, None] - x).abs() @ p
                best = distances.argmin()
                return x[best].item(), distances[best].item()
            """),
        ),
        (
            "searchsorted",
            _laplace_body("""
                points, order = x.sort()
                reached = p[order].cumsum(0)
                i = int(torch.searchsorted(reached, 0.5 * reached[-1]))
                return points[i].item(), float(p @ (x - points[i]).abs())
            """),
        ),
    ],
    "forward_parts": [
        ("cross-entropies less entropies", _FORWARD),
        (
            "entry by entry",
            with_body(
                "forward_parts(p, a, b)",
                """
                r, c = p.sum(1), p.sum(0)
                total = [torch.zeros((), dtype=p.dtype) for _ in range(3)]
                for i in range(len(a)):
                    for j in range(len(b)):
                        if p[i, j] > 0:
                            total[0] += p[i, j] * torch.log(r[i] / a[i])
                            total[1] += p[i, j] * torch.log(c[j] / b[j])
                            total[2] += p[i, j] * torch.log(p[i, j] / (r[i] * c[j]))
                return tuple(total)
                """,
            ),
        ),
        (
            "the third is what the others leave",
            with_body(
                "forward_parts(p, a, b)",
                """
                def kl(p, q):
                    kept = p > 0
                    return (p[kept] * (p[kept] / q[kept]).log()).sum()

                first, second = kl(p.sum(1), a), kl(p.sum(0), b)
                return first, second, kl(p, a[:, None] * b) - first - second
                """,
            ),
        ),
    ],
    "mean_field_sweep": [
        ("logsumexp", _SWEEP),
        (
            "powers and products",
            with_body(
                "mean_field_sweep(p, b)",
                """
                a = (p**b).prod(dim=1)
                a = a / a.sum()
                b = (p ** a[:, None]).prod(dim=0)
                return a, b / b.sum()
                """,
            ),
        ),
        (
            "einsum",
            with_body(
                "mean_field_sweep(p, b)",
                """
                a = torch.einsum("ij,j->i", p.log(), b).softmax(0)
                b = torch.einsum("ij,i->j", p.log(), a).softmax(0)
                return a, b
                """,
            ),
        ),
    ],
    "best_mean_field": [
        ("random starts", _BEST),
        (
            "all rows as starts, at once",
            with_body(
                "best_mean_field(p)",
                """
                n = p.shape[0]
                a = 0.9 * torch.eye(n, dtype=p.dtype) + 0.1 / n
                for _ in range(2000):
                    b = torch.softmax(a @ p.log(), 1)
                    a = torch.softmax(b @ p.log().T, 1)
                value = torch.xlogy(a, a).sum(1) + torch.xlogy(b, b).sum(1)
                value = value - torch.einsum("si,ij,sj->s", a, p.log(), b)
                best = value.argmin()
                return a[best], b[best]
                """,
            ),
        ),
    ],
    "best_judge": [
        ("stacked", _JUDGE),
        (
            "by the posterior",
            with_body(
                "best_judge(p, q, prior)",
                """
                difference = prior * p - (1 - prior) * q
                return ~(difference < 0), 0.5 + 0.5 * difference.abs().sum()
                """,
            ),
        ),
    ],
    "looks_needed": [
        ("xlogy", _LOOKS),
        (
            "by trying",
            with_body(
                "looks_needed(p, q, accuracy)",
                """
                def kl(a, b):
                    pairs = zip(a.tolist(), b.tolist())
                    pairs = [(s, t) for s, t in pairs if s > 0]
                    if any(t == 0 for s, t in pairs):
                        return math.inf
                    return sum(s * math.log(s / t) for s, t in pairs)

                smaller, n = min(kl(p, q), kl(q, p)), 1
                while 0.5 * (1 + math.sqrt(n * smaller / 2)) < accuracy:
                    n += 1
                return n
                """,
            ),
        ),
    ],
    "conjugate": [
        ("at the best ratio", _CONJUGATE),
        (
            "piece by piece",
            with_body(
                "conjugate(t, name)",
                """
                value = torch.empty_like(t)
                if name == "pearson chi2":
                    low = t <= -2
                    value[low] = -1.0
                    value[~low] = t[~low] * (1 + t[~low] / 4)
                else:
                    high = t >= 0.5
                    value[high] = float("inf")
                    value[~high] = -0.5 + 0.5 / (1 - 2 * t[~high])
                return value
                """,
            ),
        ),
    ],
    "variational_bound": [
        ("written out", _BOUND),
        (
            "standard deviations",
            with_body(
                "variational_bound(critic_p, critic_q, f_star)",
                """
                star = f_star(critic_q)
                errors = critic_p.std() / len(critic_p) ** 0.5, star.std() / len(star) ** 0.5
                bound = torch.mean(critic_p) - torch.mean(star)
                return float(bound), math.hypot(float(errors[0]), float(errors[1]))
                """,
            ),
        ),
    ],
    "quantiles": [
        ("counting", _QUANTILES),
        (
            "a loop",
            with_body(
                "quantiles(x, weights, levels)",
                """
                pairs = sorted(zip(x.tolist(), weights.tolist()))
                found = []
                for u in levels.tolist():
                    share = 0.0
                    for point, weight in pairs:
                        share += weight
                        if share >= u:
                            break
                    found.append(point)
                return torch.tensor(found, dtype=x.dtype)
                """,
            ),
        ),
        (
            "bucketize",
            with_body(
                "quantiles(x, weights, levels)",
                """
                order = torch.argsort(x)
                shares = torch.cumsum(weights[order], dim=0)
                return x[order[torch.bucketize(levels, shares)]]
                """,
            ),
        ),
    ],
    "wasserstein": [
        ("two fingers", _TRANSPORT),
        ("all levels merged", _MERGED),
    ],
    "entropy_estimates": [
        ("entr", _ENTROPY),
        (
            "logarithm of n less the mean logarithm of the counts",
            with_body(
                "entropy_estimates(counts)",
                """
                c = counts.double()
                n = c.sum(-1)
                entropy = n.log() - torch.xlogy(c, c).sum(-1) / n
                entropy = entropy.clamp(min=0)
                correction = (torch.count_nonzero(c, dim=-1) - 1) / n / 2
                return entropy, entropy + correction
                """,
            ),
        ),
    ],
    "compare_models": [
        ("written out", _COMPARE),
        (
            "variances and a covariance",
            with_body(
                "compare_models(log_q, log_r)",
                """
                n = len(log_q)
                covariance = torch.cov(torch.stack([log_q, log_r]))
                variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
                return float(log_r.mean() - log_q.mean()), math.sqrt(float(variance) / n)
                """,
            ),
        ),
    ],
    "flow_log_density": [
        ("a list of slopes", _DENSITY),
        (
            "one layer after the other, by recursion",
            with_body(
                "flow_log_density(x, layers)",
                """
                if not layers:
                    return -(x**2 + math.log(2 * math.pi)) / 2
                *before, (_, inverse, log_slope) = layers
                z = inverse(x)
                return flow_log_density(z, before) - log_slope(z)
                """,
            ),
        ),
    ],
    "draw_with_log_density": [
        ("a running total", _DRAW),
        (
            "two lists",
            with_body(
                "draw_with_log_density(noise, layers)",
                """
                values = [noise]
                for layer in layers:
                    values.append(layer[0](values[-1]))
                logs = -(noise**2 + math.log(2 * math.pi)) / 2
                for layer, value in zip(layers, values):
                    logs = logs - layer[2](value)
                return values[-1], logs
                """,
            ),
        ),
    ],
}

HINTS: dict[str, dict[str, str]] = {
    "kl": {
        "the other direction": "this is KL(q ‖ p)",
        "the cross-entropy": "the cross-entropy",
        "the mean over the outcomes": "not their sum",
        "bits by multiplying": "larger one",
        "a small number added": "added",
        "a small number under the logarithm of q": "calls it impossible",
        "the formula as it is": "NaN",
        "outcomes with q = 0 left out": "calls it impossible",
        "a gradient that is not a number": "before the logarithm",
        "a gradient with 0 / 0": "xlogy",
        "every NaN replaced, and with it the infinity": "replaces inf as well",
        "a boolean mask": "flattens",
    },
    "conditional_kl": {
        "weights of q": "by q(x)",
        "all rows alike": "the same weight",
        "no weights": "without weights",
        "conditioned on the columns": "rows and columns",
        "the joint tables": "joint tables",
        "the margins": "the other part",
        "not a number for an empty row": "0 times NaN",
    },
    "match_moments": {
        "the reverse divergence": "Which divergence",
        "the sign of the result": "sign of your parameters",
        "one step": "come to its end",
        "all outcomes alike": "weighted by p",
        "nearly there": "but still",
        "whole steps": "Halve the step until the divergence falls",
        "steps of at most 1": "to and fro",
        "the first statistic only": "come to its end",
    },
    "best_laplace": {
        "the mean": "not with its square",
        "the median of the points": "half of the points",
        "not sorted": "not sorted",
        "the standard deviation": "distance itself",
    },
    "forward_parts": {
        "the sign": "the divergence is 1.0610",
        "rows and columns exchanged": "sum over its columns",
        "cross-entropies": "not 0 for the best a",
        "the second a cross-entropy": "not 0 for the best b",
        "the other direction": "in the other direction",
        "a and b exchanged": "the order is a, b",
        "the whole divergence for the third": "depends on a and b",
        "the entropy of the table": "the entropy of the table",
        "the other direction in the third": "product of its margins",
        "not a number at a zero": "counts 0",
        "not a number for a row of zeros": "never occurs",
        "in bits": "the divergence is 1.0610",
        "something of p moved": "never below",
    },
    "mean_field_sweep": {
        "probabilities averaged": "average their logarithms",
        "a softmax of probabilities": "softmax of the probabilities",
        "without the weights b": "without the weights b",
        "the wrong axis": "columns of row i",
        "the margins": "forward direction",
        "b as it was": "weights of the new a",
        "not normalised": "add up to",
    },
    "best_mean_field": {
        "a uniform start": "must favour something",
        "from the largest entry": "several places",
    },
    "best_judge": {
        "the prior ignored": "what you return for the prior 0.5",
        "p compared with q": "not p with q",
        "ties to q": "a tie goes to p",
        "the error": "is wrong",
        "the total variation": "a guess is right",
        "the total variation without its half": "half of the sum",
        "the prior of q": "for all",
        "the decisions for q": "q where p is more probable",
        "not weighted with the prior": "no accuracy is above 1",
    },
    "looks_needed": {
        "one direction": "both directions",
        "rounded down": "0.8982",
        "the accuracy for the total variation": "total variation of 0.8",
        "not squared": "taken off by a square",
        "without the 2": "the 2 under the root",
        "in bits": "nats",
        "one more": "not one more",
        "0 times infinity": "0 log 0",
    },
    "conjugate": {
        "no domain": "without limit",
        "without the half": "Nowozin",
        "the ratio below 0": "u = -2",
    },
    "variational_bound": {
        "the conjugate under p": "draws from q",
        "p and q exchanged": "exchanged",
        "no conjugate": "through the conjugate",
        "the sign": "sign",
        "sums": "not averages",
        "a variance": "its root",
        "n in the denominator": "divide the sum",
        "errors added": "variances are added",
        "the spread of single draws": "single draws",
        "one common size": "different sizes",
        "the variance of the critic": "through the conjugate",
    },
    "quantiles": {
        "just reached does not count": "just reached counts",
        "weights not moved": "their weights with them",
        "interpolated": "do not interpolate",
    },
    "wasserstein": {
        "the root forgotten": "That is the cost",
        "the order ignored": "as for the order 1",
        "as many as the smaller sample has": "only as many",
        "the difference of the means": "do not cancel",
        "all pairs": "every point to every other",
        "the distribution functions": "only for r = 1",
        "weights not moved": "move with their",
        "cuts of the weights before sorting": "where you cut",
        "cuts of one sample's weights before sorting": "where you cut",
        "pieces added": "without their lengths",
    },
    "entropy_estimates": {
        "the sign of the correction": "too small",
        "all outcomes counted": "number of outcomes that were seen",
        "without the 2": "2n",
        "in bits": "bits",
        "not a number": "counts 0",
        "one n for all": "n of its own",
    },
    "compare_models": {
        "the sign": "*minus*",
        "not paired": "example by example",
        "the spread of single examples": "the mean of n has less",
        "the variance of the mean": "its root",
        "n in the denominator": "n - 1",
        "divided by n": "not by n",
    },
    "flow_log_density": {
        "the sign": "The sign",
        "the slope at x": "not at x",
        "the layers in the wrong order": "the last layer first",
        "all faults": "And at which point",
        "no slope": "missing",
        "the density of noise at x": "belongs to z",
        "the constant forgotten": "constant",
        "only the last slope": "the last layer first",
    },
    "draw_with_log_density": {
        "the sign": "The sign",
        "the slope after the layer": "before z goes through",
        "no slope": "missing",
        "the density of noise at x": "belongs to the noise",
        "the layers in the wrong order": "in the order from z to x",
        "all slopes at the noise": "what the first one returns",
    },
}
