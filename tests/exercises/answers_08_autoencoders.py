"""Plausible answers to the exercises of chapter 08: wrong ones, and right ones in another style.

``WRONG[part]`` lists ``(the fault, the whole solution cell)`` for each autograded part of an
exercise; the tests prove that each is rejected in its own part and harms no other. ``RIGHT[part]``
lists cells that must earn full marks although they are not written like our solution.
"""

from answer_cells import changed, dedented


def _returning(signature: str, expression: str) -> str:
    return f"def {signature}:\n    return {expression}"


_PCA = """
def pca(x, d):
    mean = x.mean(0)
    centred = x - mean
    u, s, vt = torch.linalg.svd(centred, full_matrices=False)
    variances = s**2 / len(x)
    share = float(variances[:d].sum() / variances.sum())
    return mean, vt[:d].T, share
""".strip()


def _pca(*changes: tuple[str, str]) -> str:
    return changed(_PCA, *changes)


_LEFT_OVER = """
def left_over(x):
    variances = torch.linalg.svdvals(x - x.mean(dim=0)) ** 2 / len(x)
    missing = x.shape[1] - len(variances)
    variances = torch.cat([variances, torch.zeros(missing, dtype=x.dtype)])
    return torch.stack([variances[d:].sum() for d in range(x.shape[1] + 1)])
""".strip()


def _left_over(*changes: tuple[str, str]) -> str:
    return changed(_LEFT_OVER, *changes)


def _projection(expression: str) -> str:
    return _returning("projection(decoder)", expression)


_AXES = """
def principal_axes(decoder, codes):
    z = codes - codes.mean(dim=0)
    q, r = torch.linalg.qr(decoder)
    variances, axes = torch.linalg.eigh(r @ (z.T @ z / len(z)) @ r.T)
    order = variances.argsort(descending=True)
    return q @ axes[:, order], variances[order]
""".strip()


def _axes(*changes: tuple[str, str]) -> str:
    return changed(_AXES, *changes)


_LOSS = """
def denoising_loss(autoencoder, x, noise_scale, stream):
    noise = torch.randn(x.shape, generator=stream, dtype=x.dtype)
    noisy = x + noise_scale * noise
    output = autoencoder(noisy)
    return ((x - output) ** 2).sum() / len(x)
""".strip()


def _loss(*changes: tuple[str, str]) -> str:
    return changed(_LOSS, *changes)


_OWN_NOISE = "torch.randn(x.shape, generator=stream, dtype=x.dtype)"

_GAUSSIAN = """
def denoise_gaussian(noisy, mean, covariance, noise_scale):
    total = covariance + noise_scale**2 * torch.eye(len(mean), dtype=mean.dtype)
    gain = covariance @ torch.linalg.inv(total)
    return mean + (noisy - mean) @ gain.T
""".strip()


def _gaussian(*changes: tuple[str, str]) -> str:
    return changed(_GAUSSIAN, *changes)


_SHARES = "torch.exp(logs - torch.logsumexp(logs, dim=1, keepdim=True))"
_GUESSES = "keep * noisy[:, None] + (1 - keep) * means"
_MIXTURE = """
def denoise_mixture(noisy, weights, means, scales, noise_scale):
    total = scales**2 + noise_scale**2
    squares = ((noisy[:, None] - means) ** 2).sum(dim=-1)
    dims = noisy.shape[1]
    logs = torch.log(weights) - dims * torch.log(total) / 2 - squares / (2 * total)
    shares = torch.exp(logs - torch.logsumexp(logs, dim=1, keepdim=True))
    keep = (scales**2 / total)[:, None]
    guesses = keep * noisy[:, None] + (1 - keep) * means
    return torch.einsum("nk,nkd->nd", shares, guesses)
""".strip()


def _mixture(*changes: tuple[str, str]) -> str:
    return changed(_MIXTURE, *changes)


def _score(expression: str) -> str:
    return _returning("score_from_denoiser(denoise, x, noise_scale)", expression)


_TWEEDIE = """
def denoiser_from_log_density(log_density, x, noise_scale):
    y = x.detach().clone()
    y.requires_grad_(True)
    with torch.enable_grad():
        total = log_density(y).sum()
    gradient = torch.autograd.grad(total, y)[0]
    return (y + noise_scale**2 * gradient).detach()
""".strip()


def _tweedie(*changes: tuple[str, str]) -> str:
    return changed(_TWEEDIE, *changes)


_GAUSSIAN_CODES = """
def gaussian_codes(codes, n, seed):
    mean = codes.mean(dim=0)
    z = codes - mean
    covariance = z.T @ z / (len(codes) - 1)
    factor = torch.linalg.cholesky(covariance)
    stream = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, len(mean), generator=stream, dtype=codes.dtype)
    return mean + noise @ factor.T
""".strip()


def _gaussian_codes(*changes: tuple[str, str]) -> str:
    return changed(_GAUSSIAN_CODES, *changes)


_SHARE = """
def share_farther(train, held_out, drawn):
    z = train - train.mean(dim=0)
    inverse = torch.linalg.inv(z.T @ z / len(train))

    def nearest(queries):
        gaps = queries[:, None] - train
        return torch.einsum("qnd,de,qne->qn", gaps, inverse, gaps).min(dim=1).values

    far, usual = nearest(drawn), nearest(held_out)
    sign = torch.sign(far[:, None] - usual[None, :])
    return float((1 + sign).double().mean() / 2)
""".strip()


