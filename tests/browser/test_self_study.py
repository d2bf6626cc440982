"""A reader alone in JupyterLab: a hint, a right and a wrong answer, the solution, the progress."""

from __future__ import annotations

import re
import sys

import nbformat
import pytest
from playwright.sync_api import expect

from classroom.self_study import write

pytestmark = pytest.mark.browser
CHAPTER = "04_gan_minimax"
RIGHT = "def value_at_one_half() -> float:\n    return -math.log(4)"
WRONG = "def minimax_gradient(a):\n    return torch.sigmoid(a)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("course") / "my_exercises"
    write(root, folder)
    return folder


@pytest.fixture(scope="module")
def lab(folder, root, start_lab):
    """A JupyterLab in the reader's folder."""
    return start_lab(
        folder.parent,
        lambda options: [sys.executable, "-m", "jupyterlab", "--allow-root", *options],
        PYTHONPATH=str(root),
        JUPYTER_CONFIG_PATH=str(root / ".jupyter"),
    )


@pytest.fixture(scope="module")
def page(lab):
    return lab.open(f"my_exercises/{CHAPTER}.ipynb")


def cell(page, folder, name):
    """The cell with this grade_id, or the first whose source begins with this text."""
    found = nbformat.read(folder / f"{CHAPTER}.ipynb", as_version=4).cells
    names = [each.metadata.get("nbgrader", {}).get("grade_id") or each.source for each in found]
    return page.locator(".jp-Notebook .jp-Cell").nth(
        next(i for i, each in enumerate(names) if each.startswith(name))
    )


def run(page, where):
    """Run one code cell, and wait until it has a number."""
    prompt = where.locator(".jp-InputPrompt")
    prompt.click()
    page.keyboard.press("Shift+Enter")
    expect(prompt).to_have_text(re.compile(r"\[\d+\]"), timeout=60_000)


def answer(page, where, code):
    where.locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(code)
    run(page, where)


def test_a_hint_is_folded_until_it_is_asked_for(page, folder):
    hint = page.locator(".jp-MarkdownOutput details", has_text="A hint").nth(1)
    words = hint.get_by_text("and F.logsigmoid computes these")
    expect(words).to_be_hidden()
    hint.locator("summary").click()
    expect(words).to_be_visible()
    # The formulas in it are set, not shown as they were typed.
    expect(hint.locator("mjx-container").first).to_be_visible()
    assert "$" not in hint.inner_text()


def test_a_check_is_folded_to_one_line(page, folder):
    check = cell(page, folder, "check_value_at_one_half")
    expect(check.locator(".jp-Placeholder")).to_contain_text("Run this check (1 point)")
    expect(check.locator(".cm-content")).to_have_count(0)


def test_without_an_answer_the_check_says_so(page, folder):
    run(page, cell(page, folder, "setup"))
    run(page, cell(page, folder, "value_at_one_half"))
    expect(cell(page, folder, "value_at_one_half")).to_contain_text("no answer yet")


def test_a_right_answer_is_ok_at_once(page, folder):
    answer(page, cell(page, folder, "value_at_one_half"), RIGHT)
    check = cell(page, folder, "check_value_at_one_half")
    run(page, check)
    expect(check.locator(".jp-OutputArea")).to_have_text("Exercise 1: OK")


def test_a_wrong_answer_gets_its_message(page, folder):
    answer(page, cell(page, folder, "minimax_gradient"), WRONG)
    check = cell(page, folder, "check_minimax_gradient")
    run(page, check)
    output = check.locator(".jp-OutputArea")
    expect(output).to_contain_text("AssertionError")
    printed = check.locator('[data-mime-type="application/vnd.jupyter.stdout"]')
    expect(printed).to_have_count(0)


def test_a_solution_unfolds_alone(page, folder):
    solutions = cell(page, folder, "### Exercise 3")
    first, second = solutions.locator("details").all()
    expect(first.locator("pre")).to_be_hidden()
    first.locator("summary").click()
    expect(first.locator("pre")).to_contain_text("return -torch.sigmoid(a)")
    expect(second.locator("pre")).to_be_hidden()


def test_a_model_derivation_is_set(page, folder):
    derivation = cell(page, folder, "### Exercise 8").locator("details").first
    expect(derivation.locator("mjx-container").first).to_be_hidden()
    derivation.locator("summary").click()
    expect(derivation.locator("mjx-container").first).to_be_visible()
    assert "$" not in derivation.inner_text()


def test_what_is_saved_is_shown_as_progress(page, lab, folder):
    with page.expect_response(
        lambda r: r.request.method == "PUT" and f"{CHAPTER}.ipynb" in r.url
    ) as answer:
        page.keyboard.press("Control+s")
    assert answer.value.ok
    progress = lab.open("my_exercises/progress.ipynb", width=400, mode="doc")
    code = progress.locator(".jp-CodeCell").first
    run(progress, code)
    output = code.locator(".jp-OutputArea")
    expect(output).to_contain_text("1 of 353 points")
    link = progress.get_by_role("link", name="04: the GAN minimax theorem")
    expect(link).to_be_visible()
    assert f"{CHAPTER}.ipynb" in link.get_attribute("href")
    fold = output.locator("details").nth(2)
    fold.locator("summary").click()
    expect(fold).to_contain_text("Exercise 3: minimax_gradient (1), tried")
    assert "value_at_one_half" not in fold.inner_text()
    # It fits into the page of a telephone.
    assert output.evaluate("node => node.scrollWidth <= node.clientWidth + 1")


def test_an_update_of_the_course_leaves_the_saved_answers(page, folder, root):
    saved = folder / f"{CHAPTER}.ipynb"
    before = saved.read_bytes()
    assert write(root, folder) == []
    assert saved.read_bytes() == before
