"""Plausible answers to the exercises of chapter 11: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution.
"""

from answer_cells import changed, with_body

_CHAIN = """
def chain_rule(joint, order):
    order = list(order)
    factors = []
    for i in range(len(order)):
        target, given = order[i], order[:i]
        unseen = [axis for axis in range(joint.dim()) if axis != target and axis not in given]
        both = joint
        for axis in unseen:
            both = both.sum(axis, keepdim=True)
        below = both.sum(target, keepdim=True)
        factors.append(torch.nan_to_num(both / below))
    return factors
""".strip()


def _chain(*changes: tuple[str, str]) -> str:
    return changed(_CHAIN, *changes)


_MEMORY = """
def short_memory_loss(joint, order):
    def entropy(*axes):
        table = joint
        for axis in sorted(set(range(joint.dim())) - set(axes), reverse=True):
            table = table.sum(axis)
        return float(-torch.xlogy(table, table).sum())

    loss = entropy(order[0])
    for before, axis in zip(order[:-1], order[1:], strict=True):
        loss += entropy(before, axis) - entropy(before)
    return loss
""".strip()


def _memory(*changes: tuple[str, str]) -> str:
    return changed(_MEMORY, *changes)


_BITS = """
def bits_per_character(logits, tokens):
    scores = torch.log_softmax(logits[:, :-1], dim=-1)
    targets = tokens[:, 1:]
    mask = targets >= 0
    chosen = scores.gather(2, targets.clamp(min=0).unsqueeze(2)).squeeze(2)
    return -float(chosen[mask].mean()) / math.log(2)
""".strip()


def _bits(*changes: tuple[str, str]) -> str:
    return changed(_BITS, *changes)


def _perplexity(expression: str) -> str:
    return with_body(
        "bits_from_perplexity(perplexity, pieces, characters)",
        f"return {expression}",
    )


_GRAM = """
def next_token_distribution(tokens, context, vocabulary_size, strength):
    text, context = tokens.tolist(), context.tolist()
    p = torch.full((vocabulary_size,), 1 / vocabulary_size, dtype=torch.float64)
    for k in range(len(context) + 1):
        h = context[len(context) - k :]
        counts = torch.zeros(vocabulary_size, dtype=torch.float64)
        for place in range(len(text) - k):
            if text[place : place + k] == h:
                counts[text[place + k]] += 1
        p = (counts + strength * p) / (counts.sum() + strength)
    return p
""".strip()


def _gram(*changes: tuple[str, str]) -> str:
    return changed(_GRAM, *changes)


_NUCLEUS = """
def top_p(logits, p, temperature=1.0):
    probabilities = torch.softmax(logits / temperature, dim=-1)
    order = torch.argsort(probabilities, dim=-1, descending=True, stable=True)
    falling = probabilities.gather(-1, order)
    before = falling.cumsum(-1) - falling
    keep = before < p
    if p == 1:
        keep = torch.ones_like(keep)
    falling = falling * keep
    falling = falling / falling.sum(-1, keepdim=True)
    return torch.empty_like(falling).scatter_(-1, order, falling)
""".strip()


def _nucleus(*changes: tuple[str, str]) -> str:
    return changed(_NUCLEUS, *changes)


_SLOPE = """
def entropy_slope(logits, temperature):
    p = torch.softmax(logits / temperature, dim=-1)
    first = (p * logits).sum(-1)
    second = (p * logits**2).sum(-1)
    return (second - first**2) / temperature**3
""".strip()


def _slope(*changes: tuple[str, str]) -> str:
    return changed(_SLOPE, *changes)


_BISECTION = """
def temperature_for_entropy(logits, entropy):
    low, high = 1e-3, 1e3
    for _ in range(80):
        middle = math.sqrt(low * high)
        log_p = torch.log_softmax(logits / middle, dim=0)
        nats = -float((log_p.exp() * log_p).sum())
        if nats < entropy:
            low = middle
        else:
            high = middle
    return middle
""".strip()


def _bisection(*changes: tuple[str, str]) -> str:
    return changed(_BISECTION, *changes)


_LEAKS = """
def leaks(model, vocabulary_size):
    stream = torch.Generator().manual_seed(7)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    found, reacts = set(), [False] * 8
    limit = 1e-10
    with torch.no_grad():
        for trial in range(16):
            tokens = torch.randint(0, vocabulary_size, (4, 8), generator=stream)
            fresh = torch.randint(0, vocabulary_size, (4, 8), generator=stream)
            row = trial % 4
            base = model(tokens)
            changed = tokens.clone()
            changed[row] = fresh[row]
            others = [r for r in range(4) if r != row]
            if float((model(changed) - base)[others].abs().max()) > limit:
                found.add("reads other examples")
            for t in range(1, 8):
                changed = tokens.clone()
                changed[row, t:] = fresh[row, t:]
                if float((model(changed) - base)[row, :t].abs().max()) > limit:
                    found.add("sees later tokens")
                changed = tokens.clone()
                changed[row, :t] = fresh[row, :t]
                if float((model(changed) - base)[row, t].abs().max()) > limit:
                    reacts[t] = True
    for module, mode in modes.items():
        module.training = mode
    if not all(reacts[1:]):
        found.add("ignores earlier tokens")
    return found
""".strip()


def _leaks(*changes: tuple[str, str]) -> str:
    return changed(_LEAKS, *changes)


_GENERATOR = """
class TextGenerator(nn.Module):
    def __init__(self, vocabulary_size, width):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.linear = nn.Linear(width, vocabulary_size)

    def forward(self, tokens):
        states, _ = self.lstm(self.embedding(tokens))
        return self.linear(states)


def text_generator(vocabulary_size, width):
    return TextGenerator(vocabulary_size, width)
""".strip()


def _generator(*changes: tuple[str, str]) -> str:
    return changed(_GENERATOR, *changes)


def _loss(body: str) -> str:
    return with_body("next_token_loss(model, tokens)", body)


_FORCED = """
def forced_and_free(start, truth, model, length):
    power = torch.linalg.matrix_power
    forced = [start] + [start @ power(truth, t - 1) @ model for t in range(1, length)]
    free = [start @ power(model, t) for t in range(length)]
    return torch.stack(forced), torch.stack(free)
""".strip()


def _forced(*changes: tuple[str, str]) -> str:
    return changed(_FORCED, *changes)


