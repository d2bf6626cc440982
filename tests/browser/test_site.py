"""The site as a reader meets it: read, searched, on a phone, in the dark, without a network."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.site, pytest.mark.browser]


def test_the_page_shows_its_title_and_its_mathematics(page, name):
    assert page.locator("article h1").first.inner_text().strip()
    assert page.locator("article mjx-merror").count() == 0  # a formula that MathJax refused
    raw = """article => {
        const text = article.cloneNode(true);
        text.querySelectorAll("pre, code, dl.py, mjx-container, script, style").forEach(
            part => part.remove());
        return text.textContent.match(/[$]|\\\\[a-zA-Z]+|\\\\[([]/g) || [];
    }"""
    assert page.locator("article.bd-article").evaluate(raw) == []


def test_every_picture_is_there(page, name):
    # Thumbnails wait until they are near the window.
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.querySelectorAll('img')].every(i => i.complete)")
    lost = "images => images.filter(i => !i.naturalWidth).map(i => i.src.slice(0, 100))"
    assert page.locator("article img").evaluate_all(lost) == []


@pytest.mark.usefixtures("only_chapters")
def test_a_chapter_has_typeset_mathematics_and_pictures(page, name):
    assert page.locator("article mjx-container").count() > 0
    assert page.locator("article img").count() > 0


@pytest.mark.usefixtures("only_chapters")
def test_moving_a_slider_by_an_arrow_key_changes_the_picture(page, name):
    assert page.locator(".frame-player").count() > 0
    for player in page.locator(".frame-player").all():
        picture, slider = player.locator("img").first, player.locator("input[type=range]").first
        before, position = picture.get_attribute("src"), slider.input_value()
        slider.focus()
        # Towards the farther end.
        page.keyboard.press("ArrowRight")
        if slider.input_value() == position:
            page.keyboard.press("ArrowLeft")
        assert slider.input_value() != position
        assert picture.get_attribute("src") != before
        assert picture.evaluate("i => i.decode().then(() => i.naturalWidth)") > 0


@pytest.mark.usefixtures("only_chapters")
def test_play_plays(page, name):
    for button in page.locator(".frame-player button:visible").all():
        picture = button.locator("xpath=ancestor::*[contains(@class,'frame-player')]//img").first
        before = picture.get_attribute("src")
        button.click()
        page.wait_for_function(
            "([image, before]) => image.getAttribute('src') !== before",
            arg=[picture.element_handle(), before],
            timeout=5_000,
        )
        if button.get_attribute("aria-label") == "Pause":
            button.click()


@pytest.mark.usefixtures("only_chapters")
def test_the_quiz_answers_by_mouse_and_keyboard(page, name):
    questions = page.locator("article .Quiz").all()
    assert len(questions) >= 4
    told = [question.locator(".Feedback") for question in questions]
    questions[0].locator(".MCButton").nth(1).click()
    expect(told[0]).to_have_text(re.compile(r"\w+ \w+"))
    questions[1].locator("input").first.focus()
    page.keyboard.press("Space")
    expect(told[1]).to_have_text(re.compile(r"\w+ \w+"))
    expect(told[2]).to_have_text("")


def test_the_button_darkens(page, name):
    def brightness():
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.strip("rgba()").split(",")[:3])) / 3

    assert brightness() > 200
    button, seen = page.locator("button.theme-switch-button").first, {}
    for _ in range(3):  # the button goes through light, dark and "as the system has it"
        button.click()
        seen[page.evaluate("document.documentElement.dataset.mode")] = brightness()
    assert list(seen)[-1] == "auto"
    assert seen["dark"] < 60


def test_a_phone_scrolls_the_equation_and_not_the_page(page, name):
    page.set_viewport_size({"width": 400, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    # Each formula begins inside the window, and what does not fit can be scrolled into it.
    lost = """formulas => formulas.filter(formula => {
        const edges = formula.getBoundingClientRect(), box = formula.closest("div.math");
        const scrolls = getComputedStyle(box).overflowX === "auto"
            && box.scrollWidth >= edges.width - 1;
        return edges.left < 0 || edges.right > 401 && !scrolls;
    }).length"""
    assert page.locator("article mjx-container[display=true]").evaluate_all(lost) == 0


def test_no_error_in_the_console_and_no_request_to_another_host(page, name):
    """After all of the above, for it runs last."""
    assert page.errors == []
    assert page.foreign == []


@pytest.mark.parametrize(
    ("words", "chapter"),
    [
        ("optimal discriminator", "04"),
        ("mode collapse", "04"),
        ("batch normalisation", "05"),
        ("denoising score", "08"),
        ("reparameterisation", "09"),
        ("temperature", "11"),
        ("causal mask", "12"),
    ],
)
def test_search_finds_the_chapter(open_page, words, chapter):
    page = open_page(f"search.html?q={words.replace(' ', '+')}")
    links = page.locator("#search-results li a")
    links.first.wait_for(timeout=10_000)
    # The results fade in, the best first.
    expect(page.locator("#search-results .search-summary")).to_have_text(re.compile("finished"))
    found = links.evaluate_all("links => links.map(link => link.pathname)")
    assert any(f"/chapters/{chapter}" in link for link in found[:8]), found
    summaries = page.locator("#search-results p.context").all_text_contents()
    # (A backslash alone may belong to a listing.)
    tex = r"\\[(\[]|\\(frac|left|log|mathbb|mathcal|mathrm|sum|tag|text)\b"
    assert summaries and re.findall(tex, " ".join(summaries)) == []
    assert (page.errors, page.foreign) == ([], [])
    page.close()


@pytest.mark.parametrize("width", [1280, 1600])
def test_a_line_of_code_is_seen_whole_on_a_computer(open_page, width):
    page = open_page("chapters/09_vae_elbo.html", width=width)
    cut = "blocks => blocks.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
    assert page.locator("div.cell_input pre").evaluate_all(cut) == []
    page.close()


def test_the_search_button_leads_to_results(open_page):
    page = open_page("intro.html")
    page.keyboard.press("Control+k")
    page.keyboard.type("mode collapse")
    with page.expect_navigation(url=re.compile(r"search\.html\?q=mode\+collapse")):
        page.keyboard.press("Enter")
    page.locator("#search-results li a").first.wait_for(timeout=10_000)
    page.close()


def test_the_gallery_is_filtered_and_never_blank(open_page):
    page = open_page("gallery.html")
    pictures, nothing = page.locator("#course-gallery li:visible"), page.locator(".nothing")
    everything = pictures.count()
    expect(nothing).to_be_hidden()
    page.locator("#chapter-04").check(force=True)
    assert 0 < pictures.count() < everything
    expect(nothing).to_be_hidden()
    page.locator("#chapter-11").check(force=True)
    page.locator("#kind-film").check(force=True)
    assert pictures.count() == 0
    expect(nothing).to_be_visible()
    page.close()


def test_the_site_reads_from_a_disk(chromium, site):
    """Carried into a room without network or server: opened as a file."""
    page = chromium.new_page()
    page.goto((site / "chapters/04_gan_minimax.html").as_uri(), wait_until="load")
    page.locator("article mjx-container").first.wait_for(timeout=10_000)
    page.goto((site / "search.html").as_uri() + "?q=optimal+discriminator")
    page.locator("#search-results li").first.wait_for(timeout=10_000)
    page.close()