def _share(*changes: tuple[str, str]) -> str:
    return changed(_SHARE, *changes)


_CHOOSE = """
def choose_labelled(labels, per_class, seed):
    stream = torch.Generator().manual_seed(seed)
    left = {int(label): per_class for label in labels}
    chosen = []
    for place in torch.randperm(len(labels), generator=stream).tolist():
        if left[int(labels[place])] > 0:
            left[int(labels[place])] -= 1
            chosen.append(place)
    return torch.tensor(chosen)
""".strip()


def _choose(*changes: tuple[str, str]) -> str:
    return changed(_CHOOSE, *changes)


_BY_CLASS = """
def choose_labelled(labels, per_class, seed):
    stream = torch.Generator().manual_seed(seed)
    chosen = []
    for label in labels.unique():
        members = torch.where(labels == label)[0]
        order = torch.randperm(len(members), generator=stream)
        chosen.append(members[order[:per_class]])
    return torch.cat(chosen)
""".strip()

_SPREAD = "((codes - mean) ** 2).mean(dim=0).sqrt()"
_ONE = "((codes - mean) ** 2).mean().sqrt()"
_PROBE = """
def probe_scores(codes, labels, queries, penalty, one_scale):
    mean = codes.mean(dim=0)
    spread = ((codes - mean) ** 2).mean(dim=0).sqrt()
    spread[spread == 0] = 1
    if one_scale:
        spread = ((codes - mean) ** 2).mean().sqrt()
    z, q = (codes - mean) / spread, (queries - mean) / spread
    y = torch.eye(int(labels.max()) + 1, dtype=codes.dtype)[labels]
    base = y.mean(dim=0)
    penalties = penalty * torch.eye(codes.shape[1], dtype=codes.dtype)
    slopes = torch.linalg.inv(z.T @ z + penalties) @ z.T @ (y - base)
    return base + q @ slopes
""".strip()


def _probe(*changes: tuple[str, str]) -> str:
    return changed(_PROBE, *changes)


