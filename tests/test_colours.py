"""The course's colours: told apart by readers with colour-blindness, dark enough, and named."""

from __future__ import annotations

import ast
import re
import runpy
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.colors import is_color_like, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from course_lib.plotting import COLOURS, SERIES, STYLE
from course_lib.text_plotting import token_bars

jupytext = pytest.importorskip("jupytext")
color = pytest.importorskip("skimage.color")

ROOT = Path(__file__).resolve().parent.parent
# Machado, Oliveira & Fernandes (2009), doi:10.1109/TVCG.2009.113, severity 1: on linear RGB.
SEEN = {
    "normal vision": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
# In CIEDE2000 about 1 is just noticeable side by side; thin lines apart from each other need more.
LEAST = 12


def linear(rgb: np.ndarray) -> np.ndarray:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def as_seen(name: str, vision: str) -> np.ndarray:
    """A colour in CIELAB, as an eye with this vision sees it."""
    light = (SEEN[vision] @ linear(np.array(to_rgb(name)))).clip(0, 1)
    rgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return color.rgb2lab(rgb[None, None])[0, 0]


def distance(first: str, second: str, vision: str) -> float:
    return float(color.deltaE_ciede2000(as_seen(first, vision), as_seen(second, vision)))


def contrast(first: object, second: object) -> float:
    """That of WCAG 2.2, from 1 to 21."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    lights = [float(weights @ linear(np.array(to_rgb(colour)))) for colour in (first, second)]
    dark, light = sorted(lights)
    return (light + 0.05) / (dark + 0.05)


def test_the_measures_give_published_values() -> None:
    assert contrast("white", "black") == pytest.approx(21)
    assert contrast("#777777", "white") == pytest.approx(4.48, abs=0.01)
    assert distance("#FFFFFF", "#000000", "normal vision") == pytest.approx(100, abs=0.1)
    # Red and green of the same lightness: what deuteranopes confuse, and others do not.
    assert distance("#C06000", "#908000", "deuteranopia") < 8
    assert distance("#C06000", "#908000", "normal vision") > 20
    for vision in SEEN:  # no eye sees a colour in grey
        assert np.abs(as_seen("#808080", vision)[1:]).max() < 1


@pytest.mark.parametrize("vision", SEEN)
@pytest.mark.parametrize("palette", ["roles", "series"])
def test_any_two_colours_can_be_told_apart(palette: str, vision: str) -> None:
    colours = {"roles": [*COLOURS.values()], "series": SERIES}[palette]
    near = {pair: distance(*pair, vision) for pair in combinations(colours, 2)}
    assert {pair: round(d, 1) for pair, d in near.items() if d < LEAST} == {}


def test_colours_without_a_role_look_like_none_of_the_roles() -> None:
    for further in SERIES:
        for role in COLOURS.values():
            assert distance(further, role, "normal vision") > LEAST


@pytest.mark.parametrize("colour", [*COLOURS.values(), *SERIES])
def test_lines_stand_out_from_the_page(colour: str) -> None:
    assert contrast(colour, "white") >= 3


def test_axes_and_ticks_stand_out_from_the_page() -> None:
    for key in ("axes.edgecolor", "xtick.color", "ytick.color"):
        assert contrast(STYLE[key], "white") >= 3, key


def figures() -> list[Figure]:
    """The examples of the tests of the plotting modules."""
    paths = ROOT.glob("tests/test_*plotting.py")
    examples = [runpy.run_path(str(path))["DRAWN"] for path in paths]
    kept = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 0.0])  # the second is excluded
    return [
        *(draw() for drawn in examples for draw in drawn.values()),
        token_bars(*kept, "ab", top=1),
    ]


def test_texts_can_be_read() -> None:
    faint = {
        (text.get_text(), text.get_color())
        for figure in figures()
        for text in figure.findobj(Text)
        if text.get_text().strip()
        and text.get_visible()
        and contrast(text.get_color(), "white") < 4.5
    }
    assert faint == set()


def chromatic(text: str) -> bool:
    """Whether a text is a colour other than black, white and grey."""
    return is_color_like(text) and np.ptp(to_rgb(text)) > 0.02


def colour_literals(source: str) -> list[str]:
    """Colours written out: #0072B2, tab:blue, C1 anywhere, "red" as an option, "ro" in plot()."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"#[0-9A-Fa-f]{6}|tab:\w+|C\d", node.value) and chromatic(node.value):
                found.append(node.value)
        elif isinstance(node, ast.keyword) and re.search("colou?r|^c$|^fc$|^ec$", node.arg or ""):
            for inner in ast.walk(node.value):
                text = getattr(inner, "value", None)
                if isinstance(text, str) and re.fullmatch("[a-z]+", text) and chromatic(text):
                    found.append(text)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "plot":
            texts = [getattr(argument, "value", None) for argument in node.args]
            found += [t for t in texts if isinstance(t, str) and re.match("[bgrcmy]", t)]
    return found


@pytest.mark.parametrize(
    "source",
    ["x = '#0072B2'", "f(colors='red')", "axes.plot(x, y, 'r--')", "f(c='C1')", "f(c=['b', 'k'])"],
)
def test_a_colour_written_out_is_found(source: str) -> None:
    assert len(colour_literals(source)) == 1


def test_names_and_greys_are_left_in_peace() -> None:
    source = "axes.plot(x, 'k+', color='#555555'); f(color=COLOURS['data'], c='black')"
    assert colour_literals(source) == []


def sources() -> dict[str, str]:
    """Code cells of the chapters, modules of the library but for those that name the colours."""
    named = {}
    for path in sorted(ROOT.glob("chapters/*.md")):
        cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
        named[path.stem] = "\n".join(cells)
    for path in sorted(ROOT.glob("course_lib/*.py")):
        if path.stem not in ("plotting", "layout"):
            named[path.stem] = path.read_text(encoding="utf-8")
    return named


def test_colours_are_called_by_what_they_mean() -> None:
    literals = {name: colour_literals(source) for name, source in sources().items()}
    assert {name: found for name, found in literals.items() if found} == {}
