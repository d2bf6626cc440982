"""Every chapter runs in a minute and in 2 GB, as measured on its present code."""

from __future__ import annotations

import json

import notebook_costs
import pytest

TEXT = """\
---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Sample

```{code-cell} ipython3
import time

block = bytearray(SIZE)
block[::4096] = b"x" * len(block[::4096])
time.sleep(0.5)
```
"""


@pytest.fixture
def text(tmp_path, monkeypatch):
    """A chapter that sleeps half a second and fills 300 MB."""
    path = tmp_path / "chapters" / "01_sample.md"
    path.parent.mkdir()
    path.write_text(TEXT.replace("SIZE", "300_000_000"))
    monkeypatch.setattr(notebook_costs, "TARGET", tmp_path / "costs.json")
    monkeypatch.setattr(notebook_costs, "chapters", lambda: [path])
    return path


def test_exactly_the_chapters_are_measured():
    stems = [text.stem for text in notebook_costs.chapters()]
    assert [*notebook_costs.recorded()] == stems, f"run {notebook_costs.COMMAND}"


@pytest.mark.parametrize("chapter", notebook_costs.chapters(), ids=lambda path: path.stem)
def test_a_chapter_is_within_its_limits(chapter):
    costs = notebook_costs.recorded()[chapter.stem]
    assert costs["code"] == notebook_costs.digest(chapter), f"run {notebook_costs.COMMAND}"
    assert 0 < costs["memory_gb"] < notebook_costs.MEMORY_LIMIT
    assert 0 < costs["cpu_seconds"] < costs["seconds"] + 1  # one thread


def test_seconds_and_memory_are_measured(text):
    costs = notebook_costs.measure(text)
    assert 0.5 < costs["seconds"] < 60
    assert 0.1 < costs["cpu_seconds"] < costs["seconds"] + 1
    assert 0.3 < costs["memory_gb"] < 0.6
    text.write_text(TEXT.replace("SIZE", "1"))
    assert notebook_costs.measure(text)["memory_gb"] < costs["memory_gb"] - 0.2


def test_only_what_changed_is_measured_again(text, monkeypatch):
    measured = []

    def measure(text):
        measured.append(text.stem)
        row = {"seconds": 1.0, "cpu_seconds": 1.0, "memory_gb": 0.5}
        return {"code": notebook_costs.digest(text), **row}

    monkeypatch.setattr(notebook_costs, "measure", measure)
    for _ in range(2):
        notebook_costs.main([])
    text.write_text(text.read_text().replace("# Sample", "# Another title"))
    notebook_costs.main([])
    assert measured == ["01_sample"]
    text.write_text(text.read_text().replace("0.5", "0.6"))
    notebook_costs.main([])
    notebook_costs.main(["01_sample"])
    assert len(measured) == 3
    assert [*json.loads(notebook_costs.TARGET.read_text())] == ["01_sample"]


def test_an_unknown_chapter_is_named(text, capsys):
    with pytest.raises(SystemExit):
        notebook_costs.main(["02_sample"])
    assert "no chapter 02_sample; there are 01_sample" in capsys.readouterr().err
