"""What is made of a notebook that may be anything: ours, with the student's sources in it."""

from __future__ import annotations

import json

import assignments
import nbformat
import notebooks
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inboxes import STUB, TEXT_STUB, answered, raw, released
from nbformat.v4 import new_code_cell, new_markdown_cell

from classroom.cleaning import MAX_BYTES, MAX_CELLS, clean

ROOT = assignments.ROOT


def cleaned(content):
    """The clean notebook and the notes, after what must hold for every submission whatever."""
    notebook, notes = clean(content, released())
    nbformat.validate(notebook)
    ours = [cell for cell in notebook.cells if not cell.id.startswith("added-")]
    for cell, original in zip(ours, released().cells, strict=True):
        if not cell.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source == original.source
        assert (cell.id, cell.cell_type, cell.metadata) == (
            *(original.id, original.cell_type, original.metadata),
        )
    assert all(not c.metadata for c in notebook.cells if c.id.startswith("added-"))
    assert all(c.outputs == [] for c in notebook.cells if c.cell_type == "code")
    assert notebook.metadata == released().metadata
    notebook_text = nbformat.writes(notebook)
    notebook_text.encode()
    return notebook, notes


def sources(notebook):
    return [cell.source for cell in notebook.cells]


def as_json(change):
    """A good submission, as plain data, after ``change`` was made to it."""
    data = json.loads(raw())
    change(data)
    return json.dumps(data).encode()


def test_a_good_submission_comes_out_as_it_was():
    notebook, notes = cleaned(raw())
    assert (notebook, notes) == (answered(), [])


@pytest.mark.parametrize("chapter", assignments.chapters(ROOT))
def test_a_clean_notebook_stays_as_it_is(chapter):
    given = notebooks.read_text(ROOT / assignments.SOURCE / chapter / f"{chapter}.md")
    given = nbformat.reads(nbformat.writes(given), as_version=4)
    assert clean(nbformat.writes(given).encode(), given) == (given, [])


def test_nothing_else_of_the_submission_comes_through():
    def change(data):
        data["metadata"]["evil"] = 1
        data["evil"] = 2
        data["cells"][3]["metadata"]["evil"] = 3
        data["cells"][3]["outputs"] = [{"output_type": "stream", "name": "evil", "text": "evil"}]
        data["cells"][6]["attachments"] = {"evil.png": {"image/png": "evil"}}
        data["cells"].append({"cell_type": "code", "source": "1", "metadata": {"tags": ["evil"]}})

    notebook, notes = cleaned(as_json(change))
    assert "evil" not in nbformat.writes(notebook)
    assert notes == ["pictures attached to 1 of your cells are not kept"]
    assert sources(notebook)[-1] == "1"


def test_cells_of_the_students_own_stay_where_they_were():
    notebook = answered()
    notebook.cells.insert(3, new_code_cell("helper = 1"))
    notebook.cells.insert(0, new_code_cell("before = 1"))
    notebook.cells.append(new_markdown_cell("after"))
    notebook.cells.append(new_markdown_cell("  "))
    result, notes = cleaned(raw(notebook))
    expected = sources(answered())
    expected.insert(3, "helper = 1")
    assert sources(result) == ["before = 1", *expected, "after"]
    assert notes == []


def test_our_words_come_back_and_what_a_student_wrote_over_them_is_kept():
    notebook = answered()
    notebook.cells[5].source += "\nmy proof is here"
    result, _ = cleaned(raw(notebook))
    assert sources(result)[5:] == ["## Exercise 2\nmy proof is here", "## Exercise 2", "Because."]


def test_edited_and_removed_checks_are_ours_again():
    notebook = answered()
    notebook.cells[4].source = "assert True"
    result, notes = cleaned(raw(notebook))
    assert result == answered()
    assert notes == ["locked cells that you changed (grading uses the original): check_half"]
    del notebook.cells[4]
    result, notes = cleaned(raw(notebook))
    assert result == answered()
    assert len(notes) == 1 and "missing" in notes[0] and "check_half" in notes[0]


def test_a_deleted_answer_is_blank_and_the_other_still_counts():
    notebook = answered()
    del notebook.cells[3]
    result, notes = cleaned(raw(notebook))
    assert (result.cells[3].source, result.cells[6].source) == (STUB, "Because.")
    assert "half" in notes[0] and "blank" in notes[0]


def test_of_two_answers_the_last_that_is_one_counts_and_the_others_still_run():
    notebook = answered()
    for source in ("def half(): return 1 / 2", "# nothing\n\n", STUB):
        notebook.cells.append(new_code_cell(source, metadata=notebook.cells[3].metadata))
    result, notes = cleaned(raw(notebook))
    assert result.cells[4].source == "def half(): return 1 / 2"
    assert sources(result)[3] == "def half():\n    return 0.5", "the first, as a plain cell"
    assert len(notes) == 1 and "more than once" in notes[0] and "half" in notes[0]


def test_a_copy_of_a_check_is_an_ordinary_cell():
    notebook = answered()
    notebook.cells.append(new_code_cell("print(1)", metadata=notebook.cells[4].metadata))
    result, _ = cleaned(raw(notebook))
    assert sources(result) == [*sources(answered()), "print(1)"]


