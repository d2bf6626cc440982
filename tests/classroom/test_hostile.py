"""Hostile submissions: each gets its zero or its honest points, and nothing else is touched."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import psutil
import pytest
import simulated_class
from hostile import BESIDE, CHEATS, FILES, REACH, RESOURCES, make_host
from hostile_beside import PART
from hostile_kit import (
    CHAPTER,
    REACHED,
    filled_in,
    released_version,
    right_answers,
    to_bytes,
)

from classroom import grade
from classroom.checker import Checker
from classroom.checking import check_submission
from classroom.cleaning import clean
from classroom.collect import collect
from classroom.feedback_page import markdown
from classroom.sandbox import bubblewrap_problem
from classroom.types import Limits, Task

PROBLEM = bubblewrap_problem()
needs_bubblewrap = pytest.mark.skipif(bool(PROBLEM), reason=f"bubblewrap: {PROBLEM}")

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "chapters" / "exercises" / CHAPTER / f"{CHAPTER}.ipynb"
LIMITS = Limits(cell_seconds=8, total_seconds=100, memory_megabytes=1500)
# For an attack that its time does not stop: on a busy machine it may take long, such as one that
# tries to delete every file there is.
PATIENT = Limits(cell_seconds=60, total_seconds=300, memory_megabytes=1500)
# Beyond the limit of the whole submission: the starts of the processes on a busy machine.
PATIENCE = 60

# The worst of each kind always run; the variations are marked "attack".
ALWAYS = {
    *("infinite_loop_at_call", "fork_bomb", "list_of_100_gigabytes", "file_of_10_gigabytes"),
    *("gigabyte_printed", "deletes_and_overwrites", "searches_the_disk", "opens_sockets"),
    *("searches_other_processes", "kills_its_parents", "patches_everything_that_compares"),
    *("exits_without_a_word_at_call", "forges_a_reply", "returns_liars", "daemon_that_stays"),
    *("beside_shadows_builtins", "beside_patches_torch", "beside_liars_by_type_of_a_type"),
    *("beside_formats_the_frames", "beside_loops_for_ever", "beside_uses_all_memory"),
}


def cases(*catalogues):
    attacks = {name: attack for each in catalogues for name, attack in each.items()}
    for name, attack in attacks.items():
        yield pytest.param(attack, id=name, marks=[] if name in ALWAYS else [pytest.mark.attack])


# --- What is attacked ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def released():
    return released_version(nbformat.read(SOURCE, as_version=4))


@pytest.fixture(scope="module")
def source():
    return SOURCE.read_text("utf8")


@pytest.fixture(scope="module")
def heard():
    """What arrived at the sockets that are open while the attacks run."""
    return []


@pytest.fixture(scope="module")
def host(tmp_path_factory, heard):
    """Files to steal and to delete, sockets to reach, a process to kill, a secret to read."""
    root = tmp_path_factory.mktemp("host")
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        stack.callback(bystander.wait)
        stack.callback(bystander.kill)
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = server.getsockname()[1]
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", port))
        servers = [server]
        for name in (str(root / "socket"), f"\0{root}"):
            servers.append(stack.enter_context(socket.socket(socket.AF_UNIX)))
            servers[-1].bind(name)
            servers[-1].listen()

        def listen(one):
            while True:
                try:
                    heard.append(one.accept()[1] if one is not datagrams else one.recv(100))
                except OSError:  # closed: the tests are over
                    return

        for each in (*servers, datagrams):
            threading.Thread(target=listen, args=(each,), daemon=True).start()
        made = make_host(root, ROOT, port=port, bystander=bystander.pid)
        patch.setenv("DATABASE_PASSWORD", made.secret)
        yield made
        for each in (*servers, datagrams):
            each.close()


def state(host):
    """All that must be the same after an attack as before it."""
    files = {
        str(path.relative_to(host.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(host.root.rglob("*"))
        if path.is_file()
    }
    bystander = psutil.Process(host.bystander).status()
    return files, bystander in (psutil.STATUS_RUNNING, psutil.STATUS_SLEEPING)


@pytest.fixture
def untouched(host, heard):
    """Whatever a test has started is gone at its end, and what it has attacked is as it was."""
    # What loses its parent becomes a child of this process, and does not escape the count.
    become_subreaper = 36
    ctypes.CDLL(None).prctl(become_subreaper, 1, 0, 0, 0)
    before = state(host), {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [
        child for child in psutil.Process().children(recursive=True) if child.pid not in before[1]
    ]
    _, alive = psutil.wait_procs(left, timeout=5)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []
    ctypes.CDLL(None).prctl(become_subreaper, 0, 0, 0, 0)
    assert state(host) == before[0]
    assert heard == []
    assert not host.trace.exists()


def check(raw, released, source, limits=LIMITS):
    """A submission from the file to its outcome; returns the outcome and its wall time."""
    notebook, remarks = clean(raw, released)
    task = Task("student", CHAPTER, source, nbformat.writes(notebook), "bubblewrap", limits)
    began = time.monotonic()
    outcome = check_submission(task)
    outcome.notes[:0] = remarks
    return outcome, time.monotonic() - began


def parts(outcome):
    return {name.removeprefix("check_") for name in outcome.passed}


def leaked(source, told):
    """The lines of hidden tests that a student is told; their messages are meant to be read."""
    cells = nbformat.reads(source, as_version=4).cells
    found = []
    for text in [cell.source for cell in cells if "### BEGIN HIDDEN TESTS" in cell.source]:
        visible, hidden = text.split("### BEGIN HIDDEN TESTS")
        for line in map(str.strip, hidden.splitlines()):
            is_secret = len(line) > 30 and '"' not in line and line not in visible
            found += [line] if is_secret and line in told else []
    return found


def assert_harmless(outcome, host, source):
    """What an outcome may not hold, whatever the submission did."""
    text = json.dumps(asdict(outcome), ensure_ascii=False)
    assert REACHED not in text
    assert host.secret not in text
    everything = (*outcome.checks.values(), *outcome.cells.values())
    assert leaked(source, "".join(each.message + each.printed for each in everything)) == []
    assert len(text) < 40 * LIMITS.output_characters


def all_reasons(outcome):
    everything = (*outcome.checks.values(), *outcome.cells.values())
    return " ".join([*(each.message for each in everything), *outcome.notes])


# --- The attacks ---------------------------------------------------------------------------------


@needs_bubblewrap
@pytest.mark.parametrize("attack", list(cases(RESOURCES, REACH, CHEATS)))
def test_an_attack_earns_what_it_deserves_and_harms_nobody(
    attack, host, released, source, untouched
):
    limits = LIMITS if "second" in attack.reason else PATIENT
    outcome, seconds = check(attack.build(host, released), released, source, limits)
    assert parts(outcome) == set(attack.earns), all_reasons(outcome)
    assert seconds < limits.total_seconds + PATIENCE
    assert re.search(attack.reason, all_reasons(outcome)), all_reasons(outcome)
    for name, check_outcome in outcome.checks.items():
        assert check_outcome.verdict == "passed" or check_outcome.message, f"{name}: no reason"
    assert outcome.peak_megabytes < 2 * LIMITS.memory_megabytes
    assert_harmless(outcome, host, source)


@needs_bubblewrap
def test_an_honest_submission_graded_beside_hostile_ones_keeps_its_points(
    host, released, source, untouched
):
    limits = Limits(cell_seconds=60, total_seconds=300, memory_megabytes=1500)
    hostile = {**RESOURCES, **CHEATS}
    names = ("fork_bomb", "tensor_of_100_gigabytes", "gigabyte_printed", "writes_garbage")
    attacks = [hostile[name] for name in names]
    honest = to_bytes(filled_in(released, right_answers()))
    with ThreadPoolExecutor(3) as executor:
        files = [attack.build(host, released) for attack in attacks]
        first = executor.submit(check, files[0], released, source)
        own = executor.submit(check, honest, released, source, limits)
        others = [executor.submit(check, raw, released, source) for raw in files[1:]]
        outcome, _ = own.result()
        assert parts(outcome) == set(right_answers()), all_reasons(outcome)
        assert outcome.notes == []
        for attack, each in zip(attacks, [first, *others], strict=True):
            assert parts(each.result()[0]) == set(attack.earns)


@pytest.fixture(scope="module")
def checker(source, released):
    """A checker whose clean process serves many answers, each in a child of its own."""
    notebook = nbformat.writes(released)
    limits = Limits(cell_seconds=20, total_seconds=3000, memory_megabytes=1500)
    made = Checker(Task("student", CHAPTER, source, notebook, "bubblewrap", limits), None)
    yield made
    made.close()


@needs_bubblewrap
@pytest.mark.parametrize("attack", cases(BESIDE))
def test_a_check_that_runs_beside_the_answer_cannot_be_turned_off(
    attack, checker, host, released, source
):
    notebook, _ = clean(attack.build(host, released), released)
    names = {
        c.metadata.nbgrader.grade_id: c.source for c in notebook.cells if "nbgrader" in c.metadata
    }
    checker.done = [("cell 1", names["setup"]), ("cell 2", names[PART])]
    outcome = checker.check(f"check_{PART}")
    assert outcome.verdict != "passed"
    assert outcome.message
    told = outcome.message + outcome.printed
    assert leaked(source, told) == []
    assert len(told) < 3 * checker.limits.output_characters


@needs_bubblewrap
@pytest.mark.parametrize("kind", ["solution", "another style"])
def test_a_right_answer_passes_the_check_beside_it(kind, checker, source):
    cells = nbformat.reads(source, as_version=4).cells
    ours = {c.metadata.nbgrader.grade_id: c.source for c in cells if "nbgrader" in c.metadata}
    answer = ours[PART] if kind == "solution" else right_answers()[PART]
    checker.done = [("cell 1", ours["setup"]), ("cell 2", answer)]
    outcome = checker.check(f"check_{PART}")
    assert outcome.verdict == "passed", outcome.message


# --- Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", [pytest.param(each, id=name) for name, each in FILES.items()])
def test_a_hostile_file_is_cleaned_or_refused_with_a_reason(attack, host, released, tmp_path):
    folder = tmp_path / "release" / CHAPTER
    folder.mkdir(parents=True)
    nbformat.write(released, folder / f"{CHAPTER}.ipynb")
    inbox = tmp_path / "grading" / "inbox" / CHAPTER
    inbox.mkdir(parents=True)
    honest = to_bytes(filled_in(released, right_answers()))
    (inbox / f"ada_{CHAPTER}.ipynb").write_bytes(honest)
    name = attack.name.format(student="mallory", chapter=CHAPTER)
    (inbox / name).write_bytes(attack.build(host, released))
    before, began = state(host), time.process_time()
    received = {each.student: each for each in collect(tmp_path, CHAPTER, inbox)}
    assert time.process_time() - began < 20
    assert state(host) == before
    assert not host.trace.exists() and not (tmp_path / "trace").exists()
    assert received.pop("ada").problems == []
    ((student, mine),) = received.items()
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", student), student
    said = " ".join(mine.problems)
    assert re.search(attack.reason, said), said
    assert "\x1b" not in said and "\u202e" not in said and len(said) < 5000
    submitted = tmp_path / "grading" / "submitted"
    assert sorted(path.name for path in submitted.iterdir()) == sorted(["ada", student])
    notebook = nbformat.read(submitted / student / CHAPTER / f"{CHAPTER}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert_only_ours(notebook, released, attack.earns)


def assert_only_ours(notebook, released, answered):
    """The notebook is the released one, with these parts answered rightly and no other."""
    ours = {c.metadata.nbgrader.grade_id: c for c in released.cells if "nbgrader" in c.metadata}
    found = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert [cell.metadata.nbgrader.grade_id for cell in found] == list(ours)
    right = right_answers()
    for cell in found:
        name = cell.metadata.nbgrader.grade_id
        assert cell.metadata == ours[name].metadata
        assert cell.source == (right[name] if name in answered else ours[name].source)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == [] and "attachments" not in cell
        assert "nbgrader" in cell.metadata or not cell.metadata


class Alive(HTMLParser):
    """Collects what a browser would run of a page: an alert is an attack's."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.found, self.is_script = [], False

    def handle_starttag(self, tag, attributes):
        self.is_script = tag == "script"
        for name, value in attributes:
            text = (value or "").strip().lower()
            if "alert(" in text and (name.startswith("on") or name in ("href", "src", "srcdoc")):
                self.found.append((tag, name, value))

    def handle_data(self, data):
        if self.is_script and "alert(" in data:
            self.found.append(("script", data))

    def handle_endtag(self, tag):
        self.is_script = False


