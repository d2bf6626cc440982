"""The HTML player: what is in it, how large it is, and that it works in a browser."""

import base64
import io
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageChops

from course_lib.player import Control, Player, player, png_small, quantise, rasterise


def squares(count: int, size: tuple[int, int] = (90, 60)) -> list[Image.Image]:
    """A blue square that moves to the right on a white page with a black frame."""
    pictures = []
    for k in range(count):
        picture = Image.new("RGB", size, "black")
        picture.paste("white", (2, 2, size[0] - 2, size[1] - 2))
        picture.paste("#0072B2", (10 + 8 * k, 20, 18 + 8 * k, 40))
        pictures.append(picture)
    return pictures


def sixths(**options: object) -> Player:
    controls = [Control("mean", ("−1", "0"), 1), Control("width", ("1", "2", "3"), 2)]
    return player(squares(6), controls, alt="A square", **options)  # type: ignore[arg-type]


def film(count: int = 5, frames_per_second: int = 20) -> Player:
    control = Control("Frame", tuple(f"step {k}" for k in range(count)))
    return player(squares(count), [control], alt="Film", frames_per_second=frames_per_second)


def decoded(address: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGBA")


def composed(html: str) -> list[Image.Image]:
    """Every frame as a browser composes it: the difference laid over the backdrop."""
    backdrop = re.search(r'"backdrop":"([^"]+)"', html)
    frames = re.search(r'"frames":\[([^]]+)\]', html)
    assert backdrop and frames
    base = decoded(backdrop[1])
    return [
        Image.alpha_composite(base, decoded(frame)).convert("RGB")
        for frame in re.findall(r'"([^"]+)"', frames[1])
    ]


def test_frames_come_back_exactly_when_the_palette_holds_their_colours() -> None:
    pictures = squares(6)
    back = composed(sixths().html)
    assert len(back) == 6
    for drawn, shown in zip(pictures, back, strict=True):
        assert ImageChops.difference(drawn, shown).getbbox() is None
    assert ImageChops.difference(back[0], back[5]).getbbox() is not None


def test_picture_in_the_html_is_the_complete_start_frame() -> None:
    source = re.search(r'<img src="([^"]+)"', sixths().html)
    assert source
    shown = decoded(source[1])
    assert ImageChops.difference(shown.convert("RGB"), squares(6)[5]).getbbox() is None
    assert shown.getextrema()[3] == (255, 255), "without the script nothing lies behind the picture"


def test_html_is_self_contained_and_equal_every_time() -> None:
    html = sixths().html
    assert html == sixths().html
    assert "http:" not in html and "https:" not in html and "require" not in html
    assert html != player(squares(6), [Control("mean", tuple("abcdef"))], alt="A square").html


def test_controls_come_only_with_the_script_and_only_those_asked_for() -> None:
    page, script = film().html.split("<script>")
    assert 'alt="Film"' in page
    assert "<input" not in page and "<button" not in page and "<output" not in page
    assert script.count('type=\\"range\\"') == 1 == script.count('aria-label=\\"Play\\"')
    two = sixths().html.split("<script>")[1]
    assert two.count('type=\\"range\\"') == 2 and 'aria-label=\\"Play\\"' not in two


def test_text_cannot_break_out_of_the_html() -> None:
    bad = "</script><b>\"&'"
    made = player(squares(2), [Control(bad, (bad, "x"))], alt=bad)
    assert made.html.count("</script>") == 1 and "<b>" not in made.html


def test_quantise_keeps_frequent_colours_exact() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    noise[:20] = (0, 114, 178)
    palette, indices = quantise(noise, 16)
    assert len(palette) == 16 and indices.shape == (40, 40)
    assert (palette[indices][:20] == (0, 114, 178)).all()
    few, same = quantise(np.asarray(squares(1)[0]), 64)
    assert len(few) == 3 and (few[same] == np.asarray(squares(1)[0])).all()


def test_budget_shrinks_the_palette_and_warns_when_that_is_not_enough() -> None:
    generator = np.random.default_rng(0)
    noise = [
        Image.fromarray(generator.integers(0, 256, (60, 60, 3), dtype=np.uint8)) for _ in range(4)
    ]
    control = [Control("k", tuple("abcd"))]
    free = player(noise, control, alt="Noise")
    tight = player(noise, control, alt="Noise", budget=len(free.html) - 1)
    assert len(tight.html) < len(free.html)
    with pytest.warns(UserWarning, match="fewer frames"):
        player(noise, control, alt="Noise", budget=1000)


def test_rasterise_gives_the_size_asked_for_and_a_white_page() -> None:
    clear = Figure(figsize=(3, 2), dpi=50, facecolor="none")
    picture = rasterise(clear)
    assert picture.size == (150, 100) and picture.getpixel((0, 0)) == (255, 255, 255)
    assert Image.open(io.BytesIO(png_small(picture))).size == (150, 100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pictures": []}, "empty"),
        ({"controls": []}, "one to three sliders"),
        ({"pictures": squares(3)}, "2 positions in all, but there are 3"),
        ({"controls": [Control("a", ("x", "y"), 2)]}, "starts at position 2"),
        ({"pictures": [*squares(1), *squares(1, (91, 60))]}, "differ in size"),
        ({"alt": "  "}, "alt is empty"),
        ({"frames_per_second": 0.0}, "must be positive"),
    ],
)
def test_bad_input_is_named(change: dict, message: str) -> None:
    good: dict = {"pictures": squares(2), "controls": [Control("a", ("x", "y"))], "alt": "A"}
    player(**good)
    with pytest.raises(ValueError, match=message):
        player(**(good | change))