def test_a_changed_cell_type_is_put_right():
    notebook = answered()
    notebook.cells[3] = new_markdown_cell(
        "def half(): return 0.5", metadata=notebook.cells[3].metadata
    )
    notebook.cells[6] = new_code_cell("Because.", metadata=notebook.cells[6].metadata)
    result, notes = cleaned(raw(notebook))
    assert [result.cells[n].cell_type for n in (3, 6)] == ["code", "markdown"]
    assert result.cells[3].source == "def half(): return 0.5"
    assert len(notes) == 1 and "type" in notes[0] and "half, proof" in notes[0]


def test_an_editor_that_drops_metadata_does_no_harm():
    def change(data):
        for cell in data["cells"]:
            cell["metadata"] = {}

    assert cleaned(as_json(change)) == (answered(), [])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"{", "damaged in line 1"),
        (b'{"cells": [\n}', "damaged in line 2"),
        (b"hello", "damaged"),
        (b"\x89PNG\r\n\x1a\n\x00", "not UTF-8"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b"[1, 2]", "it holds a list"),
        (b'"text"', "it holds a str"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' * 1_000_000, "nested too deeply"),
        (b"{}", "format None, expected 4"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3, expected 4"),
        (b'{"nbformat": 5, "cells": []}', "format 5, expected 4"),
        (b'{"nbformat": true}', "format True"),
        (b'{"nbformat": 4}', "no list of cells"),
        (b'{"nbformat": 4, "cells": []}', "no list of cells"),
        (b'{"nbformat": 4, "cells": {"a": 1}}', "no list of cells"),
        (b'{"nbformat": 4, "cells": [1]}', "none of the cells of these exercises"),
        (b" " * (MAX_BYTES + 1), "20.1 MB; the limit is 20 MB: clear the outputs"),
    ],
    ids=lambda value: repr(value[:20]) if isinstance(value, bytes) else "",
)
def test_what_is_no_notebook_is_blank_and_says_why(content, words):
    notebook, notes = cleaned(content)
    assert notebook == released()
    assert len(notes) == 1 and words in notes[0]
    assert "hand in again" in notes[0] or "cells" in notes[0]


@pytest.mark.parametrize(
    "number", ["NaN", "-Infinity", "1e999", "9" * 100_000], ids=lambda n: n[:9]
)
def test_strange_numbers_do_no_harm(number):
    text = raw().decode().replace('"nbformat_minor": 5', f'"nbformat_minor": {number}')
    assert number in text
    assert cleaned(text.encode()) == (answered(), [])


def test_a_mark_of_the_byte_order_does_no_harm():
    assert cleaned(b"\xef\xbb\xbf" + raw()) == (answered(), [])


@pytest.mark.parametrize("value", [None, 3, {"a": 1}, ["a", 1], [["a"]], True])
def test_a_source_that_is_no_text_is_left_out(value):
    notebook, notes = cleaned(as_json(lambda data: data["cells"][3].update(source=value)))
    assert notebook.cells[3].source == STUB and notebook.cells[6].source == "Because."
    assert "source" in notes[0] and "half" in notes[1]


@pytest.mark.parametrize("value", [None, 3, "a", ["a"], {"nbgrader": 3}, {"nbgrader": {}}])
def test_metadata_that_are_not_valid_are_ignored(value):
    notebook, _ = cleaned(as_json(lambda data: data["cells"][3].update(metadata=value)))
    assert notebook == answered(), "the id of the cell still tells which it is"
    change = {"nbgrader": {"grade_id": value}}
    notebook, _ = cleaned(as_json(lambda data: data["cells"][3].update(metadata=change)))
    assert notebook == answered()


def test_caps_on_cells():
    def many(data):
        data["cells"] += [{"cell_type": "code", "source": "1", "metadata": {}}] * 600

    notebook, notes = cleaned(as_json(many))
    assert len(notebook.cells) == MAX_CELLS and "only the first 500" in notes[0]
    large = "a" * 150_000 + "é" * 50_000
    notebook, notes = cleaned(as_json(lambda data: data["cells"][3].update(source=large)))
    assert notebook.cells[3].source == STUB and "200 kB" in notes[0]


def test_characters_that_cannot_be_written_are_replaced():
    odd = "x = 1\0\x1b[2J\ud800\r\n\tyes\x0c"
    notebook, notes = cleaned(as_json(lambda data: data["cells"][3].update(source=odd)))
    assert notebook.cells[3].source == "x = 1��[2J�\n\tyes\x0c"
    assert "control characters" in notes[0]


def test_the_text_stays_blank_if_it_was_not_answered():
    notebook, notes = cleaned(raw(released()))
    assert notebook.cells[6].source == TEXT_STUB
    assert (notebook, notes) == (released(), [])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 6),
            st.sampled_from(["cell_type", "source", "metadata", "id", "outputs", "nbgrader"]),
            json_values,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_stands_in_a_cell_the_result_is_sound(changes):
    def change(data):
        for number, key, value in changes:
            cell = data["cells"][number]
            if key == "nbgrader":
                cell["metadata"] = {"nbgrader": value}
            else:
                cell[key] = value

    cleaned(as_json(change))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 3000), st.integers(0, 40))
def test_whatever_bytes_come_the_result_is_sound(noise, start, length):
    content = raw()
    cleaned(content[:start] + noise + content[start + length :])
