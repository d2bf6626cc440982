"""A check that holds on one kind of machine alone is found."""

from __future__ import annotations

import portability
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
import torch

torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
```

```{code-cell} ipython3
# A narrow band
assert CONDITION
```
"""


@pytest.fixture
def sample(tmp_path, monkeypatch):
    def write(condition):
        path = tmp_path / "01_sample.md"
        path.write_text(TEXT.replace("CONDITION", condition))
        monkeypatch.setattr(portability, "chapters", lambda: [path])

    return write


@pytest.mark.parametrize(
    ("condition", "machine"),
    [
        ("torch.get_num_threads() == 1", "two threads"),
        ("torch.backends.cpu.get_cpu_capability() != 'DEFAULT'", "no AVX"),
    ],
)
def test_a_check_that_fails_elsewhere_is_named(sample, capsys, condition, machine):
    sample(condition)
    assert portability.main([]) == 1
    told = capsys.readouterr().out
    assert f"{machine:14}\n    code cell 2, '# A narrow band': AssertionError" in told
    assert told.count("AssertionError") == 1 and told.count("holds") == 2


def test_a_chapter_that_holds_everywhere_passes(sample, capsys):
    sample("True")
    assert portability.main(["01_sample"]) == 0
    assert capsys.readouterr().out.count("holds") == len(portability.MACHINES)


def test_an_unknown_chapter_is_named(sample, capsys):
    sample("True")
    with pytest.raises(SystemExit):
        portability.main(["02_sample"])
    assert "no chapter 02_sample; there are 01_sample" in capsys.readouterr().err