def _lost(expression: str) -> str:
    return with_body(
        "chance_lost(error, recovery, steps)",
        f"if error == 0:\n    return 0.0\nreturn {expression}",
    )


WRONG: dict[str, list[tuple[str, str]]] = {
    "chain_rule": [
        ("conditioned on what comes later", _chain(("order[:i]", "order[i + 1 :]"))),
        ("on the one before it only", _chain(("order[:i]", "order[max(i - 1, 0) : i]"))),
        ("on nothing: independent variables", _chain(("order[:i]", "[]"))),
        (
            "the order of the axes, whatever order is",
            _chain(("order = list(order)", "order = list(range(len(order)))")),
        ),
        ("the order reversed", _chain(("list(order)", "list(order)[::-1]"))),
        ("joint probabilities, not conditional ones", _chain(("both / below", "both"))),
        (
            "normalised over the whole table",
            _chain(("both.sum(target, keepdim=True)", "both.sum()")),
        ),
        (
            "normalised over the condition",
            _chain(
                (
                    "both.sum(target, keepdim=True)",
                    "both.sum(given, keepdim=True) if given else both.sum()",
                )
            ),
        ),
        ("not a number where the condition never occurs", _chain(("torch.nan_to_num", ""))),
        (
            "uniform where the condition never occurs",
            _chain(
                (
                    "torch.nan_to_num(both / below)",
                    "torch.where(below > 0, both / below, 1 / joint.shape[target])",
                )
            ),
        ),
        (
            "the axes dropped",
            _chain(
                ("torch.nan_to_num(both / below)", "torch.nan_to_num(both / below).squeeze()"),
            ),
        ),
        (
            "sorted by axis",
            _chain(
                (
                    "return factors",
                    "return [f for _, f in sorted(zip(order, factors), key=lambda pair: pair[0])]",
                )
            ),
        ),
        (
            "over no axis, all are summed",
            with_body(
                "chain_rule(joint, order)",
                """
                factors = []
                for i, axis in enumerate(order):
                    both = joint.sum(tuple(order[i + 1 :]), keepdim=True)
                    factors.append(torch.nan_to_num(both / both.sum(axis, keepdim=True)))
                return factors
                """,
            ),
        ),
    ],
    "short_memory_loss": [
        (
            "the full memory: the entropy",
            with_body(
                "short_memory_loss(joint, order)",
                "return float(torch.special.entr(joint).sum())",
            ),
        ),
        (
            "no memory",
            _memory(("entropy(before, axis) - entropy(before)", "entropy(axis)")),
        ),
        ("the entropy of the pair", _memory((" - entropy(before)\n", "\n"))),
        (
            "the wrong one of the pair taken off",
            _memory(("- entropy(before)\n", "- entropy(axis)\n")),
        ),
        ("the first variable costs nothing", _memory(("loss = entropy(order[0])", "loss = 0.0"))),
        (
            "the order of the axes, whatever order is",
            _memory(("    loss = ", "    order = tuple(range(joint.dim()))\n    loss = ")),
        ),
        (
            "bits",
            _memory(("return loss", "return loss / math.log(2)")),
        ),
        ("sign", _memory(("return loss", "return -loss"))),
        ("averaged over the variables", _memory(("return loss", "return loss / len(order)"))),
        (
            "0 log 0 is not a number",
            _memory(("torch.xlogy(table, table)", "(table * table.log())")),
        ),
        (
            "the one before it by number, not by order",
            _memory(
                (
                    "entropy(before, axis) - entropy(before)",
                    "(entropy(axis - 1, axis) - entropy(axis - 1)) if axis else entropy(0)",
                )
            ),
        ),
        ("a tensor", _memory(("return loss", "return torch.tensor(loss)"))),
        (
            "the first variable of the order seen by all",
            _memory(
                (
                    "entropy(before, axis) - entropy(before)",
                    "entropy(order[0], axis) - entropy(order[0])",
                )
            ),
        ),
    ],
    "bits_per_character": [
        ("nats", _bits((" / math.log(2)", ""))),
        ("nats times log 2", _bits((" / math.log(2)", " * math.log(2)"))),
        (
            "the mean of the means of the rows",
            _bits(
                (
                    "-float(chosen[mask].mean())",
                    "-float(((chosen * mask).sum(1) / mask.sum(1))[mask.any(1)].mean())",
                )
            ),
        ),
        (
            "padding counted as the last token: the index -1",
            _bits(
                (
                    "scores.gather(2, targets.clamp(min=0).unsqueeze(2)).squeeze(2)",
                    "scores.gather(2, (targets % logits.shape[2]).unsqueeze(2)).squeeze(2)",
                ),
                ("chosen[mask]", "chosen"),
            ),
        ),
        ("padding counted as the token 0", _bits(("chosen[mask]", "chosen"))),
        (
            "padding costs nothing, but is divided by",
            _bits(("chosen[mask].mean()", "(chosen * mask).mean()")),
        ),
        ("the end left out", _bits(("targets >= 0", "targets > 0"))),
        (
            "not shifted",
            _bits(("logits[:, :-1]", "logits"), ("tokens[:, 1:]", "tokens")),
        ),
        (
            "shifted the other way",
            _bits(("logits[:, :-1]", "logits[:, 1:]"), ("tokens[:, 1:]", "tokens[:, :-1]")),
        ),
        (
            "the first token costs what the first logits say",
            _bits(("tokens[:, 1:]", "tokens[:, :-1]")),
        ),
        (
            "not shifted, and the first token left out",
            _bits(("logits[:, :-1]", "logits[:, 1:]")),
        ),
        (
            "bits of a row",
            _bits(("chosen[mask].mean()", "chosen[mask].sum() / len(tokens)")),
        ),
        ("a sum", _bits((".mean()", ".sum()"))),
        ("sign", _bits(("-float", "float"))),
        (
            "the logarithm of the mean probability",
            _bits(("chosen[mask].mean()", "chosen[mask].exp().mean().log()")),
        ),
        (
            "the logarithm of a softmax",
            _bits(
                (
                    "torch.log_softmax(logits[:, :-1], dim=-1)",
                    "torch.softmax(logits[:, :-1], -1).log()",
                )
            ),
        ),
        (
            "a small number added before the logarithm",
            _bits(
                (
                    "torch.log_softmax(logits[:, :-1], dim=-1)",
                    "(torch.softmax(logits[:, :-1], -1) + 1e-9).log()",
                )
            ),
        ),
        ("softmax over the time", _bits(("dim=-1", "dim=1"))),
        (
            "perplexity",
            _bits(
                (
                    "-float(chosen[mask].mean()) / math.log(2)",
                    "math.exp(-float(chosen[mask].mean()))",
                )
            ),
        ),
        ("a tensor", _bits(("-float(chosen[mask].mean())", "-chosen[mask].mean()"))),
    ],
    "bits_from_perplexity": [
        ("nats", _perplexity("math.log(perplexity) * pieces / characters")),
        ("bits of a piece", _perplexity("math.log2(perplexity)")),
        ("upside down", _perplexity("math.log2(perplexity) * characters / pieces")),
        ("without the logarithm", _perplexity("perplexity * pieces / characters")),
        (
            "the perplexity spread, then the logarithm",
            _perplexity("math.log2(perplexity * pieces / characters)"),
        ),
        ("bits of the text", _perplexity("math.log2(perplexity) * pieces")),
        ("2 to the power", _perplexity("2**perplexity * pieces / characters")),
        ("times log 2", _perplexity("math.log(perplexity) * math.log(2) * pieces / characters")),
    ],
    "next_token_distribution": [
        (
            "the end of the text counted as an observation",
            _gram(
                (
                    "(counts.sum() + strength)",
                    "(sum(text[i : i + k] == h for i in range(len(text) - max(k, 1) + 1))"
                    " + strength)",
                )
            ),
        ),
        (
            "backing off to the oldest tokens",
            _gram(("context[len(context) - k :]", "context[:k]")),
        ),
        (
            "a context that is never seen: uniform",
            _gram(
                (
                    "        p = (counts",
                    "        if counts.sum() == 0:\n"
                    "            return torch.ones_like(p) / vocabulary_size\n"
                    "        p = (counts",
                )
            ),
        ),
        (
            "mixed with the uniform distribution only",
            _gram(
                ("strength * p)", "strength / vocabulary_size)"),
            ),
        ),
        (
            "no smoothing",
            _gram(
                ("(counts + strength * p) / (counts.sum() + strength)", "counts / counts.sum()"),
            ),
        ),
        (
            "backs off only if the context is not seen",
            _gram(
                (
                    "p = (counts + strength * p) / (counts.sum() + strength)",
                    "p = counts / counts.sum() if k and counts.sum() > 0 else"
                    " (p if k else (counts + strength * p) / (counts.sum() + strength))",
                )
            ),
        ),
        (
            "strength added for each token",
            _gram(("counts + strength * p", "counts + strength")),
        ),
        (
            "divided by the strength of the whole vocabulary",
            _gram(("(counts.sum() + strength)", "(counts.sum() + strength * vocabulary_size)")),
        ),
        (
            "stops before the whole context",
            _gram(("range(len(context) + 1)", "range(len(context))")),
        ),
        (
            "the empty context forgotten",
            _gram(("range(len(context) + 1)", "range(1, len(context) + 1)")),
        ),
        (
            "the empty context not smoothed",
            _gram(
                (
                    "        p = (counts",
                    "        strength_now = strength if k else 0.0\n        p = (counts",
                ),
                (
                    "strength * p) / (counts.sum() + strength)",
                    "strength_now * p) / (counts.sum() + strength_now)",
                ),
            ),
        ),
        (
            "places may not overlap",
            _gram(
                (
                    "        for place in range(len(text) - k):\n"
                    "            if text[place : place + k] == h:\n"
                    "                counts[text[place + k]] += 1\n",
                    "        place = 0\n"
                    "        while place < len(text) - k:\n"
                    "            if text[place : place + k] == h:\n"
                    "                counts[text[place + k]] += 1\n"
                    "                place += max(k, 1)\n"
                    "            else:\n"
                    "                place += 1\n",
                )
            ),
        ),
        (
            "the last place left out",
            _gram(("range(len(text) - k)", "range(len(text) - k - 1)")),
        ),
        (
            "the token before the context",
            _gram(
                ("range(len(text) - k)", "range(1, len(text) - k + 1)"),
                ("counts[text[place + k]]", "counts[text[place - 1]]"),
            ),
        ),
        (
            "the context read backwards",
            _gram(("text[place : place + k] == h:", "text[place : place + k] == h[::-1]:")),
        ),
        (
            "strength divided by the count of the context",
            _gram(
                (
                    "(counts + strength * p) / (counts.sum() + strength)",
                    "(counts + p / strength) / (counts.sum() + 1 / strength)",
                )
            ),
        ),
    ],
    "top_p": [
        (
            "the token that crosses is dropped",
            _nucleus(
                ("keep = before < p", "keep = falling.cumsum(-1) <= p"),
                (
                    "    falling = falling * keep",
                    "    keep[..., 0] = True\n    falling = falling * keep",
                ),
            ),
        ),
        (
            "in rising order",
            _nucleus(("descending=True", "descending=False")),
        ),
        (
            "not divided by the sum",
            _nucleus(("falling / falling.sum(-1, keepdim=True)", "falling")),
        ),
        (
            "in sorted order, not at its place",
            _nucleus(("torch.empty_like(falling).scatter_(-1, order, falling)", "falling")),
        ),
        (
            "gathered, not scattered",
            _nucleus(
                (
                    "torch.empty_like(falling).scatter_(-1, order, falling)",
                    "falling.gather(-1, order)",
                )
            ),
        ),
        (
            "the temperature after the cut",
            _nucleus(
                ("torch.softmax(logits / temperature", "torch.softmax(logits"),
                (
                    "    falling = falling / ",
                    "    falling = falling ** (1 / temperature)\n    falling = falling / ",
                ),
            ),
        ),
        (
            "multiplied by the temperature",
            _nucleus(("logits / temperature", "logits * temperature")),
        ),
        ("the temperature forgotten", _nucleus(("logits / temperature", "logits"))),
        (
            "a floor for each probability",
            with_body(
                "top_p(logits, p, temperature=1.0)",
                """
                q = torch.softmax(logits / temperature, dim=-1)
                q = torch.where(q >= (1 - p) * q.amax(-1, keepdim=True), q, 0)
                return q / q.sum(-1, keepdim=True)
                """,
            ),
        ),
        (
            "all that are as likely as the last one kept",
            with_body(
                "top_p(logits, p, temperature=1.0)",
                """
                q = torch.softmax(logits / temperature, dim=-1)
                falling = q.sort(dim=-1, descending=True).values
                inside = falling.cumsum(-1) - falling < p
                least = falling.masked_fill(~inside, 2).amin(-1, keepdim=True)
                q = q if p == 1 else torch.where(q >= least, q, 0)
                return q / q.sum(-1, keepdim=True)
                """,
            ),
        ),
        (
            "one token too many",
            _nucleus(("keep = before < p", "keep = before - falling < p")),
        ),
        (
            "along the first axis",
            _nucleus(
                ("before = falling.cumsum(-1) - falling", "before = falling.cumsum(0) - falling"),
            ),
        ),
        (
            "p = 1 loses the unlikeliest",
            _nucleus(("    if p == 1:\n        keep = torch.ones_like(keep)\n", "")),
        ),
        (
            "a sum over the whole batch",
            _nucleus(("falling.sum(-1, keepdim=True)", "falling.sum()")),
        ),
        (
            "ties to the larger number",
            with_body(
                "top_p(logits, p, temperature=1.0)",
                """
                q = torch.softmax(logits.flip(-1) / temperature, dim=-1)
                falling, order = q.sort(dim=-1, descending=True, stable=True)
                keep = (falling.cumsum(-1) - falling < p) | (p == 1)
                q = torch.zeros_like(q).scatter(-1, order, falling * keep).flip(-1)
                return q / q.sum(-1, keepdim=True)
                """,
            ),
        ),
        (
            "the softmax of zeros",
            _nucleus(
                (
                    "falling = falling / falling.sum(-1, keepdim=True)",
                    "falling = torch.softmax(falling, -1)",
                )
            ),
        ),
    ],
    "entropy_slope": [
        ("a squared temperature", _slope(("temperature**3", "temperature**2"))),
        ("with respect to β", _slope((" / temperature**3", " / temperature * -1"))),
        ("the variance alone", _slope((" / temperature**3", ""))),
        ("sign", _slope(("(second - first**2)", "(first**2 - second)"))),
        ("under the distribution at 1", _slope(("logits / temperature", "logits"))),
        (
            "of the divided logits",
            _slope(("    first", "    logits = logits / temperature\n    first")),
        ),
        ("the second moment", _slope(("second - first**2", "second"))),
        ("the standard deviation", _slope(("(second - first**2)", "(second - first**2).sqrt()"))),
        (
            "the variance of the logits, each counted once",
            _slope(("(second - first**2)", "logits.var(-1, correction=0)")),
        ),
        (
            "summed over the rows",
            _slope(
                (
                    "(second - first**2) / temperature**3",
                    "((second - first**2) / temperature**3).sum()",
                )
            ),
        ),
        ("in bits", _slope(("temperature**3", "temperature**3 / math.log(2)"))),
        (
            "the entropy itself",
            with_body(
                "entropy_slope(logits, temperature)",
                "return torch.special.entr(torch.softmax(logits / temperature, -1)).sum(-1)",
            ),
        ),
        ("over the first axis", _slope(("dim=-1", "dim=0"))),
    ],
    "temperature_for_entropy": [
        ("the wrong half", _bisection(("nats < entropy", "nats > entropy"))),
        ("β", _bisection(("return middle", "return 1 / middle"))),
        ("logits times the temperature", _bisection(("logits / middle", "logits * middle"))),
        ("bits", _bisection((".sum())", ".sum()) / math.log(2)"))),
        ("ten steps", _bisection(("range(80)", "range(10)"))),
        ("up to 10 only", _bisection(("1e-3, 1e3", "1e-3, 10.0"))),
        ("from 0.1", _bisection(("1e-3, 1e3", "0.1, 1e3"))),
        (
            "the middle of the interval, 24 steps",
            _bisection(("math.sqrt(low * high)", "(low + high) / 2"), ("range(80)", "range(24)")),
        ),
        ("the sign of the entropy", _bisection(("-float(", "float("))),
        (
            "0 log 0 is not a number",
            _bisection(
                (
                    "log_p = torch.log_softmax(logits / middle, dim=0)",
                    "log_p = torch.softmax(logits / middle, dim=0).log()",
                )
            ),
        ),
        (
            "a small number under the logarithm",
            _bisection(
                (
                    "torch.log_softmax(logits / middle, dim=0)",
                    "(torch.softmax(logits / middle, dim=0) + 1e-6).log()",
                )
            ),
        ),
        ("the logarithm of it", _bisection(("return middle", "return math.log(middle)"))),
        ("1", with_body("temperature_for_entropy(logits, entropy)", "return 1.0")),
        (
            "the share of the largest entropy",
            with_body(
                "temperature_for_entropy(logits, entropy)",
                "return entropy / math.log(len(logits))",
            ),
        ),
        (
            "a grid",
            with_body(
                "temperature_for_entropy(logits, entropy)",
                """
                grid = torch.logspace(-3, 3, 2001, dtype=torch.float64)
                p = torch.softmax(logits / grid[:, None], 1)
                return float(grid[(torch.special.entr(p).sum(1) - entropy).abs().argmin()])
                """,
            ),
        ),
    ],
    "leaks": [
        ("nothing is ever found", with_body("leaks(model, vocabulary_size)", "return set()")),
        (
            "everything is always found",
            with_body(
                "leaks(model, vocabulary_size)",
                """
                return {"reads other examples", "sees later tokens", "ignores earlier tokens"}
                """,
            ),
        ),
        (
            "in the mode in which it is",
            _leaks(("    model.eval()\n", "")),
        ),
        (
            "left in evaluation mode",
            _leaks(
                ("    for module, mode in modes.items():\n        module.training = mode\n", ""),
            ),
        ),
        (
            "the mode of the whole put back",
            _leaks(
                (
                    "    for module, mode in modes.items():\n        module.training = mode\n",
                    "    model.train(modes[model])\n",
                ),
            ),
        ),
        (
            "put into training mode afterwards",
            _leaks(
                (
                    "    for module, mode in modes.items():\n        module.training = mode\n",
                    "    model.train()\n",
                ),
            ),
        ),
        ("torch.allclose's tolerance", _leaks(("limit = 1e-10", "limit = 1e-5"))),
        ("any difference counts", _leaks(("limit = 1e-10", "limit = -1.0"))),
        ("only the last row is changed", _leaks(("row = trial % 4", "row = 3"))),
        ("only the first row is changed", _leaks(("row = trial % 4", "row = 0"))),
        (
            "a batch of two",
            _leaks(
                (
                    "fresh = torch.randint(0, vocabulary_size, (4, 8)",
                    "fresh = torch.randint(0, vocabulary_size, (2, 8)",
                ),
                (
                    "tokens = torch.randint(0, vocabulary_size, (4, 8)",
                    "tokens = torch.randint(0, vocabulary_size, (2, 8)",
                ),
                ("row = trial % 4", "row = trial % 2"),
                ("for r in range(4)", "for r in range(2)"),
            ),
        ),
        (
            "other rows are changed by their last token only",
            _leaks(("changed[row] = fresh[row]", "changed[row, -1] = fresh[row, -1]")),
        ),
        (
            "only the last token is changed",
            _leaks(("changed[row, t:] = fresh[row, t:]", "changed[row, -1] = fresh[row, -1]")),
        ),
        (
            "only the first position is watched",
            _leaks(("[row, :t].abs()", "[row, :1].abs()")),
        ),
        (
            "the changed token itself is watched",
            _leaks(("[row, :t].abs()", "[row, : t + 1].abs()")),
        ),
        (
            "only the token just before is changed",
            _leaks(
                ("changed[row, :t] = fresh[row, :t]", "changed[row, t - 1] = fresh[row, t - 1]")
            ),
        ),
        (
            "only the first token is changed",
            _leaks(("changed[row, :t] = fresh[row, :t]", "changed[row, 0] = fresh[row, 0]")),
        ),
        (
            "later tokens of all rows are changed",
            _leaks(("changed[row, t:] = fresh[row, t:]", "changed[:, t:] = fresh[:, t:]")),
        ),
        (
            "earlier tokens of all rows are changed",
            _leaks(("changed[row, :t] = fresh[row, :t]", "changed[:, :t] = fresh[:, :t]")),
        ),
        (
            "one reaction at any position is enough",
            _leaks(("not all(reacts[1:])", "not any(reacts[1:])")),
        ),
        (
            "only the last position must react",
            _leaks(("not all(reacts[1:])", "not reacts[-1]")),
        ),
        ("one try for each row", _leaks(("range(16)", "range(4)"))),
        (
            "every token moved on by one",
            _leaks(
                (
                    "fresh = torch.randint(0, vocabulary_size, (4, 8), generator=stream)",
                    "fresh = (tokens + 1) % vocabulary_size",
                ),
            ),
        ),
        (
            "the first position must react too",
            _leaks(("not all(reacts[1:])", "not all(reacts)")),
        ),
        (
            "texts of five tokens",
            _leaks(
                (
                    "tokens = torch.randint(0, vocabulary_size, (4, 8)",
                    "tokens = torch.randint(0, vocabulary_size, (4, 5)",
                ),
                (
                    "fresh = torch.randint(0, vocabulary_size, (4, 8)",
                    "fresh = torch.randint(0, vocabulary_size, (4, 5)",
                ),
                ("range(1, 8)", "range(1, 5)"),
                ("[False] * 8", "[False] * 5"),
            ),
        ),
        ("a list", _leaks(("return found", "return sorted(found)"))),
        (
            "alone or in a batch, to the last bit",
            _leaks(
                (
                    "            if float((model(changed) - base)[others].abs().max()) > limit:\n",
                    "            if not torch.equal(model(tokens[:1]), base[:1]):\n",
                ),
            ),
        ),
    ],
    "text_generator": [
        ("the first fault left", _generator((", batch_first=True", ""))),
        (
            "the last position only",
            _generator(("self.linear(states)", "self.linear(states[:, -1])")),
        ),
        (
            "both faults",
            _generator(
                (", batch_first=True", ""), ("self.linear(states)", "self.linear(states[:, -1])")
            ),
        ),
        (
            "turned on the way in only",
            _generator(
                (", batch_first=True", ""),
                ("self.lstm(self.embedding(tokens))", "self.lstm(self.embedding(tokens.T))"),
            ),
        ),
        (
            "turned on the way out only",
            _generator(
                (", batch_first=True", ""),
                ("self.linear(states)", "self.linear(states.transpose(0, 1))"),
            ),
        ),
        (
            "reshaped, not transposed",
            _generator(
                (", batch_first=True", ""),
                (
                    "self.lstm(self.embedding(tokens))",
                    "self.lstm(self.embedding(tokens.reshape(tokens.shape[1], -1)))",
                ),
                ("self.linear(states)", "self.linear(states.reshape(*tokens.shape, -1))"),
            ),
        ),
        (
            "in both directions",
            _generator(
                ("batch_first=True", "batch_first=True, bidirectional=True"),
                ("nn.Linear(width, vocabulary_size)", "nn.Linear(2 * width, vocabulary_size)"),
            ),
        ),
        (
            "from the end to the beginning",
            _generator(
                ("self.embedding(tokens)", "self.embedding(tokens.flip(1))"),
                ("self.linear(states)", "self.linear(states.flip(1))"),
            ),
        ),
        (
            "the last state at every position",
            _generator(("self.linear(states)", "self.linear(states[:, -1:].expand_as(states))")),
        ),
        (
            "each token by itself",
            _generator(
                (
                    "states, _ = self.lstm(self.embedding(tokens))",
                    "states = self.lstm(self.embedding(tokens).flatten(0, 1)[:, None])[0]\n"
                    "        states = states.view(*tokens.shape, -1)",
                ),
            ),
        ),
        (
            "one long text of the whole batch",
            _generator(
                (
                    "states, _ = self.lstm(self.embedding(tokens))",
                    "states = self.lstm(self.embedding(tokens).flatten(0, 1))[0]\n"
                    "        states = states.view(*tokens.shape, -1)",
                ),
            ),
        ),
        ("probabilities", _generator(("self.linear(states)", "self.linear(states).softmax(-1)"))),
        (
            "log-probabilities over the time",
            _generator(("self.linear(states)", "self.linear(states).log_softmax(1)")),
        ),
        (
            "the vocabulary in the middle",
            _generator(("self.linear(states)", "self.linear(states).transpose(1, 2)")),
        ),
        (
            "another name",
            _generator(
                ("self.linear =", "self.readout ="), ("self.linear(states)", "self.readout(states)")
            ),
        ),
        (
            "the cell's state",
            _generator(
                (
                    "states, _ = self.lstm(self.embedding(tokens))",
                    "_, (_, cell) = self.lstm(self.embedding(tokens))",
                ),
                (
                    "self.linear(states)",
                    "self.linear(cell[0])[:, None].expand(-1, tokens.shape[1], -1)",
                ),
            ),
        ),
        (
            "one step late",
            _generator(
                ("self.linear(states)", "self.linear(states).roll(1, 1)"),
            ),
        ),
        (
            "two layers",
            _generator(("batch_first=True", "num_layers=2, batch_first=True")),
        ),
        (
            "detached",
            _generator(("self.linear(states)", "self.linear(states.detach())")),
        ),
    ],
    "next_token_loss": [
        (
            "the fault of the listing: not shifted",
            _loss("return F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())"),
        ),
        (
            "half mended: both cut at the end",
            _loss("""
                logits = model(tokens)[:, :-1]
                return F.cross_entropy(logits.flatten(0, 1), tokens[:, :-1].flatten())
            """),
        ),
        (
            "half mended: both cut at the beginning",
            _loss("""
                logits = model(tokens)[:, 1:]
                return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            """),
        ),
        (
            "shifted the other way",
            _loss("""
                logits = model(tokens)[:, 1:]
                return F.cross_entropy(logits.flatten(0, 1), tokens[:, :-1].flatten())
            """),
        ),
        (
            "reshaped, not transposed",
            _loss("""
                logits = model(tokens[:, :-1])
                batch, time, vocabulary = logits.shape
                return F.cross_entropy(logits.reshape(batch, vocabulary, time), tokens[:, 1:])
            """),
        ),
        (
            "rolled: the last token predicts the first",
            _loss(
                "return F.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())"
            ),
        ),
        (
            "two steps ahead",
            _loss("""
                if tokens.shape[1] < 3:
                    return model(tokens).sum() * 0
                logits = model(tokens)[:, :-2]
                return F.cross_entropy(logits.flatten(0, 1), tokens[:, 2:].flatten())
            """),
        ),
        (
            "a sum",
            _loss("""
                logits = model(tokens[:, :-1]).flatten(0, 1)
                return F.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum")
            """),
        ),
        (
            "summed over the text",
            _loss("""
                logits = model(tokens[:, :-1])
                return F.cross_entropy(logits.mT, tokens[:, 1:], reduction="none").sum(1).mean()
            """),
        ),
        (
            "one for each text",
            _loss("""
                logits = model(tokens[:, :-1])
                return F.cross_entropy(logits.mT, tokens[:, 1:], reduction="none").mean(1)
            """),
        ),
        (
            "the last token of each text only",
            _loss("return F.cross_entropy(model(tokens[:, :-1])[:, -1], tokens[:, -1])"),
        ),
        (
            "bits",
            _loss("""
                logits = model(tokens[:, :-1])
                return F.cross_entropy(logits.mT, tokens[:, 1:]) / math.log(2)
            """),
        ),
        (
            "sign",
            _loss("return -F.cross_entropy(model(tokens[:, :-1]).mT, tokens[:, 1:])"),
        ),
        (
            "the token 0 taken for padding",
            _loss("""
                logits = model(tokens[:, :-1])
                return F.cross_entropy(logits.mT, tokens[:, 1:], ignore_index=0)
            """),
        ),
        (
            "a softmax too many",
            _loss("""
                logits = model(tokens[:, :-1]).softmax(-1)
                return F.cross_entropy(logits.mT, tokens[:, 1:])
            """),
        ),
        (
            "without gradient",
            _loss("""
                with torch.no_grad():
                    logits = model(tokens[:, :-1])
                return F.cross_entropy(logits.mT, tokens[:, 1:]).requires_grad_()
            """),
        ),
        (
            "text by text in another order: transposed, then flattened",
            _loss("""
                logits = model(tokens[:, :-1]).transpose(0, 1).flatten(0, 1)
                return F.cross_entropy(logits, tokens[:, 1:].flatten())
            """),
        ),
    ],
    "forced_and_free": [
        (
            "exchanged",
            _forced(
                (
                    "return torch.stack(forced), torch.stack(free)",
                    "return torch.stack(free), torch.stack(forced)",
                ),
            ),
        ),
        (
            "columns to rows",
            _forced(("    power =", "    truth, model = truth.T, model.T\n    power =")),
        ),
        ("the data alone for forced", _forced(("@ model for", "@ truth for"))),
        (
            "one step of the model too late",
            _forced(("power(truth, t - 1) @ model", "power(truth, t) @ model")),
        ),
        (
            "the model first, then the data",
            _forced(("power(truth, t - 1) @ model", "model @ power(truth, t - 1)")),
        ),
        (
            "free like forced",
            _forced(("start @ power(model, t) for t in range(length)", "row for row in forced")),
        ),
        ("one step ahead", _forced(("power(model, t) for", "power(model, t + 1) for"))),
        (
            "the first token left out",
            _forced(
                (
                    "[start] + [start @ power(truth, t - 1) @ model for t in range(1, length)]",
                    "[start @ power(truth, t) @ model for t in range(length)]",
                )
            ),
        ),
        (
            "one token too many",
            _forced(
                ("range(1, length)]", "range(1, length + 1)]"),
                ("in range(length)]", "in range(length + 1)]"),
            ),
        ),
        (
            "free: the data at the last step",
            _forced(
                (
                    "start @ power(model, t) for t in range(length)",
                    "start @ power(model, t - 1) @ truth if t else start for t in range(length)",
                )
            ),
        ),
        (
            "elementwise powers",
            _forced(
                (
                    "    power = torch.linalg.matrix_power",
                    "    def power(matrix, n):\n"
                    "        return matrix**n if n else torch.eye(len(matrix)).double()\n",
                )
            ),
        ),
        (
            "the most likely token, not the distribution",
            with_body(
                "forced_and_free(start, truth, model, length)",
                """
                tables = []
                for before in (truth, model):
                    rows, data = [start], start
                    for _ in range(length - 1):
                        rows.append(model[data.argmax()])
                        data = before[data.argmax()]
                    tables.append(torch.stack(rows))
                return tuple(tables)
                """,
            ),
        ),
        (
            "a list for each",
            _forced(("torch.stack(forced), torch.stack(free)", "[*forced], [*free]")),
        ),
    ],
    "chance_lost": [
        ("never returns", _lost("1 - (1 - error) ** steps")),
        ("errors added up", _lost("min(1.0, steps * error)")),
        ("as if teacher forced", _lost("error if steps else 0.0")),
        ("the limit", _lost("error / (error + recovery)")),
        (
            "the limit of those who are right",
            _lost("recovery / (error + recovery) * (1 - (1 - error - recovery) ** steps)"),
        ),
        (
            "independent of each other",
            _lost("error / (error + recovery) * (1 - ((1 - error) * (1 - recovery)) ** steps)"),
        ),
        (
            "one step more",
            _lost("error / (error + recovery) * (1 - (1 - error - recovery) ** (steps + 1))"),
        ),
        (
            "one step less",
            _lost("error / (error + recovery) * (1 - (1 - error - recovery) ** max(steps - 1, 0))"),
        ),
        (
            "the distance alone",
            _lost("error / (error + recovery) * (1 - error - recovery) ** steps"),
        ),
        (
            "lost at the start",
            _lost("(error + recovery * (1 - error - recovery) ** steps) / (error + recovery)"),
        ),
        (
            "the chance to be right",
            _lost("1 - error / (error + recovery) * (1 - (1 - error - recovery) ** steps)"),
        ),
        (
            "the recovery with the wrong sign",
            _lost("error / (error + recovery) * (1 - (1 - error + recovery) ** steps)"),
        ),
        (
            "continuous time",
            _lost("error / (error + recovery) * (1 - math.exp(-(error + recovery) * steps))"),
        ),
        (
            "the errors so far, less the returns",
            _lost("(1 - (1 - error) ** steps) * (1 - recovery) ** steps"),
        ),
    ],
}

