"""Plausible answers to the exercises of chapter 13: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution. ``HINTS``
names words that the visible check must say about a fault.
"""

from answer_cells import changed, with_body


def _block(body: str) -> str:
    return with_body("block(x, attention, perceptron, attention_norm, perceptron_norm)", body)


_NORM = """
def layer_norm(x, weight, bias, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    variance = x.var(-1, keepdim=True, correction=0)
    return (x - mean) / torch.sqrt(variance + eps) * weight + bias
""".strip()


def _norm(*changes: tuple[str, str]) -> str:
    return changed(_NORM, *changes)


def _count(expression: str) -> str:
    return with_body(
        "parameters(vocabulary_size, context, layers, width)",
        f"V, C, L, d = vocabulary_size, context, layers, width\nreturn {expression}",
    )


def _operations(expression: str) -> str:
    return with_body(
        "operations_per_token(vocabulary_size, layers, width, time)",
        f"V, L, d, T = vocabulary_size, layers, width, time\nreturn {expression}",
    )


_RATE = """
def learning_rate(step, steps, warmup, highest, lowest):
    if step < warmup:
        return highest / warmup * (step + 1)
    if step >= steps:
        return lowest
    angle = math.pi * (step - warmup) / (steps - warmup)
    return lowest + 0.5 * (highest - lowest) * (1 + math.cos(angle))
""".strip()


def _rate(*changes: tuple[str, str]) -> str:
    return changed(_RATE, *changes)


def _groups(decayed: str, source: str = "model.named_parameters()") -> str:
    """Two groups by a condition on ``name`` and ``p``."""
    return with_body(
        "parameter_groups(model, weight_decay)",
        f"""
        first = [p for name, p in {source} if {decayed}]
        second = [p for name, p in {source} if not ({decayed})]
        return [
            {{"params": first, "weight_decay": weight_decay}},
            {{"params": second, "weight_decay": 0.0}},
        ]
        """,
    )


_ATTENTION = """
def cached_attention(layer, x, cache):
    query, key, value = (layer.split(part(x)) for part in (layer.query, layer.key, layer.value))
    if "past" in cache:
        key = torch.cat((cache["past"][0], key), 2)
        value = torch.cat((cache["past"][1], value), 2)
    cache["past"] = key, value
    n, m = x.shape[1], key.shape[2]
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    hidden = torch.arange(m) > torch.arange(m - n, m)[:, None]
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    return layer.output((weights @ value).transpose(1, 2).reshape(x.shape))
""".strip()


def _attention(*changes: tuple[str, str]) -> str:
    return changed(_ATTENTION, *changes)


_GENERATE = """
def generate_cached(model, prompt, n_tokens):
    cache, pieces, start, tokens = {}, [prompt], 0, prompt
    for _ in range(n_tokens):
        logits = model(tokens, start, cache)
        start = start + tokens.shape[1]
        tokens = logits[:, -1].argmax(-1)[:, None]
        pieces.append(tokens)
    return torch.cat(pieces, 1)
""".strip()


def _generate(*changes: tuple[str, str]) -> str:
    return changed(_GENERATE, *changes)


def _generate_body(body: str) -> str:
    return with_body("generate_cached(model, prompt, n_tokens)", body)


def _bytes(expression: str) -> str:
    return with_body(
        "cache_bytes(batch, time, layers, width, heads, key_value_heads, bytes_per_number)",
        f"return {expression}",
    )


_FUTURE = """
def sees_the_future(model, vocabulary_size, time):
    mode = model.training
    model.eval()
    leaks = []
    with torch.no_grad():
        for place in range(1, time):
            texts = torch.randint(0, vocabulary_size, (1500, time))
            changed = texts.clone()
            changed[:, place:] = torch.randint(0, vocabulary_size, (1500, time - place))
            first, second = model(texts), model(changed)
            moved = (first - second)[:, :place].abs().max()
            limit = 1e-8 if first.dtype == torch.float64 else 1e-4
            leaks.append(bool(moved > limit * first.abs().max()))
    model.train(mode)
    return any(leaks)
""".strip()


def _future(*changes: tuple[str, str]) -> str:
    return changed(_FUTURE, *changes)


_CONTINUATION = """
def continuation_log_probability(model, tokens, prompt_lengths):
    inputs = torch.where(tokens < 0, 0, tokens)
    log_p = model(inputs).log_softmax(-1)
    each = log_p[:, :-1].gather(-1, inputs[:, 1:, None])[..., 0]
    place = torch.arange(1, tokens.shape[1])
    counts = (place >= prompt_lengths[:, None]) & (tokens[:, 1:] >= 0)
    return torch.where(counts, each, 0.0).sum(1)
""".strip()


def _continuation(*changes: tuple[str, str]) -> str:
    return changed(_CONTINUATION, *changes)


def _choose(expression: str) -> str:
    return with_body("choose(scores, neutral_scores)", f"return {expression}")


_INDUCTION = """
def induction_scores(attention, tokens):
    total, number = torch.zeros(attention.shape[1], dtype=attention.dtype), 0
    for text, row in enumerate(tokens.tolist()):
        last = {}
        for t, token in enumerate(row):
            if token < 0:
                break
            if t >= 2:
                last[row[t - 2]] = t - 2
            if token in last:
                total += attention[text, :, t, last[token] + 1]
                number += 1
    return total / max(number, 1)
""".strip()


def _induction(*changes: tuple[str, str]) -> str:
    return changed(_INDUCTION, *changes)


