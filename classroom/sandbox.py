"""Where answers run: a sandbox around a process, and the choice between the kinds of sandbox.

Bubblewrap gives the process its own user, its own view of the processes, no network, the system
read-only and empty private folders; it is one program of a few hundred kilobytes and needs no
daemon and no rights. A container does the same with an image. Without either of them grading
refuses, unless the instructor says that the submissions are trusted.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import site
import subprocess
import sys
import threading
from pathlib import Path

import psutil

from classroom.seccomp import program
from classroom.types import Limits, SandboxKind

HOME = "/home/answers"


class SandboxError(RuntimeError):
    """The sandbox itself does not work: no fault of any submission."""


def choose(wanted: str = "auto", image: str = "", engine: str = "") -> SandboxKind:
    """The kind of sandbox that works on this machine.

    Args:
        wanted: "auto", "bubblewrap", "container" or "trusted".
        image, engine: of the container, e.g. "course-answers" and "podman".

    Raises:
        SandboxError: if what is wanted does not work here, with the remedy; never falls back to
            "trusted" by itself.
    """
    if wanted == "trusted":
        return "trusted"
    if wanted not in ("auto", "bubblewrap", "container"):
        raise ValueError(
            f"sandbox must be auto, bubblewrap, container or trusted, got {wanted!r}; see "
            "[sandbox] in grading.toml"
        )
    problems = []
    if wanted != "container":
        problem = bubblewrap_problem()
        if not problem:
            return "bubblewrap"
        problems.append(f"bubblewrap: {problem}")
    if wanted != "bubblewrap":
        try:
            container_engine(image, engine)
        except SandboxError as error:
            problems.append(f"container: {error}")
        else:
            return "container"
    raise SandboxError(
        "submissions are programs, and there is no sandbox to run them in ("
        + "; ".join(problems)
        + "). Install bubblewrap (Debian, Ubuntu: sudo apt-get install bubblewrap) or a container "
        "engine with the image of deploy/Containerfile; or, if you have read every submission "
        "yourself, grade with --trusted"
    )


def bubblewrap_problem() -> str:
    """Why bubblewrap cannot be used here; empty if it can."""
    if shutil.which("bwrap") is None:
        return "there is no command bwrap"
    number = filter_of_calls()
    probe = subprocess.run(
        [
            *bubblewrap_command(Limits()),
            *(() if number is None else ("--seccomp", str(number))),
            *(sys.executable, "-c", "print('works')"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        pass_fds=() if number is None else (number,),
    )
    if number is not None:
        os.close(number)
    return "" if probe.stdout.strip() == "works" else probe.stderr.strip()[-300:] or "it fails"


def filter_of_calls() -> int | None:
    """An open file with the filter of system calls; None where none is known."""
    content = program()
    if not content:
        return None
    reader, writer = os.pipe()
    os.write(writer, content)
    os.close(writer)
    return reader


def environment() -> dict[str, str]:
    """All that an answer sees of the environment."""
    packages = [str(Path(__file__).resolve().parent.parent), *site.getsitepackages()]
    return {
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
        "PATH": "/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(packages),
        "TMPDIR": "/tmp",
    }


def bubblewrap_command(limits: Limits) -> list[str]:
    """What to put before a command so that it runs in the sandbox."""
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxError("there is no command bwrap")
    command = [program, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--uid", "65534", "--gid", "65534", "--hostname", "answers", "--clearenv"]
    for name, value in environment().items():
        command += ["--setenv", name, value]
    for folder in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(folder):
            command += ["--symlink", os.readlink(folder), folder]
        else:
            command += ["--ro-bind-try", folder, folder]
    for file in ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"):
        command += ["--ro-bind-try", file, file]
    here = Path(__file__).resolve().parent
    # The interpreter, the installed packages, and of the course the library and this package alone:
    # no exercises with their solutions, no submissions, no gradebook.
    folders = {sys.prefix, sys.base_prefix, *site.getsitepackages(), str(here)}
    folders.add(str(here.parent / "course_lib"))
    outside = [f for f in sorted(folders) if not f.startswith("/usr/") and Path(f).is_dir()]
    size = str(limits.file_megabytes * 2**20)
    command += ["--proc", "/proc", "--dev", "/dev"]
    for folder in ("/tmp", HOME, "/dev/shm"):
        command += [*(["--size", size] if knows("--size") else []), "--tmpfs", folder]
    for folder in outside:  # after the empty folders: the course may be below one of them
        command += ["--ro-bind", folder, folder]
    if knows("--disable-userns"):
        command += ["--unshare-user", "--disable-userns"]  # no namespaces inside of this one
    # /proc/sys belongs to the host, and is writable for its administrator.
    for folder in ("/proc", "/dev", "/"):
        command += ["--remount-ro", folder]
    return [*command, "--chdir", HOME]


@functools.cache
def knows(option: str) -> bool:
    """Whether the bubblewrap of this machine has an option that older ones lack."""
    found = subprocess.run(["bwrap", "--help"], capture_output=True, text=True)
    return option in found.stdout


def container_engine(image: str, wanted: str) -> str:
    """The engine that has the image; raises SandboxError, with the remedy, if there is none."""
    problems = []
    for name in [wanted] if wanted else ["podman", "docker"]:
        if shutil.which(name) is None:
            problems.append(f"there is no command {name}")
            continue
        found = subprocess.run([name, "image", "inspect", image], capture_output=True, text=True)
        if found.returncode == 0:
            return name
        problems.append(f"{name} has no image {image!r}: {found.stderr.strip()[-200:]}")
    raise SandboxError("; ".join(problems))


def container_command(image: str, engine: str, limits: Limits, name: str) -> list[str]:
    """The same with a container. The image has the packages of the course installed."""
    command = [engine, "run", "--rm", "--interactive", "--network=none", "--read-only"]
    command += [f"--name={name}"]
    command += ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=65534:65534"]
    command += [f"--memory={limits.memory_megabytes}m", f"--memory-swap={limits.memory_megabytes}m"]
    command += [f"--pids-limit={limits.processes}", "--cpus=1"]
    for folder in ("/tmp", HOME, "/dev/shm"):
        command += [f"--tmpfs={folder}:size={limits.file_megabytes}m,mode=1777"]
    for variable, value in environment().items():
        if variable not in ("PATH", "PYTHONPATH"):
            command += [f"--env={variable}={value}"]
    return [*command, f"--workdir={HOME}", image]


class Sandboxed:
    """A running process of answers: its pipes, and a watch on its memory and its processes.

    Attributes:
        killed: why the watch has stopped it, empty as long as it has not.
        peak_megabytes: the largest memory of all its processes together.
        last_words: what it has written to its standard error, once it is closed.
    """

    def __init__(
        self, kind: SandboxKind, limits: Limits, image: str = "", engine: str = ""
    ) -> None:
        self.ending: list[str] = []
        seen, given = os.environ | {"OMP_NUM_THREADS": "1"}, environment()
        number: int | None = None
        if kind == "bubblewrap":
            command = bubblewrap_command(limits)
            number = filter_of_calls()
            if number is not None:
                command += ["--seccomp", str(number)]
            command += [sys.executable, "-P", "-m"]
            seen = given  # /proc/1/environ in the sandbox is what bubblewrap itself was given
        elif kind == "container":
            found, name = container_engine(image, engine), f"answers-{secrets.token_hex(8)}"
            # The container is no child of the program that starts it, and survives it.
            self.ending = [found, "kill", name]
            command = [*container_command(image, found, limits, name), "python", "-P", "-m"]
        else:
            command = [sys.executable, "-P", "-m"]
        self.limits, self.killed, self.peak_megabytes = limits, "", 0.0
        self.last_words = ""
        self.process = subprocess.Popen(
            [*command, "classroom.answering"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=seen | {"PYTHONPATH": given["PYTHONPATH"]},
            start_new_session=True,
            pass_fds=() if number is None else (number,),
        )
        if number is not None:
            os.close(number)
        self.stopped = threading.Event()
        self.watch = threading.Thread(target=self.look, daemon=True)
        self.watch.start()

    def look(self) -> None:
        """Add up the memory and count the processes, ten times a second."""
        try:
            root = psutil.Process(self.process.pid)
        except psutil.NoSuchProcess:
            return
        while not self.stopped.wait(0.1):
            try:
                family = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            if len(family) > self.limits.processes:
                self.killed = f"it started more than {self.limits.processes} processes"
            else:
                used = sum(megabytes(each) for each in family)
                self.peak_megabytes = max(self.peak_megabytes, used)
                if used > self.limits.memory_megabytes:
                    self.killed = f"it used more than {self.limits.memory_megabytes} MB of memory"
            if self.killed:
                self.kill()
                return

    def kill(self) -> None:
        """Stop the process and all that it has started."""
        if self.ending:
            subprocess.run(self.ending, capture_output=True, timeout=60)
        with contextlib.suppress(psutil.Error):
            root = psutil.Process(self.process.pid)
            family = [*root.children(recursive=True), root]
            # In the sandbox the death of the first process takes all others with it.
            for each in sorted(family, key=lambda process: process.pid):
                with contextlib.suppress(psutil.Error):
                    each.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill it, wait for its end, close the pipes."""
        self.kill()
        self.stopped.set()
        self.process.wait(timeout=20)
        self.watch.join(timeout=5)
        errors = self.process.stderr
        if errors is not None and not errors.closed:
            os.set_blocking(errors.fileno(), False)
            self.last_words = (errors.read(2**16) or b"").decode("utf8", "replace")
        for stream in (self.process.stdin, self.process.stdout, errors):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def megabytes(process: psutil.Process) -> float:
    """The memory of a process; what it shares with others is divided between them."""
    with contextlib.suppress(psutil.NoSuchProcess):
        try:
            return process.memory_full_info().pss / 2**20
        except (psutil.AccessDenied, AttributeError):  # AttributeError: not on Linux
            return process.memory_info().rss / 2**20
    return 0.0
