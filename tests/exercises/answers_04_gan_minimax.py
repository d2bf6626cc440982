"""Plausible answers to the exercises of chapter 04: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution.
"""

from answer_cells import dedented


def _returning(signature: str, expression: str) -> str:
    return f"def {signature}:\n    return {expression}"


def _half(expression: str) -> str:
    return _returning("value_at_one_half()", expression)


def _value(expression: str) -> str:
    return _returning("value_from_logits(real_logits, fake_logits)", expression)


def _minimax(expression: str) -> str:
    return _returning("minimax_gradient(a)", expression)


def _non_saturating(expression: str) -> str:
    return _returning("non_saturating_gradient(a)", expression)


def _diagnose(table: str) -> str:
    """``table``: the answers for linear + BCE, linear + logits, sigmoid + BCE, sigmoid + logits."""
    return dedented(f"""
        def diagnose(last_layer, loss):
            row = {{"linear": 0, "sigmoid": 2}}[last_layer]
            column = {{"BCELoss": 0, "BCEWithLogitsLoss": 1}}[loss]
            names = dict(r="right", d="double sigmoid", n="not a probability")
            return names["{table}"[row + column]]
    """)


def _floors(expression: str) -> str:
    return _returning("double_sigmoid_floors()", expression)


def _best(expression: str) -> str:
    return _returning("optimal_discriminator(p_data, p_g)", expression)


def _criterion(expression: str) -> str:
    return dedented(f"""
        def generator_criterion(p_data, p_g, dx):
            total = (p_data + p_g).clamp_min(1e-300)
            real = torch.xlogy(p_data, p_data / total)
            fake = torch.xlogy(p_g, p_g / total)
            return {expression}
    """)


def _count(body: str) -> str:
    head = "def count_modes(samples, centres, radius, minimum_share):\n"
    return head + "\n".join("    " + line for line in dedented(body).split("\n"))


_STEP = """
def training_step(generator, discriminator, generator_optimiser, discriminator_optimiser, real, z):
    generator_optimiser.zero_grad()
    discriminator_optimiser.zero_grad()
    fake = generator(z)
    discriminator_loss = F.softplus(-discriminator(real)).mean()
    discriminator_loss = discriminator_loss + F.softplus(discriminator(fake.detach())).mean()
    discriminator_loss.backward()
    discriminator_optimiser.step()
    generator_loss = F.softplus(-discriminator(fake)).mean()
    generator_loss.backward()
    generator_optimiser.step()
    return discriminator_loss.item(), generator_loss.item()
""".strip()


def _step(*changes: tuple[str, str]) -> str:
    """The right step with some changes, each of which must fit exactly once."""
    code = _STEP
    for old, new in changes:
        if code.count(old) != 1:
            raise ValueError(f"{old!r} occurs {code.count(old)} times in the step, expected once")
        code = code.replace(old, new)
    return code


_D_DETACHED = "discriminator(fake.detach())).mean()\n    discriminator_loss.backward()"
_D_ATTACHED = "discriminator(fake)).mean()\n    discriminator_loss.backward()"
_G_ATTACHED = "generator_loss = F.softplus(-discriminator(fake)).mean()"
_G_DETACHED = "generator_loss = F.softplus(-discriminator(fake.detach())).mean()"


def _squares(expression: str) -> str:
    return _returning("least_squares_discriminator(p_data, p_g, a, b)", expression)


def _squares_criterion(expression: str) -> str:
    return dedented(f"""
        def least_squares_criterion(p_data, p_g, dx, a, b, c):
            total = p_data + p_g
            best = torch.where(total > 0, (a * p_g + b * p_data) / total, (a + b) / 2)
            return {expression}
    """)


