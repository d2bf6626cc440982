"""The site's own parts: anchors to checks and figures, the landing page's map, the gallery.

Sphinx loads this file through `sphinx: local_extensions` in _config.yml. What the parts show is
read from the chapters (course_chapters.py) and drawn by course_map.py and course_gallery.py.
"""

from __future__ import annotations

import re
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

import course_gallery
from course_chapters import PLAIN, Chapter, Figure, chapters, is_picture
from course_gallery import shortened
from course_map import course_map
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOGGER = logging.getLogger(__name__)

CHECK = re.compile(r"Check (\d+)\b")
SIGNATURE = re.compile(r"<dl>\s*((?:<dd>.*?</dd>\s*)+)</dl>")


class Anchors(SphinxTransform):
    """Gives each check and each figure of a notebook an address: #check-3, #figure-2.

    The chapters are portable Markdown and cannot name their paragraphs. The addresses also join
    those of the headings, so that a link such as [shown](chapters/X.ipynb#check-3) is resolved by
    MyST, and one that leads nowhere is a warning.
    """

    default_priority = 870  # before MyST resolves the links inside a page, at 879

    def apply(self) -> None:
        if "kernelspec" not in self.env.metadata[self.env.docname]:
            return
        for paragraph in self.document.findall(nodes.paragraph):
            # An empty text comes before the bold lead.
            lead = next((part for part in paragraph.children if part.astext()), None)
            if isinstance(lead, nodes.strong) and (found := CHECK.match(lead.astext())):
                self.name(paragraph, f"check-{found[1]}", f"Check {found[1]}")
        bundles = [bundle for bundle in self.document.findall(nodes.container) if shown(bundle)]
        for k, bundle in enumerate(bundles, start=1):
            # MyST-NB replaces the bundle by one of its forms later; what stays is a box round it.
            box = nodes.container(classes=["course-anchor"])
            bundle.replace_self(box)
            box += bundle
            self.name(box, f"figure-{k}", f"Figure {k}")

    def name(self, node: nodes.Element, anchor: str, text: str) -> None:
        node["ids"].append(anchor)
        metadata = self.env.metadata[self.env.docname]
        slugs = metadata.setdefault("myst_slugs", {})
        if anchor in slugs:
            LOGGER.warning("%s occurs twice; number the checks in order", text, location=node)
        slugs[anchor] = (node.line or 0, anchor, text)
        self.document.myst_slugs = slugs


def shown(node: nodes.container) -> bool:
    """Whether a node holds an output that is a figure, a film or a panel."""
    if node.get("nb_element") != "mime_bundle":
        return False
    if any(form.get("mime_type") in PLAIN for form in node.children):
        return True
    return is_picture("".join(raw.astext() for raw in node.findall(nodes.raw)))


class FromChapters(SphinxDirective):
    """A directive that shows something read from the chapters."""

    def chapters(self) -> tuple[Chapter, ...]:
        for path in (Path(self.env.srcdir) / "README.md", *Path(__file__).parent.glob("*.py")):
            self.env.note_dependency(str(path))
        found = chapters(Path(self.env.srcdir))
        for chapter in found:
            if chapter.page:
                self.env.note_dependency(self.env.doc2path(chapter.page))
        return found

    def parsed(self, markdown: str) -> list[nodes.Node]:
        holder = nodes.Element()
        self.state.nested_parse(StringList(markdown.splitlines()), 0, holder)
        return holder.children

    def figure(self, name: str) -> tuple[Chapter, Figure]:
        """The figure that `04#2` names."""
        label, _, k = name.partition("#")
        for chapter in self.chapters():
            if chapter.label == label and 1 <= int(k or 0) <= len(chapter.figures):
                return chapter, chapter.figures[int(k) - 1]
        raise self.error(f"no figure {name!r}; expected a chapter and a figure, such as 04#2")


class Map(FromChapters):
    """```{course-map}```: the chapters as a path of stations, planned ones in grey."""

    def run(self) -> list[nodes.Node]:
        picture = course_gallery.THUMBNAILS + "/map-{label}.webp"
        return [nodes.raw("", course_map(self.chapters(), picture), format="html")]


class Questions(FromChapters):
    """```{course-questions}```: each chapter's question and minutes, part by part."""

    def run(self) -> list[nodes.Node]:
        lines: list[str] = []
        for part, inside in groupby(self.chapters(), lambda chapter: chapter.part):
            group = list(inside)
            lines += [f"**{part}**", ""]
            for chapter in group:
                if chapter.page:
                    lines += [
                        f"- **[{chapter.label} {chapter.title}]({chapter.page}.ipynb).** "
                        f"{chapter.question} *{chapter.minutes}.*"
                    ]
            planned = [f"{c.label} {c.title}" for c in group if not c.page]
            lines += [f"- Planned: {' · '.join(planned)}."] if planned else []
            lines += [""]
        box = nodes.container(classes=["course-questions"])
        box += self.parsed("\n".join(lines))
        return [box]


