"""A reader alone in JupyterLab: a hint, a right and a wrong answer, the solution, the progress."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from playwright.sync_api import expect

from classroom.self_study import write

pytestmark = pytest.mark.browser
TOKEN = "reader"
CHAPTER = "04_gan_minimax"
RIGHT = "def value_at_one_half() -> float:\n    return -math.log(4)"
WRONG = "def minimax_gradient(a):\n    return torch.sigmoid(a)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("course") / "my_exercises"
    write(root, folder)
    return folder


@pytest.fixture(scope="module")
def lab(folder, root, tmp_path_factory):
    """The address of a JupyterLab in the reader's folder, for a user who never had one."""
    home = tmp_path_factory.mktemp("home")
    names = ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    private = {name: str(home / name) for name in names}
    environment = {**os.environ, **private, "HOME": str(home), "PYTHONPATH": str(root)}
    environment["JUPYTER_CONFIG_PATH"] = str(root / ".jupyter")
    # All cells in the page at once; by default only those near the window are.
    settings = home / "JUPYTER_CONFIG_DIR/lab/user-settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    command = [sys.executable, "-m", "jupyterlab", *options, f"--IdentityProvider.token={TOKEN}"]
    log = home / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            command,
            cwd=folder.parent,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=1).close()
                break
            except OSError:
                assert server.poll() is None, log.read_text()[-3000:]
                time.sleep(0.5)
        else:
            pytest.fail("JupyterLab did not answer in a minute\n" + log.read_text()[-3000:])
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def opened(chromium, lab):
    """Opens a notebook of the reader's folder."""
    contexts = []

    def opened(name, width=1200, mode="lab"):
        context = chromium.new_context(viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.goto(f"{lab}/{mode}/tree/my_exercises/{name}.ipynb?token={TOKEN}&reset")
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        # The page calls itself idle before it has a kernel, too.
        for _ in range(120):
            sessions = page.request.get(f"{lab}/api/sessions?token={TOKEN}").json()
            kernels = [each["kernel"] for each in sessions if each["name"] == f"{name}.ipynb"]
            if any(each["connections"] and each["execution_state"] == "idle" for each in kernels):
                break
            page.wait_for_timeout(500)
        idle = page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        idle.wait_for(state="attached", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def page(opened):
    return opened(CHAPTER)


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


def test_what_is_saved_is_shown_as_progress(page, opened, folder):
    saved = folder / f"{CHAPTER}.ipynb"
    before = saved.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    for _ in range(60):
        if saved.stat().st_mtime_ns != before:
            break
        page.wait_for_timeout(250)
    progress = opened("progress", width=400, mode="doc")
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
