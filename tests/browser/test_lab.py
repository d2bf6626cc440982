"""A chapter in JupyterLab, driven as a reader would: open, run all, move the slider, save."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import notebooks
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser
TOKEN = "reader"
CHAPTERS = [text for text in notebooks.texts() if not notebooks.is_exercise(text)]
# Of what Git would give a reader, what JupyterLab needs.
COPIED = (
    *("chapters", "course_lib", "scripts", "Makefile", "pyproject.toml", "constraints.txt"),
    *("results", ".jupyter", "jupytext.toml"),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def copy(root, tmp_path_factory):
    """A copy of the course, so that saving a chapter changes nothing here."""
    folder = tmp_path_factory.mktemp("course")
    for name in COPIED:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def lab(copy, tmp_path_factory):
    """The address of a JupyterLab that `make lab` started for a user who never had one."""
    home = tmp_path_factory.mktemp("home")
    folders = ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    private = {name: str(home / name) for name in folders}
    environment = {**os.environ, **private, "HOME": str(home), "PYTHONPATH": str(copy)}
    # All cells in the page at once; by default only those near the window are.
    settings = home / "config/lab/user-settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    port = free_port()
    options = f"--no-browser --port={port} --ServerApp.port_retries=0"
    options += f" --IdentityProvider.token={TOKEN}"
    # The running environment serves as the copy's; -o: it is up to date, install nothing.
    venv = ["-o", f"{sys.prefix}/.stamp-notebooks", f"VENV={sys.prefix}"]
    log = home / "log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            ["make", "lab", *venv, f"LAB_ARGS={options}"],
            cwd=copy,
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
        assert f"{address}/lab/tree/chapters/" in log.read_text(), "the address is not printed"
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem, scope="module")
def chapter(request):
    return request.param


@pytest.fixture(scope="module")
def page(chromium, lab, chapter):
    """The chapter, open in JupyterLab and not yet run."""
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.foreign = []  # requests to another host
    page.on(
        "request",
        lambda r: (
            None if r.url.startswith((lab, "data:", "blob:", "ws")) else page.foreign.append(r.url)
        ),
    )
    page.goto(f"{lab}/lab/tree/chapters/{chapter.stem}.ipynb?token={TOKEN}&reset")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
    yield page
    context.close()


def test_before_it_runs_the_reader_sees_players_and_no_dead_widget(page, chapter):
    expected = sum(
        "frame-player" in str(output.get("data", {}).get("text/html", ""))
        for cell in nbformat.read(chapter.with_suffix(".ipynb"), 4).cells
        for output in cell.get("outputs", [])
    )
    players = page.locator(".jp-OutputArea .frame-player")
    expect(players).to_have_count(expected)
    assert page.get_by_text("model not found").count() == 0
    for player in players.all():
        player.scroll_into_view_if_needed()
        picture, slider = player.locator("img"), player.locator("input[type=range]").first
        before = picture.get_attribute("src")
        slider.press("End")
        slider.press("ArrowLeft")
        assert picture.get_attribute("src") != before


def test_run_all_reaches_the_end_without_an_error(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    indicator = page.locator(".jp-Notebook-ExecutionIndicator")
    page.locator(".jp-Notebook-ExecutionIndicator[data-status=busy]").wait_for(timeout=20_000)
    page.wait_for_function(
        """() => {
            const prompts = [...document.querySelectorAll(".jp-CodeCell .jp-InputPrompt")];
            return !prompts.some(prompt => prompt.textContent.includes("*"))
                && document.querySelector(".jp-Notebook-ExecutionIndicator").dataset.status
                    === "idle";
        }""",
        timeout=180_000,
    )
    assert indicator.get_attribute("data-status") == "idle"
    error = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
    assert error.all_inner_texts() == []
    # A widget whose script failed shows itself as "Click to show javascript error".
    assert page.locator(".jupyter-widgets-error-widget").count() == 0


def test_moving_the_live_slider_changes_the_figure(page):
    panel = page.locator(".jp-OutputArea-output:has(.widget-slider)").first
    panel.scroll_into_view_if_needed()
    picture = panel.locator("img").first
    before = picture.get_attribute("src")
    handle = panel.locator(".noUi-handle").first
    handle.focus()
    for _ in range(3):
        handle.press("ArrowRight")
    page.wait_for_function(
        "([image, before]) => image.src !== before",
        arg=[picture.element_handle(), before],
        timeout=10_000,
    )


def test_what_is_saved_holds_the_player_and_changes_no_text(page, copy, chapter):
    text, saved = (copy / "chapters" / f"{chapter.stem}{end}" for end in (".md", ".ipynb"))
    before, written = text.read_text("utf8"), saved.stat().st_mtime_ns
    page.locator(".jp-Notebook").first.click(position={"x": 5, "y": 5})
    page.keyboard.press("Control+s")
    for _ in range(60):
        if saved.stat().st_mtime_ns != written:
            break
        page.wait_for_timeout(250)
    page.wait_for_timeout(1000)
    notebook = nbformat.read(saved, as_version=4)
    assert "widgets" not in notebook.metadata
    datas = [o.get("data", {}) for cell in notebook.cells for o in cell.get("outputs", [])]
    assert [data for data in datas if notebooks.WIDGET_VIEW in data] == []
    assert any("frame-player" in str(data.get("text/html", "")) for data in datas)
    assert text.read_text("utf8") == before


def test_no_other_host_was_asked(page):
    assert page.foreign == []
    # Nor is the reader asked whether news may be fetched.
    assert page.locator(".jp-Notification-Toast, .Toastify__toast").all_inner_texts() == []
