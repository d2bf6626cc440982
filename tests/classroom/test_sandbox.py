"""What a process in the sandbox can see, reach and use."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import psutil
import pytest

from classroom import sandbox
from classroom.sandbox import SandboxError, bubblewrap_problem, choose, container_command
from classroom.seccomp import ALLOW, DENY, TABLES, program
from classroom.types import Limits
from classroom.wall import Answers

ROOT = Path(__file__).resolve().parent.parent.parent
PROBLEM = bubblewrap_problem()
needs_bubblewrap = pytest.mark.skipif(bool(PROBLEM), reason=f"bubblewrap: {PROBLEM}")
LIMITS = Limits(memory_megabytes=800, processes=12, file_megabytes=8)


@pytest.fixture(scope="module")
def answers():
    os.environ["A_SECRET"] = "of the instructor"
    found = Answers("bubblewrap", LIMITS)
    yield found
    found.close()
    del os.environ["A_SECRET"]


@pytest.fixture
def run(answers):
    """Runs a cell; returns the name of its error and what it printed."""

    def run(source):
        answers.deadline = time.monotonic() + 30
        error, printed = answers.run("cell 1", source)
        return (error["type"] if error else None), printed.strip()

    return run


@needs_bubblewrap
def test_it_computes(run):
    assert run("import torch, numpy, sklearn, matplotlib.pyplot\nprint(torch.ones(3).sum())") == (
        None,
        "tensor(3.)",
    )
    assert run("from course_lib.vae import gaussian_kl")[0] is None


@needs_bubblewrap
def test_nothing_of_the_course_but_the_library_is_there(run):
    _, printed = run(f"""
import os
found = []
for folder, _, files in os.walk("/"):
    if not folder.startswith(("/proc", "/usr")):
        found += [os.path.join(folder, name) for name in files]
print(len(found))
root = {str(ROOT)!r}
own = [f for f in found if f.startswith(root) and not f.startswith(root + "/.venv")]
print(sorted({{f[len(root):].split("/")[1] for f in own}}))
print([f for f in found if f.endswith((".ipynb", "gradebook.db")) and "/site-packages/" not in f])
""")
    count, folders, notebooks = printed.splitlines()
    assert int(count) > 1000
    assert folders == "['classroom', 'course_lib']" and notebooks == "[]"


@needs_bubblewrap
def test_the_environment_is_empty(run):
    _, printed = run("""
import os
print(sorted(os.environ))
for name in os.listdir("/proc"):
    if name.isdigit():
        print(open(f"/proc/{name}/environ").read())
        print(open(f"/proc/{name}/cmdline").read())
""")
    assert "PYTHONPATH" in printed
    assert "A_SECRET" not in printed and "of the instructor" not in printed


@needs_bubblewrap
def test_only_its_own_processes_are_there(run):
    _, printed = run(
        "import os\nprint([n for n in os.listdir('/proc') if n.isdigit()], os.getuid())"
    )
    assert "65534" in printed and str(os.getpid()) not in printed.split("]")[0].replace("'", "")


@needs_bubblewrap
@pytest.mark.parametrize(
    "path",
    ["/usr/x", "/x", "/etc/x", "/dev/x", "/proc/sys/kernel/core_pattern", "ROOT/classroom/x"],
)
def test_the_system_is_read_only(run, path):
    path = path.replace("ROOT", str(ROOT))
    mode = "r+b" if path.startswith("/proc") else "wb"
    error, _ = run(f"open({path!r}, {mode!r})")
    assert error in ("OSError", "PermissionError")


@needs_bubblewrap
def test_the_private_folders_are_small(run):
    for folder in ("/tmp", "~", "/dev/shm"):
        error, _ = run(f"""
import os
folder = os.path.expanduser({folder!r})
for number in range(20):
    with open(os.path.join(folder, str(number)), "wb") as file:
        file.write(bytes(2**20))
