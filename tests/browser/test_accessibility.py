"""The site without a mouse and without good eyes: axe-core's rules, and the keyboard on each page.

What axe cannot see, `test_the_keyboard_reaches_everything` walks through: press Tab, note what has
the focus and how it looks, to the end of the page.
"""

from __future__ import annotations

import accessibility
import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.site, pytest.mark.browser]

# Whatever a mouse could use and is visible. (A permanent link beside a heading is visible under the
# mouse alone; the contents lead to the same place.)
WATCH = """() => {
    const wanted = "a[href], button, input, select, textarea, summary, [tabindex]";
    const still = document.createElement("style");
    still.textContent = "* { transition: none !important; animation: none !important; }";
    document.head.append(still);
    // A hidden radio button shows its focus on its label, a station of the map on its frame.
    const parts = element => [element, ...element.querySelectorAll(":scope > rect"),
        ...(element.type === "radio" ? element.labels : [])].flatMap(
            part => part.matches("label") ? [part, ...part.querySelectorAll("span")] : [part]);
    const look = element => parts(element).map(part => {
        const style = getComputedStyle(part);
        const outline = style.outlineStyle === "none" ? "" : style.outline;
        return [outline, style.boxShadow, style.border, style.backgroundColor, style.stroke,
            style.strokeWidth].join("|");
    }).join();
    const shows = element => parts(element).some(part => {
        for (let above = part; above; above = above.parentElement)
            if (+getComputedStyle(above).opacity < 0.5) return false;
        const box = part.getBoundingClientRect();
        return box.width > 4 && box.height > 4;
    });
    const elements = [...document.querySelectorAll(wanted)].filter(element =>
        element.tabIndex >= 0 && !element.disabled && !element.closest("[inert]")
        && element.checkVisibility({visibilityProperty: true}));
    const before = new Map(elements.map(element => [element, look(element)]));
    window.visited = new Map();
    document.addEventListener("focusin", event => {
        const focused = event.target;
        visited.set(focused, shows(focused) && look(focused) !== before.get(focused));
    });
    window.named = element => element.outerHTML.slice(0, 150);
    window.interactive = elements;
    return elements.length;
}"""
# Of a group of radio buttons Tab reaches one; the arrow keys lead to the others.
# And the contents beside the text unfold where the reader is.
MISSED = """() => interactive.filter(element => !visited.has(element)
    && element.checkVisibility({visibilityProperty: true})
    && !(element.type === "radio" && [...visited.keys()].some(
        other => other.name === element.name && other.form === element.form))).map(named)"""
UNSEEN = "() => [...visited].filter(([element, seen]) => !seen).map(([element]) => named(element))"

# The rest is the same markup in the same colours as on a wide screen.
WIDTH_MATTERS = ["scrollable-region-focusable", "target-size", "button-name", "aria-hidden-focus"]


def serious(found):
    return [v for v in found["violations"] if v["impact"] in ("serious", "critical")]


def walk(page):
    """Press Tab through the whole page; what is never reached, and what hides its focus."""
    stops = page.evaluate(WATCH)
    for _ in range(stops + 5):
        page.keyboard.press("Tab")
    return page.evaluate(MISSED), page.evaluate(UNSEEN)


def test_the_keyboard_reaches_everything_and_its_focus_is_seen(page, name):
    missed, unseen = walk(page)
    assert missed == [], "\n".join(missed)
    assert unseen == [], "\n".join(unseen)
    # Hundreds of formulas on the way from one link to the next would be no help: only those that
    # are wider than their place, and must be scrolled, are stops.
    fits = "e => e.matches('mjx-container') && e.scrollWidth <= e.clientWidth"
    assert page.evaluate(f"[...visited.keys()].filter({fits}).map(named)") == []


def test_the_first_stop_skips_to_the_text(page, name):
    page.keyboard.press("Tab")
    assert "Skip to main content" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_axe_finds_nothing_serious_on_a_wide_screen(page, name):
    assert serious(accessibility.audit(page)) == []
    # What changes with the theme is the colours.
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    assert serious(accessibility.audit(page, ["color-contrast"])) == []


def test_axe_finds_nothing_serious_on_a_phone(open_page, name):
    page = open_page(name, width=400)
    assert serious(accessibility.audit(page, WIDTH_MATTERS)) == []
    page.close()


@pytest.mark.parametrize("theme", accessibility.THEMES)
@pytest.mark.parametrize("page_name", ["search.html?q=discriminator", "genindex.html"])
def test_axe_finds_nothing_serious_on_pages_outside_the_contents(open_page, page_name, theme):
    page = open_page(page_name)
    page.emulate_media(color_scheme=theme)
    page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
    assert serious(accessibility.audit(page)) == []
    page.close()


def test_on_a_phone_the_contents_open_and_close_by_keyboard(open_page):
    page = open_page("chapters/04_gan_minimax.html", width=400)
    button = page.locator("button.primary-toggle").first
    inside = "document.activeElement.closest('dialog') !== null"
    button.focus()
    page.keyboard.press("Enter")
    page.locator("dialog .bd-links a").first.wait_for()
    for _ in range(4):
        page.keyboard.press("Tab")
    assert page.evaluate(inside)
    page.keyboard.press("Escape")
    page.locator("dialog .bd-links a").first.wait_for(state="hidden")
    expect(button).to_be_focused()
    page.close()


def test_axe_would_find_a_fault(open_page):
    """A picture without alternative text, pale words: the audit that is used here sees both."""
    page = open_page("intro.html")
    page.evaluate(
        """document.querySelector("article").insertAdjacentHTML("beforeend",
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='><p style='color:#ccc'>pale</p>")"""
    )
    assert {v["rule"] for v in serious(accessibility.audit(page))} == {
        "image-alt",
        "color-contrast",
    }
    page.close()


def test_the_walk_would_find_a_fault(open_page):
    page = open_page("intro.html")
    page.evaluate(
        """document.querySelector("article").insertAdjacentHTML("beforeend",
        `<button style="outline:none!important;box-shadow:none!important">unseen</button>
        <div id=trap tabindex=0 onkeydown="event.preventDefault()">trap</div>
        <button>unreached</button>`)"""
    )
    missed, unseen = walk(page)
    assert [text for text in missed if "unreached" in text]
    assert [text for text in unseen if "unseen" in text]
    page.close()
