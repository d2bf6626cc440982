"""Each chapter's text and notebook hold the same cells, ran in order, and read well anywhere."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import notebooks
import pytest

TEXTS = notebooks.texts()
CHAPTERS = notebooks.chapters()


def read(text: Path):
    return nbformat.read(text.with_suffix(".ipynb"), as_version=4)


def outputs(text: Path):
    return [o for cell in read(text).cells for o in cell.get("outputs", [])]


def printed(output) -> str:
    """What an output shows as text; pictures and players are data."""
    data = output.get("data", {})
    shown = output.get("text", "") + data.get("text/plain", "")
    return (
        shown
        if "frame-player" in data.get("text/html", "")
        else shown + str(data.get("text/html", ""))
    )


def every(texts):
    return pytest.mark.parametrize("text", texts, ids=lambda path: path.stem)


def test_there_are_chapters():
    assert CHAPTERS


def test_no_notebook_without_its_text(root):
    found = {*root.glob("chapters/*.ipynb"), *root.glob("chapters/exercises/*/*.ipynb")}
    assert found == {text.with_suffix(".ipynb") for text in TEXTS}


@every(TEXTS)
def test_text_and_notebook_hold_the_same_cells(text):
    assert notebooks.cells(read(text)) == notebooks.cells(notebooks.read_text(text)), "make sync"


@every(TEXTS)
def test_the_notebook_opens_in_any_python_kernel(text):
    assert read(text).metadata.kernelspec.name == "python3"


@every(TEXTS)
def test_cell_ids_are_those_of_the_cells(text):
    ids = [cell.id for cell in read(text).cells]
    assert ids == [cell.id for cell in notebooks.read_text(text).cells], "make sync"


@every(CHAPTERS)
def test_the_notebook_ran_in_order_without_an_error(text):
    assert notebooks.was_executed(read(text))
    assert outputs(text)


@every(CHAPTERS)
def test_nothing_was_written_to_stderr(text):
    assert [o.text for o in outputs(text) if o.get("name") == "stderr"] == []


@every(CHAPTERS)
def test_the_notebook_is_at_most_one_megabyte(text):
    assert text.with_suffix(".ipynb").stat().st_size <= 1_000_000


@every(CHAPTERS)
def test_outputs_name_no_folder_of_a_machine(text):
    folders = re.compile(r"(?<![\w.])(/(home|Users|root|tmp|usr|var|work|opt)/\S+|[A-Z]:\\\\\S+)")
    assert [m[0] for o in outputs(text) for m in folders.finditer(printed(o))] == []


@every(CHAPTERS)
def test_saved_outputs_need_no_kernel(text):
    notebook = read(text)
    assert "widgets" not in notebook.metadata
    assert [o for o in outputs(text) if notebooks.WIDGET_VIEW in o.get("data", {})] == []


def faults(source: str) -> list[str]:
    """What JupyterLab, GitHub or Colab would show raw: directives, roles, attributes."""
    return re.findall(
        r"^\s*(?:`{3,}|:{3,})\{[^}]*\}|(?<!`)\{[a-z:]+\}`[^`]+`|^\.\. [a-z]+::", source, re.M
    )


@every(TEXTS)
def test_the_text_is_portable(text):
    markdown = [cell.source for cell in read(text).cells if cell.cell_type == "markdown"]
    assert [fault for source in markdown for fault in faults(source)] == []


@pytest.mark.parametrize(
    "source",
    ["```{note}\nx\n```", ":::{tip}\nx\n:::", "see {ref}`here`", "{math:numref}`x`", ".. note:: x"],
)
def test_what_is_not_portable_is_noticed(source):
    assert faults(f"Some text.\n\n{source}\n")


def test_portable_text_is_left_in_peace():
    assert faults("A set $\\{x\\}$, `{code}`, a `dict {a: 1}`\n\n```python\nx = {}\n```\n") == []


@every(TEXTS)
def test_links_between_chapters_lead_somewhere(text):
    markdown = "\n".join(c.source for c in read(text).cells if c.cell_type == "markdown")
    links = re.findall(r"\]\((?!https?:|mailto:|#)([^)\s]+)\)", markdown)
    missing = [link for link in links if not (text.parent / link.partition("#")[0]).exists()]
    assert missing == []
    # A chapter's .md would open as text; pages outside the chapters have no notebook.
    assert [link for link in links if re.fullmatch(r"[^/]+\.md(#.*)?", link)] == []
