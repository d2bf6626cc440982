"""The training loops people write first, to measure the library's own against.

Same networks, objective, optimiser and number of updates as the ``train_*`` functions; but batches
come from a DataLoader, losses are computed from probabilities, gradients flow into the
discriminator while the generator is updated, Adam is not fused, and every step waits for its
losses. Each loop is a generator that stops after every step and hands out that step's losses.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from course_lib import autoregressive, gan, transformer, vae

Losses = Iterator[dict[str, float]]


def gan_loop(
    generator: nn.Module,
    discriminator: nn.Module,
    data: Float[Tensor, "n *sample"],
    config: gan.Game,
) -> Losses:
    """Train a pair for ever, on the non-saturating objective."""
    adam = partial(torch.optim.Adam, lr=config.learning_rate, betas=config.betas)
    generator_optimiser = adam(generator.parameters())
    discriminator_optimiser = adam(discriminator.parameters())
    criterion = nn.BCELoss()
    for (real,) in _batches(data, config.batch_size):
        ones, zeros = torch.ones(len(real)), torch.zeros(len(real))
        fake = generator(torch.randn(len(real), config.latent_dim))
        discriminator_optimiser.zero_grad()
        real_loss = criterion(torch.sigmoid(discriminator(real)), ones)
        fake_loss = criterion(torch.sigmoid(discriminator(fake.detach())), zeros)
        discriminator_loss = real_loss + fake_loss
        discriminator_loss.backward()
        discriminator_optimiser.step()

        generator_optimiser.zero_grad()
        generator_loss = criterion(torch.sigmoid(discriminator(fake)), ones)
        generator_loss.backward()
        generator_optimiser.step()
        yield {
            "discriminator_loss": discriminator_loss.item(),
            "generator_loss": generator_loss.item(),
        }


def vae_loop(model: vae.VAE, data: Float[Tensor, "n *sample"], config: vae.Config) -> Losses:
    """Train a variational autoencoder for ever, with the Bernoulli likelihood."""
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    for (x,) in _batches(data, config.batch_size):
        optimiser.zero_grad()
        mean, log_variance = model.encoder(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        probability = torch.sigmoid(model.decoder(z))
        reconstruction = binary_cross_entropy(probability, (x + 1) / 2, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        loss = (reconstruction + kl) / len(x)
        loss.backward()
        optimiser.step()
        yield {"negative_elbo": loss.item()}


def transformer_loop(
    model: transformer.TransformerLanguageModel,
    tokens: Int[Tensor, " n"],
    config: transformer.Config,
) -> Losses:
    """Train a language model for ever, to predict the next token."""
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.ndim >= 2]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(
        groups, config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, partial(autoregressive.learning_rate_factor, config)
    )
    texts = tokens.unfold(0, config.context + 1, 1)
    for (text,) in _batches(texts, config.batch_size):
        optimiser.zero_grad()
        logits = model(text[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimiser.step()
        schedule.step()
        yield {"cross_entropy": loss.item()}


def _batches(data: Tensor, batch_size: int) -> Iterator[list[Tensor]]:
    loader = DataLoader(TensorDataset(data), batch_size=batch_size, shuffle=True, drop_last=True)
    return itertools.chain.from_iterable(itertools.repeat(loader))
