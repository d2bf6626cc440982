"""The built site, read as files: complete, and with nothing to fetch from another host."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
import yaml

pytestmark = pytest.mark.site


class Fetched(HTMLParser):
    """The addresses that a browser asks for by itself when it shows a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        fetches = tag in {"img", "script", "iframe", "source", "video", "audio", "embed"}
        if fetches or (tag == "link" and attrs.get("rel") != "canonical"):
            self.addresses += filter(None, (attrs.get("src"), attrs.get("href")))


def pages(site):
    return sorted(site.rglob("*.html"))


def test_every_entry_of_the_contents_is_a_page(site, root):
    contents = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    entries = [contents["root"]]
    entries += [c["file"] for part in contents["parts"] for c in part["chapters"]]
    assert [name for name in entries if not (site / f"{name}.html").exists()] == []


def test_every_chapter_is_in_the_contents(root):
    contents = (root / "_toc.yml").read_text("utf8")
    found = [path.stem for path in root.glob("chapters/*.ipynb")]
    assert [name for name in found if f"chapters/{name}" not in contents] == []


def test_pages_fetch_nothing_from_another_host(site):
    foreign = []
    for page in pages(site):
        parser = Fetched()
        parser.feed(page.read_text("utf8"))
        foreign += [(page.name, a) for a in parser.addresses if re.match(r"(https?:)?//", a)]
    assert foreign == []


def test_style_sheets_fetch_nothing_from_another_host(site):
    foreign = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//[^)"']+""")
    found = [(s.name, m[0]) for s in site.rglob("*.css") for m in foreign.finditer(s.read_text())]
    assert found == []


def test_links_between_pages_lead_somewhere(site):
    missing = []
    for page in pages(site):
        for link in re.findall(r'<a [^>]*href="([^"#?]+)["#?]', page.read_text("utf8")):
            if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists():
                missing.append((page.name, link))
    assert missing == []


def test_no_launch_button_and_no_live_widget(site):
    for page in pages(site):
        text = page.read_text("utf8")
        assert "launch-buttons" not in text.replace("dropdown-launch-buttons{", "")
        assert "widget-view+json" not in text and "colab.research" not in text


def test_the_search_index_knows_the_terms(site):
    index = (site / "searchindex.js").read_text("utf8")
    terms = json.loads(index.removeprefix("Search.setIndex(").rstrip(")\n"))["terms"]
    assert "discrimin" in terms and "optim" in terms


def test_the_library_reference_documents_every_module(site, root):
    page = (site / "library.html").read_text("utf8")
    modules = {path.stem for path in root.glob("course_lib/[a-z]*.py")}
    assert {name for name in modules if f'id="module-course_lib.{name}"' not in page} == set()