RIGHT: dict[str, list[tuple[str, str]]] = {
    "chain_rule": [
        ("axis by axis", _CHAIN),
        (
            "from the last factor to the first",
            with_body(
                "chain_rule(joint, order)",
                """
                factors, table = [], joint
                for axis in reversed(order):
                    below = table.sum(axis, keepdim=True)
                    factors.insert(0, table / torch.where(below == 0, 1, below))
                    table = below
                return factors
                """,
            ),
        ),
    ],
    "short_memory_loss": [
        ("differences of entropies", _MEMORY),
        (
            "cell by cell",
            with_body(
                "short_memory_loss(joint, order)",
                """
                loss = 0.0
                for index in joint.nonzero().tolist():
                    for i, axis in enumerate(order):
                        seen = {axis, order[i - 1]} if i else {axis}
                        where = [k if a in seen else slice(None) for a, k in enumerate(index)]
                        above = joint[tuple(where)].sum()
                        where[axis] = slice(None)
                        ratio = above / joint[tuple(where)].sum()
                        loss -= float(joint[tuple(index)] * ratio.log())
                return loss
                """,
            ),
        ),
    ],
    "bits_per_character": [
        ("gathered", _BITS),
        (
            "row by row",
            with_body(
                "bits_per_character(logits, tokens)",
                """
                nats, count = 0.0, 0
                for scores, row in zip(logits, tokens, strict=True):
                    row = row[row != -1]
                    if len(row) == 1:
                        continue
                    p = torch.distributions.Categorical(logits=scores[: len(row) - 1])
                    nats -= p.log_prob(row[1:]).sum().item()
                    count += len(row) - 1
                return nats / count / math.log(2)
                """,
            ),
        ),
    ],
    "bits_from_perplexity": [
        ("by nats", _perplexity("pieces * math.log(perplexity) / (characters * math.log(2))")),
        ("base 2", _perplexity("math.log(perplexity, 2) / (characters / pieces)")),
    ],
    "next_token_distribution": [
        ("with lists", _GRAM),
        (
            "from the longest context down, by itself",
            with_body(
                "next_token_distribution(tokens, context, vocabulary_size, strength)",
                """
                k, counts = len(context), torch.zeros(vocabulary_size, dtype=torch.float64)
                for end in range(k, len(tokens)):
                    if torch.equal(tokens[end - k : end], context):
                        counts[tokens[end]] += 1
                if k == 0:
                    below = torch.ones(vocabulary_size, dtype=torch.float64) / vocabulary_size
                else:
                    below = next_token_distribution(
                        tokens, context[1:], vocabulary_size, strength
                    )
                weight = counts.sum() / (counts.sum() + strength)
                own = counts / counts.sum().clamp(min=1)
                return weight * own + (1 - weight) * below
                """,
            ),
        ),
    ],
    "top_p": [
        ("gathered and scattered", _NUCLEUS),
        (
            "logits of minus infinity",
            with_body(
                "top_p(logits, p, temperature=1.0)",
                """
                logits = logits / temperature
                if p == 1:
                    return torch.softmax(logits, -1)
                falling, order = torch.sort(logits, descending=True, stable=True)
                total = torch.softmax(falling, -1).cumsum(-1)
                out = torch.zeros_like(total, dtype=torch.bool)
                out[..., 1:] = total[..., :-1] >= p
                out = out.gather(-1, order.argsort(-1))
                return torch.softmax(logits.masked_fill(out, -math.inf), -1)
                """,
            ),
        ),
    ],
    "entropy_slope": [
        ("two moments", _SLOPE),
        (
            "autograd",
            with_body(
                "entropy_slope(logits, temperature)",
                """
                t = torch.full_like(logits[..., :1], temperature).requires_grad_()
                log_p = torch.log_softmax(logits / t, -1)
                nats = -(log_p.exp() * log_p).sum()
                return torch.autograd.grad(nats, t)[0][..., 0]
                """,
            ),
        ),
        (
            "the variance of the divided logits, over the temperature",
            with_body(
                "entropy_slope(logits, temperature)",
                """
                scores = logits / temperature
                p = torch.softmax(scores, -1)
                centred = scores - (p * scores).sum(-1, keepdim=True)
                return (p * centred.square()).sum(-1) / temperature
                """,
            ),
        ),
    ],
    "temperature_for_entropy": [
        ("the geometric mean", _BISECTION),
        (
            "SciPy",
            with_body(
                "temperature_for_entropy(logits, entropy)",
                """
                from scipy.optimize import brentq

                def excess(log_t):
                    p = torch.softmax(logits / math.exp(log_t), 0)
                    return torch.distributions.Categorical(p).entropy().item() - entropy

                return math.exp(brentq(excess, math.log(1e-3), math.log(1e3), xtol=1e-12))
                """,
            ),
        ),
    ],
    "leaks": [
        ("one change at a time", _LEAKS),
        (
            "two changes at a time, the rest drawn by chance",
            with_body(
                "leaks(model, vocabulary_size)",
                """
                found = set()
                training = [m for m in model.modules() if m.training]
                model.eval()
                generator = torch.Generator().manual_seed(3)

                def draw(*shape):
                    return torch.randint(vocabulary_size, shape, generator=generator)

                def differ(a, b):
                    return (a - b).detach().abs().max(-1).values > 3e-11

                reacts = torch.zeros(8, dtype=torch.bool)
                for _ in range(12):
                    a = draw(4, 8)
                    of_a = model(a)
                    for row in range(4):
                        keep = torch.arange(4) != row
                        b = a.clone()
                        b[row] = draw(8)
                        if differ(model(b), of_a)[keep].any():
                            found.add("reads other examples")
                    for t in range(8):
                        row = int(draw(1)) % 4
                        b, c = a.clone(), a.clone()
                        b[row, t + 1 :] = draw(7 - t)
                        c[row, :t] = draw(t)
                        if differ(model(b), of_a)[row, : t + 1].any():
                            found.add("sees later tokens")
                        reacts[t] |= differ(model(c), of_a)[row, t]
                if not reacts[1:].all():
                    found.add("ignores earlier tokens")
                for module in training:
                    module.training = True
                return found
                """,
            ),
        ),
    ],
    "text_generator": [
        (
            "turned before and after",
            _generator(
                (", batch_first=True", ""),
                ("self.embedding(tokens)", "self.embedding(tokens).transpose(0, 1)"),
                ("self.linear(states)", "self.linear(states.transpose(0, 1))"),
            ),
        ),
        (
            "step by step",
            _generator(
                (
                    "        states, _ = self.lstm(self.embedding(tokens))\n"
                    "        return self.linear(states)",
                    "        memory, logits = None, []\n"
                    "        for column in tokens.split(1, 1):\n"
                    "            state, memory = self.lstm(self.embedding(column), memory)\n"
                    "            logits.append(self.linear(state))\n"
                    "        return torch.cat(logits, 1)",
                )
            ),
        ),
    ],
    "next_token_loss": [
        (
            "the vocabulary moved to the middle",
            _loss("return F.cross_entropy(model(tokens)[:, :-1].transpose(1, 2), tokens[:, 1:])"),
        ),
        (
            "gathered",
            _loss("""
                scores = model(tokens).log_softmax(-1)[:, :-1]
                return -scores.gather(-1, tokens[:, 1:, None]).mean()
            """),
        ),
    ],
    "forced_and_free": [
        ("matrix powers", _FORCED),
        (
            "one table after the other",
            with_body(
                "forced_and_free(start, truth, model, length)",
                """
                tables = torch.zeros(3, length, len(start), dtype=start.dtype)
                tables[:, 0] = start
                data, forced, free = tables
                for t in range(1, length):
                    data[t] = truth.T @ data[t - 1]
                    forced[t] = model.T @ data[t - 1]
                    free[t] = model.T @ free[t - 1]
                return forced, free
                """,
            ),
        ),
    ],
    "chance_lost": [
        (
            "the distance from the limit",
            with_body(
                "chance_lost(error, recovery, steps)",
                """
                total = error + recovery
                limit = error / total if total > 0 else 0.0
                return limit - limit * (1 - total) ** steps
                """,
            ),
        ),
        (
            "a small number in the denominator",
            with_body(
                "chance_lost(error, recovery, steps)",
                "return error / (error + recovery or 1.0) * (1 - (1 - error - recovery) ** steps)",
            ),
        ),
    ],
}

