"""Plausible answers to the exercises of chapter 12: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution.
"""

from answer_cells import changed, with_body

_MOMENTS = """
def score_moments(mean_q, variance_q, mean_k, variance_k):
    d = mean_q.shape[0]
    mean = torch.dot(mean_q, mean_k) / d**0.5
    both = torch.dot(variance_q, variance_k)
    one = torch.dot(variance_q, mean_k**2) + torch.dot(mean_q**2, variance_k)
    return mean, (both + one) / d
""".strip()


def _moments(*changes: tuple[str, str]) -> str:
    return changed(_MOMENTS, *changes)


def _moments_body(body: str) -> str:
    return with_body("score_moments(mean_q, variance_q, mean_k, variance_k)", body)


_ATTENTION = """
def attention(query, key, value, mask):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    scores = torch.where(mask, scores, -math.inf)
    weights = torch.softmax(scores, dim=-1)
    weights = torch.nan_to_num(weights)
    return weights @ value
""".strip()


def _attention(*changes: tuple[str, str]) -> str:
    return changed(_ATTENTION, *changes)


def _attention_body(body: str) -> str:
    return with_body("attention(query, key, value, mask)", body)


_KERNEL = """
def kernel_regression(query, key, value, bandwidth):
    differences = query.unsqueeze(1) - key.unsqueeze(0)
    distances = (differences**2).sum(-1)
    scores = -distances / (2 * bandwidth**2)
    weights = scores.softmax(-1)
    return weights @ value
""".strip()


def _kernel(*changes: tuple[str, str]) -> str:
    return changed(_KERNEL, *changes)


_LEFT_OUT = """
def leave_one_out_error(x, y, bandwidth):
    distances = ((x.unsqueeze(1) - x.unsqueeze(0)) ** 2).sum(-1)
    scores = -distances / (2 * bandwidth**2)
    itself = torch.eye(len(x), dtype=torch.bool)
    scores = torch.where(itself, -math.inf, scores)
    weights = scores.softmax(-1)
    errors = y - weights @ y
    return errors.square().mean().item()
""".strip()


def _left_out(*changes: tuple[str, str]) -> str:
    return changed(_LEFT_OUT, *changes)


_HEADS = """
def multi_head_attention(x, w_q, w_k, w_v, w_o, heads):
    batch, time, width = x.shape
    d = width // heads
    q = (x @ w_q.T).view(batch, time, heads, d).permute(0, 2, 1, 3)
    k = (x @ w_k.T).view(batch, time, heads, d).permute(0, 2, 1, 3)
    v = (x @ w_v.T).view(batch, time, heads, d).permute(0, 2, 1, 3)
    scores = q @ k.mT / d**0.5
    allowed = torch.ones(time, time).tril().bool()
    weights = torch.where(allowed, scores, -math.inf).softmax(-1)
    y = (weights @ v).permute(0, 2, 1, 3).reshape(batch, time, width)
    return y @ w_o.T
""".strip()

_CUT = ".view(batch, time, heads, d).permute(0, 2, 1, 3)"


def _heads(*changes: tuple[str, str]) -> str:
    return changed(_HEADS, *changes)


def _cut(new: str) -> str:
    """Other ways to cut queries, keys and values into heads."""
    return _HEADS.replace(_CUT, new)


def _cost(expression: str) -> str:
    return with_body("multiply_adds(n, width, heads)", f"return {expression}")


_ROTATE = """
def rotate(x, positions):
    d = x.shape[-1]
    i = torch.arange(d // 2, dtype=torch.float64)
    angles = positions.double().unsqueeze(1) * 10000 ** (-2 * i / d)
    cos, sin = torch.cos(angles).to(x.dtype), torch.sin(angles).to(x.dtype)
    a, b = x[..., : d // 2], x[..., d // 2 :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)
""".strip()


def _rotate(*changes: tuple[str, str]) -> str:
    return changed(_ROTATE, *changes)


_TABLE = """
def sinusoidal_table(time, width):
    table = torch.zeros(time, width)
    t = torch.arange(time, dtype=torch.float32)[:, None]
    i = torch.arange(width // 2, dtype=torch.float32)
    table[:, 0::2] = torch.sin(t / 10000 ** (2 * i / width))
    table[:, 1::2] = torch.cos(t / 10000 ** (2 * i / width))
    return table
""".strip()


def _table(*changes: tuple[str, str]) -> str:
    return changed(_TABLE, *changes)


_SHIFT = """
def shift_matrix(shifts, weights, width):
    M = torch.zeros(width, width, dtype=torch.float64)
    for shift, weight in zip(shifts.tolist(), weights.tolist(), strict=True):
        for i in range(width // 2):
            b = shift / 10000 ** (2 * i / width)
            M[2 * i, 2 * i] += weight * math.cos(b)
            M[2 * i, 2 * i + 1] += weight * math.sin(b)
            M[2 * i + 1, 2 * i] -= weight * math.sin(b)
            M[2 * i + 1, 2 * i + 1] += weight * math.cos(b)
    return M
""".strip()


def _shift(*changes: tuple[str, str]) -> str:
    return changed(_SHIFT, *changes)


def _score(expression: str) -> str:
    return with_body(
        "score_gradient(scores, weight_gradient)",
        f"w, g = scores.softmax(-1), weight_gradient\nreturn {expression}",
    )


def _norm(expression: str) -> str:
    return with_body("squared_jacobian_norm(p)", f"return {expression}")


_EQUIVARIANT = """
def is_equivariant(layer, width):
    torch.manual_seed(0)
    n = 600
    x = torch.randn(2, n, width)
    for _ in range(5):
        order = torch.randperm(n)
        first = layer(x[:, order])
        second = layer(x)[:, order]
        if (first - second).abs().max() > 0.003:
            return False
    return True
""".strip()


def _equivariant(*changes: tuple[str, str]) -> str:
    return changed(_EQUIVARIANT, *changes)


_SYMMETRIES = """
def symmetries(layer, width):
    torch.manual_seed(0)
    x, s = torch.randn(2, 7, width), torch.randn(2, 8, width)
    y = layer(x, s)
    in_x, in_source = [], []
    for _ in range(30):
        a, b = torch.randperm(7), torch.randperm(8)
        in_x.append((layer(x[:, a], s) - y[:, a]).abs().max() < 0.003)
        in_source.append((layer(x, s[:, b]) - y).abs().max() < 0.003)
    return bool(all(in_x)), bool(all(in_source))
""".strip()


def _symmetries(*changes: tuple[str, str]) -> str:
    return changed(_SYMMETRIES, *changes)


