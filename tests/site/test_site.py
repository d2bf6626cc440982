"""The built site, read as files: complete, and with nothing to fetch from another host."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

import course_chapters
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
        text = re.sub(r"(?s)<script.*?</script>", "", page.read_text("utf8"))  # a quiz builds links
        for link in re.findall(r'<a [^>]*href="([^"#?]+)["#?]', text):
            if not re.match(r"[a-z]+:", link) and not (page.parent / link).exists():
                missing.append((page.name, link))
    assert missing == []


def anchors(text):
    return set(re.findall(r'\bid="([^"]+)"', text))


def test_links_to_a_place_in_a_page_find_it(site):
    text = {page.resolve(): page.read_text("utf8") for page in pages(site)}
    known = {page: anchors(content) for page, content in text.items()}
    missing = [
        (page.name, link, place)
        for page, content in text.items()
        for link, place in re.findall(r'<a [^>]*href="([^"#?:]*\.html)?#([^"]+)"', content)
        if place not in known.get((page.parent / link).resolve() if link else page, {place})
    ]
    assert missing == []


def chapter_pages(site):
    return sorted((site / "chapters").glob("*.html"))


def test_checks_and_figures_have_addresses(site, root):
    for page in chapter_pages(site):
        text = (root / "chapters" / f"{page.stem}.ipynb").read_text("utf8")
        wanted = {f"check-{k}" for k in re.findall(r'"\*\*Check (\d+)\.\*\*', text)}
        known = anchors(page.read_text("utf8"))
        assert wanted and wanted <= known
        found = course_chapters.figures(json.loads(text)["cells"])
        numbered = {name for name in known if re.fullmatch(r"figure-\d+", name)}
        assert numbered == {f"figure-{figure.k}" for figure in found}


def test_the_gallery_shows_every_picture_small(site, root):
    page = (site / "gallery.html").read_text("utf8")
    shown = re.findall(r'href="(chapters/[^"]+)#figure-(\d+)"><span[^>]*><img src="([^"]+)"', page)
    chapters = course_chapters.chapters(root)
    wanted = [(f"{c.page}.html", str(f.k)) for c in chapters for f in c.figures]
    assert [(page, k) for page, k, _ in shown] == wanted and len(wanted) > 50
    sizes = [(site / picture).stat().st_size for _, _, picture in shown]
    assert len(page) + sum(sizes) < 3_000_000
    assert page.count('loading="lazy"') == len(wanted)


def test_pictures_of_the_landing_page_exist(site):
    page = (site / "intro.html").read_text("utf8")
    pictures = re.findall(r'(?:src|<image href)="(_images/[^"]+)"', page)
    assert len(pictures) >= 3 + 2 * len(chapter_pages(site))  # the map is drawn in two layouts
    assert [name for name in pictures if not (site / name).exists()] == []


def test_the_landing_page_asks_each_chapter_s_question(site, root):
    page = html.unescape((site / "intro.html").read_text("utf8")).replace("’", "'")
    for chapter in course_chapters.chapters(root):
        assert chapter.title in page and chapter.question.replace("’", "'") in page


def test_contents_and_arrows_name_a_chapter_by_its_number(site):
    page = (site / "chapters" / "05_gan_in_practice.html").read_text("utf8")
    assert '<p class="prev-next-title">04 The GAN minimax theorem</p>' in page
    assert "<title>05 GANs in practice" in page


def test_each_page_says_what_it_is(site, root):
    contents = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    entries = [contents["root"], *(c["file"] for p in contents["parts"] for c in p["chapters"])]
    descriptions = []
    for name in entries:
        page = (site / f"{name}.html").read_text("utf8")
        assert '<html lang="en"' in page and 'href="#main-content"' in page
        descriptions += re.findall(r'<meta name="description" content="([^"]{20,})">', page)
        assert '<meta property="og:title"' in page and "og:image" not in page
        assert (
            len(re.findall(r"<h1[ >]", re.sub(r'<div id="jb-print.*?</div>', "", page, flags=re.S)))
            == 1
        )
    assert len(set(descriptions)) == len(entries)


def test_each_chapter_can_be_downloaded(site, root):
    for page in chapter_pages(site):
        assert "Notebook (.ipynb)" in page.read_text("utf8")
        copy = site / "_sources" / "chapters" / f"{page.stem}.ipynb"
        assert copy.read_bytes() == (root / "chapters" / copy.name).read_bytes()


def test_the_site_is_small_enough_to_carry(site):
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert size < 40_000_000
    assert len(list((site / "_static" / "mathjax").glob("tex-*.js"))) == 1


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