""")
        assert error == "OSError", folder
        folder = folder.replace("~", sandbox.HOME)
        run(f"import os\nfor name in os.listdir({folder!r}): os.remove('{folder}/' + name)")


@needs_bubblewrap
def test_no_network(run):
    arrived = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(3)

        def wait():
            with contextlib.suppress(OSError):
                arrived.append(server.accept())

        thread = threading.Thread(target=wait)
        thread.start()
        port = server.getsockname()[1]
        error, _ = run(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)")
        assert error == "ConnectionRefusedError"
        error, _ = run("import socket\nsocket.create_connection(('192.0.2.1', 80), 2)")
        assert error == "OSError"
        thread.join()
    assert arrived == []


@needs_bubblewrap
@pytest.mark.skipif(not program(), reason="no filter of system calls for this architecture")
@pytest.mark.parametrize("call", ["memfd_create", "shmget", "ptrace", "unshare", "keyctl", "bpf"])
def test_filtered_system_calls_are_not_permitted(run, call):
    number = TABLES[os.uname().machine][2][call]
    _, printed = run(
        "import ctypes\nlibrary = ctypes.CDLL(None, use_errno=True)\n"
        f"print(library.syscall({number}, 0, 0, 0, 0), ctypes.get_errno())"
    )
    assert printed == "-1 1"


def test_the_filter_decides_as_it_should():
    """The program, carried out by hand."""
    import struct

    for machine, (architecture, other, calls) in TABLES.items():
        content = program(machine)
        lines = [struct.unpack("=HBBI", content[at : at + 8]) for at in range(0, len(content), 8)]

        def verdict(arch, number, lines=lines):
            at, value = 0, 0
            while True:
                operation, if_true, if_false, constant = lines[at]
                if operation == 0x20:
                    value = arch if constant == 4 else number
                elif operation == 0x06:
                    return constant
                else:
                    is_true = value == constant if operation == 0x15 else value >= constant
                    at += if_true if is_true else if_false
                at += 1

        for number in range(500):
            expected = DENY if number in calls.values() else ALLOW
            assert verdict(architecture, number) == expected, (machine, number)
        assert verdict(architecture, other) == DENY
        assert verdict(0x40000003, 1) == DENY  # another architecture's calls
    assert program("another machine") == b""


@needs_bubblewrap
def test_memory_is_limited(run):
    assert run("x = [0] * 10**10")[0] == "MemoryError"
    assert run("import torch\ntorch.empty(10**11)")[0] in ("RuntimeError", "MemoryError")


@needs_bubblewrap
def test_too_many_processes_are_stopped():
    answers = Answers("bubblewrap", LIMITS)
    answers.deadline = time.monotonic() + 30
    with pytest.raises(BaseException, match="more than 12 processes"):
        answers.run("cell 1", "import os\nwhile True:\n    os.fork()")
    assert answers.sandboxed.process.poll() is not None


@needs_bubblewrap
def test_memory_of_several_processes_is_added_up():
    answers = Answers("bubblewrap", LIMITS)
    answers.deadline = time.monotonic() + 30
    source = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        x = bytearray(b"x") * 300 * 2**20
        time.sleep(60)
time.sleep(60)
"""
    with pytest.raises(BaseException, match="more than 800 MB"):
        answers.run("cell 1", source)
    assert answers.sandboxed.peak_megabytes > 800


@needs_bubblewrap
def test_no_process_is_left_behind():
    answers = Answers("bubblewrap", LIMITS)
    answers.deadline = time.monotonic() + 30
    answers.run(
        "cell 1",
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', "
        "'import time; time.sleep(100)'], start_new_session=True)",
    )
    started = psutil.Process(answers.sandboxed.process.pid).children(recursive=True)
    commands = [part for process in started for part in process.cmdline()]
    assert "import time; time.sleep(100)" in commands
    answers.close()
    _gone, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []


# --- The choice ----------------------------------------------------------------------------------


def test_without_a_sandbox_grading_refuses(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match=r"(?s)no sandbox.*bwrap.*podman.*--trusted"):
        choose("auto", "image")
    with pytest.raises(SandboxError):
        choose("bubblewrap")
    with pytest.raises(SandboxError):
        choose("container", "image")
    assert choose("trusted") == "trusted"


def test_a_container_is_taken_where_bubblewrap_does_not_work(monkeypatch):
    monkeypatch.setattr(sandbox, "bubblewrap_problem", lambda: "it fails")
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: name if name == "podman" else None)

    def has_the_image(command, **_):
        code = 0 if command == ["podman", "image", "inspect", "course-answers"] else 1
        return subprocess.CompletedProcess(command, code, "", "no such image")

    monkeypatch.setattr(sandbox.subprocess, "run", has_the_image)
    assert choose("auto", "course-answers") == "container"
    with pytest.raises(SandboxError, match=r"no command docker|no image 'another'"):
        choose("auto", "another")
    command = container_command("course-answers", "podman", Limits(), "answers-1")
    assert command[:2] == ["podman", "run"] and command[-1] == "course-answers"
    assert {"--network=none", "--read-only", "--cap-drop=ALL", "--memory=3000m"} <= set(command)


def test_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError, match="bubblewrap, container or trusted, got 'jail'"):
        choose("jail")


def test_a_sandbox_that_does_not_start_is_no_fault_of_the_submission(monkeypatch):
    monkeypatch.setattr(sandbox.sys, "executable", "/bin/false")
    with pytest.raises(SandboxError, match="does not start"):
        Answers("trusted", LIMITS)
