"""The tool behind `make sync`, on a small pair of its own."""

from __future__ import annotations

import nbformat
import notebooks
import pytest
from nbclient.exceptions import CellExecutionError

HEADER = """\
---
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---
"""
CELL = "```{{code-cell}} ipython3\n{}\n```\n\n"


@pytest.fixture
def text(tmp_path):
    """chapters/01_sample.md with two code cells, one of them tagged."""
    path = tmp_path / "chapters" / "01_sample.md"
    path.parent.mkdir()
    tagged = ":tags: [nbval-ignore-output, hide-input]\n\nprint(x + 1)"
    path.write_text(f"{HEADER}\n# Sample\n\n{CELL.format('x = 1')}Text.\n\n{CELL.format(tagged)}")
    return path


def result(text):
    return nbformat.read(text.with_suffix(".ipynb"), as_version=4)


def test_sync_executes_and_keeps_tags(text):
    assert notebooks.texts(text.parent.parent) == [text]
    assert not notebooks.is_in_step(text)
    notebooks.refresh(text)
    assert notebooks.is_in_step(text)
    cell = result(text).cells[-1]
    assert cell.outputs[0].text == "2\n"
    assert cell.metadata.tags == ["nbval-ignore-output", "hide-input"]


def test_sync_twice_changes_no_byte(text):
    notebooks.refresh(text)
    first = text.with_suffix(".ipynb").read_bytes()
    notebooks.refresh(text)
    assert text.with_suffix(".ipynb").read_bytes() == first


@pytest.mark.parametrize(
    "change",
    [("x = 1", "x = 2"), ("Text.", "Other text."), ("hide-input", "hide-output"), ("# S", "## S")],
)
def test_a_change_of_the_text_is_noticed(text, change):
    notebooks.refresh(text)
    text.write_text(text.read_text().replace(*change))
    assert not notebooks.is_in_step(text)


@pytest.mark.parametrize("counts", [(2, 1), (1, 3), (1, None), (1, 1)])
def test_a_notebook_that_ran_out_of_order_is_noticed(text, counts):
    notebooks.refresh(text)
    notebook = result(text)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell, count in zip(code, counts, strict=True):
        cell.execution_count = count
    notebooks.write(notebook, text.with_suffix(".ipynb"))
    assert not notebooks.is_in_step(text)


def test_a_chapter_that_fails_leaves_its_notebook_alone(text):
    notebooks.refresh(text)
    before = text.with_suffix(".ipynb").read_bytes()
    text.write_text(text.read_text().replace("x = 1", "x = 1 / 0"))
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        notebooks.refresh(text)
    assert [p.name for p in text.parent.iterdir() if "tmp" in p.name] == []
    assert text.with_suffix(".ipynb").read_bytes() == before


def test_an_exercise_is_written_without_running(text):
    exercise = text.parent / "exercises" / "01_sample" / "01_sample.md"
    exercise.parent.mkdir(parents=True)
    exercise.write_text(text.read_text().replace("x = 1", "raise NotImplementedError"))
    notebooks.refresh(exercise)
    assert notebooks.is_in_step(exercise)
    assert not any(c.get("outputs") for c in result(exercise).cells)


def test_only_the_dead_widget_is_removed():
    def output(**data):
        return nbformat.v4.new_output("display_data", data=data)

    view = {"model_id": "1", "version_major": 2, "version_minor": 0}
    both = output(**{notebooks.WIDGET_VIEW: view, "text/html": "<p>", "text/plain": "p"})
    only = output(**{notebooks.WIDGET_VIEW: view})
    cell = nbformat.v4.new_code_cell("panel", outputs=[both, only])
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    notebooks.without_live_state(notebook)
    assert both.data == {"text/html": "<p>", "text/plain": "p"}
    assert only.data == {notebooks.WIDGET_VIEW: view}
    assert "widgets" not in notebook.metadata
