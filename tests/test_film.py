"""Films are small, hold every frame, and are strict about input."""

import inspect
import re

import pytest
import torch

from course_lib.film import film
from course_lib.plotting import subplots


def refuses(message: str, *arguments, **options) -> None:
    """The function's own message: below the run-time check of shapes, which has its own tests."""
    with pytest.raises(ValueError, match=message):
        inspect.unwrap(film)(*arguments, **options)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def digits_film(noise_level: float = 0.0) -> list[torch.Tensor]:
    data = pytest.importorskip("sklearn.datasets").load_digits().images[:1536] / 8 - 1
    frames = torch.tensor(data, dtype=torch.float32).reshape(24, 64, 1, 8, 8)
    return [(frame + noise_level * noise(64, 1, 8, 8)).clamp(-1, 1) for frame in frames]


@pytest.mark.parametrize("noise_level", [0.0, 0.3])
def test_film_of_a_digit_grid_is_small(noise_level: float) -> None:
    frames = digits_film(noise_level)
    made = film(frames, [f"step {k}" for k in range(24)], alt="Samples during training")
    assert made.frames == 24
    assert len(made.html) < 200_000
    assert made._repr_html_() == made.html
    stored = re.search(r'"frames":\[([^]]+)\]', made.html)
    assert stored and len(set(re.findall(r'"([^"]+)"', stored[1]))) == 24


def test_film_takes_figures() -> None:
    figures = []
    for level in (0, 1, 2):
        figure, axes = subplots(height=2)
        axes.axhline(level)
        axes.set_ylim(-1, 3)
        figures.append(figure)
    assert film(figures, ["a", "b", "c"], alt="A line that rises").frames == 3


def test_film_refuses_bad_input() -> None:
    frame = noise(4, 1, 8, 8)
    refuses("captions: expected 1", [frame], ["a", "b"], alt="A")
    refuses("empty", [], [], alt="A")
    refuses(r"frames\[1\] ranges", [frame, 9 * frame], ["a", "b"], alt="A")
    refuses("differ in size", [frame, noise(4, 1, 9, 9)], ["a", "b"], alt="A")
    refuses(r"frames\[0\] is a str", ["x"], ["a"], alt="A")
    refuses("columns must be at least 1, got 0", [frame], ["a"], alt="A", columns=0)
    refuses("alt is empty", [frame], ["a"], alt="")