WRONG: dict[str, list[tuple[str, str]]] = {
    "block": [
        (
            "post-norm",
            _block("""
                x = attention_norm(x + attention(x))
                return perceptron_norm(x + perceptron(x))
            """),
        ),
        (
            "what the parts write is normalised",
            _block("""
                x = x + attention_norm(attention(x))
                return x + perceptron_norm(perceptron(x))
            """),
        ),
        (
            "added to the normalised features",
            _block("""
                x = attention_norm(x)
                x = x + attention(x)
                x = perceptron_norm(x)
                return x + perceptron(x)
            """),
        ),
        (
            "attention added to the normalised features",
            _block("""
                x = attention_norm(x)
                x = x + attention(x)
                return x + perceptron(perceptron_norm(x))
            """),
        ),
        (
            "the perceptron added to the normalised features",
            _block("""
                x = x + attention(attention_norm(x))
                x = perceptron_norm(x)
                return x + perceptron(x)
            """),
        ),
        (
            "one normalisation for both",
            _block("""
                x = x + attention(attention_norm(x))
                return x + perceptron(attention_norm(x))
            """),
        ),
        (
            "the other normalisation for both",
            _block("""
                x = x + attention(perceptron_norm(x))
                return x + perceptron(perceptron_norm(x))
            """),
        ),
        (
            "the normalisations exchanged",
            _block("""
                x = x + attention(perceptron_norm(x))
                return x + perceptron(attention_norm(x))
            """),
        ),
        (
            "nothing passes by",
            _block("return perceptron(perceptron_norm(attention(attention_norm(x))))"),
        ),
        (
            "nothing passes by attention",
            _block("""
                x = attention(attention_norm(x))
                return x + perceptron(perceptron_norm(x))
            """),
        ),
        (
            "nothing passes by the perceptron",
            _block("""
                x = x + attention(attention_norm(x))
                return perceptron(perceptron_norm(x))
            """),
        ),
        (
            "side by side",
            _block("""
                return x + attention(attention_norm(x)) + perceptron(perceptron_norm(x))
            """),
        ),
        (
            "the perceptron first",
            _block("""
                x = x + perceptron(perceptron_norm(x))
                return x + attention(attention_norm(x))
            """),
        ),
        (
            "no normalisation",
            _block("x = x + attention(x)\nreturn x + perceptron(x)"),
        ),
        (
            "only attention's features normalised",
            _block("""
                x = x + attention(attention_norm(x))
                return x + perceptron(x)
            """),
        ),
        (
            "in place",
            _block("""
                x += attention(attention_norm(x))
                x += perceptron(perceptron_norm(x))
                return x
            """),
        ),
        (
            "attention called twice",
            _block("""
                return (
                    x
                    + attention(attention_norm(x))
                    + perceptron(perceptron_norm(x + attention(attention_norm(x))))
                )
            """),
        ),
        (
            "the stream detached",
            _block("""
                x = x.detach() + attention(attention_norm(x))
                return x + perceptron(perceptron_norm(x))
            """),
        ),
    ],
    "layer_norm": [
        ("the unbiased variance", _norm((", correction=0", ""))),
        ("over time", _norm(("mean(-1,", "mean(-2,"), ("var(-1,", "var(-2,"))),
        (
            "over time and features",
            _norm(("mean(-1,", "mean((-2, -1),"), ("var(-1,", "var((-2, -1),")),
        ),
        ("over all axes", _norm(("x.mean(-1, keepdim=True)", "x.mean()"))),
        (
            "over the batch",
            _norm(("mean(-1,", "mean(0,"), ("var(-1,", "var(0,")),
        ),
        ("eps outside the root", _norm(("torch.sqrt(variance + eps)", "(variance.sqrt() + eps)"))),
        ("eps forgotten", _norm(("variance + eps", "variance"))),
        ("the root forgotten", _norm(("torch.sqrt(variance + eps)", "(variance + eps)"))),
        ("a default eps always", _norm(("variance + eps", "variance + 1e-5"))),
        ("the mean stays", _norm(("(x - mean)", "x"))),
        ("the bias forgotten", _norm((" + bias", ""))),
        (
            "the bias before the weight",
            _norm(("return (", "return weight * (("), (" * weight + bias", " + bias)")),
        ),
        ("one plus the weight", _norm(("* weight", "* (1 + weight)"))),
        (
            "the mean of the squares less the square of the mean",
            _norm(
                (
                    "x.var(-1, keepdim=True, correction=0)",
                    "(x.square().mean(-1, keepdim=True) - mean.square()).clamp(min=0)",
                )
            ),
        ),
        (
            "root mean square",
            _norm(
                ("x.var(-1, keepdim=True, correction=0)", "x.square().mean(-1, keepdim=True)"),
                ("(x - mean)", "x"),
            ),
        ),
        (
            "PyTorch's own",
            with_body(
                "layer_norm(x, weight, bias, eps=1e-5)",
                "return F.layer_norm(x, x.shape[-1:], weight, bias, eps)",
            ),
        ),
    ],
    "parameters": [
        ("biases forgotten", _count("(V + C) * d + 12 * L * d * d")),
        ("normalisations forgotten", _count("(V + C) * d + L * (12 * d * d + 9 * d)")),
        ("the last one forgotten", _count("(V + C) * d + L * (12 * d * d + 13 * d)")),
        ("one normalisation a block", _count("(V + C) * d + L * (12 * d * d + 11 * d) + 2 * d")),
        ("normalisations without shift", _count("(V + C) * d + L * (12 * d * d + 11 * d) + d")),
        ("two tables of tokens", _count("(2 * V + C) * d + L * (12 * d * d + 13 * d) + 2 * d")),
        ("an output bias", _count("(V + C) * d + L * (12 * d * d + 13 * d) + 2 * d + V")),
        ("no positions", _count("V * d + L * (12 * d * d + 13 * d) + 2 * d")),
        (
            "no output matrix of attention",
            _count("(V + C) * d + L * (11 * d * d + 12 * d) + 2 * d"),
        ),
        ("a narrow perceptron", _count("(V + C) * d + L * (6 * d * d + 10 * d) + 2 * d")),
        ("no bias in attention", _count("(V + C) * d + L * (12 * d * d + 9 * d) + 2 * d")),
        ("a float", _count("(V + C) * d + L * (12 * d**2 + 13 * d) + 2.0 * d")),
    ],
    "operations_per_token": [
        ("multiplications only", _operations("12 * L * d * d + V * d + 2 * L * T * d")),
        ("without attention", _operations("2 * (12 * L * d * d + V * d)")),
        ("without the output layer", _operations("2 * (12 * L * d * d + 2 * L * T * d)")),
        ("scores only", _operations("2 * (12 * L * d * d + V * d + L * T * d)")),
        ("the masked half left out", _operations("2 * (12 * L * d * d + V * d + L * (T + 1) * d)")),
        ("attention in one layer", _operations("2 * (12 * L * d * d + V * d + 2 * T * d)")),
        ("for the whole text", _operations("2 * T * (12 * L * d * d + V * d + 2 * L * T * d)")),
        (
            "attention of the whole text",
            _operations("2 * (12 * L * d * d + V * d + 2 * L * T * T * d)"),
        ),
        ("biases too", _operations("2 * (12 * L * d * d + V * d + 2 * L * T * d) + 9 * L * d")),
        (
            "the embedding as a product",
            _operations("2 * (12 * L * d * d + 2 * V * d + 2 * L * T * d)"),
        ),
        ("a narrow perceptron", _operations("2 * (6 * L * d * d + V * d + 2 * L * T * d)")),
        ("forward and backward", _operations("6 * (12 * L * d * d + V * d + 2 * L * T * d)")),
    ],
    "learning_rate": [
        ("the first step stands still", _rate(("* (step + 1)", "* step"))),
        ("no warm-up", _rate(("step < warmup", "False"))),
        ("one step too long", _rate(("step < warmup", "step <= warmup"))),
        ("the cosine counts from the start", _rate(("(step - warmup) / (steps", "step / (steps"))),
        ("over all steps", _rate(("/ (steps - warmup)", "/ steps"))),
        ("down to 0", _rate(("lowest + 0.5 * (highest - lowest)", "0.5 * highest"))),
        ("from too high", _rate(("0.5 * (highest - lowest)", "0.5 * highest"))),
        ("a whole period", _rate(("angle = math.pi", "angle = 2 * math.pi"))),
        ("a quarter of a period", _rate(("angle = math.pi", "angle = 0.5 * math.pi"))),
        ("a straight line", _rate(("math.cos(angle)", "1 - 2 * angle / math.pi"))),
        ("it rises again", _rate(("step >= steps", "steps == warmup"))),
        ("it stops at 0", _rate(("return lowest\n", "return 0.0\n"))),
        (
            "the lowest in the last step",
            _rate(("/ (steps - warmup)", "/ max(1, steps - 1 - warmup)")),
        ),
        ("nothing left after the warm-up", _rate(("step >= steps", "step > steps"))),
        (
            "warm-up from the lowest",
            _rate(
                (
                    "return highest / warmup * (step + 1)",
                    "return lowest + (highest - lowest) * (step + 1) / warmup",
                )
            ),
        ),
        (
            "warm-up that divides by 0",
            _rate(
                ("    if step < warmup:\n", "    rise = (step + 1) / warmup\n    if rise <= 1:\n"),
                ("highest / warmup * (step + 1)", "highest * rise"),
            ),
        ),
    ],
    "parameter_groups": [
        ("everything decayed", _groups("True")),
        ("nothing decayed", _groups("False")),
        ("by the name bias", _groups('"bias" not in name')),
        ("by the name weight", _groups('name.endswith("weight")')),
        ("by the names of norms", _groups('"norm" not in name and "bias" not in name')),
        ("matrices only", _groups("p.ndim == 2")),
        ("the other way round", _groups("p.ndim < 2")),
        ("large ones", _groups("p.numel() > 6")),
        (
            "the shared table twice",
            _groups("p.ndim > 1", "model.named_parameters(remove_duplicate=False)"),
        ),
        (
            "tables are not decayed",
            _groups('p.ndim > 1 and "tokens" not in name'),
        ),
        (
            "the others left out",
            with_body(
                "parameter_groups(model, weight_decay)",
                """
                matrices = [p for p in model.parameters() if p.ndim > 1]
                return [
                    {"params": matrices, "weight_decay": weight_decay},
                    {"params": [], "weight_decay": 0.0},
                ]
                """,
            ),
        ),
        (
            "the second group left to the default",
            with_body(
                "parameter_groups(model, weight_decay)",
                """
                return [
                    {
                        "params": [p for p in model.parameters() if p.ndim > 1],
                        "weight_decay": weight_decay,
                    },
                    {"params": [p for p in model.parameters() if p.ndim < 2]},
                ]
                """,
            ),
        ),
        (
            "children's own parameters only",
            with_body(
                "parameter_groups(model, weight_decay)",
                """
                found = [p for part in model.children() for p in part.parameters(recurse=False)]
                found = list(dict.fromkeys(found))
                return [
                    {"params": [p for p in found if p.ndim > 1], "weight_decay": weight_decay},
                    {"params": [p for p in found if p.ndim < 2], "weight_decay": 0.0},
                ]
                """,
            ),
        ),
    ],
    "cached_attention": [
        (
            "torch's is_causal",
            with_body(
                "cached_attention(layer, x, cache)",
                """
                q, k, v = (layer.split(part(x)) for part in (layer.query, layer.key, layer.value))
                if cache:
                    k, v = torch.cat([cache["k"], k], 2), torch.cat([cache["v"], v], 2)
                cache["k"], cache["v"] = k, v
                mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                return layer.output(mixed.transpose(1, 2).flatten(2))
                """,
            ),
        ),
        (
            "is_causal for several new tokens",
            with_body(
                "cached_attention(layer, x, cache)",
                """
                q, k, v = (layer.split(part(x)) for part in (layer.query, layer.key, layer.value))
                if cache:
                    k, v = torch.cat([cache["k"], k], 2), torch.cat([cache["v"], v], 2)
                cache["k"], cache["v"] = k, v
                mixed = F.scaled_dot_product_attention(q, k, v, is_causal=x.shape[1] > 1)
                return layer.output(mixed.transpose(1, 2).flatten(2))
                """,
            ),
        ),
        ("no mask", _attention(("scores.masked_fill(hidden, -torch.inf)", "scores"))),
        (
            "new tokens see the past and each other, not in order",
            _attention(("torch.arange(m - n, m)[:, None]", "torch.full((n, 1), m - 1)")),
        ),
        ("one key too many", _attention(("arange(m - n, m)[", "arange(m - n + 1, m + 1)["))),
        (
            "not itself",
            _attention(("> torch.arange(m - n, m)", "> torch.arange(m - n, m).sub(1).clamp(0)")),
        ),
        ("the past only begins", _attention(("    cache[", "    if not cache:\n        cache["))),
        (
            "only the newest kept",
            _attention(
                (
                    '    if "past" in cache:\n',
                    '    new = key, value\n    if "past" in cache:\n',
                ),
                ('cache["past"] = key, value', 'cache["past"] = new'),
            ),
        ),
        (
            "the new tokens first",
            _attention(('(cache["past"][0], key)', '(key, cache["past"][0])')),
        ),
        (
            "values in the other order",
            _attention(('(cache["past"][1], value)', '(value, cache["past"][1])')),
        ),
        (
            "all new tokens first",
            _attention(
                ('(cache["past"][0], key)', '(key, cache["past"][0])'),
                ('(cache["past"][1], value)', '(value, cache["past"][1])'),
            ),
        ),
        (
            "the features kept, and projected again",
            with_body(
                "cached_attention(layer, x, cache)",
                """
                n = x.shape[1]
                cache["x"] = torch.cat([cache["x"], x], 1) if cache else x
                return layer(cache["x"])[:, -n:]
                """,
            ),
        ),
        (
            "the features kept in place of the values",
            _attention(
                ("(layer.query, layer.key, layer.value)", "(layer.query, layer.key, lambda v: v)")
            ),
        ),
        (
            "keys for values",
            _attention(('value = torch.cat((cache["past"][1], value), 2)', "value = key")),
        ),
        ("no output matrix", _attention(("layer.output((", "(("))),
        ("not scaled", _attention((" / math.sqrt(query.shape[-1])", ""))),
        (
            "scaled for the whole width",
            _attention(("math.sqrt(query.shape[-1])", "math.sqrt(x.shape[-1])")),
        ),
        ("heads not put together", _attention((".transpose(1, 2).reshape", ".reshape"))),
        (
            "a memory of its own",
            "PAST = {}\n\n\n" + _attention(("    query, key", "    cache = PAST\n    query, key")),
        ),
        (
            "no memory",
            with_body("cached_attention(layer, x, cache)", "return layer(x)"),
        ),
    ],
    "generate_cached": [
        (
            "positions restart",
            _generate(("model(tokens, start, cache)", "model(tokens, 0, cache)")),
        ),
        ("a position too far", _generate(("start = start + tokens", "start = start + 1 + tokens"))),
        (
            "a position short",
            _generate(("start = start + tokens.shape[1]", "start = start + tokens.shape[1] - 1")),
        ),
        ("counted by steps", _generate(("start = start + tokens.shape[1]", "start = start + 1"))),
        (
            "a new cache every time, the whole text again",
            _generate_body("""
                text = prompt
                for _ in range(n_tokens):
                    new = model(text, 0, {})[:, -1].argmax(1, keepdim=True)
                    text = torch.cat([text, new], 1)
                return text
            """),
        ),
        (
            "a new cache every time, the last token",
            _generate(("model(tokens, start, cache)", "model(tokens, start, {})")),
        ),
        (
            "the whole text into one cache",
            _generate_body("""
                text, cache = prompt, {}
                for _ in range(n_tokens):
                    new = model(text, 0, cache)[:, -1].argmax(1, keepdim=True)
                    text = torch.cat([text, new], 1)
                return text
            """),
        ),
        (
            "the prompt token by token",
            _generate_body("""
                cache, text = {}, prompt
                for t in range(prompt.shape[1] + n_tokens - 1):
                    logits = model(text[:, t : t + 1], t, cache)
                    if t >= prompt.shape[1] - 1:
                        text = torch.cat([text, logits[:, -1].argmax(1)[:, None]], 1)
                return text
            """),
        ),
        (
            "the last of the prompt twice",
            _generate_body("""
                cache, text = {}, prompt
                model(prompt, 0, cache)
                for _ in range(n_tokens):
                    logits = model(text[:, -1:], text.shape[1] - 1, cache)
                    text = torch.cat([text, logits[:, -1].argmax(1)[:, None]], 1)
                return text
            """),
        ),
        (
            "the continuations only",
            _generate(("cat(pieces, 1)", "cat(pieces[1:] or [prompt[:, :0]], 1)")),
        ),
        ("one token too many", _generate(("range(n_tokens)", "range(n_tokens + 1)"))),
        ("one too few", _generate(("range(n_tokens)", "range(n_tokens - 1)"))),
        ("after the first token", _generate(("logits[:, -1]", "logits[:, 0]"))),
        (
            "one choice for all",
            _generate(
                (
                    "logits[:, -1].argmax(-1)[:, None]",
                    "logits[:, -1].mean(0).argmax().expand(len(prompt), 1)",
                )
            ),
        ),
        (
            "drawn",
            _generate(
                (
                    "logits[:, -1].argmax(-1)[:, None]",
                    "torch.multinomial(logits[:, -1].softmax(1), 1)",
                )
            ),
        ),
        (
            "a cache that outlives the call",
            _generate(
                ("(model, prompt, n_tokens)", "(model, prompt, n_tokens, cache={})"),
                ("cache, pieces, start, tokens = {}, [prompt]", "pieces, start, tokens = [prompt]"),
            ),
        ),
        (
            "at least one new token",
            _generate_body("""
                cache, text = {}, prompt
                new = model(prompt, 0, cache)[:, -1].argmax(1, keepdim=True)
                text = torch.cat([text, new], 1)
                while text.shape[1] < prompt.shape[1] + n_tokens:
                    new = model(new, text.shape[1] - 1, cache)[:, -1].argmax(1, keepdim=True)
                    text = torch.cat([text, new], 1)
                return text
            """),
        ),
    ],
    "cache_bytes": [
        (
            "keys only",
            _bytes("batch * time * layers * key_value_heads * (width // heads) * bytes_per_number"),
        ),
        (
            "as many as heads",
            _bytes("2 * batch * time * layers * width * bytes_per_number"),
        ),
        (
            "as wide as the stream",
            _bytes("2 * batch * time * layers * key_value_heads * width * bytes_per_number"),
        ),
        (
            "one layer",
            _bytes("2 * batch * time * key_value_heads * (width // heads) * bytes_per_number"),
        ),
        (
            "numbers, not bytes",
            _bytes("2 * batch * time * layers * key_value_heads * (width // heads)"),
        ),
        (
            "one text",
            _bytes("2 * time * layers * key_value_heads * (width // heads) * bytes_per_number"),
        ),
        (
            "the heads that share divided",
            _bytes("2 * batch * time * layers * (width // key_value_heads) * bytes_per_number"),
        ),
        (
            "the weights of attention",
            _bytes("batch * layers * heads * time * time * bytes_per_number"),
        ),
        (
            "a float",
            _bytes(
                "2 * batch * time * layers * key_value_heads * (width / heads) * bytes_per_number"
            ),
        ),
    ],
    "sees_the_future": [
        ("always", with_body("sees_the_future(model, vocabulary_size, time)", "return True")),
        ("never", with_body("sees_the_future(model, vocabulary_size, time)", "return False")),
        ("the changed token too", _future(("[:, :place].abs()", "[:, : place + 1].abs()"))),
        ("everything compared", _future(("[:, :place].abs()", ".abs()"))),
        (
            "all but the token before",
            _future(("[:, :place].abs().max()", "[:, : place - 1].abs().sum()")),
        ),
        ("the first token only", _future(("[:, :place].abs()", "[:, :1].abs()"))),
        (
            "the last token changed only",
            _future(("range(1, time)", "range(max(1, time - 1), time)")),
        ),
        (
            "the last token never changed",
            _future(
                ("changed[:, place:] =", "changed[:, place:-1] ="),
                ("(1500, time - place)", "(1500, max(0, time - place - 1))"),
            ),
        ),
        ("the first half only", _future(("range(1, time)", "range(1, (time + 1) // 2)"))),
        (
            "200 texts",
            _future(
                ("leaks = []", "leaks, stream = [], torch.Generator().manual_seed(0)"),
                ("(1500, time))", "(200, time), generator=stream)"),
                ("(1500, time - place))", "(200, time - place), generator=stream)"),
            ),
        ),
        (
            "the chapter's gradients",
            with_body(
                "sees_the_future(model, vocabulary_size, time)",
                """
                embedded = []
                hook = model.drop.register_forward_hook(lambda *call: embedded.append(call[2]))
                out = model(torch.randint(vocabulary_size, (1, time)))[0]
                hook.remove()
                for t in range(time - 1):
                    (g,) = torch.autograd.grad(
                        out[t].square().sum(), embedded[0], retain_graph=True
                    )
                    if g[0, t + 1 :].any():
                        return True
                return False
                """,
            ),
        ),
        (
            "one text",
            _future(
                (
                    "randint(0, vocabulary_size, (1500, time))",
                    "randint(0, vocabulary_size, (1, time))",
                ),
                ("(1500, time - place)", "(1, time - place)"),
            ),
        ),
        (
            "one pair of tokens",
            _future(
                (
                    "torch.randint(0, vocabulary_size, (1500, time))",
                    "torch.zeros(1, time, dtype=torch.long)",
                ),
                ("torch.randint(0, vocabulary_size, (1500, time - place))", "1"),
            ),
        ),
        (
            "later tokens in another order",
            _future(
                (
                    "torch.randint(0, vocabulary_size, (1500, time - place))",
                    "changed[:, place:].flip(1)",
                )
            ),
        ),
        (
            "later tokens replaced by 0",
            _future(
                ("torch.randint(0, vocabulary_size, (1500, time - place))", "0"),
                (
                    "texts = torch.randint(0, vocabulary_size, (1500, time))",
                    "texts = torch.randint(0, vocabulary_size - 1, (1, time))",
                ),
            ),
        ),
        (
            "the predicted tokens compared",
            _future(
                (
                    "(first - second)[:, :place].abs().max()",
                    "(first.argmax(2) != second.argmax(2))[:, :place].any() * 1e9",
                )
            ),
        ),
        (
            "the mean of the change",
            _future(
                (".abs().max()\n            limit", ".mean().abs()\n            limit"),
                ("limit * first.abs().max()", "1e-6 * first.abs().max()"),
            ),
        ),
        ("bit for bit", _future(("limit * first.abs().max()", "0"))),
        ("an absolute limit", _future(("limit * first.abs().max()", "1e-6"))),
        (
            "torch.allclose",
            _future(
                (
                    "bool(moved > limit * first.abs().max())",
                    "not torch.allclose(first[:, :place], second[:, :place])",
                )
            ),
        ),
        (
            "one part in a thousand",
            _future(("1e-8 if first.dtype == torch.float64 else 1e-4", "1e-3")),
        ),
        (
            "the precision of double for all",
            _future(("1e-8 if first.dtype == torch.float64 else 1e-4", "1e-12")),
        ),
        ("in training mode", _future(("    model.eval()\n", ""))),
        ("left in evaluation mode", _future(("    model.train(mode)\n", ""))),
        ("left in training mode", _future(("model.train(mode)", "model.train()"))),
        ("a number", _future(("return any(leaks)", "return sum(leaks)"))),
    ],
    "continuation_log_probability": [
        ("the prompt too", _continuation(("(place >= prompt_lengths[:, None]) & ", ""))),
        ("the last of the prompt too", _continuation(("place >= prompt", "place >= -1 + prompt"))),
        ("without the first", _continuation(("place >= prompt", "place > prompt"))),
        (
            "the token itself",
            _continuation(
                ("log_p[:, :-1]", "log_p[:, 1:]"),
            ),
        ),
        (
            "two tokens ahead",
            _continuation(("log_p[:, :-1]", "log_p.roll(1, 1)[:, :-1]")),
        ),
        ("the mean", _continuation((".sum(1)", ".sum(1) / counts.sum(1).clamp(min=1)"))),
        ("the mean over the row", _continuation((".sum(1)", ".mean(1)"))),
        ("summed over the batch", _continuation((".sum(1)", ".sum()"))),
        ("the sign", _continuation(("return torch", "return -torch"))),
        ("the padding too", _continuation((" & (tokens[:, 1:] >= 0)", ""))),
        ("padding passed to the model", _continuation(("model(inputs)", "model(tokens)"))),
        ("over the time", _continuation(("log_softmax(-1)", "log_softmax(1)"))),
        ("logits as they are", _continuation((".log_softmax(-1)", ""))),
        ("probabilities", _continuation((".log_softmax(-1)", ".softmax(-1)"))),
        (
            "the product of the probabilities",
            _continuation((".sum(1)", ".sum(1).exp()")),
        ),
        (
            "one prompt length for all",
            _continuation(("prompt_lengths[:, None]", "prompt_lengths[0]")),
        ),
        (
            "a product with the mask",
            _continuation(("torch.where(counts, each, 0.0)", "(each * counts)")),
        ),
        (
            "the last left out",
            _continuation(
                (
                    "(tokens[:, 1:] >= 0)",
                    "(F.pad(tokens[:, 2:], (0, 1), value=-1) >= 0)",
                )
            ),
        ),
        (
            "the token 0 taken for padding",
            _continuation(("tokens[:, 1:] >= 0", "tokens[:, 1:] > 0")),
        ),
        (
            "the padding overwritten",
            _continuation(
                (
                    "inputs = torch.where(tokens < 0, 0, tokens)",
                    "padding = tokens[:, 1:] < 0\n    inputs = tokens.masked_fill_(tokens < 0, 0)",
                ),
                ("(tokens[:, 1:] >= 0)", "~padding"),
            ),
        ),
    ],
    "choose": [
        ("without the neutral prompt", _choose("scores.argmax(1)")),
        ("the sum", _choose("(scores + neutral_scores).argmax(1)")),
        ("the least", _choose("(scores - neutral_scores).argmin(1)")),
        ("a quotient of logarithms", _choose("(scores / neutral_scores).argmax(1)")),
        (
            "a difference of probabilities",
            _choose("(scores.exp() - neutral_scores.exp()).argmax(1)"),
        ),
        (
            "the quotient of probabilities that are 0",
            _choose("(scores.exp() / neutral_scores.exp()).argmax(1)"),
        ),
        ("the best question", _choose("(scores - neutral_scores).argmax(0)")),
        ("the score, not the answer", _choose("(scores - neutral_scores).amax(1)")),
        (
            "one answer for all",
            _choose("(scores - neutral_scores).mean(0).argmax().expand(len(scores))"),
        ),
    ],
    "induction_scores": [
        ("the repeated token itself", _induction(("last[token] + 1]", "last[token]]"))),
        ("the token before it", _induction(("last[token] + 1]", "max(last[token] - 1, 0)]"))),
        ("two after it", _induction(("last[token] + 1]", "min(last[token] + 2, t)]"))),
        (
            "attention the other way",
            _induction((":, t, last[token] + 1]", ":, last[token] + 1, t]")),
        ),
        (
            "the first occurrence",
            _induction(("last[row[t - 2]] = t - 2", "last.setdefault(row[t - 2], t - 2)")),
        ),
        (
            "the token just before counts",
            _induction(
                ("t >= 2", "t >= 1"), ("last[row[t - 2]] = t - 2", "last[row[t - 1]] = t - 1")
            ),
        ),
        (
            "given up where the last occurrence is just before",
            _induction(
                (
                    """            if t >= 2:
                last[row[t - 2]] = t - 2
            if token in last:
""",
                    "            if last.get(token, t) <= t - 2:\n",
                ),
                ("number += 1", "number += 1\n            last[token] = t"),
            ),
        ),
        (
            "three before at least",
            _induction(
                ("t >= 2", "t >= 3"), ("last[row[t - 2]] = t - 2", "last[row[t - 3]] = t - 3")
            ),
        ),
        ("averaged over all tokens", _induction(("max(number, 1)", "tokens.numel()"))),
        ("averaged over what is no padding", _induction(("max(number, 1)", "(tokens >= 0).sum()"))),
        ("a sum", _induction((" / max(number, 1)", ""))),
        ("averaged over texts", _induction(("max(number, 1)", "len(tokens)"))),
        (
            "the mean of the texts' means",
            with_body(
                "induction_scores(attention, tokens)",
                """
                means = []
                for text, row in enumerate(tokens.tolist()):
                    terms = []
                    for t in range(len(row)):
                        found = [s for s in range(t - 1) if row[s] == row[t] != -1]
                        if found:
                            terms.append(attention[text, :, t, found[-1] + 1])
                    if terms:
                        means.append(torch.stack(terms).mean(0))
                if not means:
                    return torch.zeros(attention.shape[1])
                return torch.stack(means).mean(0)
                """,
            ),
        ),
        ("padding is repeated", _induction(("if token < 0:", "if token < -1:"))),
        (
            "the first text only",
            _induction(("enumerate(tokens.tolist())", "enumerate(tokens[:1].tolist())")),
        ),
        (
            "no number if nothing is repeated",
            _induction(("max(number, 1)", "torch.tensor(float(number))")),
        ),
        (
            "all occurrences",
            with_body(
                "induction_scores(attention, tokens)",
                """
                place = torch.arange(tokens.shape[1])
                same = (tokens[:, :, None] == tokens[:, None]) & (tokens >= 0)[:, :, None]
                same = same & (place <= place[:, None] - 2)
                after = F.pad(same[:, :, :-1], (1, 0)).to(attention.dtype)
                total = (attention * after[:, None]).sum((0, 2, 3))
                return total / same.any(2).sum().clamp(min=1)
                """,
            ),
        ),
        ("one score for all heads", _induction(("return total", "return total.mean()"))),
    ],
}

