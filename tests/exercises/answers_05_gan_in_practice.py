"""Plausible answers to the exercises of chapter 05: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution.
"""

from answer_cells import changed, dedented, with_body


def _returning(signature: str, expression: str) -> str:
    return f"def {signature}:\n    return {expression}"


def _size(expression: str) -> str:
    return _returning("convolution_size(n, kernel, stride, padding)", expression)


def _transposed(expression: str) -> str:
    return _returning("transposed_size(n, kernel, stride, padding)", expression)


_TABLE = """
def layers_to_28():
    return dict(
        mended=[(4, 2, 1), (4, 2, 1)],
        jump=[(4, 4, 0), (3, 1, 1)],
        odd=[(3, 2, 1), (4, 4, 0)],
        back=[(5, 2, 2), (5, 2, 2)],
    )
""".strip()


def _table(*changes: tuple[str, str]) -> str:
    return changed(_TABLE, *changes)


_STAMP = """
def stamp(values, kernel, stride=1, padding=0):
    n, k = len(values), len(kernel)
    strip = torch.zeros((n - 1) * stride + k, dtype=values.dtype)
    for i in range(n):
        strip[i * stride : i * stride + k] += values[i] * kernel
    return strip[padding : len(strip) - padding]
""".strip()


def _stamp(*changes: tuple[str, str]) -> str:
    return changed(_STAMP, *changes)


_GATHER = """
def gather(m, values, kernel, stride=1, padding=0):
    total = 0.0
    for i in range(len(values)):
        j = m + padding - stride * i
        if 0 <= j < len(kernel):
            total += values[i] * kernel[j]
    return total
""".strip()


def _gather(*changes: tuple[str, str]) -> str:
    return changed(_GATHER, *changes)


_COVERAGE = """
def coverage(n, kernel, stride, padding):
    counts = torch.zeros((n - 1) * stride + kernel, dtype=torch.int64)
    for i in range(n):
        counts[i * stride : i * stride + kernel] += 1
    return counts[padding : len(counts) - padding]
""".strip()


def _coverage(*changes: tuple[str, str]) -> str:
    return changed(_COVERAGE, *changes)


def _contrast(expression: str) -> str:
    return _returning("contrast(kernel, stride)", expression)


def _scores(body: str) -> str:
    return with_body("scores_per_image(side)", body)


_PAIR = """
def build_pair(latent_dim=100, width=64):
    generator = nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        nn.ConvTranspose2d(latent_dim, 8 * width, 4, bias=False),
        nn.BatchNorm2d(8 * width),
        nn.ReLU(),
        *up(8 * width, 4 * width),
        *up(4 * width, 2 * width),
        *up(2 * width, 1 * width),
        nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1, bias=False),
        nn.Tanh(),
    )
    discriminator = nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2, padding=1, bias=False),
        nn.LeakyReLU(0.2),
        *down(1 * width, 2 * width),
        *down(2 * width, 4 * width),
        *down(4 * width, 8 * width),
        nn.Conv2d(8 * width, 1, 4, bias=False),
        nn.Flatten(0),
    )
    return generator, discriminator
""".strip()


_LAST = """
class Squeeze(nn.Module):
    def forward(self, x):
        return {}


""".lstrip()


def _pair(*changes: tuple[str, str]) -> str:
    return changed(_PAIR, *changes)


_SHORT_GENERATOR = (
    ("nn.ConvTranspose2d(latent_dim, 8 * width,", "nn.ConvTranspose2d(latent_dim, 4 * width,"),
    ("nn.BatchNorm2d(8 * width)", "nn.BatchNorm2d(4 * width)"),
    ("        *up(8 * width, 4 * width),\n", ""),
)
_SHORT_DISCRIMINATOR = (
    ("        *down(4 * width, 8 * width),\n", ""),
    ("nn.Conv2d(8 * width, 1, 4, bias=False)", "nn.Conv2d(4 * width, 1, 4, bias=False)"),
)

_STEP = """
def discriminator_step(generator, discriminator, optimiser, real, z):
    fake = generator(z).detach()
    real_logits = discriminator(real)
    fake_logits = discriminator(fake)
    real_labels = torch.ones_like(real_logits)
    fake_labels = torch.zeros_like(fake_logits)
    loss = F.binary_cross_entropy_with_logits(real_logits, real_labels)
    loss = loss + F.binary_cross_entropy_with_logits(fake_logits, fake_labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss.item()
""".strip()


def _step(*changes: tuple[str, str]) -> str:
    return changed(_STEP, *changes)


_LEAK = ("generator(z).detach()", "generator(z)")
_SIGMOIDS = (
    ("real_logits = discriminator(real)", "real_logits = torch.sigmoid(discriminator(real))"),
    ("fake_logits = discriminator(fake)", "fake_logits = torch.sigmoid(discriminator(fake))"),
)
_WHOLE_LABELS = (
    ("torch.ones_like(real_logits)", "torch.full(real_logits.shape, 1)"),
    ("torch.zeros_like(fake_logits)", "torch.full(fake_logits.shape, 0)"),
)
_OF_THE_REAL_BATCH = (
    "torch.zeros_like(fake_logits)",
    "torch.zeros(len(real), dtype=real.dtype)",
)


