"""The site as a reader meets it: read, searched, on a phone, in the dark, without a network."""

from __future__ import annotations

import functools
import http.server
import threading

import pytest
import yaml

pytestmark = [pytest.mark.site, pytest.mark.browser]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def open_page(chromium, address):
    """Open pages; at the end no console error and no request to another host may have come."""
    errors, foreign = [], []
    context = chromium.new_context(viewport={"width": 1280, "height": 900})

    def route(route):
        url = route.request.url
        if url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            foreign.append(url)
            route.abort()

    def opened(name, width=1280):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/{name}", wait_until="networkidle")
        return page

    context.route("**/*", route)
    yield opened
    context.close()
    assert foreign == []
    assert errors == []


def names(root):
    contents = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    entries = [c["file"] for part in contents["parts"] for c in part["chapters"]]
    return [f"{name}.html" for name in [contents["root"], *entries]]


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        found = names(metafunc.config.rootpath)
        metafunc.parametrize("name", [n for n in found if metafunc.function.every_page or "/" in n])


def pages(every_page):
    def mark(function):
        function.every_page = every_page
        return function

    return mark


@pages(every_page=True)
def test_the_page_shows_its_title_and_its_mathematics(open_page, name):
    page = open_page(name)
    assert page.locator("article h1").inner_text().strip()
    assert page.locator("article mjx-merror").count() == 0  # a formula that MathJax refused
    raw = """article => {
        const text = article.cloneNode(true);
        text.querySelectorAll("pre, code, dl.py, mjx-container, script, style").forEach(
            part => part.remove());
        return text.textContent.match(/[$]|\\\\[a-zA-Z]+|\\\\[([]/g) || [];
    }"""
    assert page.locator("article.bd-article").evaluate(raw) == []


@pages(every_page=False)
def test_a_chapter_has_typeset_mathematics_and_pictures(open_page, name):
    page = open_page(name)
    assert page.locator("article mjx-container").count() > 0
    broken = "e => e.filter(i => i.complete && !i.naturalWidth).length"
    assert page.locator("article img").evaluate_all(broken) == 0


@pages(every_page=True)
def test_a_phone_scrolls_the_equation_and_not_the_page(open_page, name):
    page = open_page(name, width=400)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    # Each formula begins inside the window, and what does not fit can be scrolled into it.
    lost = """formulas => formulas.filter(formula => {
        const edges = formula.getBoundingClientRect(), box = formula.closest("div.math");
        const scrolls = getComputedStyle(box).overflowX === "auto"
            && box.scrollWidth >= edges.width - 1;
        return edges.left < 0 || edges.right > 401 && !scrolls;
    }).length"""
    assert page.locator("article mjx-container[display=true]").evaluate_all(lost) == 0


@pages(every_page=True)
def test_dark_mode_darkens(open_page, name):
    page = open_page(name)

    def brightness():
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(map(int, colour.strip("rgba()").split(",")[:3])) / 3

    light = brightness()
    for _ in range(3):  # the button goes through light, dark and "as the system has it"
        page.locator("button.theme-switch-button").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
    assert light > 200
    assert brightness() < 60


def test_search_finds_the_optimal_discriminator(open_page):
    page = open_page("search.html?q=optimal+discriminator")
    page.locator("#search-results li").first.wait_for(timeout=10_000)
    found = page.locator("#search-results li a").evaluate_all("e => e.map(a => a.href)")
    assert any("/chapters/" in link for link in found)


@pages(every_page=False)
def test_moving_a_slider_changes_the_picture(open_page, name):
    page = open_page(name)
    for player in page.locator(".frame-player").all():
        picture, slider = player.locator("img").first, player.locator("input[type=range]").first
        before = picture.get_attribute("src")
        slider.focus()
        for key in ("End", "Home"):
            slider.press(key)
            if picture.get_attribute("src") != before:
                break
        assert picture.get_attribute("src") != before
        assert picture.evaluate("i => i.decode().then(() => i.naturalWidth)") > 0


@pages(every_page=False)
def test_play_plays(open_page, name):
    page = open_page(name)
    for button in page.locator(".frame-player button:visible").all():
        picture = button.locator("xpath=ancestor::*[contains(@class,'frame-player')]//img").first
        before = picture.get_attribute("src")
        button.click()
        page.wait_for_function(
            "([image, before]) => image.getAttribute('src') !== before",
            arg=[picture.element_handle(), before],
            timeout=5_000,
        )


def test_some_chapter_has_a_player(open_page, root):
    chapters = [name for name in names(root) if "/" in name]
    assert sum(open_page(name).locator(".frame-player").count() for name in chapters)


def test_the_site_reads_from_a_disk(chromium, site, root):
    """Carried into a room without network or server: opened as a file."""
    page = chromium.new_page()
    chapter = next(name for name in names(root) if "/" in name)
    page.goto((site / chapter).as_uri(), wait_until="load")
    page.locator("article mjx-container").first.wait_for(timeout=10_000)
    page.goto((site / "search.html").as_uri() + "?q=optimal+discriminator")
    page.locator("#search-results li").first.wait_for(timeout=10_000)
    page.close()