def test_rasterise_refuses_what_is_not_a_figure() -> None:
    with pytest.raises(ValueError, match="return figure"):
        rasterise(None)


def open_page(browser, *players: Player, javascript: bool = True):
    """A page with the players, the errors it raises, and the requests it makes."""
    page = browser.new_page(java_script_enabled=javascript, viewport={"width": 400, "height": 700})
    errors: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    body = "".join(made.html for made in players)
    page.set_content(f"<!doctype html><meta charset=utf-8><body>{body}")
    return page, errors, requests


def shows(locator, expected: Image.Image) -> bool:
    """Whether the picture on the page is the expected one; its rounded edge does not count."""
    screenshot = Image.open(io.BytesIO(locator.locator("img").screenshot())).convert("RGB")
    box = (4, 4, expected.width - 4, expected.height - 4)
    difference = ImageChops.difference(screenshot.crop(box), expected.crop(box))
    return screenshot.size == expected.size and difference.getbbox() is None


def test_the_texts_to_be_spoken_match_the_pictures() -> None:
    controls = [Control("x", ("0", "1"))]
    with pytest.raises(ValueError, match="spoken has 1 texts, but there are 2 frames"):
        player(squares(2), controls, alt="A square", spoken=["one"])


@pytest.mark.browser
def test_the_number_drawn_in_a_picture_is_spoken(chromium) -> None:
    made = player(
        squares(2), [Control("x", ("0", "1"))], alt="A square", spoken=["area = 4", "area = 9"]
    )
    page, errors, _ = open_page(chromium, made)
    slider = page.get_by_role("slider", name="x")
    assert slider.get_attribute("aria-valuetext") == "0: area = 4"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "1: area = 9" and errors == []
    assert page.locator("output").text_content() == "1"