def _floors(body: str) -> str:
    return with_body("double_sigmoid_floors(lowest, highest)", body)


_SIGMOID_OF_ENDS = """
ends = torch.tensor([lowest, highest], dtype=torch.float64)
low, high = torch.sigmoid(ends).tolist()
"""


def _of_ends(expression: str) -> str:
    return _floors(f"{_SIGMOID_OF_ENDS}return {expression}")


def _factor(real: str, fake: str) -> str:
    return with_body("gradient_factor(a, target)", f"return {real} if target == 1 else {fake}")


_SAMPLE = """
def sample(generator, n, seed):
    stream = torch.Generator().manual_seed(seed)
    z = torch.randn(n, generator.latent_dim, generator=stream)
    modes = {part: part.training for part in generator.modules()}
    try:
        generator.eval()
        with torch.no_grad():
            images = generator(z)
    finally:
        for part in modes:
            part.training = modes[part]
    return images
""".strip()


def _sample(*changes: tuple[str, str]) -> str:
    return changed(_SAMPLE, *changes)


_RESTORE = "for part in modes:\n            part.training = modes[part]"
_OWN_NOISE = "torch.randn(n, generator.latent_dim, generator=stream)"


def _midpoint(expression: str) -> str:
    return _returning("straight_midpoint_length(d)", expression)


_WALK = """
def walk(start, end, steps):
    t = torch.linspace(0, 1, steps, dtype=start.dtype).unsqueeze(1)
    u, v = start / start.norm(), end / end.norm()
    angle = torch.acos((u @ v).clamp(-1, 1))
    if torch.sin(angle) < 1e-3:
        direction = (1 - t) * u + t * v
    else:
        direction = torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v
        direction = direction / torch.sin(angle)
    length = (1 - t) * start.norm() + t * end.norm()
    return direction * length
""".strip()


def _walk(*changes: tuple[str, str]) -> str:
    return changed(_WALK, *changes)


_CLOSE = "torch.sin(angle) < 1e-3"