RIGHT: dict[str, list[tuple[str, str]]] = {
    "block": [
        (
            "names for the parts",
            _block("""
                mixed = attention(attention_norm(x))
                middle = torch.add(x, mixed)
                return perceptron(perceptron_norm(middle)) + middle
            """),
        ),
        (
            "a loop",
            _block("""
                for part, norm in ((attention, attention_norm), (perceptron, perceptron_norm)):
                    x = x + part(norm(x))
                return x
            """),
        ),
    ],
    "layer_norm": [
        ("torch's variance", _NORM),
        (
            "var_mean and rsqrt",
            with_body(
                "layer_norm(x, weight, bias, eps=1e-5)",
                """
                variance, mean = torch.var_mean(x, dim=-1, correction=0, keepdim=True)
                return torch.addcmul(bias, (x - mean) * torch.rsqrt(variance + eps), weight)
                """,
            ),
        ),
    ],
    "parameters": [
        ("collected", _count("(V + C + 2) * d + L * (12 * d**2 + 13 * d)")),
        (
            "matrix by matrix",
            with_body(
                "parameters(vocabulary_size, context, layers, width)",
                """
                linear = lambda a, b: a * b + b
                block = 4 * linear(width, width)
                block += linear(width, 4 * width) + linear(4 * width, width) + 4 * width
                return vocabulary_size * width + context * width + layers * block + 2 * width
                """,
            ),
        ),
    ],
    "operations_per_token": [
        ("collected", _operations("float(24 * L * d**2 + 4 * L * T * d + 2 * V * d)")),
        (
            "product by product for the whole text",
            _operations(
                "(L * (8 * T * d * d + 16 * T * d * d + 4 * T * T * d) + 2 * T * d * V) / T"
            ),
        ),
    ],
    "learning_rate": [
        ("by the angle", _RATE),
        (
            "the square of a cosine",
            with_body(
                "learning_rate(step, steps, warmup, highest, lowest)",
                """
                if step < warmup:
                    return (step + 1) * highest / warmup
                done = min(1.0, (step - warmup) / max(1, steps - warmup)) if step < steps else 1.0
                share = math.cos(math.pi * done / 2) ** 2
                return share * highest + (1 - share) * lowest
                """,
            ),
        ),
    ],
    "parameter_groups": [
        ("by the number of axes", _groups("p.dim() >= 2")),
        (
            "the undecayed first",
            with_body(
                "parameter_groups(model, weight_decay)",
                """
                groups = {0.0: [], weight_decay: []}
                for parameter in model.parameters():
                    groups[weight_decay if parameter.ndim >= 2 else 0.0].append(parameter)
                return [{"params": p, "weight_decay": d} for d, p in groups.items()]
                """,
            ),
        ),
    ],
    "cached_attention": [
        ("softmax written out", _ATTENTION),
        (
            "space reserved in advance",
            with_body(
                "cached_attention(layer, x, cache)",
                """
                start, new = cache.get("length", 0), x.shape[1]
                key, value = layer.split(layer.key(x)), layer.split(layer.value(x))
                if not cache:
                    cache["key"] = key.new_zeros(*key.shape[:2], 64, key.shape[3])
                    cache["value"] = torch.zeros_like(cache["key"])
                cache["key"] = torch.cat([cache["key"][:, :, :start], key], 2)
                cache["value"] = torch.cat([cache["value"][:, :, :start], value], 2)
                cache["length"] = start + new
                rows = []
                for i in range(new):
                    seen = start + i + 1
                    query = layer.split(layer.query(x[:, i : i + 1]))
                    rows.append(
                        F.scaled_dot_product_attention(
                            query, cache["key"][:, :, :seen], cache["value"][:, :, :seen]
                        )
                    )
                return layer.output(torch.cat(rows, 2).transpose(1, 2).flatten(2))
                """,
            ),
        ),
    ],
    "generate_cached": [
        ("pieces joined at the end", _GENERATE),
        (
            "the last token is read too",
            _generate_body("""
                cache, text = {}, prompt.clone()
                logits = model(prompt, 0, cache)[:, -1]
                for at in range(prompt.shape[1], prompt.shape[1] + n_tokens):
                    new = logits.argmax(-1, keepdim=True)
                    text = torch.cat((text, new), -1)
                    logits = model(new, at, cache)[:, -1]
                return text
            """),
        ),
    ],
    "cache_bytes": [
        (
            "by the share of heads",
            _bytes(
                "batch * time * layers * 2 * width * key_value_heads // heads * bytes_per_number"
            ),
        ),
        (
            "by a tensor",
            _bytes(
                "torch.empty(2, batch, layers, key_value_heads, time, width // heads, "
                'device="meta").numel() * bytes_per_number'
            ),
        ),
    ],
    "sees_the_future": [
        ("a limit for each precision", _FUTURE),
        (
            "the token before the change only: each is before one",
            _future(("[:, :place].abs()", "[:, place - 1 : place].abs()")),
        ),
        (
            "the text and its beginnings",
            with_body(
                "sees_the_future(model, vocabulary_size, time)",
                """
                mode = model.training
                model.eval()
                try:
                    with torch.no_grad():
                        texts = torch.randint(vocabulary_size, (3000, time))
                        whole = model(texts)
                        limit = 200 * torch.finfo(whole.dtype).eps * whole.abs().max()
                        for end in range(1, time):
                            moved = (model(texts[:, :end]) - whole[:, :end]).abs().max()
                            if moved > limit:
                                return True
                        return False
                finally:
                    model.train(mode)
                """,
            ),
        ),
        (
            "one later token at a time, all its values",
            with_body(
                "sees_the_future(model, vocabulary_size, time)",
                """
                mode = model.training
                model.eval()
                texts, found = torch.randint(vocabulary_size, (200, time)), False
                with torch.no_grad():
                    before = model(texts)
                    limit = 50 * torch.finfo(before.dtype).eps * before.abs().max().item()
                    for place in range(1, time):
                        for token in range(vocabulary_size):
                            other = texts.clone()
                            other[:, place] = token
                            moved = torch.abs(model(other) - before)[:, :place]
                            found = found or moved.max().item() > limit
                model.train(mode)
                return found
                """,
            ),
        ),
    ],
    "continuation_log_probability": [
        ("where", _CONTINUATION),
        (
            "row by row",
            with_body(
                "continuation_log_probability(model, tokens, prompt_lengths)",
                """
                sums = []
                for row, start in zip(tokens, prompt_lengths.tolist()):
                    row = row[row >= 0]
                    log_p = F.log_softmax(model(row[None])[0], dim=-1)
                    end = len(row)
                    sums.append(log_p[torch.arange(start - 1, end - 1), row[start:]].sum())
                return torch.stack(sums)
                """,
            ),
        ),
        (
            "cross-entropy that ignores the rest",
            with_body(
                "continuation_log_probability(model, tokens, prompt_lengths)",
                """
                targets = tokens[:, 1:].clone()
                targets[torch.arange(1, tokens.shape[1]) < prompt_lengths[:, None]] = -1
                logits = model(tokens.clamp(min=0))[:, :-1].transpose(1, 2)
                return -F.cross_entropy(logits, targets, ignore_index=-1, reduction="none").sum(1)
                """,
            ),
        ),
    ],
    "choose": [
        ("a loop", _choose("torch.stack([(row - neutral_scores).argmax() for row in scores])")),
        (
            "sorted",
            _choose("torch.sort(scores - neutral_scores, 1, descending=True).indices[:, 0]"),
        ),
    ],
    "induction_scores": [
        ("a table of last occurrences", _INDUCTION),
        (
            "gathered",
            with_body(
                "induction_scores(attention, tokens)",
                """
                n, heads = tokens.shape[1], attention.shape[1]
                same = (tokens[:, :, None] == tokens[:, None]) & (tokens[:, :, None] != -1)
                same = same.tril(-2)
                last = n - 1 - same.flip(2).int().argmax(2)  # argmax gives the first of equals
                exists = same.any(2)
                place = torch.where(exists, last + 1, 0)
                index = place[:, None, :, None].expand(-1, heads, -1, 1)
                weights = attention.gather(3, index)[..., 0]
                return (weights * exists[:, None]).sum((0, 2)) / exists.sum().clamp(min=1)
                """,
            ),
        ),
    ],
}

