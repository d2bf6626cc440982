"""Error against the number of examples, for generative and discriminative classifiers of digits.

Writes results/crossing.json, which chapter 01 shows: the share of held-out digits that is
classified wrongly, after a fit to few or many labelled examples, over many draws of the examples.
About a minute on one CPU core. What is recorded already is kept, so that it can be stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import typer
from torch import Tensor
from tqdm import tqdm

from course_lib.classifiers import (
    GaussianClassifier,
    LogisticRegression,
    fit_gaussian_classifier,
    fit_logistic_regression,
)
from course_lib.datasets import digits, mnist5k
from course_lib.files import write_atomically

TARGET = Path(__file__).resolve().parents[1] / "results" / "crossing.json"

PROTOCOL = (
    "Draw s (the seed) takes the first n/10 images of each class in an order of its own from the "
    "training part; every method is fitted to the same draw and judged on all held-out images. "
    "error: share of held-out images classified wrongly. components: mnist5k, 28x28, as 20 "
    "principal components of all 4,000 training images (labels are not used), each divided by its "
    "standard deviation; 1,000 held-out images. pixels: digits, 8x8, the 64 grey values in [-1, 1] "
    "as they are; 355 held-out images. naive Bayes: one variance a feature that all classes share; "
    "QDA: a full covariance a class; both with 0.3 added to each variance; logistic regression: "
    "penalty/2 times the squared weights is added to the summed negative log-likelihood, penalty "
    "1e-4 if none is named; quadratic: of the features and their products."
)

Features = tuple[Tensor, Tensor, Tensor, Tensor]  # training x and labels, held-out x and labels
Fit = Callable[[Tensor, Tensor], GaussianClassifier | LogisticRegression]
SIZES = {
    "components": (20, 50, 100, 200, 400, 800, 1600, 3200),
    "pixels": (20, 50, 100, 200, 400, 800, 1280),
}
DRAWS = 20


def components(count: int = 20) -> Features:
    """Digits of 28×28 pixels as whitened principal components, each of variance one."""
    data = mnist5k()
    train, test = (x.flatten(1).double() for x in (data.train_images, data.test_images))
    mean = train.mean(0)
    _, scale, directions = torch.linalg.svd(train - mean, full_matrices=False)
    whiten = directions[:count].T / scale[:count] * len(train) ** 0.5
    return (train - mean) @ whiten, data.train_labels, (test - mean) @ whiten, data.test_labels


def pixels() -> Features:
    """Digits of 8×8 pixels as they are."""
    data = digits()
    train, test = (x.flatten(1).double() for x in (data.train_images, data.test_images))
    return train, data.train_labels, test, data.test_labels


def with_products(x: Tensor) -> Tensor:
    """The features and all products of two of them."""
    first, second = torch.triu_indices(x.shape[1], x.shape[1])
    return torch.cat([x, x[:, first] * x[:, second]], 1)


METHODS: dict[str, tuple[Fit, Callable[[Tensor], Tensor]]] = {
    "naive Bayes": (
        lambda x, y: fit_gaussian_classifier(x, y, "shared diagonal", ridge=0.3),
        lambda x: x,
    ),
    "logistic regression": (lambda x, y: fit_logistic_regression(x, y, penalty=1e-4), lambda x: x),
    "logistic regression, penalty 1": (
        lambda x, y: fit_logistic_regression(x, y, penalty=1.0),
        lambda x: x,
    ),
    "QDA": (lambda x, y: fit_gaussian_classifier(x, y, "full", ridge=0.3), lambda x: x),
    "quadratic logistic regression, penalty 1": (
        lambda x, y: fit_logistic_regression(x, y, penalty=1.0),
        with_products,
    ),
}


def draw(labels: Tensor, size: int, seed: int) -> Tensor:
    """The places of ``size`` examples, as many of each of the ten classes."""
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for digit in range(10):
        own = torch.where(labels == digit)[0]
        order = torch.randperm(len(own), generator=generator)
        chosen.append(own[order[: size // 10]])
    return torch.cat(chosen)


def recorded() -> dict[str, Any]:
    """The errors that are on the disk: data, method, size, one error a draw."""
    return json.loads(TARGET.read_text())["errors"] if TARGET.exists() else {}


def record(errors: dict[str, Any]) -> None:
    """Write the file anew."""
    TARGET.parent.mkdir(exist_ok=True)
    content = {
        "protocol": PROTOCOL,
        "device": "CPU, 1 thread",
        "torch": torch.__version__,
        "errors": errors,
    }
    write_atomically(TARGET, (json.dumps(content, indent=1) + "\n").encode())


def main(only: list[str] = list(METHODS)) -> None:  # noqa: B006
    """Fit every method, or those named, to every size of both data sets and record its errors."""
    if unknown := set(only) - set(METHODS):
        raise typer.BadParameter(f"--only must be one of {list(METHODS)}, got {unknown}")
    torch.set_num_threads(1)
    for name, load in {"components": components, "pixels": pixels}.items():
        x, y, held_out, held_out_labels = load()
        for method in only:
            fit, features = METHODS[method]
            if name == "pixels" and features is with_products:
                continue  # 2,144 features of at most 1,280 examples
            test = features(held_out)
            for size in SIZES[name]:
                errors = recorded()
                done = errors.setdefault(name, {}).setdefault(method, {}).setdefault(str(size), [])
                if len(done) >= DRAWS:
                    continue
                for seed in tqdm(range(len(done), DRAWS), desc=f"{name}, {method}, {size}"):
                    own = draw(y, size, seed)
                    wrong = fit(features(x[own]), y[own]).predict(test) != held_out_labels
                    done.append(round(wrong.double().mean().item(), 4))
                record(errors)


if __name__ == "__main__":
    typer.run(main)