@pytest.mark.browser
def test_sliders_change_the_picture_by_mouse_and_keyboard(chromium) -> None:
    page, errors, requests = open_page(chromium, sixths())
    root = page.locator(".frame-player")
    width = root.locator("input").nth(1)
    assert root.locator("output").all_text_contents() == ["0", "3"]
    assert page.get_by_role("slider", name="width").count() == 1
    assert page.get_by_role("img", name="A square").count() == 1
    assert width.get_attribute("aria-valuetext") == "3"
    assert shows(root, squares(6)[5])
    width.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert root.locator("output").all_text_contents() == ["0", "1"]
    assert width.get_attribute("aria-valuetext") == "1"
    assert shows(root, squares(6)[3])
    root.locator("input").nth(0).fill("0")
    assert shows(root, squares(6)[0])
    assert errors == [] and [url for url in requests if not url.startswith("data:")] == []


@pytest.mark.browser
def test_keyboard_focus_is_seen_and_targets_are_large_enough(chromium) -> None:
    page, _, _ = open_page(chromium, film(5), sixths())
    page.add_style_tag(content="body {background: #fff; color: #323232}")
    look = """() => {
        const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
        return [e.tagName, s.outlineStyle, parseFloat(s.outlineWidth), s.outlineColor,
                Math.min(r.width, r.height)];
    }"""
    for expected in ("BUTTON", "INPUT", "INPUT", "INPUT"):
        page.keyboard.press("Tab")
        tag, style, width, colour, side = page.evaluate(look)
        assert (tag, style, colour) == (expected, "solid", "rgb(50, 50, 50)")  # that of the text
        assert width >= 2 and side >= 24


def test_film_plays_pauses_and_starts_again(chromium) -> None:
    page, errors, _ = open_page(chromium, film(5))
    root = page.locator(".frame-player")
    button = root.locator("button")
    page.evaluate(
        """() => {
            const output = document.querySelector("output");
            window.seen = [];
            new MutationObserver(() => window.seen.push(output.textContent))
                .observe(output, {childList: true});
        }"""
    )
    finished = "seen.at(-1) === 'step 4' && document.querySelector('button').ariaLabel === 'Play'"
    button.click()
    page.wait_for_function(finished)
    assert shows(root, squares(5)[4])
    assert page.evaluate("seen") == [f"step {k}" for k in range(1, 5)]
    page.evaluate("window.seen = []")
    button.click()
    page.wait_for_function(finished)
    assert page.evaluate("seen") == [f"step {k}" for k in range(5)], "at the end it starts over"
    assert errors == []


@pytest.mark.browser
def test_film_stops_where_the_reader_stops_it(chromium) -> None:
    page, errors, _ = open_page(chromium, film(10, frames_per_second=5))
    button, slider = page.locator("button"), page.locator("input")
    button.click()
    assert button.get_attribute("aria-label") == "Pause"
    button.click()
    assert button.get_attribute("aria-label") == "Play"
    button.click()
    slider.fill("2")
    assert button.get_attribute("aria-label") == "Play", "moving the slider stops the film"
    page.wait_for_timeout(450)
    assert page.locator("output").text_content() == "step 2"
    assert errors == []


@pytest.mark.browser
def test_the_same_player_twice_and_another_one_do_not_disturb_each_other(chromium) -> None:
    page, errors, _ = open_page(chromium, film(5), film(5), sixths())
    sliders = page.locator("input")
    assert sliders.count() == 4
    sliders.nth(1).fill("3")
    assert page.locator("output").all_text_contents() == ["step 0", "step 3", "0", "3"]
    assert errors == []
    empty, _, _ = open_page(chromium)
    names = "Object.keys(window).sort()"
    assert page.evaluate(names) == empty.evaluate(names), "no global variable is left behind"


@pytest.mark.browser
def test_without_script_the_first_picture_shows_and_the_controls_do_not(chromium) -> None:
    page, _, _ = open_page(chromium, sixths(), javascript=False)
    root = page.locator(".frame-player")
    assert root.locator("input, button, output, label").count() == 0
    assert shows(root, squares(6)[5])


@pytest.mark.browser
def test_player_never_wider_than_a_phone(chromium) -> None:
    wide = player(squares(2, (900, 60)), [Control("a long label of a slider", ("x", "y"))], alt="A")
    page, _, _ = open_page(chromium, wide, film())
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