HINTS: dict[str, dict[str, str]] = {
    "block": {
        "post-norm": "This is post-norm",
        "added to the normalised features": "passes by the normalisation",
        "one normalisation for both": "serves twice",
        "nothing passes by": "adds to the stream",
        "attention called twice": "called once",
    },
    "layer_norm": {
        "the unbiased variance": "less 1",
        "over time and features": "neither over time nor over the batch",
        "eps outside the root": "under the root",
        "the mean of the squares less the square of the mean": "difference of two large numbers",
        "PyTorch's own": "write the two formulas out",
    },
    "parameters": {"two tables of tokens": "the table of tokens is there once"},
    "operations_per_token": {
        "multiplications only": "a multiplication and an addition",
        "without attention": "looks at itself",
        "attention in one layer": "only the output layer is left",
    },
    "learning_rate": {
        "the first step stands still": "The first step is a step",
        "it rises again": "a cosine would rise",
        "warm-up that divides by 0": "divides by 0",
    },
    "parameter_groups": {
        "by the name bias": "Not the name decides",
        "the shared table twice": "one parameter with two names",
        "the others left out": "never trained",
    },
    "cached_attention": {
        "torch's is_causal": "is_causal=True lets the first query see the first key only",
        "is_causal for several new tokens": "aligned with the first key",
        "no mask": "No token may see those after it",
        "the features kept, and projected again": "you project tokens again",
    },
    "generate_cached": {
        "positions restart": "Positions go on after the prompt",
        "the last of the prompt twice": "read again, it counts twice",
        "the prompt token by token": "goes in at once",
        "a new cache every time, the whole text again": "has read",
        "a cache that outlives the call": "an empty cache of its own",
    },
    "sees_the_future": {
        "in training mode": "rests in evaluation mode",
        "bit for bit": "How large may that be",
        "one part in a thousand": "allow you to see far less",
        "200 texts": "text of 144",
        "the chapter's gradients": "has none to give",
        "left in evaluation mode": "put back what you find",
    },
    "continuation_log_probability": {
        "the prompt too": "the prompt's own tokens are in the sum",
        "without the first": "the first token of each continuation is missing",
        "the mean": "its logarithm is a sum",
        "padding passed to the model": "replace the padding",
        "a product with the mask": "do not multiply by a mask",
    },
    "choose": {
        "without the neutral prompt": "By which factor",
        "the least": "[[0.5, 0.04, 0.1], [0.6, 0.01, 0.12], [0.5, 0.02, 0.04]]",
    },
    "induction_scores": {
        "the repeated token itself": "finds repetitions",
        "the first occurrence": "not the first",
        "given up where the last occurrence is just before": "the one before it counts",
        "the mean of the texts' means": "All pairs count alike",
    },
}