# Faults that the visible check must catch, and words of the hint that they get.
HINTS: dict[str, dict[str, str]] = {
    "chain_rule": {"on the one before it only": "all of them"},
    "short_memory_loss": {"bits": "are these bits", "0 log 0 is not a number": "0 · log 0"},
    "bits_per_character": {
        "nats": "in nats",
        "the mean of the means of the rows": "mean of the means",
        "padding counted as the last token: the index -1": "index -1",
        "padding costs nothing, but is divided by": "padded places",
        "the end left out": "line break at the end",
        "not shifted": "the token at the same position",
        "the first token costs what the first logits say": "the token at the same position",
        "not shifted, and the first token left out": "the token at the same position",
        "the logarithm of a softmax": "logarithm of a softmax",
    },
    "next_token_distribution": {
        "the end of the text counted as an observation": "has no token after it",
        "backing off to the oldest tokens": "the newest token",
        "places may not overlap": "may overlap",
    },
    "top_p": {
        "the token that crosses is dropped": "the one that crosses p is kept too",
        "not divided by the sum": "do not sum to 1",
        "the temperature after the cut": "First the temperature",
        "all that are as likely as the last one kept": "smallest numbers",
    },
    "entropy_slope": {"a squared temperature": "which power of the temperature"},
    "temperature_for_entropy": {
        "β": "one over it",
        "0 log 0 is not a number": "0 · log 0",
    },
    "leaks": {
        "the mode of the whole put back": "mode of each module",
        "in the mode in which it is": "nothing random is left",
        "only the last row is changed": "change each in turn",
        "the changed token itself is watched": "watch only what is before it",
        "the first position must react too": "the first position has none",
    },
    "text_generator": {"the first fault left": "recurrence runs over the batch"},
    "next_token_loss": {
        "the fault of the listing: not shifted": "repeating the token",
        "half mended: both cut at the end": "at the same end",
        "half mended: both cut at the beginning": "at the same end",
        "reshaped, not transposed": "still belong to its own token",
    },
    "forced_and_free": {"columns to rows": "Rows are the token before"},
}
