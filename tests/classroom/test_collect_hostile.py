"""Collecting what is hostile: a blank submission with a reason, and nobody else is touched."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import zipfile
from datetime import timedelta

import pytest
from inboxes import (
    CHAPTER,
    NAME,
    NOON,
    archive,
    by_student,
    code,
    code_of,
    course,
    put,
    unassigned,
)

from classroom.collect import collect, problems
from classroom.students import is_safe


@pytest.fixture
def root(tmp_path):
    return course(tmp_path / "course")


@pytest.fixture
def inbox(root):
    return root / "grading" / "inbox"


def test_an_archive_speaks_for_the_student_who_handed_it_in(root, inbox):
    """Whatever the names in it: the honest submission of another student stays what it was."""
    evil = archive({f"bob_{NAME}": code(6), f"bob/{NAME}": code(6), f"../bob/{NAME}": code(6)})
    put(inbox / f"bob_{NAME}", code(1))
    put(inbox / f"eve_{CHAPTER}.zip", evil, NOON + timedelta(days=1))
    put(inbox / f"doemax_1_2_{NAME[:-6]}.zip", evil, NOON + timedelta(days=1))
    put(inbox / "mal" / "x.zip", evil, NOON + timedelta(days=1))
    put(inbox / "class.zip", archive({f"ann_{CHAPTER}.zip": evil}, hour=20))
    got = by_student(root, inbox)
    assert set(got) == {"bob", "eve", "doemax", "mal", "ann"}
    assert code_of(root, "bob") == 1
    assert code_of(root, "eve") == 6


def with_mode(name, mode, content):
    """An archive with one member of this file mode."""
    info = zipfile.ZipInfo(name, (2026, 11, 20, 12, 0, 0))
    info.external_attr = mode << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr(info, content)
    return file.getvalue()


def encrypted(content):
    """The archive with the mark of encryption on its member, in both headers."""
    return content.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )


def claims(content, size):
    """The archive with another size of its member in the directory."""
    start = content.index(b"PK\x01\x02")
    return content[: start + 24] + struct.pack("<I", size) + content[start + 28 :]


deep = archive({NAME: code(6)})
for _ in range(3):
    deep = archive({"inner.zip": deep})

HOSTILE = {
    "out of the folder": (archive({f"../../{NAME}": code(6)}), "points out of the archive"),
    "absolute": (archive({f"/tmp/{NAME}": code(6)}), "points out of the archive"),
    "Windows path": (archive({f"C:\\x\\{NAME}": code(6)}), "points out of the archive"),
    "backslashes": (archive({f"..\\..\\{NAME}": code(6)}), "points out of the archive"),
    "link": (with_mode(NAME, 0o120777, b"/etc/passwd"), "is a link"),
    "bomb": (archive({NAME: b" " * 15_000_000}), "times its size"),
    "large": (archive({NAME: b" " * 21_000_000}), "21 MB; the limit is 20 MB"),
    "large in sum": (
        archive({f"{n}.ipynb": b" " * 18_000_000 for n in range(3)}),
        "more than 50 MB",
    ),
    "hiding its size": (claims(archive({NAME: b" " * 21_000_000}), 100), "not read|CRC|Bad"),
    "many": (archive({f"{n}.txt": b"" for n in range(501)}), "more than 500 files"),
    "very many": (archive({f"{n}": b"" for n in range(2000)}), "more than 500 files"),
    "nested": (deep, "an archive in an archive in an archive"),
    "encrypted": (encrypted(archive({NAME: code(6)})), "encrypted"),
    "unusual method": (archive({NAME: code(6)}, method=zipfile.ZIP_LZMA), "unusual method"),
    "no archive": (b"PK\x03\x04 nothing", "not read"),
    "empty": (archive({}), "holds no notebook"),
    "no notebook": (archive({"a.py": b"print()"}), "holds no notebook"),
    "cut off": (archive({NAME: code(6)})[:-30], "not read"),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("way", ["alone", "in a folder", "in the archive of the class"])
def test_a_hostile_archive_is_a_blank_submission_with_a_reason(root, inbox, kind, way):
    content, words = HOSTILE[kind]
    put(inbox / f"bob_{NAME}", code(1))
    if way == "alone":
        put(inbox / f"eve_{CHAPTER}.zip", content)
    elif way == "in a folder":
        put(inbox / "eve" / "x.zip", content)
    else:
        # As an LMS would: without trust in what it packs.
        put(inbox / "class.zip", archive({"eve/x.zip": content}, method=zipfile.ZIP_STORED))
    got = by_student(root, inbox)
    assert set(got) == {"bob", "eve"}
    assert re.search(words, "\n".join(got["eve"].problems)), got["eve"].problems
    assert (code_of(root, "eve"), code_of(root, "bob")) == (None, 1)
    assert not got["eve"].is_readable and got["bob"].problems == []
    everything = [path for path in root.parent.rglob("*.ipynb") if "submitted" in path.parts]
    assert len(everything) == 2


def test_a_class_archive_that_is_a_bomb_is_refused_as_a_whole(root, inbox):
    put(inbox / "class.zip", claims(archive({f"jo_{NAME}": code(1)}), 600_000_000))
    assert by_student(root, inbox) == {}
    assert "more than 500 MB" in unassigned(root)[0]


def test_links_and_things_that_are_no_files_are_not_opened(root, inbox, tmp_path):
    secret = tmp_path / "secret.ipynb"
    put(secret, code(6))
    (inbox / f"eve_{NAME}").symlink_to(secret)
    put(inbox / "mal" / "notes.txt", b"")
    (inbox / "mal" / NAME).symlink_to(secret)
    (inbox / "max").symlink_to(tmp_path)
    (inbox / "ann").mkdir()
    os.mkfifo(inbox / "ann" / NAME)  # to open it would wait for ever
    (inbox / "dir" / NAME).mkdir(parents=True)
    got = by_student(root, inbox)
    assert {name: code_of(root, name) for name in got} == dict.fromkeys(
        ["eve", "mal", "max", "ann", "dir"]
    )
    assert "link" in got["eve"].problems[0] and "link" in got["max"].problems[0]
    assert "ordinary" in got["ann"].problems[0]
    assert not got["mal"].is_readable and not got["dir"].is_readable


def test_a_notebook_of_200_megabytes_is_not_even_read(root, inbox):
    path = inbox / f"eve_{NAME}"
    with open(path, "wb") as file:
        file.truncate(200_000_000)
    got = by_student(root, inbox)
    words = "your notebook has 200 MB; the limit is 20 MB: clear the outputs and hand in again"
    assert got["eve"].problems == [f"eve_{NAME}: {words}"]


@pytest.mark.parametrize(
    "name",
    [
        "ä" * 120 + ".ipynb",
        "a" * 249 + ".ipynb",
        "李明_x.ipynb",
        "Jose\u0301_x.ipynb",
        "a\nb_x.ipynb",
        "\x1b[31mred_x.ipynb",
        "...ipynb",
        "-rf_x.ipynb",
        "CON_x.ipynb",
        "$(touch evil)_x.ipynb",
        "_x.ipynb",
        "<script>alert(1)<_x.ipynb",
    ],
)
def test_strange_names_become_ordinary_ids(root, inbox, name):
    put(inbox / "bob_x.ipynb", code(1))
    try:
        put(inbox / name, code(2))
    except OSError:
        pytest.skip("the file system refuses this name")
    got = by_student(root, inbox)
    (student,) = set(got) - {"bob"}
    assert is_safe(student) and code_of(root, student) == 2 and code_of(root, "bob") == 1
    shown = json.dumps(problems(root, CHAPTER, student), ensure_ascii=False)
    assert "\x1b" not in shown and "\n" not in json.loads(shown)["file"] + student


def test_names_that_are_not_utf8(root, inbox):
    path = os.fsencode(inbox) + b"/\xff\xfe_x.ipynb"
    try:
        with open(path, "wb") as file:
            file.write(code(2))
    except OSError:
        pytest.skip("the file system refuses this name")
    (student,) = by_student(root, inbox)
    assert code_of(root, student) == 2
    assert set(by_student(root, inbox)) == {student}


def test_a_wrong_chapter_or_folder_is_refused(root, inbox):
    with pytest.raises(ValueError, match=r"'99'.*make assignments CHAPTER=99") as caught:
        collect(root, "99", inbox)
    assert "05_gan_in_practice" in str(caught.value)
    with pytest.raises(ValueError, match="inbox must be a folder"):
        collect(root, CHAPTER, inbox / "no")