WRONG: dict[str, list[tuple[str, str]]] = {
    "convolution_size": [
        ("floor forgotten: a float", _size("(n + 2 * padding - kernel) / stride + 1")),
        ("one edge padded", _size("(n + padding - kernel) // stride + 1")),
        ("the first position forgotten", _size("(n + 2 * padding - kernel) // stride")),
        ("rounded up", _size("-(-(n + 2 * padding - kernel) // stride) + 1")),
        ("rounded to the nearest", _size("round((n + 2 * padding - kernel) / stride) + 1")),
        ("padding subtracted", _size("(n - 2 * padding - kernel) // stride + 1")),
        ("one added before the division", _size("(n + 2 * padding - kernel + 1) // stride")),
        ("'a stride divides the side'", _size("n // stride")),
        ("the transposed formula", _size("(n - 1) * stride - 2 * padding + kernel")),
    ],
    "transposed_size": [
        ("'a stride multiplies the side'", _transposed("n * stride")),
        ("n strides in place of n - 1", _transposed("n * stride - 2 * padding + kernel")),
        ("padding added", _transposed("(n - 1) * stride + 2 * padding + kernel")),
        ("one edge cut", _transposed("(n - 1) * stride - padding + kernel")),
        ("the kernel forgotten", _transposed("(n - 1) * stride - 2 * padding + 1")),
        ("the convolution's formula", _transposed("(n + 2 * padding - kernel) // stride + 1")),
        ("a float", _transposed("(n - 1.0) * stride - 2 * padding + kernel")),
    ],
    "layers_to_28": [
        ("no padding", _table(("mended=[(4, 2, 1), (4, 2, 1)]", "mended=[(4, 2, 0), (4, 2, 0)]"))),
        (
            "three layers, as in the listing",
            _table(("mended=[(4, 2, 1), (4, 2, 1)]", "mended=[(4, 2, 1)] * 3")),
        ),
        (
            "an even kernel where the side becomes odd",
            _table(("odd=[(3, 2, 1), (4, 4, 0)]", "odd=[(4, 2, 1), (4, 4, 0)]")),
        ),
        (
            "half a pixel of padding",
            _table(("odd=[(3, 2, 1), (4, 4, 0)]", "odd=[(4, 2, 1.5), (4, 4, 0)]")),
        ),
        (
            "one pixel: stamps that leave holes",
            _table(("odd=[(3, 2, 1), (4, 4, 0)]", "odd=[(1, 2, 0), (4, 4, 0)]")),
        ),
        (
            "padding of a kernel of 4 kept for a kernel of 5",
            _table(("back=[(5, 2, 2), (5, 2, 2)]", "back=[(5, 2, 1), (5, 2, 1)]")),
        ),
        (
            "the remainder taken for a fault",
            _table(("back=[(5, 2, 2), (5, 2, 2)]", "back=[(4, 2, 1), (4, 2, 1)]")),
        ),
        (
            "order (kernel, padding, stride)",
            _table(("mended=[(4, 2, 1), (4, 2, 1)]", "mended=[(4, 1, 2), (4, 1, 2)]")),
        ),
        (
            "an uneven kernel",
            _table(("jump=[(4, 4, 0), (3, 1, 1)]", "jump=[(6, 4, 1), (3, 1, 1)]")),
        ),
        ("doubled twice instead", _table(("jump=[(4, 4, 0), (3, 1, 1)]", "jump=[(4, 2, 1)] * 2"))),
        ("a row forgotten", _table(("        back=[(5, 2, 2), (5, 2, 2)],\n", ""))),
    ],
    "stamp": [
        ("a slice that ends at minus zero", _stamp(("len(strip) - padding", "-padding"))),
        ("later stamps cover earlier ones", _stamp(("+= values", "= values"))),
        ("stamps side by side", _stamp(("strip[i * stride : i * stride + k]", "strip[i : i + k]"))),
        ("kernel reversed, as in the textbook", _stamp(("* kernel", "* kernel.flip(0)"))),
        ("cut at one edge only", _stamp(("[padding : len(strip) - padding]", "[2 * padding :]"))),
        ("nothing cut", _stamp(("strip[padding : len(strip) - padding]", "strip"))),
        (
            "padding added",
            _stamp(("strip[padding : len(strip) - padding]", "F.pad(strip, (padding, padding))")),
        ),
        ("n strides in place of n - 1", _stamp(("(n - 1) * stride + k", "n * stride + k"))),
        ("precision lost", _stamp((", dtype=values.dtype", ""))),
        (
            "the input overwritten",
            _stamp(("values[i] * kernel", "kernel.mul_(values[i])")),
        ),
        (
            "PyTorch's own",
            dedented("""
                def stamp(values, kernel, stride=1, padding=0):
                    values, kernel = values.reshape(1, 1, -1), kernel.reshape(1, 1, -1)
                    return F.conv_transpose1d(
                        values, kernel, stride=stride, padding=padding
                    ).flatten()
            """),
        ),
        (
            "an ordinary convolution of the padded input",
            dedented("""
                def stamp(values, kernel, stride=1, padding=0):
                    values, kernel = values.reshape(1, 1, -1), kernel.reshape(1, 1, -1)
                    width = kernel.shape[-1] - 1
                    return F.conv1d(F.pad(values, (width, width)), kernel, stride=stride).flatten()
            """),
        ),
    ],
    "gather": [
        ("the padding forgotten", _gather(("m + padding - stride", "m - stride"))),
        ("the padding subtracted", _gather(("m + padding - stride", "m - padding - stride"))),
        (
            "stamped all the same",
            dedented("""
                def gather(m, values, kernel, stride=1, padding=0):
                    strip = [0.0] * ((len(values) - 1) * stride + len(kernel))
                    for i, value in enumerate(values):
                        for j, weight in enumerate(kernel):
                            strip[i * stride + j] += value * weight
                    return strip[m + padding]
            """),
        ),
        ("one weight too few", _gather(("0 <= j < len(kernel)", "0 <= j < len(kernel) - 1"))),
        ("one weight too many", _gather(("0 <= j < len(kernel)", "0 <= j <= len(kernel)"))),
        ("an index from the end", _gather(("0 <= j < len(kernel)", "j < len(kernel)"))),
        ("the first weight forgotten", _gather(("0 <= j", "0 < j"))),
        ("the stride forgotten", _gather(("stride * i", "i"))),
        ("the kernel reversed", _gather(("kernel[j]", "kernel[-1 - j]"))),
        (
            "one input alone",
            _gather(("total += values[i] * kernel[j]", "total = values[i] * kernel[j]")),
        ),
        (
            "the range of the inputs without its edges",
            dedented("""
                def gather(m, values, kernel, stride=1, padding=0):
                    place = m + padding
                    first, last = math.ceil((place - len(kernel) + 1) / stride), place // stride
                    inputs = range(first, last + 1)
                    return sum(values[i] * kernel[place - stride * i] for i in inputs)
            """),
        ),
        (
            "the range rounded down at both ends",
            dedented("""
                def gather(m, values, kernel, stride=1, padding=0):
                    place, total = m + padding, 0.0
                    first = max((place - len(kernel) + 1) // stride, 0)
                    for i in range(first, min(place // stride, len(values) - 1) + 1):
                        total += values[i] * kernel[place - stride * i]
                    return total
            """),
        ),
    ],
    "coverage": [
        ("a slice that ends at minus zero", _coverage(("len(counts) - padding", "-padding"))),
        ("covered or not", _coverage(("+= 1", "= 1"))),
        ("floats", _coverage((", dtype=torch.int64", ""))),
        ("nothing cut", _coverage(("counts[padding : len(counts) - padding]", "counts"))),
        (
            "the interior everywhere",
            dedented("""
                def coverage(n, kernel, stride, padding):
                    size = (n - 1) * stride - 2 * padding + kernel
                    return torch.full((size,), kernel // stride)
            """),
        ),
        (
            "stamps side by side",
            _coverage(("counts[i * stride : i * stride + kernel]", "counts[i : i + kernel]")),
        ),
        ("one stamp too few", _coverage(("range(n)", "range(n - 1)"))),
        (
            "cut at one edge only",
            _coverage(("[padding : len(counts) - padding]", "[2 * padding :]")),
        ),
    ],
    "contrast": [
        ("even kernels are even", _contrast("1.0 if kernel % 2 == 0 else 4.0")),
        (
            "one dimension only",
            _contrast(
                "-(-kernel // stride) / (kernel // stride) if kernel >= stride else math.inf"
            ),
        ),
        ("gaps divide by 0", _contrast("(-(-kernel // stride) / (kernel // stride)) ** 2")),
        (
            "gaps taken as covered once",
            _contrast("(-(-kernel // stride) / max(kernel // stride, 1)) ** 2"),
        ),
        ("the mean number of stamps", _contrast("(kernel / stride) ** 2")),
        (
            "edges counted",
            _contrast("float(-(-kernel // stride)) ** 2 if kernel >= stride else math.inf"),
        ),
        (
            "difference in place of the quotient",
            _contrast("float((-(-kernel // stride)) ** 2 - (kernel // stride) ** 2)"),
        ),
        (
            "always 4 where the stride does not divide the kernel",
            _contrast("math.inf if kernel < stride else 1.0 if kernel % stride == 0 else 4.0"),
        ),
        (
            "stride must be half of the kernel",
            _contrast("math.inf if kernel < stride else 1.0 if kernel == 2 * stride else 4.0"),
        ),
        (
            "every stride taken for 2",
            _contrast(
                "math.inf if kernel < stride else (-(-kernel // 2) / max(kernel // 2, 1)) ** 2"
            ),
        ),
    ],
    "scores_per_image": [
        ("the side, not the square", _scores("return side // 8 - 3")),
        ("the last layer forgotten", _scores("return (side // 8) ** 2")),
        ("always 25", _scores("return 25")),
        ("always one", _scores("return 1")),
        ("the last layer divides by 4", _scores("return (side // 32) ** 2")),
        ("one stage too many", _scores("return (side // 16 - 3) ** 2 if side >= 64 else 1")),
        ("rounded up", _scores("return (-(-side // 8) - 3) ** 2")),
        ("a float", _scores("return (side / 8 - 3) ** 2")),
    ],
    "build_pair": [
        ("submitted as it was given", _pair(*_SHORT_GENERATOR, *_SHORT_DISCRIMINATOR)),
        ("only the generator mended", _pair(*_SHORT_DISCRIMINATOR)),
        ("only the discriminator mended", _pair(*_SHORT_GENERATOR)),
        (
            "the mean over 25 scores",
            _pair(
                *_SHORT_DISCRIMINATOR,
                (
                    "        nn.Flatten(0),\n",
                    "        nn.AdaptiveAvgPool2d(1),\n        nn.Flatten(0),\n",
                ),
            ),
        ),
        (
            "images resized in the discriminator",
            _pair(
                *_SHORT_DISCRIMINATOR,
                ("        nn.Conv2d(3,", "        nn.AvgPool2d(2),\n        nn.Conv2d(3,"),
            ),
        ),
        (
            "images enlarged after the generator",
            _pair(
                *_SHORT_GENERATOR,
                (
                    "        nn.Tanh(),\n",
                    "        nn.Upsample(scale_factor=2),\n        nn.Tanh(),\n",
                ),
            ),
        ),
        (
            "all scores but one thrown away",
            _pair(
                *_SHORT_DISCRIMINATOR,
                (
                    "        nn.Flatten(0),\n",
                    "        nn.AdaptiveMaxPool2d(1),\n        nn.Flatten(0),\n",
                ),
            ),
        ),
        (
            "a linear layer over all scores",
            _pair(
                *_SHORT_DISCRIMINATOR,
                (
                    "        nn.Flatten(0),\n",
                    "        nn.Flatten(1),\n        nn.Linear(25, 1),\n        nn.Flatten(0),\n",
                ),
            ),
        ),
        ("the batch kept apart from the score", _pair(("nn.Flatten(0)", "nn.Flatten(1)"))),
        (
            "squeeze, which loses a batch of one",
            _pair(
                ("def build_pair", f"{_LAST.format('x.squeeze()')}def build_pair"),
                ("nn.Flatten(0)", "Squeeze()"),
            ),
        ),
        (
            "channels of two stages do not fit",
            _pair(
                ("nn.Conv2d(8 * width, 1, 4, bias=False)", "nn.Conv2d(4 * width, 1, 4, bias=False)")
            ),
        ),
        (
            "channels of the generator's stages do not fit",
            _pair(("        *up(8 * width, 4 * width),\n", "        *up(4 * width, 4 * width),\n")),
        ),
        (
            "the new stage has the channels of its neighbour",
            _pair(
                ("*down(4 * width, 8 * width)", "*down(4 * width, 4 * width)"),
                (
                    "nn.Conv2d(8 * width, 1, 4, bias=False)",
                    "nn.Conv2d(4 * width, 1, 4, bias=False)",
                ),
            ),
        ),
        (
            "the new stages of both players have the channels of their neighbours",
            _pair(
                *_SHORT_GENERATOR[:2],
                ("*up(8 * width, 4 * width)", "*up(4 * width, 4 * width)"),
                ("*down(4 * width, 8 * width)", "*down(4 * width, 4 * width)"),
                (
                    "nn.Conv2d(8 * width, 1, 4, bias=False)",
                    "nn.Conv2d(4 * width, 1, 4, bias=False)",
                ),
            ),
        ),
        (
            "a sigmoid at the end",
            _pair(("nn.Flatten(0),", "nn.Sigmoid(),\n        nn.Flatten(0),")),
        ),
        (
            "a bias in the last layer",
            _pair(("nn.Conv2d(8 * width, 1, 4, bias=False)", "nn.Conv2d(8 * width, 1, 4)")),
        ),
        ("no tanh", _pair(("        nn.Tanh(),\n", ""))),
    ],
    "discriminator_step": [
        ("submitted as it was given", _step(_LEAK, *_SIGMOIDS, *_WHOLE_LABELS)),
        ("only the labels mended", _step(_LEAK, *_SIGMOIDS)),
        ("the leak stays", _step(_LEAK)),
        ("the second sigmoid stays", _step(*_SIGMOIDS)),
        ("whole numbers as labels", _step(*_WHOLE_LABELS)),
        ("labels of the real batch for both", _step(_OF_THE_REAL_BATCH)),
        (
            "labels swapped",
            _step(
                ("torch.ones_like(real_logits)", "torch.zeros_like(real_logits)"),
                ("torch.zeros_like(fake_logits)", "torch.ones_like(fake_logits)"),
            ),
        ),
        (
            "the leak cut after the discriminator",
            _step(
                ("generator(z).detach()", "generator(z)"),
                (
                    "fake_logits = discriminator(fake)",
                    "fake_logits = discriminator(fake).detach()",
                ),
            ),
        ),
        (
            "the generator frozen",
            _step(("generator(z).detach()", "generator.requires_grad_(False)(z)")),
        ),
        (
            "the generator switched to evaluation mode",
            _step(("generator(z).detach()", "generator.eval()(z).detach()")),
        ),
        (
            "one mean over both batches together",
            _step(
                (
                    "F.binary_cross_entropy_with_logits(real_logits, real_labels)",
                    "F.binary_cross_entropy_with_logits("
                    "torch.cat([real_logits, fake_logits]), torch.cat([real_labels, fake_labels]))",
                ),
                (
                    "loss + F.binary_cross_entropy_with_logits(fake_logits, fake_labels)",
                    "2 * loss",
                ),
            ),
        ),
        (
            "one batch of real and fake images for the discriminator",
            _step(
                (
                    "real_logits = discriminator(real)\n    fake_logits = discriminator(fake)",
                    "logits = discriminator(torch.cat([real, fake]))\n"
                    "    real_logits, fake_logits = logits[: len(real)], logits[len(real) :]",
                )
            ),
        ),
        ("the mean of the two losses", _step(("loss = loss + F", "loss = 0.5 * loss + 0.5 * F"))),
        ("gradients add up over the steps", _step(("    optimiser.zero_grad()\n", ""))),
        ("no step", _step(("    optimiser.step()\n", ""))),
        (
            "zero_grad after backward",
            _step(
                (
                    "    optimiser.zero_grad()\n    loss.backward()\n",
                    "    loss.backward()\n    optimiser.zero_grad()\n",
                ),
            ),
        ),
        ("the tensor returned", _step(("loss.item()", "loss"))),
        (
            "the loss after the update",
            _step(
                (
                    "return loss.item()",
                    "return (F.softplus(-discriminator(real)).mean()"
                    " + F.softplus(discriminator(fake)).mean()).item()",
                )
            ),
        ),
    ],
    "double_sigmoid_floors": [
        (
            "one sigmoid: the floors of the right combination",
            _floors("""
                return math.log1p(math.exp(-highest)), math.log1p(math.exp(max(lowest, -700)))
            """),
        ),
        (
            "always those of all real logits",
            _floors("return math.log1p(math.exp(-1)), math.log(2)"),
        ),
        (
            "real and fake swapped",
            _of_ends("math.log1p(math.exp(low)), math.log1p(math.exp(-high))"),
        ),
        ("the wrong ends", _of_ends("math.log1p(math.exp(-low)), math.log1p(math.exp(high))")),
        (
            "the same end for both",
            _of_ends("math.log1p(math.exp(-high)), math.log1p(math.exp(high))"),
        ),
        (
            "sign in the exponent",
            _of_ends("math.log1p(math.exp(high)), math.log1p(math.exp(-low))"),
        ),
        (
            "rounded",
            _of_ends("round(math.log1p(math.exp(-high)), 3), round(math.log1p(math.exp(low)), 3)"),
        ),
        (
            "overflow",
            _floors("""
                low, high = 1 / (1 + math.exp(-lowest)), 1 / (1 + math.exp(-highest))
                return math.log1p(math.exp(-high)), math.log1p(math.exp(low))
            """),
        ),
        (
            "the second sigmoid without its logarithm",
            _of_ends("1 / (1 + math.exp(high)), 1 / (1 + math.exp(-low))"),
        ),
        (
            "a grid, with infinity left out",
            _floors("""
                a = torch.sigmoid(torch.linspace(max(lowest, -5), min(highest, 5), 999).double())
                return float(F.softplus(-a).min()), float(F.softplus(a).min())
            """),
        ),
    ],
    "gradient_factor": [
        (
            "the slope of the inner sigmoid alone",
            _factor("torch.sigmoid(a) * torch.sigmoid(-a)", "torch.sigmoid(a) * torch.sigmoid(-a)"),
        ),
        (
            "the slope of the outer loss alone",
            _factor("torch.sigmoid(-torch.sigmoid(a))", "torch.sigmoid(torch.sigmoid(a))"),
        ),
        (
            "real and fake swapped",
            _factor(
                "torch.sigmoid(torch.sigmoid(a)) * torch.sigmoid(-a)",
                "torch.sigmoid(-torch.sigmoid(a)) * torch.sigmoid(a)",
            ),
        ),
        (
            "the faulty derivative, not divided",
            _factor(
                "-torch.sigmoid(-torch.sigmoid(a)) * torch.sigmoid(a) * torch.sigmoid(-a)",
                "torch.sigmoid(torch.sigmoid(a)) * torch.sigmoid(a) * torch.sigmoid(-a)",
            ),
        ),
        (
            "the quotient upside down",
            _factor(
                "1 / (torch.sigmoid(-torch.sigmoid(a)) * torch.sigmoid(a))",
                "1 / (torch.sigmoid(torch.sigmoid(a)) * torch.sigmoid(-a))",
            ),
        ),
        (
            "sign",
            _factor(
                "-torch.sigmoid(-torch.sigmoid(a)) * torch.sigmoid(a)",
                "-torch.sigmoid(torch.sigmoid(a)) * torch.sigmoid(-a)",
            ),
        ),
        (
            "the real sample's factor for both",
            _factor(*["torch.sigmoid(-torch.sigmoid(a)) * torch.sigmoid(a)"] * 2),
        ),
        (
            "0 / 0 for large logits",
            with_body(
                "gradient_factor(a, target)",
                """
                p = torch.sigmoid(a)
                slope = p * (1 - p)
                if target == 1:
                    return torch.sigmoid(-p) * slope / (1 - p)
                return torch.sigmoid(p) * slope / p
                """,
            ),
        ),
        (
            "autograd: 0 / 0 for large logits",
            with_body(
                "gradient_factor(a, target)",
                """
                a = a.clone().requires_grad_()
                labels = torch.full_like(a, target)
                loss = F.binary_cross_entropy_with_logits
                faulty = torch.autograd.grad(loss(torch.sigmoid(a), labels), a)[0]
                return faulty / torch.autograd.grad(loss(a, labels), a)[0]
                """,
            ),
        ),
    ],
    "sample": [
        (
            "the global stream seeded",
            _sample(
                ("stream = torch.Generator().manual_seed(seed)", "torch.manual_seed(seed)"),
                (", generator=stream", ""),
            ),
        ),
        ("training mode", _sample(("        generator.eval()\n", ""))),
        (
            "left in evaluation mode",
            _sample((_RESTORE, "pass")),
        ),
        ("always back to training mode", _sample((_RESTORE, "generator.train()"))),
        (
            "one mode for all parts",
            _sample((_RESTORE, "generator.train(modes[generator])")),
        ),
        (
            "only the mode of the whole restored",
            _sample((_RESTORE, "generator.training = modes[generator]")),
        ),
        (
            "the seed forgotten",
            _sample((".manual_seed(seed)", "")),
        ),
        ("noise from the global stream", _sample((", generator=stream", ""))),
        ("gradients kept", _sample(("with torch.no_grad():", "with torch.enable_grad():"))),
        ("uniform noise", _sample((_OWN_NOISE, _OWN_NOISE.replace("randn", "rand")))),
        (
            "one vector of noise for all",
            _sample(
                (_OWN_NOISE, "torch.randn(1, generator.latent_dim, generator=stream).repeat(n, 1)")
            ),
        ),
        (
            "not restored after an error",
            dedented("""
                def sample(generator, n, seed):
                    stream = torch.Generator().manual_seed(seed)
                    z = torch.randn(n, generator.latent_dim, generator=stream)
                    modes = {part: part.training for part in generator.modules()}
                    generator.eval()
                    with torch.no_grad():
                        images = generator(z)
                    for part in modes:
                        part.training = modes[part]
                    return images
            """),
        ),
        (
            "parameters frozen to save the gradient",
            _sample(
                (
                    "with torch.no_grad():\n            images = generator(z)",
                    "images = generator.requires_grad_(False)(z)",
                ),
            ),
        ),
        (
            "the global state set to another seed afterwards",
            dedented("""
                def sample(generator, n, seed):
                    modes = {part: part.training for part in generator.modules()}
                    torch.manual_seed(seed)
                    z = torch.randn(n, generator.latent_dim)
                    torch.seed()
                    generator.eval()
                    try:
                        return generator(z).detach()
                    finally:
                        for part in modes:
                            part.training = modes[part]
            """),
        ),
    ],
    "straight_midpoint_length": [
        ("as long as the ends", _midpoint("math.sqrt(d)")),
        ("half as long", _midpoint("math.sqrt(d) / 2")),
        ("the square of the length", _midpoint("d / 2")),
        ("the length of the sum", _midpoint("math.sqrt(2 * d)")),
        ("zero, the mean of the midpoint", _midpoint("0.0")),
        ("the rounded factor", _midpoint("0.707 * math.sqrt(d)")),
    ],
    "walk": [
        (
            "a straight line",
            dedented("""
                def walk(start, end, steps):
                    t = torch.linspace(0, 1, steps, dtype=start.dtype).unsqueeze(1)
                    return (1 - t) * start + t * end
            """),
        ),
        (
            "a straight line brought back to the sphere: the speed is uneven",
            dedented("""
                def walk(start, end, steps):
                    t = torch.linspace(0, 1, steps, dtype=start.dtype).unsqueeze(1)
                    u, v = start / start.norm(), end / end.norm()
                    line = (1 - t) * u + t * v
                    length = (1 - t) * start.norm() + t * end.norm()
                    return line / line.norm(dim=1, keepdim=True) * length
            """),
        ),
        ("0 / 0 for equal directions", _walk((_CLOSE, "False"))),
        (
            "0 / 0 avoided for exactly equal directions only",
            _walk((_CLOSE, "torch.equal(start, end)")),
        ),
        (
            "arc cosine of a number above 1",
            _walk((".clamp(-1, 1)", " + 1e-7")),
        ),
        (
            "a small number added to the sine",
            _walk(
                (_CLOSE, "False"),
                ("direction / torch.sin(angle)", "direction / (torch.sin(angle) + 1e-8)"),
            ),
        ),
        (
            "the angle of the vectors, without a limit on the cosine",
            _walk(("torch.acos((u @ v).clamp(-1, 1))", "torch.acos(start @ end)")),
        ),
        (
            "the angle of the vectors, not of their directions",
            _walk(("torch.acos((u @ v).clamp(-1, 1))", "torch.acos((start @ end).clamp(-1, 1))")),
        ),
        (
            "the angle of the vectors, and a sine near 0 that is not looked for at half a turn",
            _walk(
                ("torch.acos((u @ v).clamp(-1, 1))", "torch.acos((start @ end).clamp(-1, 1))"),
                (_CLOSE, "angle < 1e-3"),
            ),
        ),
        (
            "the end left out",
            _walk(
                ("torch.linspace(0, 1, steps, dtype=start.dtype)", "(torch.arange(steps) / steps)")
            ),
        ),
        (
            "both ends left out",
            _walk(
                (
                    "torch.linspace(0, 1, steps, dtype=start.dtype)",
                    "torch.linspace(0, 1, steps + 2)[1:-1]",
                )
            ),
        ),
        (
            "steps counted between the points",
            _walk(("torch.linspace(0, 1, steps,", "torch.linspace(0, 1, steps + 1,")),
        ),
        ("backwards", _walk(("torch.linspace(0, 1,", "torch.linspace(1, 0,"))),
        (
            "the length of the start only",
            _walk(("(1 - t) * start.norm() + t * end.norm()", "start.norm()")),
        ),
        ("directions only", _walk(("direction * length", "direction"))),
        (
            "sines applied to the vectors themselves",
            _walk(
                (
                    "torch.sin((1 - t) * angle) * u + torch.sin(t * angle) * v",
                    "torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end",
                ),
                ("(1 - t) * u + t * v", "(1 - t) * start + t * end"),
                ("direction * length", "direction"),
            ),
        ),
        ("straight already at a moderate angle", _walk((_CLOSE, "angle < 0.5"))),
    ],
}

