"""One setting makes Binder's and Colab's buttons, and the cell that Colab needs; on a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types

import nbformat
import notebooks
import pytest
import repository
import yaml

URL = "https://github.com/somebody/generative-models"
CHAPTER = "04_gan_minimax"


@pytest.fixture
def copy(tmp_path, root):
    """The settings and one chapter."""
    (tmp_path / "chapters").mkdir()
    shutil.copy(root / "_config.yml", tmp_path)
    for suffix in (".md", ".ipynb"):
        shutil.copy(root / "chapters" / f"{CHAPTER}{suffix}", tmp_path / "chapters")
    text = tmp_path / "chapters" / f"{CHAPTER}.md"
    if not notebooks.is_in_step(text):  # while a chapter is being edited
        notebook = notebooks.read_text(text)
        code = (c for c in notebook.cells if c.cell_type == "code")
        for count, cell in enumerate(code, start=1):
            cell.execution_count = count
        notebooks.write(notebook, text.with_suffix(".ipynb"))
    return tmp_path


def colab_cell(copy):
    notebook = nbformat.read(copy / "chapters" / f"{CHAPTER}.ipynb", as_version=4)
    return next(c for c in notebook.cells if "colab" in c.metadata.get("tags", []))


def files(copy):
    return {path.name: path.read_bytes() for path in copy.rglob("*") if path.is_file()}


def test_set_changed_and_taken_back(copy):
    before = files(copy)
    text = copy / "chapters" / f"{CHAPTER}.md"
    repository.set_repository(URL + ".git", copy)
    assert yaml.safe_load((copy / "_config.yml").read_text("utf8"))["repository"]["url"] == URL
    assert notebooks.is_in_step(text)  # the same cells, all of them executed in order
    first = next(c for c in notebooks.read_text(text).cells if c.cell_type == "code")
    assert first.source == colab_cell(copy).source and URL in first.source
    once = files(copy)
    repository.set_repository(URL, copy)
    assert files(copy) == once
    repository.set_repository(URL + "-2", copy)
    changed = files(copy)
    for name in ("_config.yml", f"{CHAPTER}.md"):
        assert changed[name] == once[name].replace(URL.encode(), f"{URL}-2".encode())
    assert notebooks.is_in_step(text)
    repository.set_repository("", copy)
    assert files(copy) == before


def test_no_output_is_lost(copy):
    path = copy / "chapters" / f"{CHAPTER}.ipynb"

    def outputs():
        cells = nbformat.read(path, as_version=4).cells
        return [
            {k: v for k, v in o.items() if k != "execution_count"}
            for c in cells
            for o in c.get("outputs", [])
        ]

    before = outputs()
    repository.set_repository(URL, copy)
    assert outputs() == before


@pytest.mark.parametrize(
    "url",
    [
        "github.com/a/b",
        "https://github.com/a",
        "https://gitlab.com/a/b",
        "https://github.com/a/b/tree/main",
    ],
)
def test_what_is_no_address_on_github_is_refused_and_nothing_written(copy, url):
    before = files(copy)
    with pytest.raises(ValueError, match=r"expected https://github.com/OWNER/NAME"):
        repository.set_repository(url, copy)
    assert files(copy) == before


def test_a_chapter_out_of_step_is_refused(copy):
    text = copy / "chapters" / f"{CHAPTER}.md"
    text.write_text(text.read_text("utf8") + "\nMore.\n", encoding="utf8")
    with pytest.raises(ValueError, match=f"{CHAPTER}.md and the notebook differ"):
        repository.set_repository(URL, copy)


def test_outside_colab_the_cell_does_nothing(copy, monkeypatch):
    repository.set_repository(URL, copy)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("ran a command"))
    here = os.getcwd()
    exec(colab_cell(copy).source, {})
    assert os.getcwd() == here


def test_on_colab_the_cell_fetches_the_course_once(copy, monkeypatch):
    repository.set_repository(URL, copy)
    commands, folders = [], []
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr(os, "chdir", folders.append)
    exec(colab_cell(copy).source, {})
    assert commands[0][:2] == ["git", "clone"] and commands[0][-2:] == [URL, "/content/course"]
    assert commands[1][1:4] == ["-m", "pip", "install"]
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/content/course")
    exec(colab_cell(copy).source, {})  # a second time: it is there
    assert len(commands) == 2 and folders == ["/content/course/chapters"] * 2


@pytest.mark.site
def test_with_an_address_each_chapter_has_both_buttons(copy, root):
    for folder in ("_ext", "_static"):
        shutil.copytree(root / folder, copy / folder)
    (copy / "_toc.yml").write_text(
        f"format: jb-book\nroot: intro\nchapters:\n- file: chapters/{CHAPTER}\n", "utf8"
    )
    (copy / "intro.md").write_text("# A small book\n", "utf8")
    row = f"| I Part | **[04 A chapter](chapters/{CHAPTER}.ipynb)** | |\n"
    (copy / "README.md").write_text(row, "utf8")
    repository.set_repository(URL, copy)
    settings = yaml.safe_load((copy / "_config.yml").read_text("utf8"))
    settings["html"]["baseurl"] = "https://somebody.example/course/"
    (copy / "_config.yml").write_text(yaml.safe_dump(settings), "utf8")
    command = shutil.which("jupyter-book", path=os.path.dirname(sys.executable))
    build = subprocess.run(
        [command, "build", "--all", "-W", "-n", str(copy)], capture_output=True, text=True
    )
    assert build.returncode == 0, build.stdout[-2000:] + build.stderr[-2000:]
    page = (copy / "_build" / "html" / "chapters" / f"{CHAPTER}.html").read_text("utf8")
    where = f"somebody/generative-models/{{}}main/chapters/{CHAPTER}.ipynb"
    assert "https://colab.research.google.com/github/" + where.format("blob/") in page
    binder = "https://mybinder.org/v2/gh/somebody/generative-models/main?urlpath=lab/tree/chapters/"
    assert f"{binder}{CHAPTER}.ipynb" in page
    assert "google.colab" not in page.replace("research.google.com", "")  # the cell is left out
    assert 'property="og:image" content="https://somebody.example/course/_images/' in page
    assert "mybinder" not in (copy / "_build" / "html" / "intro.html").read_text("utf8")


def test_binder_has_the_tested_versions_but_pytorch_s_own_build(root):
    environment = yaml.safe_load((root / ".binder" / "environment.yml").read_text("utf8"))
    assert any(str(line).startswith("pytorch-cpu") for line in environment["dependencies"])
    script = root / ".binder" / "postBuild"
    assert os.access(script, os.X_OK)
    left_out = subprocess.run(
        ["grep", "^torch==", root / "constraints.txt"], capture_output=True, text=True
    ).stdout.split()
    assert len(left_out) == 1 and "grep -v '^torch=='" in script.read_text("utf8")