WRONG: dict[str, list[tuple[str, str]]] = {
    "score_moments": [
        ("the means forgotten in the variance", _moments(("(both + one) / d", "both / d"))),
        ("not scaled", _moments((" / d**0.5", ""), ("(both + one) / d", "both + one"))),
        ("the mean not scaled", _moments((" / d**0.5", ""))),
        ("the mean divided by d", _moments(("/ d**0.5", "/ d"))),
        (
            "the variance divided by the root of d",
            _moments(("(both + one) / d", "(both + one) / d**0.5")),
        ),
        ("the variance divided by d twice", _moments(("(both + one) / d", "(both + one) / d**2"))),
        (
            "the second moment",
            _moments(("(both + one) / d", "(both + one + torch.dot(mean_q**2, mean_k**2)) / d")),
        ),
        (
            "only the means of the keys",
            _moments((" + torch.dot(mean_q**2, variance_k)", "")),
        ),
        (
            "the mean with the variance of the same vector",
            _moments(
                ("torch.dot(variance_q, mean_k**2)", "torch.dot(variance_q, mean_q**2)"),
                ("torch.dot(mean_q**2, variance_k)", "torch.dot(mean_k**2, variance_k)"),
            ),
        ),
        (
            "means not squared",
            _moments(("mean_k**2", "mean_k"), ("mean_q**2", "mean_q")),
        ),
        (
            "the product of the variances left out",
            _moments(("(both + one) / d", "one / d")),
        ),
        (
            "the standard deviation",
            _moments(("(both + one) / d", "((both + one) / d).sqrt()")),
        ),
        (
            "standard deviations multiplied",
            _moments(
                ("torch.dot(variance_q, variance_k)", "(variance_q * variance_k).sqrt().sum()")
            ),
        ),
        (
            "averages over the components first",
            _moments_body("""
                d = len(mean_q)
                m_q, v_q, m_k, v_k = (
                    part.mean() for part in (mean_q, variance_q, mean_k, variance_k)
                )
                return d**0.5 * m_q * m_k, v_q * v_k + v_q * m_k**2 + m_q**2 * v_k
            """),
        ),
        ("the mean always 0", _moments(("return mean", "return 0 * mean"))),
        (
            "a number for each component",
            _moments_body("""
                each = variance_q * variance_k + variance_q * mean_k**2 + mean_q**2 * variance_k
                return mean_q * mean_k / len(mean_q) ** 0.5, each / len(mean_q)
            """),
        ),
    ],
    "attention": [
        ("softmax over the queries", _attention(("dim=-1", "dim=-2"))),
        (
            "the mask after the softmax",
            _attention_body("""
                scores = query @ key.mT / query.shape[-1] ** 0.5
                return (torch.softmax(scores, dim=-1) * mask) @ value
            """),
        ),
        ("the keys averaged", _attention(("weights @ value", "weights @ key"))),
        ("divided by d", _attention((" ** 0.5", ""))),
        ("not divided", _attention((" / query.shape[-1] ** 0.5", ""))),
        ("multiplied by the root", _attention(("mT / query", "mT * query"))),
        (
            "divided by the root of the number of keys",
            _attention(("query.shape[-1]", "key.shape[-2]")),
        ),
        ("divided by the number of keys", _attention(("query.shape[-1] ** 0.5", "key.shape[-2]"))),
        (
            "divided by the root of the width of the values",
            _attention(("query.shape[-1]", "value.shape[-1]")),
        ),
        (
            "divided by the root of the number of queries",
            _attention(("query.shape[-1]", "query.shape[-2]")),
        ),
        ("0 for hidden scores", _attention(("-math.inf)", "torch.zeros_like(scores))"))),
        (
            "the mask multiplied",
            _attention(("torch.where(mask, scores, -math.inf)", "scores * mask")),
        ),
        ("the mask inverted", _attention(("torch.where(mask", "torch.where(~mask"))),
        ("the mask forgotten", _attention(("torch.where(mask, scores, -math.inf)", "scores"))),
        (
            "not a number where a query may look nowhere",
            _attention(("torch.nan_to_num(weights)", "weights")),
        ),
        ("the mean where a query may look nowhere", _attention(("-math.inf", "-1e9"))),
        (
            "the hidden scores at -1e4",
            _attention_body("""
                scores = query @ key.mT / query.shape[-1] ** 0.5
                weights = torch.softmax(scores.masked_fill(~mask, -1e4), dim=-1)
                return (weights * mask.any(-1, keepdim=True)) @ value
            """),
        ),
        (
            "zeros, and a gradient that is not a number",
            _attention_body("""
                scores = query @ key.mT / query.shape[-1] ** 0.5
                hidden = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
                shifted = scores + hidden
                weights = torch.exp(shifted - shifted.amax(-1, keepdim=True))
                weights = weights / weights.sum(-1, keepdim=True)
                return torch.where(mask.any(-1, keepdim=True), weights, 0.0) @ value
            """),
        ),
        (
            "the softmax written out, and it overflows",
            _attention_body("""
                scores = query @ key.mT / query.shape[-1] ** 0.5
                weights = torch.exp(scores) * mask
                total = weights.sum(-1, keepdim=True)
                return weights / torch.where(total > 0, total, 1) @ value
            """),
        ),
        (
            "not normalised",
            _attention(("torch.softmax(scores, dim=-1)", "torch.exp(scores)")),
        ),
        (
            "one softmax over all scores",
            _attention_body("""
                scores = query @ key.mT / query.shape[-1] ** 0.5
                scores = torch.where(mask, scores, -math.inf)
                weights = scores.flatten(-2).softmax(-1).view(scores.shape)
                return weights.nan_to_num() @ value
            """),
        ),
        (
            "the queries overwritten",
            _attention_body("""
                query /= query.shape[-1] ** 0.5
                scores = torch.where(mask, query @ key.mT, -math.inf)
                return torch.nan_to_num(scores.softmax(-1)) @ value
            """),
        ),
        (
            "the mask overwritten",
            _attention_body("""
                scores = query @ key.mT / query.shape[-1] ** 0.5
                scores = scores.masked_fill(mask.logical_not_(), -math.inf)
                return torch.nan_to_num(scores.softmax(-1)) @ value
            """),
        ),
        (
            "the first axis taken for the queries",
            _attention_body("""
                scores = query @ key.mT / query.shape[-1] ** 0.5
                weights = torch.where(mask, scores, -math.inf).softmax(-1)
                weights[~mask.any(-1).expand(weights.shape[:-1])] = 0
                return (weights / weights.sum(0)).nan_to_num() @ value
            """),
        ),
        (
            "PyTorch's function",
            _attention_body("""
                return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            """),
        ),
        ("the weights returned", _attention(("return weights @ value", "return weights"))),
    ],
    "kernel_regression": [
        ("the bandwidth not squared", _kernel(("bandwidth**2", "bandwidth"))),
        ("the 2 forgotten", _kernel(("2 * bandwidth", "bandwidth"))),
        (
            "the distance not squared",
            _kernel(("(differences**2).sum(-1)", "(differences**2).sum(-1).sqrt()")),
        ),
        ("the mean over the components", _kernel((".sum(-1)", ".mean(-1)"))),
        ("the sign", _kernel(("-distances", "distances"))),
        ("softmax over the queries", _kernel((".softmax(-1)", ".softmax(0)"))),
        ("a sum, not an average", _kernel((".softmax(-1)", ".exp()"))),
        (
            "written out, and it underflows",
            _kernel(
                (".softmax(-1)", ".exp()"), ("weights @ value", "weights @ value / weights.sum(1)")
            ),
        ),
        (
            "a small number against 0 / 0",
            _kernel(
                (".softmax(-1)", ".exp()"),
                ("weights @ value", "weights @ value / (weights.sum(1) + 1e-8)"),
            ),
        ),
        ("multiplied by the bandwidth", _kernel(("/ (2 * bandwidth**2)", "* bandwidth**2 / 2"))),
        ("the city-block distance", _kernel(("(differences**2)", "differences.abs()"))),
        (
            "scalar products without the lengths",
            _kernel(("-distances / (2 * bandwidth**2)", "query @ key.T / bandwidth**2")),
        ),
        (
            "averaged over the examples again",
            _kernel(("weights @ value", "weights @ value / len(key)")),
        ),
        (
            "the nearest alone",
            _kernel(("return weights @ value", "return value[weights.argmax(1)]")),
        ),
        ("shape (n, 1)", _kernel(("weights @ value", "weights @ value[:, None]"))),
        (
            "in units of the root of d",
            _kernel(
                ("bandwidth**2)", "bandwidth**2) / x_width ** 0.5"),
                ("differences = ", "x_width = key.shape[1]\n    differences = "),
            ),
        ),
    ],
    "leave_one_out_error": [
        (
            "each example sees itself",
            _left_out(("torch.where(itself, -math.inf, scores)", "scores")),
        ),
        (
            "0 for its own score",
            _left_out(
                ("torch.where(itself, -math.inf, scores)", "torch.where(itself, 0.0, scores)")
            ),
        ),
        (
            "its weight taken away afterwards",
            _left_out(
                ("torch.where(itself, -math.inf, scores)", "scores"),
                ("scores.softmax(-1)", "scores.softmax(-1) * ~itself"),
            ),
        ),
        (
            "0 / 0: normalised again after the softmax",
            _left_out(
                ("torch.where(itself, -math.inf, scores)", "scores"),
                ("scores.softmax(-1)", "scores.softmax(-1) * ~itself"),
                ("errors = ", "weights = weights / weights.sum(1, keepdim=True)\n    errors = "),
            ),
        ),
        (
            "0 / 0: the errors on the examples over 1 - w",
            _left_out(
                ("torch.where(itself, -math.inf, scores)", "scores"),
                ("y - weights @ y", "(y - weights @ y) / (1 - weights.diagonal())"),
            ),
        ),
        (
            "all at the same place hidden",
            _left_out(("torch.eye(len(x), dtype=torch.bool)", "distances == 0")),
        ),
        ("the sum", _left_out((".mean()", ".sum()"))),
        ("the root of the mean", _left_out((".mean()", ".mean().sqrt()"))),
        ("the mean of the absolute errors", _left_out((".square().mean()", ".abs().mean()"))),
        ("the variance of the errors", _left_out((".square().mean()", ".var(correction=0)"))),
        (
            "the wrong example hidden",
            _left_out(
                ("torch.eye(len(x), dtype=torch.bool)", "torch.eye(len(x)).roll(1, 0).bool()")
            ),
        ),
        (
            "earlier examples only",
            _left_out(
                ("torch.eye(len(x), dtype=torch.bool)", "torch.ones(len(x), len(x)).triu().bool()"),
                ("scores.softmax(-1)", "scores.softmax(-1).nan_to_num()"),
            ),
        ),
        ("the bandwidth not squared", _left_out(("bandwidth**2", "bandwidth"))),
        ("the 2 forgotten", _left_out(("2 * bandwidth", "bandwidth"))),
        ("divided by one less", _left_out((".square().mean()", ".square().sum().div(len(x) - 1)"))),
        (
            "softmax over the other axis, used the same way",
            _left_out(("scores.softmax(-1)", "scores.softmax(0)")),
        ),
    ],
    "multi_head_attention": [
        ("view without exchanging axes", _cut(".view(batch, heads, time, d)")),
        ("heads of every H-th component", _cut(".view(batch, time, d, heads).permute(0, 3, 1, 2)")),
        (
            "scaled by the whole width",
            _heads(("/ d**0.5", "/ width**0.5")),
        ),
        ("no last matrix", _heads(("y @ w_o.T", "y"))),
        (
            "put together without exchanging axes back",
            _heads(
                (".permute(0, 2, 1, 3).reshape(batch, time, width)", ".reshape(batch, time, width)")
            ),
        ),
        (
            "put together interleaved",
            _heads(
                (
                    ".permute(0, 2, 1, 3).reshape(batch, time, width)",
                    ".permute(0, 2, 3, 1).reshape(batch, time, width)",
                )
            ),
        ),
        (
            "the matrices not transposed",
            _heads(("w_q.T", "w_q"), ("w_k.T", "w_k"), ("w_v.T", "w_v"), ("w_o.T", "w_o")),
        ),
        ("the last matrix not transposed", _heads(("w_o.T", "w_o"))),
        ("no mask", _heads(("torch.where(allowed, scores, -math.inf)", "scores"))),
        ("it looks into the future", _heads((".tril()", ".triu()"))),
        (
            "a token may not look at itself",
            _heads((".tril()", ".tril(-1)"), (".softmax(-1)", ".softmax(-1).nan_to_num()")),
        ),
        ("one token of the future", _heads((".tril()", ".tril(1)"))),
        (
            "the mask after the softmax",
            _heads(
                (
                    "torch.where(allowed, scores, -math.inf).softmax(-1)",
                    "scores.softmax(-1) * allowed",
                )
            ),
        ),
        ("queries and keys exchanged", _heads(("q @ k.mT", "k @ q.mT"))),
        ("softmax over the queries", _heads((".softmax(-1)", ".softmax(-2)"))),
        ("not scaled", _heads((" / d**0.5", ""))),
        ("scaled by the number of heads", _heads(("/ d**0.5", "/ heads**0.5"))),
        (
            "one head, whatever is asked",
            _heads(("batch, time, width = x.shape", "heads, (batch, time, width) = 1, x.shape")),
        ),
        (
            "the heads averaged",
            _heads(
                (
                    "(weights @ v).permute(0, 2, 1, 3).reshape(batch, time, width)",
                    "(weights @ v).mean(1).repeat(1, 1, heads)",
                )
            ),
        ),
        ("the keys averaged", _heads(("weights @ v", "weights @ k"))),
        (
            "only the queries cut with exchanged axes",
            _heads(
                (
                    "k = (x @ w_k.T).view(batch, time, heads, d).permute(0, 2, 1, 3)",
                    "k = (x @ w_k.T).view(batch, heads, time, d)",
                ),
            ),
        ),
    ],
    "multiply_adds": [
        ("once for each head", _cost("(4 * n * width**2, 2 * n * n * width * heads)")),
        ("no output matrix", _cost("(3 * n * width**2, 2 * n * n * width)")),
        ("the scores alone", _cost("(4 * n * width**2, n * n * width)")),
        ("of one head alone", _cost("(4 * n * width**2, 2 * n * n * (width // heads))")),
        ("multiplications and additions", _cost("(8 * n * width**2, 4 * n * n * width)")),
        ("both counted in the projections", _cost("(8 * n * width**2, 2 * n * n * width)")),
        ("both counted in the attention", _cost("(4 * n * width**2, 4 * n * n * width)")),
        (
            "projections of a head's width",
            _cost("(4 * n * width * (width // heads), 2 * n * n * width)"),
        ),
        (
            "each head projects the whole width",
            _cost("(4 * heads * n * width**2, 2 * n * n * width)"),
        ),
        ("parameters, not operations", _cost("(4 * width**2, 2 * n * n * width)")),
        ("half of the scores", _cost("(4 * n * width**2, n * (n + 1) * width)")),
        ("the width squared in the scores", _cost("(4 * n * width**2, 2 * n * width**2)")),
        ("no width in the scores", _cost("(4 * n * width**2, 2 * n * n * heads)")),
        ("in the other order", _cost("(2 * n * n * width, 4 * n * width**2)")),
        ("the sum", _cost("4 * n * width**2 + 2 * n * n * width")),
    ],
    "rotate": [
        (
            "neighbours paired",
            _rotate(
                ("x[..., : d // 2], x[..., d // 2 :]", "x[..., 0::2], x[..., 1::2]"),
                (
                    "torch.cat([a * cos - b * sin, a * sin + b * cos], -1)",
                    "torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)",
                ),
            ),
        ),
        (
            "the other direction",
            _rotate(("a * cos - b * sin, a * sin + b", "a * cos + b * sin, -a * sin + b")),
        ),
        ("positions from 1", _rotate(("positions.double()", "(positions.double() + 1)"))),
        ("no minus", _rotate(("a * cos - b * sin", "a * cos + b * sin"))),
        ("a mirror image", _rotate(("a * sin + b * cos", "a * sin - b * cos"))),
        ("i over d in the exponent", _rotate(("-2 * i / d", "-i / d"))),
        ("2 i over half of d", _rotate(("-2 * i / d", "-2 * i / (d // 2)"))),
        ("the exponent without minus", _rotate(("-2 * i / d", "2 * i / d"))),
        (
            "counted from i = 1",
            _rotate(
                (
                    "torch.arange(d // 2, dtype=torch.float64)",
                    "torch.arange(1, d // 2 + 1, dtype=torch.float64)",
                )
            ),
        ),
        ("another base", _rotate(("10000", "1000"))),
        (
            "the order of tokens in place of positions",
            _rotate(("positions.double()", "torch.arange(len(positions)).double()")),
        ),
        ("sine and cosine exchanged", _rotate(("cos, sin = ", "sin, cos = "))),
        ("one frequency for all", _rotate(("10000 ** (-2 * i / d)", "torch.ones_like(i)"))),
        ("the first half only", _rotate(("a * sin + b * cos", "b"))),
        (
            "the second half from the new first half",
            _rotate(
                ("return", "a = a * cos - b * sin\n    return"), ("[a * cos - b * sin,", "[a,")
            ),
        ),
        (
            "sines added",
            _rotate(("a * cos - b * sin, a * sin + b * cos", "a + sin, b + cos")),
        ),
        (
            "in place",
            _rotate(
                (
                    "return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)",
                    "first = a * cos - b * sin\n    b.copy_(a * sin + b * cos)\n"
                    "    a.copy_(first)\n    return x",
                )
            ),
        ),
        (
            "double precision for everything",
            _rotate(("torch.cos(angles).to(x.dtype)", "torch.cos(angles)")),
        ),
    ],
    "sinusoidal_table": [
        (
            "halves in place of neighbours",
            _table(
                ("table[:, 0::2]", "table[:, : width // 2]"),
                ("table[:, 1::2]", "table[:, width // 2 :]"),
            ),
        ),
        ("i over d in the exponents", changed(_TABLE.replace("2 * i / width", "i / width"))),
        ("the column in the exponents", changed(_TABLE.replace("2 * i / width", "4 * i / width"))),
        (
            "the cosine with its own column in the exponent",
            _table(
                (
                    "torch.cos(t / 10000 ** (2 * i / width))",
                    "torch.cos(t / 10000 ** ((2 * i + 1) / width))",
                )
            ),
        ),
        (
            "cosine first",
            _table(
                ("torch.sin", "torch.cos_"),
                ("torch.cos(", "torch.sin("),
                ("torch.cos_", "torch.cos"),
            ),
        ),
        ("sines everywhere", _table(("torch.cos", "torch.sin"))),
        (
            "positions from 1",
            _table(
                (
                    "torch.arange(time, dtype=torch.float32)",
                    "torch.arange(1, time + 1, dtype=torch.float32)",
                )
            ),
        ),
        ("multiplied, not divided", changed(_TABLE.replace("t / 10000", "t * 10000"))),
        (
            "i from 1",
            _table(
                (
                    "torch.arange(width // 2, dtype=torch.float32)",
                    "torch.arange(1, width // 2 + 1, dtype=torch.float32)",
                )
            ),
        ),
        ("another base", changed(_TABLE.replace("10000", "1000"))),
        ("a factor of 2π", changed(_TABLE.replace("t / 10000", "2 * math.pi * t / 10000"))),
        ("transposed", _table(("return table", "return table.T"))),
        (
            "frequencies up to exactly 1/10000",
            changed(_TABLE.replace("2 * i / width", "2 * i / max(width - 2, 1)")),
        ),
    ],
    "shift_matrix": [
        ("transposed", _shift(("return M", "return M.T"))),
        ("no minus", _shift(("-= weight", "+= weight"))),
        ("both minus", _shift(("M[2 * i, 2 * i + 1] += weight", "M[2 * i, 2 * i + 1] -= weight"))),
        ("i over d in the exponent", _shift(("(2 * i / width)", "(i / width)"))),
        ("all blocks alike", _shift((" / 10000 ** (2 * i / width)", ""))),
        ("the exponent without minus", _shift(("shift / 10000", "shift * 10000"))),
        (
            "sine and cosine exchanged",
            _SHIFT.replace("cos(b)", "SIN(b)").replace("sin(b)", "cos(b)").replace("SIN", "sin"),
        ),
        (
            "halves in place of neighbours",
            with_body(
                "shift_matrix(shifts, weights, width)",
                """
                rates = 10000 ** (-2 * torch.arange(width // 2, dtype=torch.float64) / width)
                b = torch.outer(shifts.double(), rates)
                c, s = torch.diag(weights @ b.cos()), torch.diag(weights @ b.sin())
                return torch.cat([torch.cat([c, s], 1), torch.cat([-s, c], 1)], 0)
                """,
            ),
        ),
        ("one position too far", _shift(("b = shift /", "b = (shift + 1) /"))),
        ("only the length of the shift", _shift(("b = shift /", "b = abs(shift) /"))),
        (
            "the numbers of the table itself",
            _shift(
                ("-= weight * math.sin(b)", "+= weight * math.cos(b)"),
                ("M[2 * i, 2 * i] += weight * math.cos", "M[2 * i, 2 * i] += weight * math.sin"),
            ),
        ),
        ("another base", _shift(("10000", "1000"))),
        ("one step, whatever is asked", _shift(("b = shift /", "b = 1 /"))),
        (
            "sines not on the side of the diagonal",
            _shift(
                ("M[2 * i, 2 * i + 1]", "M[2 * i, -1 - 2 * i]"),
                ("M[2 * i + 1, 2 * i]", "M[2 * i + 1, -2 - 2 * i]"),
            ),
        ),
        (
            "fitted to 50 positions",
            with_body(
                "shift_matrix(shifts, weights, width)",
                """
                t = torch.arange(50, dtype=torch.float64)[:, None]
                i = torch.arange(width // 2, dtype=torch.float64)

                def table(p):
                    angles = p / 10000 ** (2 * i / width)
                    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)

                pairs = zip(shifts.tolist(), weights.tolist())
                wanted = sum(weight * table(t + shift) for shift, weight in pairs)
                return torch.linalg.lstsq(table(t), wanted).solution.T
                """,
            ),
        ),
        (
            "moved once, by the mean distance",
            _shift(
                (
                    "zip(shifts.tolist(), weights.tolist(), strict=True)",
                    "[(float(weights @ shifts.double() / weights.sum()), float(weights.sum()))]",
                )
            ),
        ),
        (
            "moved once, by the weighted sum of the distances",
            _shift(
                (
                    "zip(shifts.tolist(), weights.tolist(), strict=True)",
                    "[(float(weights @ shifts.double()), 1.0)]",
                )
            ),
        ),
        (
            "the weights forgotten",
            _shift(("weights.tolist()", "torch.ones_like(weights).tolist()")),
        ),
        ("a plain mean", _shift(("weights.tolist()", "[1 / len(shifts)] * len(shifts)"))),
        (
            "divided by the sum of the weights",
            _shift(("weights.tolist()", "(weights / weights.sum()).tolist()")),
        ),
        (
            "the last distance alone",
            _SHIFT.replace("+= weight", "= weight").replace("-= weight", "= -weight"),
        ),
        (
            "one after the other: a product",
            with_body(
                "shift_matrix(shifts, weights, width)",
                """
                rates = 10000 ** (-2 * torch.arange(width // 2, dtype=torch.float64) / width)
                M = torch.eye(width, dtype=torch.float64)
                for shift, weight in zip(shifts.tolist(), weights.tolist()):
                    c, s = (shift * rates).cos(), (shift * rates).sin()
                    blocks = torch.stack([c, s, -s, c], 1).unflatten(1, (2, 2))
                    M = weight * torch.block_diag(*blocks) @ M
                return M
                """,
            ),
        ),
    ],
    "score_gradient": [
        ("the diagonal alone", _score("w * (1 - w) * g")),
        ("no mean taken off", _score("w * g")),
        ("the sign", _score("w * ((w * g).sum(-1, keepdim=True) - g)")),
        ("the plain mean", _score("w * (g - g.mean(-1, keepdim=True))")),
        ("the sum without weights", _score("w * (g - g.sum(-1, keepdim=True))")),
        ("not multiplied by the weight", _score("g - (w * g).sum(-1, keepdim=True)")),
        ("a plus", _score("w * (g + (w * g).sum(-1, keepdim=True))")),
        ("of the logarithm", _score("g - w * g.sum(-1, keepdim=True)")),
        ("only what the others lose", _score("-w * (w * g).sum(-1, keepdim=True)")),
        ("the first part of the mean alone", _score("w * (g - (w * g)[..., :1])")),
        ("one mean for all rows", _score("w * (g - (w * g).sum())")),
        ("the mean over the first axis", _score("w * (g - (w * g).sum(0))")),
        (
            "softmax over the first axis",
            _score("w * (g - (w * g).sum(-1, keepdim=True))").replace("softmax(-1)", "softmax(0)"),
        ),
        (
            "of the scores themselves",
            _score("w * (g - (w * g).sum(-1, keepdim=True))").replace(
                "scores.softmax(-1)", "scores"
            ),
        ),
        (
            "not normalised",
            _score("w * (g - (w * g).sum(-1, keepdim=True))").replace("softmax(-1)", "exp()"),
        ),
        (
            "the derivative of a sigmoid",
            _score("w * (1 - w) * g").replace("softmax(-1)", "sigmoid()"),
        ),
        (
            "the Jacobian itself",
            _score("torch.diag_embed(w) - w.unsqueeze(-1) * w.unsqueeze(-2)"),
        ),
        (
            "a mean over the entries",
            _score("w * (g - (w * g).sum(-1, keepdim=True)) / w.shape[-1]"),
        ),
    ],
    "squared_jacobian_norm": [
        ("the diagonal alone", _norm("((p * (1 - p)) ** 2).sum(-1)")),
        ("the root", _norm("((p**2).sum(-1) - 2 * (p**3).sum(-1) + (p**2).sum(-1) ** 2).sqrt()")),
        ("the mixed term once", _norm("(p**2).sum(-1) - (p**3).sum(-1) + (p**2).sum(-1) ** 2")),
        ("the mixed term forgotten", _norm("(p**2).sum(-1) + (p**2).sum(-1) ** 2")),
        ("a difference of squares", _norm("(p**2).sum(-1) - (p**2).sum(-1) ** 2")),
        ("the fourth powers", _norm("(p**2).sum(-1) - 2 * (p**3).sum(-1) + (p**4).sum(-1)")),
        (
            "the mixed term with squares",
            _norm("(p**2).sum(-1) - 2 * (p**2).sum(-1) + (p**2).sum(-1) ** 2"),
        ),
        ("the trace", _norm("1 - (p**2).sum(-1)")),
        ("the sum of squares of p", _norm("(p**2).sum(-1)")),
        (
            "the mean over the entries",
            _norm("((p**2).sum(-1) - 2 * (p**3).sum(-1) + (p**2).sum(-1) ** 2) / p.shape[-1] ** 2"),
        ),
        (
            "with the matrix",
            _norm(
                "(torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)).square().sum((-2, -1))"
            ),
        ),
        (
            "the matrix of the first thousand weights",
            _norm(
                "(torch.diag_embed(p[..., :1000])"
                " - p[..., :1000, None] * p[..., None, :1000]).square().sum((-2, -1))"
            ),
        ),
        ("summed over everything", _norm("(p**2).sum() - 2 * (p**3).sum() + (p**2).sum() ** 2")),
        ("over the first axis", _norm("(p**2).sum(0) - 2 * (p**3).sum(0) + (p**2).sum(0) ** 2")),
    ],
    "is_equivariant": [
        ("invariance", _equivariant(("layer(x)[:, order]", "layer(x)"))),
        ("the tokens stay where they are", _equivariant(("torch.randperm(n)", "torch.arange(n)"))),
        ("all tokens alike", _equivariant(("torch.randn(2, n, width)", "torch.ones(2, n, width)"))),
        ("reversal alone", _equivariant(("torch.randperm(n)", "torch.arange(n - 1, -1, -1)"))),
        ("turned in a ring", _equivariant(("torch.randperm(n)", "torch.arange(n).roll(3)"))),
        (
            "two tokens",
            _equivariant(
                ("torch.randn(2, n, width)", "torch.randn(2, 2, width)"),
                ("torch.randperm(n)", "torch.tensor([1, 0])"),
            ),
        ),
        (
            "the last two exchanged",
            _equivariant(("torch.randperm(n)", "torch.tensor([*range(n - 2), n - 1, n - 2])")),
        ),
        (
            "the first two exchanged",
            _equivariant(("torch.randperm(n)", "torch.tensor([1, 0, *range(2, n)])")),
        ),
        (
            "the texts exchanged",
            _equivariant(
                ("torch.randn(2, n, width)", "torch.randn(8, n, width)"),
                ("torch.randperm(n)", "torch.randperm(8)"),
                ("x[:, order]", "x[order]"),
                ("layer(x)[:, order]", "layer(x)[order]"),
            ),
        ),
        (
            "the components exchanged",
            _equivariant(
                ("torch.randperm(n)", "torch.randperm(width)"),
                ("x[:, order]", "x[..., order]"),
                ("layer(x)[:, order]", "layer(x)[..., order[order < layer(x).shape[-1]]]"),
            ),
        ),
        (
            "the order undone the wrong way",
            _equivariant(("layer(x)[:, order]", "layer(x)[:, order.argsort()]")),
        ),
        ("short texts", _equivariant(("n = 600", "n = 8"))),
        ("texts of a hundred tokens", _equivariant(("n = 600", "n = 100"))),
        (
            "one short text, one permutation",
            with_body(
                "is_equivariant(layer, width)",
                """
                x, order = torch.randn(1, 5, width), torch.tensor([2, 0, 4, 1, 3])
                return torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-3)
                """,
            ),
        ),
        ("equal to the last digit", _equivariant(("> 0.003", "> 0"))),
        ("a wide tolerance", _equivariant(("> 0.003", "> 0.3"))),
        (
            "the set of the outputs",
            _equivariant(("(first - second)", "(first.sort(1).values - second.sort(1).values)")),
        ),
        (
            "the mean of the outputs",
            _equivariant(("(first - second)", "(first.mean(1) - second.mean(1))")),
        ),
        (
            "the mean deviation with its sign",
            _equivariant(("(first - second).abs().max()", "(first - second).mean()")),
        ),
        ("always", _equivariant(("return False", "return True"))),
        ("a tensor", _equivariant(("return True", "return first is second or (x == x).all()"))),
    ],
    "symmetries": [
        (
            "the second question asked as the first",
            _symmetries(("layer(x, s[:, b]) - y)", "layer(x, s[:, b])[:, :7] - y[:, b[b < 7]])")),
        ),
        ("invariance in both", _symmetries(("- y[:, a])", "- y)"))),
        (
            "the answers exchanged",
            _symmetries(
                ("bool(all(in_x)), bool(all(in_source))", "bool(all(in_source)), bool(all(in_x))")
            ),
        ),
        ("both moved at once", _symmetries(("layer(x[:, a], s) ", "layer(x[:, a], s[:, b]) "))),
        (
            "the source moved with x as well",
            _symmetries(("layer(x, s[:, b]) - y)", "layer(x[:, a], s[:, b]) - y[:, a])")),
        ),
        ("the source stays where it is", _symmetries(("torch.randperm(8)", "torch.arange(8)"))),
        ("x stays where it is", _symmetries(("torch.randperm(7), ", "torch.arange(7), "))),
        (
            "the source turned in a ring",
            _symmetries(("torch.randperm(8)", "torch.arange(8).roll(3)")),
        ),
        ("x turned in a ring", _symmetries(("torch.randperm(7), ", "torch.arange(7).roll(3), "))),
        (
            "any permutation will do",
            _symmetries(
                (
                    "torch.randperm(7), torch.randperm(8)",
                    "torch.randperm(7), torch.cat([torch.arange(6), 6 + torch.randperm(2)])",
                )
            ),
        ),
        ("a constant source", _symmetries(("torch.randn(2, 8, width)", "torch.ones(2, 8, width)"))),
        (
            "equal to the last digit",
            _symmetries(
                ("- y[:, a]).abs().max() < 0.003", "- y[:, a]).abs().max() == 0"),
                ("- y).abs().max() < 0.003", "- y).abs().max() == 0"),
            ),
        ),
        (
            "one answer",
            _symmetries(
                (
                    "return bool(all(in_x)), bool(all(in_source))",
                    "return bool(all(in_x) and all(in_source))",
                )
            ),
        ),
        (
            "tensors",
            _symmetries(
                (
                    "bool(all(in_x)), bool(all(in_source))",
                    "torch.stack(in_x).all(), torch.stack(in_source).all()",
                )
            ),
        ),
    ],
}