@needs_bubblewrap
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
def test_no_page_runs_what_a_student_wrote(host, tmp_path):
    """Neither what is handed back nor the instructor's own pages."""
    released = simulated_class.make_course(tmp_path, CHAPTER)
    inbox = tmp_path / "grading" / "inbox" / CHAPTER
    inbox.mkdir(parents=True)
    catalogue = {**CHEATS, **FILES}
    names = ("prints_markup", "blames_with_markup", "text_with_scripts", "raises_what_is_strange")
    for student in (*names, "name_with_everything_in_it"):
        attack = catalogue[student]
        file = attack.name.format(student=student.replace("_", "-"), chapter=CHAPTER)
        (inbox / file).write_bytes(attack.build(host, released))
    report = grade.grade(tmp_path, CHAPTER, inbox=inbox)
    assert report.failed == {}
    pages = list((tmp_path / "grading").rglob("*.html"))
    assert len([page for page in pages if page.parent.parent.name == "returned"]) == 5
    for page in pages:
        reader = Alive()
        reader.feed(page.read_text("utf8"))
        assert reader.found == [], page
        assert "\x1b" not in page.read_text("utf8")
    filters = grade.load_config(ROOT).HTMLExporter.filters
    assert filters["markdown2html"] == "classroom.feedback_page.markdown"
    for path in (tmp_path / "grading" / "autograded").rglob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":  # as the formgrader shows it to the instructor
                reader = Alive()
                reader.feed(markdown(cell.source))
                assert reader.found == []
            data = [output.get("data", {}) for output in cell.get("outputs", [])]
            assert all("text/html" not in each for each in data)


def test_every_kind_of_attack_of_the_catalogue_is_in_a_test():
    together = {**RESOURCES, **REACH, **CHEATS, **BESIDE, **FILES}
    assert len(together) == sum(map(len, (RESOURCES, REACH, CHEATS, BESIDE, FILES)))
    assert set(together) >= ALWAYS
    assert os.path.exists(SOURCE)
