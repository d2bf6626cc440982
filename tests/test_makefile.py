"""What `make lab` says on a machine where it cannot go on."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")

OLD = """\
#!/bin/sh
[ "$1" = -c ] && exec {python} -c "import sys
sys.version_info, sys.version = (3, 10, 12), '3.10.12 (main)'
$2"
exec {python} "$@"
"""
WITHOUT_ENSUREPIP = """\
#!/bin/sh
[ "$2" = venv ] || exec {python} "$@"
mkdir -p .venv/bin
touch .venv/bin/python
echo "apt install python3-venv"
exit 1
"""
WITHOUT_INDEX = """\
#!/bin/sh
[ "$2" = venv ] || exec {python} "$@"
mkdir -p .venv/bin
printf '#!/bin/sh\\necho "$*: No space left on device"; exit 1' > .venv/bin/python
chmod +x .venv/bin/python
"""


@pytest.fixture
def make(root, tmp_path):
    """Runs `make lab` in a folder that holds nothing but the Makefile and its settings."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, tmp_path)

    def run(script: str = "", **variables: str) -> str:
        python = tmp_path / "a_python"
        python.write_text(
            (script or '#!/bin/sh\nexec {python} "$@"\n').format(python=sys.executable)
        )
        python.chmod(0o755)
        given = [f"{name}={value}" for name, value in ({"PYTHON": str(python)} | variables).items()]
        done = subprocess.run(
            ["make", "lab", *given],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 2
        return done.stdout + done.stderr

    return run


def test_no_python(make, tmp_path):
    said = make(PYTHON="no-such-python")
    assert "There is no no-such-python. The course needs Python 3.11 or newer" in said
    assert not (tmp_path / ".venv").exists()


def test_an_old_python(make, tmp_path):
    said = make(OLD)
    assert "Python 3.11 or newer is needed" in said and "is 3.10.12" in said
    assert not (tmp_path / ".venv").exists()


def test_no_space(make, tmp_path):
    said = make(SPACE="1000000")
    assert "GB are free here. The course needs 1000000 GB" in said
    assert not (tmp_path / ".venv").exists()


def test_no_ensurepip(make, tmp_path):
    assert "apt install python3-venv" in make(WITHOUT_ENSUREPIP)
    assert not (tmp_path / ".venv").exists()  # else the next make would take it for a good one


def test_an_installation_that_stops(make, tmp_path):
    said = make(WITHOUT_INDEX)
    assert 'Installing "notebooks"' in said and "No space left on device" in said
    assert "The installation stopped, for the reason above." in said
    assert not (tmp_path / ".venv" / ".stamp-notebooks").exists()