RIGHT: dict[str, list[tuple[str, str]]] = {
    "score_moments": [
        ("scalar products", _MOMENTS),
        (
            "second moments less squared means",
            _moments_body("""
                squares = (variance_q + mean_q**2) * (variance_k + mean_k**2)
                mean = (mean_q * mean_k).mean() * math.sqrt(mean_q.numel())
                return mean, (squares - (mean_q * mean_k) ** 2).mean()
            """),
        ),
    ],
    "attention": [
        ("where and nan_to_num", _ATTENTION),
        (
            "einsum, and the softmax written out",
            _attention_body("""
                scores = torch.einsum("...nd,...md->...nm", query, key) / query.shape[-1] ** 0.5
                lowest = torch.finfo(scores.dtype).min
                largest = scores.masked_fill(~mask, lowest).amax(-1, keepdim=True)
                safe = torch.where(mask, scores - largest, 0.0)
                weights = torch.where(mask, safe.exp(), 0.0)
                total = weights.sum(-1, keepdim=True)
                weights = weights / torch.where(total == 0, 1.0, total)
                return torch.einsum("...nm,...mv->...nv", weights, value)
            """),
        ),
        (
            "the smallest number in place of -inf, then zeros",
            _attention_body("""
                scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
                scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
                weights = F.softmax(scores, dim=-1).masked_fill(~mask, 0)
                return torch.matmul(weights, value)
            """),
        ),
    ],
    "kernel_regression": [
        ("step by step", _KERNEL),
        (
            "cdist",
            with_body(
                "kernel_regression(query, key, value, bandwidth)",
                """
                scores = -0.5 * (torch.cdist(query, key) / bandwidth) ** 2
                return (F.softmax(scores, dim=1) * value).sum(dim=1)
                """,
            ),
        ),
        (
            "one query after the other, by hand",
            with_body(
                "kernel_regression(query, key, value, bandwidth)",
                """
                rows = []
                for place in query:
                    scores = -((place - key) / bandwidth).square().sum(-1) / 2
                    weights = (scores - scores.max()).exp()
                    rows.append(weights @ value / weights.sum())
                return torch.stack(rows)
                """,
            ),
        ),
    ],
    "leave_one_out_error": [
        ("step by step", _LEFT_OUT),
        (
            "one example after the other",
            with_body(
                "leave_one_out_error(x, y, bandwidth)",
                """
                total = 0.0
                for i in range(len(x)):
                    others = torch.arange(len(x)) != i
                    squares = ((x[others] - x[i]) ** 2).sum(-1)
                    weights = F.softmax(-squares / 2 / bandwidth**2, dim=0)
                    total += float(y[i] - weights @ y[others]) ** 2
                return total / len(x)
                """,
            ),
        ),
    ],
    "multi_head_attention": [
        ("view and permute", _HEADS),
        (
            "one head after the other",
            with_body(
                "multi_head_attention(x, w_q, w_k, w_v, w_o, heads)",
                """
                parts = zip(*((x @ w.T).chunk(heads, dim=-1) for w in (w_q, w_k, w_v)), strict=True)
                sdpa = F.scaled_dot_product_attention
                found = [sdpa(q, k, v, is_causal=True) for q, k, v in parts]
                return F.linear(torch.cat(found, -1), w_o)
                """,
            ),
        ),
        (
            "einsum, with the matrices cut",
            with_body(
                "multi_head_attention(x, w_q, w_k, w_v, w_o, heads)",
                """
                cut = [w.view(heads, -1, x.shape[-1]) for w in (w_q, w_k, w_v)]
                q, k, v = (torch.einsum("btw,hdw->bhtd", x, w) for w in cut)
                scores = torch.einsum("bhtd,bhsd->bhts", q, k) / q.shape[-1] ** 0.5
                t = torch.arange(x.shape[1])
                weights = scores.masked_fill(t > t[:, None], float("-inf")).softmax(-1)
                out = w_o.view(-1, heads, cut[0].shape[1])
                return torch.einsum("bhts,bhsd,whd->btw", weights, v, out)
                """,
            ),
        ),
    ],
    "multiply_adds": [
        ("the heads cancel", _cost("(4 * n * width**2, 2 * n**2 * width)")),
        (
            "head by head",
            with_body(
                "multiply_adds(n, width, heads)",
                """
                projections = sum(n * width * width for _ in range(4))
                return projections, sum(2 * n * n * (width // heads) for _ in range(heads))
                """,
            ),
        ),
    ],
    "rotate": [
        ("angles in double precision", _ROTATE),
        (
            "complex numbers",
            with_body(
                "rotate(x, positions)",
                """
                a, b = x.chunk(2, dim=-1)
                rates = torch.logspace(0, -4, a.shape[-1] + 1, dtype=x.dtype)[:-1]
                turn = torch.polar(torch.ones(()).to(x), positions[:, None] * rates)
                turned = torch.complex(a.contiguous(), b.contiguous()) * turn
                return torch.cat([turned.real, turned.imag], -1)
                """,
            ),
        ),
        (
            "with the halves exchanged, as many programs have it",
            with_body(
                "rotate(x, positions)",
                """
                half = x.shape[-1] // 2
                rates = torch.tensor([10000 ** (-i / half) for i in range(half)])
                angles = torch.outer(positions.float(), rates).repeat(1, 2).to(x.dtype)
                other = torch.cat([-x[..., half:], x[..., :half]], -1)
                return x * angles.cos() + other * angles.sin()
                """,
            ),
        ),
    ],
    "sinusoidal_table": [
        ("sliced", _TABLE),
        (
            "number by number",
            with_body(
                "sinusoidal_table(time, width)",
                """
                rows = []
                for t in range(time):
                    row = []
                    for i in range(width // 2):
                        angle = t * math.exp(-2 * i / width * math.log(10000))
                        row += [math.sin(angle), math.cos(angle)]
                    rows.append(row)
                return torch.tensor(rows)
                """,
            ),
        ),
    ],
    "shift_matrix": [
        ("number by number", _SHIFT),
        (
            "the matrix exponential",
            with_body(
                "shift_matrix(shifts, weights, width)",
                """
                turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
                blocks = []
                for i in range(0, width, 2):
                    angles = shifts.double() * 10000 ** (-i / width)
                    turned = torch.matrix_exp(angles[:, None, None] * turn)
                    blocks.append((weights[:, None, None] * turned).sum(0))
                return torch.block_diag(*blocks)
                """,
            ),
        ),
        (
            "in single precision",
            with_body(
                "shift_matrix(shifts, weights, width)",
                """
                M = torch.zeros(width, width)
                for shift, weight in zip(shifts, weights.float(), strict=True):
                    angles = shift / 10000 ** (torch.arange(0, width, 2) / width)
                    sines = torch.stack([angles.sin(), 0 * angles], 1).flatten()[:-1]
                    cosines = angles.cos().repeat_interleave(2)
                    turned = torch.diag(cosines) + torch.diag(sines, 1) - torch.diag(sines, -1)
                    M = M + weight * turned
                return M
                """,
            ),
        ),
    ],
    "score_gradient": [
        ("the product with the weight first", _score("w * g - w * (w * g).sum(-1, keepdim=True)")),
        (
            "with the matrix",
            with_body(
                "score_gradient(scores, weight_gradient)",
                """
                w = scores.softmax(-1)
                J = torch.diag_embed(w) - w.unsqueeze(-1) * w.unsqueeze(-2)
                return torch.einsum("...i,...ij->...j", weight_gradient, J)
                """,
            ),
        ),
    ],
    "squared_jacobian_norm": [
        (
            "the diagonal, and what is beside it",
            _norm("(p * (1 - p)).pow(2).sum(-1) + p.pow(2).sum(-1).pow(2) - p.pow(4).sum(-1)"),
        ),
        (
            "one sum",
            with_body(
                "squared_jacobian_norm(p)",
                """
                squares = p.square()
                return (squares * (1 - 2 * p + squares.sum(-1, keepdim=True))).sum(-1)
                """,
            ),
        ),
    ],
    "is_equivariant": [
        ("the largest deviation", _EQUIVARIANT),
        (
            "texts of many lengths, one permutation of each",
            with_body(
                "is_equivariant(layer, width)",
                """
                for n in (2, 3, 10, 100, 999):
                    x, order = torch.rand(1, n, width) * 4 - 2, torch.randperm(n)
                    while n < 10 and torch.equal(order, torch.arange(n)):
                        order = torch.randperm(n)
                    if not torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-3):
                        return False
                return True
                """,
            ),
        ),
    ],
    "symmetries": [
        ("lists of verdicts", _SYMMETRIES),
        (
            "one question after the other",
            with_body(
                "symmetries(layer, width)",
                """
                x, s = torch.randn(1, 6, width), torch.randn(1, 6, width)
                orders = [torch.randperm(6) for _ in range(50)]
                def same(a, b):
                    return torch.allclose(a, b, rtol=1e-4, atol=1e-3)
                first = all(same(layer(x[:, o], s), layer(x, s)[:, o]) for o in orders)
                second = all(same(layer(x, s[:, o]), layer(x, s)) for o in orders)
                return first, second
                """,
            ),
        ),
    ],
}