RIGHT: dict[str, list[tuple[str, str]]] = {
    "convolution_size": [
        (
            "counted",
            _size("len(range(0, n + 2 * padding - kernel + 1, stride))"),
        ),
        ("floor of a float", _size("math.floor((n + 2 * padding - kernel) / stride + 1)")),
    ],
    "transposed_size": [
        ("multiplied out", _transposed("n * stride - stride + kernel - 2 * padding"))
    ],
    "layers_to_28": [
        (
            "other settings",
            _table(
                ("jump=[(4, 4, 0), (3, 1, 1)]", "jump=[(8, 4, 2), [3, 1, 1]]"),
                ("odd=[(3, 2, 1), (4, 4, 0)]", "odd=[(5, 2, 2), (12, 4, 4)]"),
            ),
        ),
    ],
    "stamp": [
        (
            "as the transposed matrix of the convolution",
            dedented("""
                def stamp(values, kernel, stride=1, padding=0):
                    n, k = len(values), len(kernel)
                    matrix = values.new_zeros(n, (n - 1) * stride + k)
                    for i in range(n):
                        matrix[i, i * stride : i * stride + k] = kernel
                    strip = matrix.T @ values
                    return strip[padding:-padding] if padding else strip
            """),
        ),
        (
            "as a convolution of the stretched input",
            dedented("""
                def stamp(values, kernel, stride=1, padding=0):
                    stretched = values.new_zeros(1, 1, (len(values) - 1) * stride + 1)
                    stretched[0, 0, ::stride] = values
                    flipped = kernel.flip(0).reshape(1, 1, -1)
                    whole = F.conv1d(stretched, flipped, padding=len(kernel) - 1).flatten()
                    return whole[padding : len(whole) - padding]
            """),
        ),
    ],
    "gather": [
        ("every input tried", _GATHER),
        (
            "in steps of the stride along the kernel",
            dedented("""
                def gather(m, values, kernel, stride=1, padding=0):
                    i, j = divmod(m + padding, stride)
                    weights = kernel[j::stride]
                    pairs = [(i - q, w) for q, w in enumerate(weights)]
                    return sum(values[i] * w for i, w in pairs if 0 <= i < len(values))
            """),
        ),
    ],
    "coverage": [
        (
            "PyTorch's own, with ones",
            dedented("""
                def coverage(n, kernel, stride, padding):
                    ones = torch.ones(1, 1, n), torch.ones(1, 1, kernel)
                    counts = F.conv_transpose1d(*ones, stride=stride, padding=padding)
                    return counts.flatten().long()
            """),
        ),
    ],
    "contrast": [
        (
            "counted in one period",
            dedented("""
                def contrast(kernel, stride):
                    counts = [len(range(start, kernel, stride)) for start in range(stride)]
                    return (max(counts) / min(counts)) ** 2 if min(counts) else float("inf")
            """),
        ),
    ],
    "scores_per_image": [("in one line", _scores("return (side // 8 - 3) ** 2"))],
    "build_pair": [
        ("written out", _PAIR),
        (
            "view in place of Flatten",
            _pair(
                ("def build_pair", f"{_LAST.format('x.view(-1)')}def build_pair"),
                ("nn.Flatten(0)", "Squeeze()"),
            ),
        ),
    ],
    "discriminator_step": [
        (
            "no_grad and softplus",
            dedented("""
                def discriminator_step(generator, discriminator, optimiser, real, z):
                    optimiser.zero_grad()
                    with torch.no_grad():
                        fake = generator(z)
                    loss = F.softplus(-discriminator(real)).mean()
                    loss = loss + F.softplus(discriminator(fake)).mean()
                    loss.backward()
                    optimiser.step()
                    return float(loss)
            """),
        ),
        (
            "gradients cleared first, labels by full_like",
            _step(
                ("torch.ones_like(real_logits)", "torch.full_like(real_logits, 1)"),
                ("    optimiser.zero_grad()\n", ""),
                ("    real_logits =", "    optimiser.zero_grad()\n    real_logits ="),
            ),
        ),
    ],
    "double_sigmoid_floors": [
        (
            "the cross-entropy itself",
            _of_ends("(-math.log(1 / (1 + math.exp(-high))), -math.log(1 / (1 + math.exp(low))))"),
        ),
    ],
    "gradient_factor": [
        (
            "written with 1 - sigmoid",
            _factor(
                "(1 - torch.sigmoid(torch.sigmoid(a))) * torch.sigmoid(a)",
                "torch.sigmoid(torch.sigmoid(a)) * (1 - torch.sigmoid(a))",
            ),
        ),
    ],
    "sample": [
        (
            "a copy of the generator",
            dedented("""
                def sample(generator, n, seed):
                    import copy

                    stream = torch.Generator().manual_seed(seed)
                    z = torch.randn(n, generator.latent_dim, generator=stream)
                    return copy.deepcopy(generator).eval()(z).detach()
            """),
        ),
        (
            "the global state put back",
            _sample(
                ("    stream = torch.Generator().manual_seed(seed)\n", ""),
                (
                    f"    z = {_OWN_NOISE}",
                    "    with torch.random.fork_rng():\n        torch.manual_seed(seed)\n"
                    "        z = torch.randn(n, generator.latent_dim)",
                ),
            ),
        ),
    ],
    "straight_midpoint_length": [("a factor", _midpoint("(d ** 0.5) / 2 ** 0.5"))],
    "walk": [
        (
            "the threshold that everybody copies",
            _walk((_CLOSE, "u @ v > 0.9995")),
        ),
        (
            "from start towards what is across it",
            dedented("""
                def walk(start, end, steps):
                    u, v = (z.double() / z.double().norm() for z in (start, end))
                    across = v - (u @ v) * u
                    if across.norm() > 1e-12:
                        angle = torch.atan2(across.norm(), u @ v)
                        across = across / across.norm()
                    else:
                        angle = torch.zeros(())
                    points = []
                    for i in range(steps):
                        t = i / (steps - 1)
                        length = (1 - t) * start.norm() + t * end.norm()
                        turned = torch.cos(t * angle) * u + torch.sin(t * angle) * across
                        points.append(length * turned)
                    return torch.stack(points).to(start.dtype)
            """),
        ),
    ],
}