WRONG: dict[str, list[tuple[str, str]]] = {
    "pca": [
        ("not centred", _pca(("centred = x - mean", "centred = x"))),
        ("the mean over components", _pca(("x.mean(0)", "x.mean(1, keepdim=True)"))),
        ("directions as rows", _pca(("vt[:d].T", "vt[:d]"))),
        ("columns of the transposed factor", _pca(("vt[:d].T", "vt[:, :d]"))),
        ("directions of the samples' side", _pca(("vt[:d].T", "u[:, :d]"))),
        ("scaled by the singular values", _pca(("vt[:d].T", "(s[:d, None] * vt[:d]).T"))),
        ("shares of singular values", _pca(("s**2 / len(x)", "s"))),
        ("the share left over", _pca(("variances[:d].sum()", "variances[d:].sum()"))),
        ("the share of one direction", _pca(("variances[:d].sum()", "variances[d - 1]"))),
        (
            "smallest variance first",
            dedented("""
                def pca(x, d):
                    mean = x.mean(0)
                    variances, vectors = torch.linalg.eigh(torch.cov(x.T))
                    return mean, vectors[:, :d], float(variances[:d].sum() / variances.sum())
            """),
        ),
        (
            "the right subspace, the wrong order",
            dedented("""
                def pca(x, d):
                    mean = x.mean(0)
                    variances, vectors = torch.linalg.eigh(torch.cov(x.T))
                    return mean, vectors[:, -d:], float(variances[-d:].sum() / variances.sum())
            """),
        ),
        ("the samples centred in place", _pca(("centred = x - mean", "centred = x.sub_(mean)"))),
    ],
    "left_over": [
        ("not squared", _left_over((" ** 2 / len(x)", " / len(x)"))),
        ("divided by N - 1", _left_over(("/ len(x)", "/ (len(x) - 1)"))),
        ("summed over samples", _left_over((" / len(x)", ""))),
        ("averaged over components too", _left_over(("/ len(x)", "/ x.numel()"))),
        ("not centred", _left_over(("x - x.mean(dim=0)", "x"))),
        ("centred over the wrong axis", _left_over(("dim=0)", "dim=1, keepdim=True)"))),
        ("what is kept", _left_over(("variances[d:].sum()", "variances[:d].sum()"))),
        ("one direction alone", _left_over(("variances[d:].sum()", "variances[d : d + 1].sum()"))),
        ("d = 0 forgotten", _left_over(("range(x.shape[1] + 1)", "range(1, x.shape[1] + 1)"))),
        ("d = D forgotten", _left_over(("range(x.shape[1] + 1)", "range(x.shape[1])"))),
        (
            "as many entries as singular values",
            _left_over(
                ("missing = x.shape[1] - len(variances)", "missing = 0"),
                ("x.shape[1] + 1)", "len(variances) + 1)"),
            ),
        ),
        ("the share left over", _left_over(("sum() for", "sum() / variances.sum() for"))),
        (
            "distances, not squares",
            _left_over(("variances[d:].sum()", "variances[d:].sum().sqrt()")),
        ),
    ],
    "projection": [
        ("columns taken for orthonormal", _projection("decoder @ decoder.T")),
        (
            "columns brought to length 1, not to right angles",
            _projection("(decoder / decoder.norm(dim=0)) @ (decoder / decoder.norm(dim=0)).T"),
        ),
        ("a matrix for codes", _projection("torch.linalg.pinv(decoder) @ decoder")),
        (
            "the inverse forgotten",
            _projection("decoder @ (decoder.T @ decoder) @ decoder.T"),
        ),
        (
            "all directions, not only those of W",
            dedented("""
                def projection(decoder):
                    q = torch.linalg.qr(decoder, mode="complete")[0]
                    return q @ q.T
            """),
        ),
        (
            "what is orthogonal to W",
            _projection("torch.eye(len(decoder)) - decoder @ torch.linalg.pinv(decoder)"),
        ),
        (
            "scaled by the singular values",
            dedented("""
                def projection(decoder):
                    u, s, _ = torch.linalg.svd(decoder, full_matrices=False)
                    return u * s @ u.T
            """),
        ),
        (
            "the first component only",
            dedented("""
                def projection(decoder):
                    u = torch.linalg.svd(decoder, full_matrices=False)[0][:, :1]
                    return u @ u.T
            """),
        ),
    ],
    "principal_axes": [
        (
            "directions of the decoder alone",
            dedented("""
                def principal_axes(decoder, codes):
                    u, s, _ = torch.linalg.svd(decoder, full_matrices=False)
                    return u, s**2
            """),
        ),
        (
            "the columns of W, brought to length 1",
            dedented("""
                def principal_axes(decoder, codes):
                    lengths = decoder.norm(dim=0)
                    variances = codes.var(dim=0, correction=0) * lengths**2
                    order = variances.argsort(descending=True)
                    return (decoder / lengths)[:, order], variances[order]
            """),
        ),
        (
            "principal directions of the codes, decoded",
            dedented("""
                def principal_axes(decoder, codes):
                    z = codes - codes.mean(dim=0)
                    variances, axes = torch.linalg.eigh(z.T @ z / len(z))
                    directions = decoder @ axes.flip(1)
                    return directions / directions.norm(dim=0), variances.flip(0)
            """),
        ),
        ("not centred", _axes(("codes - codes.mean(dim=0)", "codes"))),
        ("divided by N - 1", _axes(("/ len(z)", "/ (len(z) - 1)"))),
        ("one factor forgotten", _axes((" @ r.T)", ")"))),
        (
            "the transposed factor",
            _axes(("r @ (z.T @ z / len(z)) @ r.T", "r.T @ (z.T @ z / len(z)) @ r")),
        ),
        ("smallest first", _axes(("descending=True", "descending=False"))),
        ("an orthonormal basis, not turned", _axes(("q @ axes[:, order]", "q"))),
        ("eigenvectors as rows", _axes(("q @ axes[:, order]", "(q @ axes[:, order].T)"))),
        (
            "standard deviations",
            _axes(("order], variances[order]", "order], variances[order].sqrt()")),
        ),
        ("decoded by W in place of its basis", _axes(("q @ axes", "decoder @ axes"))),
    ],
    "denoising_loss": [
        (
            "the same noise for the whole batch",
            _loss((_OWN_NOISE, "torch.randn(x.shape[1:], generator=stream, dtype=x.dtype)")),
        ),
        (
            "the same noise for all components",
            _loss(
                (
                    _OWN_NOISE,
                    "torch.randn((len(x), *[1] * (x.dim() - 1)), generator=stream, dtype=x.dtype)",
                )
            ),
        ),
        (
            "the same noise at every call",
            _loss(("stream, dtype", "torch.Generator().manual_seed(0), dtype")),
        ),
        (
            "noise drawn once, and kept",
            dedented("""
                kept_noise = {}


                def denoising_loss(autoencoder, x, noise_scale, stream):
                    if x.shape not in kept_noise:
                        kept_noise[x.shape] = torch.randn(x.shape, generator=stream, dtype=x.dtype)
                    output = autoencoder(x + noise_scale * kept_noise[x.shape])
                    return ((x - output) ** 2).sum() / len(x)
            """),
        ),
        ("the noisy target", _loss(("(x - output)", "(noisy - output)"))),
        ("the clean input", _loss(("autoencoder(noisy)", "autoencoder(x)"))),
        (
            "noise on the output",
            _loss(("autoencoder(noisy)", "autoencoder(x) + noise_scale * noise")),
        ),
        (
            "added in place",
            _loss(("noisy = x + noise_scale * noise", "noisy = x.add_(noise_scale * noise)")),
        ),
        ("the variance for a scale", _loss(("noise_scale * noise", "noise_scale**2 * noise"))),
        (
            "noise of an interval",
            _loss(
                (
                    _OWN_NOISE,
                    "3**0.5 * (2 * torch.rand(x.shape, generator=stream, dtype=x.dtype) - 1)",
                )
            ),
        ),
        ("averaged over components too", _loss((".sum() / len(x)", ".mean()"))),
        (
            "summed over one axis, as if a sample had no other",
            _loss((".sum() / len(x)", ".sum(1).mean()")),
        ),
        ("summed over the batch too", _loss((".sum() / len(x)", ".sum()"))),
        (
            "averaged over components, summed over samples",
            _loss((".sum() / len(x)", ".flatten(1).mean(1).sum()")),
        ),
        (
            "lengths, not squared",
            _loss(
                ("((x - output) ** 2).sum() / len(x)", "(x - output).flatten(1).norm(dim=1).mean()")
            ),
        ),
        ("one loss for each sample", _loss((".sum() / len(x)", ".flatten(1).sum(dim=1)"))),
        (
            "clamped to the range of the pixels",
            _loss(("x + noise_scale * noise", "(x + noise_scale * noise).clamp(-1, 1)")),
        ),
        ("the global stream", _loss((", generator=stream", ""))),
        ("no gradient", _loss(("** 2).sum() / len(x)", "** 2).sum().detach() / len(x)"))),
        ("flattened", _loss(("autoencoder(noisy)", "autoencoder(noisy.flatten()).view_as(x)"))),
        ("the noise's own prediction", _loss(("(x - output)", "(noise - output)"))),
    ],
    "denoise_gaussian": [
        ("sigma in place of its square", _gaussian(("noise_scale**2", "noise_scale"))),
        ("the share of the noise", _gaussian(("covariance @ torch", "noise_scale**2 * torch"))),
        ("the mean not subtracted", _gaussian(("(noisy - mean) @", "noisy @"))),
        ("the mean not added", _gaussian(("return mean + ", "return "))),
        (
            "each component by itself",
            dedented("""
                def denoise_gaussian(noisy, mean, covariance, noise_scale):
                    variances = covariance.diagonal()
                    return mean + variances / (variances + noise_scale**2) * (noisy - mean)
            """),
        ),
        (
            "noise subtracted from the covariance",
            _gaussian(("covariance + noise_scale**2", "covariance - noise_scale**2")),
        ),
        (
            "samples taken for columns",
            _gaussian(("(noisy - mean) @ gain.T", "gain @ (noisy - mean)")),
        ),
        (
            "the inverse of the data's covariance",
            dedented("""
                def denoise_gaussian(noisy, mean, covariance, noise_scale):
                    precision = torch.linalg.inv(covariance)
                    identity = torch.eye(len(mean), dtype=mean.dtype)
                    posterior = torch.linalg.inv(precision + identity / noise_scale**2)
                    return ((precision @ mean) + noisy / noise_scale**2) @ posterior
            """),
        ),
        (
            "one factor for all directions",
            dedented("""
                def denoise_gaussian(noisy, mean, covariance, noise_scale):
                    variance = covariance.trace() / len(mean)
                    return mean + variance / (variance + noise_scale**2) * (noisy - mean)
            """),
        ),
        (
            "noise on the first direction only",
            _gaussian(("noise_scale**2 *", "noise_scale**2 / len(mean) *")),
        ),
        (
            "the noisy sample itself",
            _returning(
                "denoise_gaussian(noisy, mean, covariance, noise_scale)", "noisy + 0 * mean"
            ),
        ),
        (
            "the score",
            _gaussian(
                ("mean + (noisy - mean) @ gain.T", "(mean - noisy) @ torch.linalg.inv(total)")
            ),
        ),
    ],
    "denoise_mixture": [
        ("the nearest cluster's mean alone", _mixture((_GUESSES, "means + 0 * noisy[:, None]"))),
        (
            "noise forgotten in the shares",
            _mixture(("squares / (2 * total)", "squares / (2 * scales**2 + 1e-9)")),
        ),
        (
            "the clean width in the shares",
            _mixture(
                ("torch.log(total)", "torch.log(scales**2)"),
                ("squares / (2 * total)", "squares / (2 * scales**2)"),
            ),
        ),
        (
            "the data's width forgotten",
            _mixture(("total = scales**2 + noise_scale**2", "total = 0 * scales + noise_scale**2")),
        ),
        (
            "widths added, not variances",
            _mixture(("scales**2 + noise_scale**2", "(scales + noise_scale) ** 2")),
        ),
        ("the density's factor forgotten", _mixture((" - dims * torch.log(total) / 2", ""))),
        ("the factor of one dimension", _mixture(("dims * torch.log(total)", "torch.log(total)"))),
        ("the factor upside down", _mixture(("- dims * torch", "+ dims * torch"))),
        ("weights forgotten", _mixture(("torch.log(weights) - dims", "-dims"))),
        ("weights without logarithm", _mixture(("torch.log(weights) - dims", "weights - dims"))),
        ("the two in the exponent forgotten", _mixture(("/ (2 * total)", "/ total"))),
        ("distances not squared", _mixture(("squares / (2", "squares.sqrt() / (2"))),
        (
            "noisy sample and mean exchanged",
            _mixture((_GUESSES, "(1 - keep) * noisy[:, None] + keep * means")),
        ),
        ("shares over the samples", _mixture(("dim=1, keepdim=True", "dim=0, keepdim=True"))),
        (
            "hard assignment",
            _mixture((_SHARES, "torch.eye(len(means), dtype=means.dtype)[logs.argmax(dim=1)]")),
        ),
        (
            "0 / 0 far away",
            _mixture((_SHARES, "torch.exp(logs) / torch.exp(logs).sum(dim=1, keepdim=True)")),
        ),
        (
            "a small number against 0 / 0",
            _mixture(
                (_SHARES, "torch.exp(logs) / (torch.exp(logs).sum(dim=1, keepdim=True) + 1e-12)")
            ),
        ),
    ],
    "score_from_denoiser": [
        ("sign", _score("(x - denoise(x)) / noise_scale**2")),
        ("sigma in place of its square", _score("(denoise(x) - x) / noise_scale")),
        ("not divided", _score("denoise(x) - x")),
        ("multiplied", _score("(denoise(x) - x) * noise_scale**2")),
        ("the denoiser alone", _score("denoise(x) / noise_scale**2")),
        ("a factor 2, from the square", _score("2 * (denoise(x) - x) / noise_scale**2")),
        ("a factor 1/2, from the exponent", _score("(denoise(x) - x) / (2 * noise_scale**2)")),
        ("brackets", _score("denoise(x) - x / noise_scale**2")),
        ("one number", _score("((denoise(x) - x) / noise_scale**2).mean()")),
    ],
    "denoiser_from_log_density": [
        ("sign", _tweedie(("y + noise", "y - noise"))),
        ("sigma in place of its square", _tweedie(("noise_scale**2", "noise_scale"))),
        (
            "divided by the variance",
            _tweedie(("noise_scale**2 * gradient", "gradient / noise_scale**2")),
        ),
        ("the gradient of a mean", _tweedie((".sum()", ".mean()"))),
        (
            "the gradient of the density",
            _tweedie(("log_density(y).sum()", "log_density(y).exp().sum()")),
        ),
        ("the score alone", _tweedie(("(y + noise_scale**2 * gradient)", "gradient"))),
        (
            "the sample not added",
            _tweedie(("(y + noise_scale**2 * gradient)", "(noise_scale**2 * gradient)")),
        ),
        (
            "under no_grad nothing is recorded",
            _tweedie(("with torch.enable_grad():\n        total", "total")),
        ),
        (
            "backward() through everything",
            _tweedie(
                (
                    "    gradient = torch.autograd.grad(total, y)[0]",
                    "    total.backward()\n    gradient = y.grad",
                )
            ),
        ),
        ("x itself", _tweedie(("y = x.detach().clone()", "y = x"))),
        (
            "a view of x moved",
            _tweedie(
                (
                    "(y + noise_scale**2 * gradient).detach()",
                    "x.detach().add_(noise_scale**2 * gradient)",
                )
            ),
        ),
        (
            "with its graph",
            _tweedie(("(y + noise_scale**2 * gradient).detach()", "y + noise_scale**2 * gradient")),
        ),
        (
            "recording left switched off",
            _tweedie(("    return", "    torch.set_grad_enabled(False)\n    return")),
        ),
    ],
    "gaussian_codes": [
        ("the mean forgotten", _gaussian_codes(("return mean + ", "return "))),
        ("the transposed factor", _gaussian_codes(("noise @ factor.T", "noise @ factor"))),
        (
            "the covariance for its factor",
            _gaussian_codes(("noise @ factor.T", "noise @ covariance")),
        ),
        ("components on their own", _gaussian_codes(("noise @ factor.T", "noise * z.std(dim=0)"))),
        ("variances for deviations", _gaussian_codes(("noise @ factor.T", "noise * z.var(dim=0)"))),
        ("the prior of another model", _gaussian_codes(("mean + noise @ factor.T", "noise"))),
        ("second moments, not centred", _gaussian_codes(("z = codes - mean", "z = codes"))),
        ("not divided by N", _gaussian_codes((" / (len(codes) - 1)", ""))),
        ("the global stream", _gaussian_codes((", generator=stream", ""))),
        (
            "the global stream, set",
            _gaussian_codes(
                ("torch.Generator().manual_seed(seed)", "torch.manual_seed(seed)"),
                (", generator=stream", ""),
            ),
        ),
        ("always the same seed", _gaussian_codes(("manual_seed(seed)", "manual_seed(0)"))),
        (
            "given codes, drawn again",
            _gaussian_codes(
                (
                    "mean + noise @ factor.T",
                    "codes[torch.randint(len(codes), (n,), generator=stream)]",
                )
            ),
        ),
        (
            "an interval of the right variance",
            _gaussian_codes(
                (
                    "mean + noise @ factor.T",
                    "mean + (12**0.5 * (torch.rand(noise.shape, generator=stream) - 0.5)).to(mean)"
                    " @ factor.T",
                )
            ),
        ),
        (
            "always in double precision",
            _gaussian_codes(
                ("return mean + noise @ factor.T", "return (mean + noise @ factor.T).double()")
            ),
        ),
    ],
    "share_farther": [
        (
            "Euclidean distance",
            _share(
                (
                    "torch.linalg.inv(z.T @ z / len(train))",
                    "torch.eye(train.shape[1], dtype=train.dtype)",
                )
            ),
        ),
        (
            "the covariance, not its inverse",
            _share(("torch.linalg.inv(z.T @ z / len(train))", "z.T @ z / len(train)")),
        ),
        (
            "components on their own",
            _share(("torch.linalg.inv(z.T @ z / len(train))", "torch.diag(1 / z.var(dim=0))")),
        ),
        (
            "the factor in place of its transpose",
            _share(
                (
                    "inverse = torch.linalg.inv(z.T @ z / len(train))",
                    "whiten = torch.linalg.cholesky(z.T @ z / len(train)).inverse()",
                ),
                (
                    'torch.einsum("qnd,de,qne->qn", gaps, inverse, gaps)',
                    "(gaps @ whiten).square().sum(-1)",
                ),
            ),
        ),
        (
            "the covariance of one component is no matrix",
            _share(("torch.linalg.inv(z.T @ z / len(train))", "torch.linalg.inv(torch.cov(z.T))")),
        ),
        ("covariance not centred", _share(("z = train - train.mean(dim=0)", "z = train"))),
        (
            "covariance of the held-out codes",
            _share(("z = train - train.mean(dim=0)", "z = held_out - held_out.mean(dim=0)")),
        ),
        (
            "exchanged",
            _share(("nearest(drawn), nearest(held_out)", "nearest(held_out), nearest(drawn)")),
        ),
        ("average distance", _share((".min(dim=1).values", ".mean(dim=1)"))),
        ("the farthest training code", _share((".min(dim=1)", ".max(dim=1)"))),
        (
            "equal ones not counted",
            _share(
                (
                    "torch.sign(far[:, None] - usual[None, :])",
                    "2 * (far[:, None] > usual).double() - 1",
                )
            ),
        ),
        (
            "equal ones counted whole",
            _share(
                (
                    "torch.sign(far[:, None] - usual[None, :])",
                    "2 * (far[:, None] >= usual).double() - 1",
                )
            ),
        ),
        ("against the average held-out code", _share(("usual[None, :]", "usual.mean()"))),
        ("against the median held-out code", _share(("usual[None, :]", "usual.median()"))),
        (
            "distance of the averages",
            _share(
                (
                    "float((1 + sign).double().mean() / 2)",
                    "float(far.mean() / (far.mean() + usual.mean()))",
                )
            ),
        ),
        (
            "nearest among the others' codes",
            _share(
                (
                    "nearest(drawn), nearest(held_out)",
                    "((drawn[:, None] - held_out) ** 2).sum(-1).min(1).values, nearest(held_out)",
                )
            ),
        ),
        (
            "a tensor",
            _share(("float((1 + sign).double().mean() / 2)", "(1 + sign).double().mean() / 2")),
        ),
        (
            "distance to the mean code",
            _share(
                ("gaps = queries[:, None] - train", "gaps = (queries - train.mean(dim=0))[:, None]")
            ),
        ),
    ],
    "choose_labelled": [
        (
            "from all samples at once",
            dedented("""
                def choose_labelled(labels, per_class, seed):
                    stream = torch.Generator().manual_seed(seed)
                    order = torch.randperm(len(labels), generator=stream)
                    return order[: per_class * len(labels.unique())]
            """),
        ),
        (
            "the first of each class",
            changed(_BY_CLASS, ("members[order[:per_class]]", "members[:per_class]")),
        ),
        (
            "with repetition",
            changed(
                _BY_CLASS,
                (
                    "torch.randperm(len(members), generator=stream)",
                    "torch.randint(len(members), (per_class,), generator=stream)",
                ),
            ),
        ),
        (
            "places within a class",
            changed(_BY_CLASS, ("members[order[:per_class]]", "order[:per_class]")),
        ),
        (
            "labels, not positions",
            _choose(("torch.tensor(chosen)", "labels[torch.tensor(chosen)]")),
        ),
        ("one row for each class", changed(_BY_CLASS, ("torch.cat", "torch.stack"))),
        ("the global stream", _choose((", generator=stream", ""))),
        (
            "the global stream, set",
            _choose(
                ("torch.Generator().manual_seed(seed)", "torch.manual_seed(seed)"),
                (", generator=stream", ""),
            ),
        ),
        ("always the same seed", _choose(("manual_seed(seed)", "manual_seed(0)"))),
        (
            "the stream of each class starts anew",
            changed(
                _BY_CLASS,
                (
                    "    for label in labels.unique():",
                    "    for label in labels.unique():\n        stream.manual_seed(seed)",
                ),
            ),
        ),
        (
            "a window at a random place",
            changed(
                _BY_CLASS,
                (
                    "order[:per_class]",
                    "(order[0] + torch.arange(per_class)).clamp_max(len(members) - 1)",
                ),
            ),
        ),
        (
            "classes taken to be 0, 1, 2, ...",
            changed(
                _BY_CLASS,
                ("labels.unique()", "range(10)"),
                ("order[:per_class]", "order[: per_class - 1]"),
            ),
        ),
        ("a list", _choose(("torch.tensor(chosen)", "chosen"))),
    ],
    "probe_scores": [
        (
            "standardised by the queries",
            _probe(
                (
                    "q = (codes - mean) / spread, (queries - mean) / spread",
                    "q = (codes - mean) / spread, (queries - queries.mean(dim=0)) / spread",
                )
            ),
        ),
        (
            "mean of everything",
            _probe(("mean = codes.mean(dim=0)", "mean = torch.cat([codes, queries]).mean(dim=0)")),
        ),
        (
            "deviation of everything",
            _probe((_SPREAD, "torch.cat([codes, queries]).std(dim=0, correction=0)")),
        ),
        ("division by 0", _probe(("    spread[spread == 0] = 1\n", ""))),
        (
            "a small number against division by 0",
            _probe(("    spread[spread == 0] = 1\n", "    spread = spread + 1e-2\n")),
        ),
        (
            "variance in place of deviation",
            _probe((_SPREAD, "((codes - mean) ** 2).mean(dim=0)")),
        ),
        ("one scale: the variance", _probe((_ONE, "((codes - mean) ** 2).mean()"))),
        ("one scale: the mean of the deviations", _probe((_ONE, "spread.mean()"))),
        (
            "one scale: deviations from the mean of all numbers",
            _probe((_ONE, "codes.std(correction=0)")),
        ),
        ("one scale: not divided at all", _probe((_ONE, "torch.ones_like(spread)"))),
        (
            "one scale: as long as a code",
            _probe((_ONE, "((codes - mean) ** 2).sum(1).mean().sqrt()")),
        ),
        ("both ways the same", _probe(("if one_scale", "if False"))),
        ("the two ways exchanged", _probe(("if one_scale", "if not one_scale"))),
        ("N - 1 in the variance", _probe((_SPREAD, "codes.std(dim=0)"))),
        (
            "one deviation for all components",
            _probe((_SPREAD, "((codes - mean) ** 2).mean().sqrt().repeat(codes.shape[1])")),
        ),
        ("queries not standardised", _probe(("(queries - mean) / spread", "queries"))),
        ("no offset", _probe(("return base + q", "return q"))),
        (
            "an offset of 1 / K",
            _probe(
                (
                    "base = y.mean(dim=0)",
                    "base = torch.full((y.shape[1],), 1 / y.shape[1], dtype=codes.dtype)",
                )
            ),
        ),
        (
            "penalty times N",
            _probe(("penalties = penalty *", "penalties = len(codes) * penalty *")),
        ),
        (
            "no penalty",
            _probe(("torch.linalg.inv(z.T @ z + penalties)", "torch.linalg.pinv(z.T @ z)")),
        ),
        ("penalty squared", _probe(("penalties = penalty *", "penalties = penalty**2 *"))),
        (
            "answers in place of scores",
            _probe(("return base + q @ slopes", "return (base + q @ slopes).argmax(dim=1)")),
        ),
    ],
}