# Faults that the visible check must catch, and words of the hint that they get.
HINTS: dict[str, dict[str, str]] = {
    "score_moments": {
        "not scaled": "divided by the square root of d",
        "the means forgotten in the variance": "as if the means were 0",
        "the second moment": "The square of its mean must still go",
    },
    "attention": {
        "softmax over the queries": "Over which axis",
        "the mask after the softmax": "after the softmax are missing",
        "the keys averaged": "neither the keys",
        "divided by d": "square root is enough",
        "not divided": "not scaled",
        "0 for hidden scores": "not a weight of 0",
        "the mask inverted": "inverted",
        "not a number where a query may look nowhere": "What is 0 / 0",
        "zeros, and a gradient that is not a number": "gradient is not a number",
        "the softmax written out, and it overflows": "e^10000 is infinite",
        "the queries overwritten": "works in place",
    },
    "kernel_regression": {
        "the bandwidth not squared": "the square of the bandwidth",
        "the 2 forgotten": "the 2 under the square",
        "written out, and it underflows": "0 / 0 is not a number",
    },
    "leave_one_out_error": {
        "each example sees itself": "its own nearest",
        "its weight taken away afterwards": "before the softmax",
        "0 / 0: the errors on the examples over 1 - w": "before the softmax",
        "all at the same place hidden": "sees its twin",
    },
    "multi_head_attention": {
        "view without exchanging axes": "exchange the axes",
        "heads of every H-th component": "another order",
        "scaled by the whole width": "The products of a head",
        "no last matrix": "is w_o applied",
        "it looks into the future": "at earlier ones only",
    },
    "multiply_adds": {
        "once for each head": "in how many components",
        "no output matrix": "one more matrix",
        "the scores alone": "two products",
        "both counted in the projections": "for the projections you return",
        "both counted in the attention": "for the attention you return",
    },
    "rotate": {
        "neighbours paired": "The pairs here are 0 with 2",
        "the other direction": "opposite direction",
        "positions from 1": "counted from 0",
        "i over d in the exponent": "second of two pairs",
        "the order of tokens in place of positions": "use the positions given",
    },
    "sinusoidal_table": {
        "halves in place of neighbours": "all sines first",
        "the cosine with its own column in the exponent": "angle of the sine before it",
    },
    "shift_matrix": {
        "transposed": "transposed",
        "no minus": "What is sin(a + b)",
        "moved once, by the mean distance": "is not the sine of a mean",
        "moved once, by the weighted sum of the distances": "is not the sine of a mean",
        "the weights forgotten": "all three places count alike",
        "a plain mean": "all three places count alike",
        "divided by the sum of the weights": "Take them as they are",
        "one after the other: a product": "the matrix of the sum",
    },
    "score_gradient": {
        "the diagonal alone": "beside its diagonal",
        "no mean taken off": "beside its diagonal",
        "the first part of the mean alone": "nothing can be gained",
        "one mean for all rows": "Each row has its own weights",
    },
    "squared_jacobian_norm": {
        "the diagonal alone": "off the diagonal count",
        "with the matrix": "runs out of memory",
        "the matrix of the first thousand weights": "the norm is 1e-06 less",
    },
    "is_equivariant": {
        "invariance": "in the new order",
        "all tokens alike": "tokens of your text different",
        "short texts": "your text is too short",
        "one short text, one permutation": "your text is too short",
    },
    "symmetries": {"both moved at once": "one of the two at a time"},
}