class Pictures(FromChapters):
    """```{course-pictures}```: figures side by side, a line `04#2 caption` for each."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        box = nodes.container(classes=["course-pictures"])
        for line in filter(None, self.content):
            name, _, caption = line.partition(" ")
            chapter, figure = self.figure(name)
            alt = escape(shortened(figure.alt) or caption.replace("*", ""))
            image = (
                f'<a href="{chapter.page}.html#figure-{figure.k}"><img '
                f'src="{course_gallery.address(chapter, figure)}" alt="{alt}"></a>'
            )
            column = nodes.container(classes=["column"])
            column += nodes.raw("", image, format="html")
            column += self.parsed(caption)
            box += column
        return [box]


class Gallery(FromChapters):
    """```{course-gallery}```: every figure, film and panel, with a filter."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", course_gallery.gallery(self.chapters()), format="html")]


def number_titles(app: Sphinx, env: BuildEnvironment) -> None:
    """In the contents, the search and the arrows at a page's end, a chapter has its number."""
    for docname, title in env.titles.items():
        if (number := re.match(r"chapters/(\d\d)_", docname)) and not title.get("numbered"):
            title["numbered"] = True
            title.insert(0, nodes.Text(f"{number[1]} "))
            entry = next(env.tocs[docname].findall(nodes.reference))
            entry.insert(0, nodes.Text(f"{number[1]} "))


def page_context(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """What a page says of itself to search engines and previews; words on its download buttons."""
    written = {chapter.page: chapter for chapter in chapters(Path(app.srcdir)) if chapter.page}
    if page in written:
        description = written[page].question
    else:
        paragraphs = doctree.findall(nodes.paragraph) if doctree else iter(())
        description = next((text for p in paragraphs if (text := p.astext())), "")
    title = escape(app.env.titles[page].astext() if page in app.env.titles else app.config.project)
    summary = escape(" ".join(shortened(description, 300).split()))
    tags = {"og:type": "article", "og:title": title, "og:site_name": escape(app.config.html_title)}
    if summary:
        tags["og:description"] = summary
    if base := app.config.html_baseurl.rstrip("/"):  # a preview wants full addresses
        tags["og:url"] = f"{base}/{page}.html"
        if page in written:
            label = written[page].label
            tags["og:image"] = f"{base}/{course_gallery.THUMBNAILS}/map-{label}.webp"
    lines = [f'<meta property="{name}" content="{value}">' for name, value in tags.items()]
    lines += [f'<meta name="description" content="{summary}">'] if summary else []
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)
    if "body" in context:  # Sphinx lays out long signatures as definition lists without terms
        context["body"] = SIGNATURE.sub(as_lines, context["body"])
    words = {".ipynb": "Notebook (.ipynb)", ".md": "Text (.md)", ".pdf": "Print, or save as PDF"}
    for group in context["header_buttons"]:
        for button in group.get("buttons", []):
            button["text"] = words.get(button["text"], button["text"])


def as_lines(signature: re.Match[str]) -> str:
    lines = signature[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
    return f'<span class="sig-lines">{lines}</span>'


def write_pictures(app: Sphinx, failure: Exception | None) -> None:
    if failure is None and app.builder.format == "html":
        found = chapters(Path(app.srcdir))
        course_gallery.write_thumbnails(found, app.config.course_map_figures, Path(app.outdir))


def leave_out_bundles(app: Sphinx, failure: Exception | None) -> None:
    """MathJax comes in a dozen bundles, a third of the site's size; pages load one of them."""
    if failure is None and app.builder.format == "html":
        loaded = Path(app.config.mathjax_path).name
        for bundle in Path(app.outdir, "_static", "mathjax").glob("*-*.js"):
            if bundle.name.startswith(("tex-", "mml-")) and bundle.name != loaded:
                bundle.unlink()


def launch_buttons(app: Sphinx, config: Any) -> None:
    """Buttons for Binder and Colab, if _config.yml names the repository; none otherwise."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options["launch_buttons"] = {
            "notebook_interface": "jupyterlab",
            "binderhub_url": "https://mybinder.org",
            "colab_url": "https://colab.research.google.com",
        }


def setup(app: Sphinx) -> dict[str, bool]:
    # Which figure of a chapter is its station on the map; the first where none is named.
    app.add_config_value("course_map_figures", {}, "env", types=[dict])
    app.add_transform(Anchors)
    app.add_directive("course-map", Map)
    app.add_directive("course-questions", Questions)
    app.add_directive("course-pictures", Pictures)
    app.add_directive("course-gallery", Gallery)
    app.connect("config-inited", launch_buttons)
    app.connect("env-updated", number_titles)
    app.connect("html-page-context", page_context, priority=600)  # after the theme's buttons
    app.connect("build-finished", write_pictures)
    app.connect("build-finished", leave_out_bundles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