RIGHT: dict[str, list[tuple[str, str]]] = {
    "pca": [
        ("by singular values, in other words", _PCA),
        (
            "by the covariance",
            dedented("""
                def pca(x, d):
                    variances, vectors = torch.linalg.eigh(torch.cov(x.T))
                    kept = variances[-d:].sum() / variances.sum()
                    return x.mean(0), vectors[:, -d:].flip(1), kept.item()
            """),
        ),
    ],
    "left_over": [
        ("entry by entry", _LEFT_OVER),
        (
            "what is there less what is kept",
            dedented("""
                def left_over(x):
                    values = torch.linalg.svdvals(x - x.mean(dim=0))
                    kept = torch.zeros(x.shape[1] + 1, dtype=x.dtype)
                    kept[1 : len(values) + 1] = values.square() / len(x)
                    return kept.sum() - kept.cumsum(dim=0)
            """),
        ),
    ],
    "projection": [
        ("by the pseudo-inverse", _projection("decoder @ torch.linalg.pinv(decoder)")),
        (
            "by the normal equations",
            _projection("decoder @ torch.linalg.solve(decoder.T @ decoder, decoder.T)"),
        ),
    ],
    "principal_axes": [
        ("by the covariance", _AXES),
        (
            "PCA of the reconstructions",
            dedented("""
                def principal_axes(decoder, codes):
                    rebuilt = (codes - codes.mean(dim=0)) @ decoder.T
                    _, s, vt = torch.linalg.svd(rebuilt, full_matrices=False)
                    d = decoder.shape[1]
                    return vt[:d].T, s[:d] ** 2 / len(codes)
            """),
        ),
    ],
    "denoising_loss": [
        ("summed over everything, divided by N", _LOSS),
        (
            "noise drawn like x, by torch.normal",
            dedented("""
                def denoising_loss(autoencoder, x, noise_scale, stream):
                    noisy = torch.normal(x, noise_scale, generator=stream)
                    dims = tuple(range(1, x.dim()))
                    return (autoencoder(noisy) - x).pow(2).sum(dim=dims).mean()
            """),
        ),
    ],
    "denoise_gaussian": [
        ("by the gain", _GAUSSIAN),
        (
            "by Tweedie's formula",
            dedented("""
                def denoise_gaussian(noisy, mean, covariance, noise_scale):
                    total = covariance + noise_scale**2 * torch.eye(len(mean), dtype=mean.dtype)
                    score = torch.linalg.solve(total, (mean - noisy).T).T
                    return noisy + noise_scale**2 * score
            """),
        ),
    ],
    "denoise_mixture": [
        ("logsumexp", _MIXTURE),
        (
            "one sample after another",
            dedented("""
                def denoise_mixture(noisy, weights, means, scales, noise_scale):
                    total = scales**2 + noise_scale**2
                    rows = []
                    for x in noisy:
                        logs = weights.log() - len(x) * total.sqrt().log()
                        logs = logs - (x - means).square().sum(dim=1) / total / 2
                        share = (logs - logs.max()).exp()
                        share = share / share.sum()
                        guess = means + (scales**2 / total)[:, None] * (x - means)
                        rows.append(share @ guess)
                    return torch.stack(rows)
            """),
        ),
    ],
    "score_from_denoiser": [
        ("written out", _score("denoise(x) / noise_scale**2 - x / noise_scale**2")),
        ("minus the residual", _score("-(x - denoise(x)) / (noise_scale * noise_scale)")),
    ],
    "denoiser_from_log_density": [
        ("in other words", _tweedie()),
        (
            "with ones for the gradient of each sample",
            dedented("""
                @torch.enable_grad()
                def denoiser_from_log_density(log_density, x, noise_scale):
                    y = x.detach().requires_grad_(True)
                    values = log_density(y)
                    (score,) = torch.autograd.grad(values, y, torch.ones_like(values))
                    return torch.add(y.detach(), score, alpha=noise_scale**2)
            """),
        ),
        (
            "with torch.func",
            dedented("""
                def denoiser_from_log_density(log_density, x, noise_scale):
                    x = x.detach()
                    with torch.enable_grad():
                        score = torch.func.grad(lambda y: log_density(y).sum())(x)
                    return (x + noise_scale**2 * score).detach()
            """),
        ),
    ],
    "gaussian_codes": [
        ("divided by N - 1", _GAUSSIAN_CODES),
        (
            "by the singular values",
            dedented("""
                def gaussian_codes(codes, n, seed):
                    mean = codes.mean(dim=0, keepdim=True)
                    _, s, vt = torch.linalg.svd(codes - mean, full_matrices=False)
                    stream = torch.Generator()
                    stream.manual_seed(seed)
                    noise = torch.randn((n, len(s)), generator=stream, dtype=codes.dtype)
                    return mean + noise * (s / len(codes) ** 0.5) @ vt
            """),
        ),
    ],
    "share_farther": [
        ("by the inverse", _SHARE),
        (
            "whitened, and counted one by one",
            dedented("""
                def share_farther(train, held_out, drawn):
                    values, vectors = torch.linalg.eigh(torch.atleast_2d(torch.cov(train.T)))
                    whiten = vectors / values.sqrt()
                    far = [min((z - c).norm() for c in train @ whiten) for z in drawn @ whiten]
                    usual = [min((z - c).norm() for c in train @ whiten) for z in held_out @ whiten]
                    total = 0.0
                    for a in far:
                        for b in usual:
                            total += 1.0 if a > b else 0.5 if a == b else 0.0
                    return total / len(far) / len(usual)
            """),
        ),
    ],
    "choose_labelled": [
        ("from one shuffled pack", _CHOOSE),
        ("class after class", _BY_CLASS),
    ],
    "probe_scores": [
        ("by the inverse", _PROBE),
        (
            "a very small number against division by 0",
            _probe(("    spread[spread == 0] = 1\n", "    spread = spread + 1e-8\n")),
        ),
        ("labels not centred: Z is, so it is the same", _probe(("(y - base)", "y"))),
        (
            "by its dual form",
            dedented("""
                def probe_scores(codes, labels, queries, penalty, one_scale):
                    mean, spread = codes.mean(dim=0), codes.std(dim=0, unbiased=False)
                    spread = spread.masked_fill(spread == 0, 1)
                    if one_scale:
                        spread = (codes - mean).norm() / codes.numel() ** 0.5
                    z, q = (codes - mean) / spread, (queries - mean) / spread
                    y = nn.functional.one_hot(labels).to(z.dtype)
                    kernel = z @ z.T + penalty * torch.eye(len(z), dtype=z.dtype)
                    return y.mean(dim=0) + q @ z.T @ torch.linalg.solve(kernel, y - y.mean(dim=0))
            """),
        ),
    ],
}

# Faults that the visible check must catch, and words of the hint that they get.
HINTS: dict[str, dict[str, str]] = {
    "principal_axes": {
        "smallest first": "the smallest comes first",
        "divided by N - 1": "Divide by N",
        "not centred": "measured from the mean",
        "standard deviations": "standard deviations",
        "the columns of W, brought to length 1": "neither orthogonal nor",
    },
    "denoising_loss": {
        "summed over one axis, as if a sample had no other": "channels, rows and columns"
    },
    "denoise_gaussian": {
        "the inverse of the data's covariance": "sure to have an inverse",
        "samples taken for columns": "Samples are rows",
    },
    "denoise_mixture": {
        "the clean width in the shares": "variance of the *noisy* cluster",
        "the factor of one dimension": "Every dimension of a sample brings its own factor",
    },
    "share_farther": {
        "the factor in place of its transpose": "L times its transpose",
        "the covariance of one component is no matrix": "torch.atleast_2d",
    },
    "probe_scores": {
        "one scale: the mean of the deviations": "the mean of their squares",
        "both ways the same": "one scale",
    },
}