WRONG: dict[str, list[tuple[str, str]]] = {
    "value_at_one_half": [
        ("only one of the two terms", _half("math.log(0.5)")),
        ("sign: the discriminator's loss instead of V", _half("2 * math.log(2)")),
        ("'the value at the optimum is 0'", _half("0.0")),
        ("logarithm to base 2", _half("2 * math.log2(0.5)")),
        ("mean of the two terms in place of their sum", _half("math.log(0.25) / 2")),
        ("rounded", _half("-1.386")),
        ("the probability itself", _half("0.5")),
    ],
    "value_from_logits": [
        (
            "logarithm of a sigmoid that has rounded to 0 or 1",
            _value(
                "torch.log(torch.sigmoid(real_logits)).mean()"
                " + torch.log(1 - torch.sigmoid(fake_logits)).mean()"
            ),
        ),
        (
            "a small number added inside the logarithm",
            _value(
                "torch.log(torch.sigmoid(real_logits) + 1e-8).mean()"
                " + torch.log(1 - torch.sigmoid(fake_logits) + 1e-8).mean()"
            ),
        ),
        (
            "sum instead of mean",
            _value("F.logsigmoid(real_logits).sum() + F.logsigmoid(-fake_logits).sum()"),
        ),
        (
            "sign: the discriminator's loss instead of V",
            _value("F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()"),
        ),
        (
            "roles of real and fake swapped",
            _value("F.logsigmoid(-real_logits).mean() + F.logsigmoid(fake_logits).mean()"),
        ),
        (
            "log D(G(z)) for log(1 - D(G(z)))",
            _value("F.logsigmoid(real_logits).mean() + F.logsigmoid(fake_logits).mean()"),
        ),
        (
            "one mean over both batches together",
            _value("2 * F.logsigmoid(torch.cat([real_logits, -fake_logits])).mean()"),
        ),
        (
            "samples paired: one mean over the sum of both terms",
            _value("(F.logsigmoid(real_logits) + F.logsigmoid(-fake_logits)).mean()"),
        ),
        (
            "factor 2 lost: the two expectations averaged",
            _value("(F.logsigmoid(real_logits).mean() + F.logsigmoid(-fake_logits).mean()) / 2"),
        ),
        (
            "logits cut off, so that the gradient is lost in the tails",
            _value(
                "F.logsigmoid(real_logits.clamp(-250, 250)).mean()"
                " + F.logsigmoid(-fake_logits.clamp(-250, 250)).mean()"
            ),
        ),
        (
            "cut off from the graph",
            _value(
                "torch.tensor(float(F.logsigmoid(real_logits).mean()"
                " + F.logsigmoid(-fake_logits).mean()), dtype=real_logits.dtype)"
            ),
        ),
    ],
    "minimax_gradient": [
        ("sign", _minimax("torch.sigmoid(a)")),
        ("the other loss's derivative", _minimax("-torch.sigmoid(-a)")),
        ("derivative with respect to D, not to the logit", _minimax("-1 / (1 - torch.sigmoid(a))")),
        ("outer derivative forgotten", _minimax("-torch.sigmoid(a) * (1 - torch.sigmoid(a))")),
        ("mean over the batch", _minimax("-torch.sigmoid(a) / a.numel()")),
        ("overflow in exp", _minimax("-torch.exp(a) / (1 + torch.exp(a))")),
    ],
    "non_saturating_gradient": [
        ("sign", _non_saturating("torch.sigmoid(-a)")),
        ("the other loss's derivative", _non_saturating("-torch.sigmoid(a)")),
        (
            "derivative with respect to D, not to the logit",
            _non_saturating("-1 / torch.sigmoid(a)"),
        ),
        (
            "outer derivative forgotten",
            _non_saturating("-torch.sigmoid(a) * (1 - torch.sigmoid(a))"),
        ),
        ("sum over the batch", _non_saturating("-torch.sigmoid(-a).sum()")),
    ],
    "diagnose": [
        ("sigmoid + BCELoss taken for the double sigmoid", _diagnose("nrdr")),
        ("looks at the layer only", _diagnose("rrdd")),
        ("looks at the loss only", _diagnose("rdrd")),
        ("roles of the two losses swapped", _diagnose("rndr")),
        ("linear + BCELoss taken to be right", _diagnose("rrrd")),
    ],
    "double_sigmoid_floors": [
        ("the floors of the right combination", _floors("0.0, 0.0")),
        ("real and fake swapped", _floors("math.log(2), math.log(1 + math.exp(-1))")),
        ("both as if the logit could only reach 0", _floors("math.log(2), math.log(2)")),
        ("sign in the exponent", _floors("math.log(1 + math.exp(1)), math.log(2)")),
        ("rounded", _floors("0.313, 0.693")),
        ("rounded up", _floors("0.3133, 0.6931")),
        ("loss at a finite logit", _floors("0.31326, 0.69314")),
        ("loss of sigmoid(1)", _floors("-math.log(1 / (1 + math.exp(-1))) / 2, math.log(2)")),
    ],
    "optimal_discriminator": [
        ("roles swapped", _best("torch.nan_to_num(p_g / (p_data + p_g), nan=0.5)")),
        ("ratio of the densities", _best("torch.nan_to_num(p_data / p_g, nan=0.5)")),
        ("NaN where both densities are 0", _best("p_data / (p_data + p_g)")),
        ("the more probable class, not its probability", _best("(p_data > p_g).double()")),
        ("0 in place of 1/2 where both are 0", _best("p_data / (p_data + p_g).clamp_min(1e-30)")),
        (
            "a constant added to the denominator",
            _best("torch.where(p_data + p_g > 0, p_data / (p_data + p_g + 1e-3), 0.5)"),
        ),
        ("softmax of the densities", _best("torch.sigmoid(p_data - p_g)")),
    ],
    "generator_criterion": [
        ("dx forgotten", _criterion("(real + fake).sum()")),
        ("mean over the grid in place of the integral", _criterion("(real + fake).mean()")),
        ("factor 2 lost: JSD in place of 2 JSD", _criterion("(real + fake).sum() * dx / 2")),
        ("the constant -log 4 lost", _criterion("(real + fake).sum() * dx + math.log(4)")),
        (
            "factor 2 of the divergence lost, constant kept",
            _criterion("((real + fake).sum() * dx - math.log(4)) / 2"),
        ),
        ("expectation over the data only", _criterion("2 * real.sum() * dx")),
        (
            "log D* for the fake term",
            _criterion("(real + torch.xlogy(p_g, p_data / total)).sum() * dx"),
        ),
        (
            "0 log 0 taken as NaN",
            _criterion("(p_data * (p_data / total).log() + p_g * (p_g / total).log()).sum() * dx"),
        ),
        (
            "Kullback-Leibler in place of Jensen-Shannon",
            _criterion("torch.xlogy(p_data, p_data / p_g).sum() * dx - math.log(4)"),
        ),
        ("sign", _criterion("-(real + fake).sum() * dx")),
    ],
    "count_modes": [
        (
            "nearest centre without a radius",
            _count("""
                nearest = torch.cdist(samples, centres).argmin(dim=1)
                counts = torch.bincount(nearest, minlength=len(centres))
                return int((counts >= minimum_share * len(samples)).sum()), 1.0
            """),
        ),
        (
            "one sample is enough",
            _count("""
                distance, nearest = torch.cdist(samples, centres).min(dim=1)
                hit = nearest[distance <= radius]
                return len(hit.unique()), len(hit) / len(samples)
            """),
        ),
        (
            "a sample counts for every centre within the radius",
            _count("""
                near = torch.cdist(samples, centres) <= radius
                counts = near.sum(dim=0)
                covered = int((counts >= minimum_share * len(samples)).sum())
                return covered, float(counts.sum()) / len(samples)
            """),
        ),
        (
            "distances minimised over the samples",
            _count("""
                distance = torch.cdist(samples, centres).min(dim=0).values
                covered = int((distance <= radius).sum())
                return covered, covered / len(centres)
            """),
        ),
        (
            "minimum share of the samples on a mode, not of all",
            _count("""
                distance, nearest = torch.cdist(samples, centres).min(dim=1)
                counts = torch.bincount(nearest[distance <= radius], minlength=len(centres))
                covered = int((counts >= minimum_share * max(int(counts.sum()), 1)).sum())
                return covered, float(counts.sum()) / len(samples)
            """),
        ),
        (
            "share of the samples on covered modes only",
            _count("""
                distance, nearest = torch.cdist(samples, centres).min(dim=1)
                counts = torch.bincount(nearest[distance <= radius], minlength=len(centres))
                kept = counts[counts >= minimum_share * len(samples)]
                return len(kept), float(kept.sum()) / len(samples)
            """),
        ),
        (
            "limits excluded",
            _count("""
                distance, nearest = torch.cdist(samples, centres).min(dim=1)
                counts = torch.bincount(nearest[distance < radius], minlength=len(centres))
                covered = int((counts > minimum_share * len(samples)).sum())
                return covered, float(counts.sum()) / len(samples)
            """),
        ),
        (
            "squared distance compared with the radius",
            _count("""
                square = ((samples[:, None] - centres) ** 2).sum(dim=2)
                distance, nearest = square.min(dim=1)
                counts = torch.bincount(nearest[distance <= radius], minlength=len(centres))
                covered = int((counts >= minimum_share * len(samples)).sum())
                return covered, float(counts.sum()) / len(samples)
            """),
        ),
    ],
    "training_step": [
        (
            "submitted as it was given",
            _step((_D_DETACHED, _D_ATTACHED), (_G_ATTACHED, _G_DETACHED)),
        ),
        (
            "only the leak mended: the generator stays cut off",
            _step((_G_ATTACHED, _G_DETACHED)),
        ),
        (
            "only the cut mended: the discriminator's loss still reaches the generator",
            _step(
                (_D_DETACHED, _D_ATTACHED.replace("backward()", "backward(retain_graph=True)")),
                (_G_ATTACHED, _G_ATTACHED.replace("(fake)", "(generator(z))")),
            ),
        ),
        ("only the cut mended, one graph twice", _step((_D_DETACHED, _D_ATTACHED))),
        (
            "sign of the generator's loss",
            _step((_G_ATTACHED, _G_ATTACHED.replace("-discriminator", "discriminator"))),
        ),
        (
            "gradients add up over the steps",
            _step(("    discriminator_optimiser.zero_grad()\n", "")),
        ),
        (
            "minimax loss for the generator",
            _step(
                (_G_ATTACHED, "generator_loss = -F.softplus(discriminator(fake)).mean()"),
            ),
        ),
        (
            "generator updated against the old discriminator",
            _step(
                ("    discriminator_loss.backward()\n    discriminator_optimiser.step()\n", ""),
                (
                    "    generator_optimiser.step()\n",
                    "    generator_optimiser.step()\n    discriminator_optimiser.zero_grad()\n"
                    "    discriminator_loss.backward()\n    discriminator_optimiser.step()\n",
                ),
            ),
        ),
        (
            "labels of real and fake swapped",
            _step(
                ("F.softplus(-discriminator(real))", "F.softplus(discriminator(real))"),
                (
                    "F.softplus(discriminator(fake.detach()))",
                    "F.softplus(-discriminator(fake.detach()))",
                ),
            ),
        ),
        ("the generator is never updated", _step(("    generator_optimiser.step()\n", ""))),
    ],
    "least_squares_discriminator": [
        (
            "targets swapped",
            _squares("torch.nan_to_num((a * p_data + b * p_g) / (p_data + p_g), nan=(a + b) / 2)"),
        ),
        ("targets forgotten", _squares("p_data / (p_data + p_g)")),
        ("densities forgotten", _squares("torch.full_like(p_data, (a + b) / 2)")),
        ("denominator forgotten", _squares("a * p_g + b * p_data")),
        (
            "a constant in place of the sum in the denominator",
            _squares("(a * p_g + b * p_data) / 2"),
        ),
        ("NaN where both densities are 0", _squares("(a * p_g + b * p_data) / (p_data + p_g)")),
        (
            "squared weights",
            _squares(
                "torch.nan_to_num((a * p_g**2 + b * p_data**2) / (p_data**2 + p_g**2),"
                " nan=(a + b) / 2)"
            ),
        ),
    ],
    "least_squares_criterion": [
        ("factor 1/2 lost", _squares_criterion("(total * (best - c) ** 2).sum() * dx")),
        ("dx forgotten", _squares_criterion("0.5 * (total * (best - c) ** 2).sum()")),
        (
            "generator's samples only",
            _squares_criterion("0.5 * (p_g * (best - c) ** 2).sum() * dx"),
        ),
        ("data only", _squares_criterion("0.5 * (p_data * (best - c) ** 2).sum() * dx")),
        (
            "the discriminator's target b for c",
            _squares_criterion("0.5 * (total * (best - b) ** 2).sum() * dx"),
        ),
        ("square forgotten", _squares_criterion("0.5 * (total * (best - c).abs()).sum() * dx")),
        (
            "the case of the theorem only, whatever the targets",
            _squares_criterion("0.5 * torch.nan_to_num((p_data - p_g) ** 2 / total).sum() * dx"),
        ),
        (
            "wrong denominator: 2 p_g",
            _squares_criterion(
                "0.5 * torch.nan_to_num((p_data - p_g) ** 2 / (2 * p_g)).sum() * dx"
            ),
        ),
        (
            "NaN where both densities are 0",
            _squares_criterion("0.5 * (((b - c) * total - (b - a) * p_g) ** 2 / total).sum() * dx"),
        ),
    ],
}

