"""Ask axe-core about every page of the built site: light and dark, on a wide screen and on a phone.

    python scripts/accessibility.py     writes results/accessibility.json and prints a table

The tests hold the site to "nothing serious, nothing critical"; this report says everything that axe
found, also what it could not decide ("incomplete"). axe sees perhaps half of what can be wrong with
a page: tests/browser walks through the pages with the keyboard for another part.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import chromium
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page
from tqdm import tqdm

from course_lib.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_build" / "html"
TARGET = ROOT / "results" / "accessibility.json"
THEMES = ("light", "dark")
WIDTHS = {"wide": 1280, "phone": 400}
IMPACTS = ("critical", "serious", "moderate", "minor")

# What axe need not look at one by one; without this it takes four times as long.
# Words: a chapter has thousands in coloured code, in a dozen styles. Those of one class in one kind
# of box have one contrast: the first of each stays, the others become plain text of their box.
# Formulas: their glyphs are hidden from screen readers, which read the MathML beside them, and are
# drawn by the style sheet, where axe sees no text. A box of the same size takes their place.
# Transitions: a colour on its way from one theme to the other is none that a reader sees.
_THIN_OUT = """() => {
    document.head.insertAdjacentHTML(
        "beforeend", "<style>* { transition: none !important; }</style>");
    const seen = new Set();
    for (const word of document.querySelectorAll("pre span, dt.sig span, dt.sig em")) {
        const box = word.closest("div[class*=cell_], div.highlight, dt, details, blockquote");
        const look = `${word.className} in ${box?.className}`;
        if (seen.has(look) && !word.id) word.replaceWith(...word.childNodes);
        seen.add(look);
    }
    const formulas = [...document.querySelectorAll("mjx-math")];
    const sizes = formulas.map(formula => formula.getBoundingClientRect());
    formulas.forEach((formula, k) => {
        const box = document.createElement("span");
        box.style.cssText = `display: inline-block; width: ${sizes[k].width}px; `
            + `height: ${sizes[k].height}px`;
        formula.replaceWith(box);
    });
}"""

_RUN = """rules => axe.run(
    document,
    // preload: axe would fetch the style sheets again, to look for locked orientations.
    {preload: false, resultTypes: ["violations", "incomplete"], ...(rules && {runOnly: rules})},
).then(found => ({
    passes: found.passes.length,
    ...Object.fromEntries(["violations", "incomplete"].map(kind => [kind, found[kind].map(rule => ({
        rule: rule.id, impact: rule.impact, help: rule.help, elements: rule.nodes.length,
        example: `${rule.nodes[0].target.join(" ")}: ${
            [...rule.nodes[0].any, ...rule.nodes[0].all, ...rule.nodes[0].none]
                .map(check => check.message).join("; ")}`,
    }))])),
}))"""


def pages(site: Path) -> list[str]:
    """The pages of a built site, as paths below its folder, without the redirection of the root."""
    found = [path.relative_to(site).as_posix() for path in site.rglob("*.html")]
    return sorted(name for name in found if not name.startswith("_") and name != "index.html")


def audit(page: Page, rules: list[str] | None = None) -> dict[str, Any]:
    """What axe-core says about an open page, which is no good for anything else afterwards.

    Args:
        page: loaded, its formulas set.
        rules: names of the rules to try; None for all.

    Returns:
        "passes", the number of rules that hold, and "violations" and "incomplete", each a list of
        {"rule", "impact", "help", "elements", "example"}; "elements" is their number.
    """
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(AXE_SCRIPT)
    page.evaluate(_THIN_OUT)
    return page.evaluate(_RUN, rules)


def main() -> None:
    if not (SITE / "intro.html").exists():
        raise SystemExit(f"there is no site in {SITE.relative_to(ROOT)}; run make book first")
    report: dict[str, dict[str, Any]] = {}
    with chromium.browser() as browser:
        page = browser.new_page()
        for name in tqdm(pages(SITE), unit="page"):
            report[name] = {}
            for label, width in WIDTHS.items():
                page.set_viewport_size({"width": width, "height": 900})
                page.goto((SITE / name).as_uri())
                chromium.typeset(page)
                for theme in THEMES:
                    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                    page.wait_for_function(f"document.documentElement.dataset.theme === '{theme}'")
                    report[name][f"{theme}, {label}"] = audit(page)
        version = page.evaluate("axe.version")
    print(f"axe-core {version}; elements over the four modes of a page\n")
    print(f"{'page':45}" + "".join(f"{head:>11}" for head in (*IMPACTS, "incomplete", "passes")))
    for name, modes in report.items():
        count: Counter[str] = Counter()
        for found in modes.values():
            count.update({rule["impact"]: rule["elements"] for rule in found["violations"]})
            count["incomplete"] += sum(rule["elements"] for rule in found["incomplete"])
            count["passes"] += found["passes"]
        numbers = (count[head] for head in (*IMPACTS, "incomplete", "passes"))
        print(f"{name:45}" + "".join(f"{number:11}" for number in numbers))
    text = json.dumps({"axe-core": version, "pages": report}, indent=1, ensure_ascii=False)
    write_atomically(TARGET, (text + "\n").encode())
    print(f"\nwritten to {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