RIGHT: dict[str, list[tuple[str, str]]] = {
    "value_at_one_half": [("from the definition", _half("math.log(0.5) + math.log(1 - 0.5)"))],
    "value_from_logits": [
        (
            "binary cross-entropy with logits",
            _value(
                "-F.binary_cross_entropy_with_logits(real_logits, torch.ones_like(real_logits))"
                " - F.binary_cross_entropy_with_logits(fake_logits, torch.zeros_like(fake_logits))"
            ),
        ),
    ],
    "minimax_gradient": [("another form", _minimax("torch.sigmoid(-a) - 1"))],
    "non_saturating_gradient": [("another form", _non_saturating("torch.sigmoid(a) - 1"))],
    "diagnose": [("a table", _diagnose("nrrd"))],
    "double_sigmoid_floors": [("softplus", _floors("math.log1p(math.e) - 1, math.log1p(1)"))],
    "optimal_discriminator": [
        ("logarithms", _best("torch.nan_to_num(torch.sigmoid(p_data.log() - p_g.log()), nan=0.5)")),
    ],
    "generator_criterion": [
        (
            "a Python float from a loop",
            dedented("""
                def generator_criterion(p_data, p_g, dx):
                    total = 0.0
                    for p, q in zip(p_data.tolist(), p_g.tolist(), strict=True):
                        total += p * math.log(p / (p + q)) if p > 0 else 0.0
                        total += q * math.log(q / (p + q)) if q > 0 else 0.0
                    return total * dx
            """),
        ),
    ],
    "count_modes": [
        (
            "a loop over the modes",
            _count("""
                distances = torch.sqrt(((samples[:, None] - centres) ** 2).sum(dim=2))
                covered = hits = 0
                for mode in range(len(centres)):
                    own = (distances.argmin(dim=1) == mode) & (distances[:, mode] <= radius)
                    covered += int(own.float().mean() >= minimum_share)
                    hits += int(own.sum())
                return covered, hits / len(samples)
            """),
        ),
    ],
    "training_step": [
        (
            "no_grad, fake samples made twice, losses returned with a warning",
            _step(
                (
                    "    fake = generator(z)\n",
                    "    with torch.no_grad():\n        fake = generator(z)\n",
                ),
                (_G_ATTACHED, _G_ATTACHED.replace("(fake)", "(generator(z))")),
                (
                    "return discriminator_loss.item(), generator_loss.item()",
                    "return float(discriminator_loss), float(generator_loss)",
                ),
            ),
        ),
    ],
    "least_squares_discriminator": [
        (
            "written from b",
            _squares("b - (b - a) * torch.nan_to_num(p_g / (p_data + p_g), nan=0.5)"),
        ),
    ],
    "least_squares_criterion": [
        ("from D*", _squares_criterion("0.5 * (total * (best - c) ** 2).sum() * dx")),
    ],
}
