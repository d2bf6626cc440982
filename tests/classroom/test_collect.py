"""Collecting: whose each file is, which one counts, and what happens the next time."""

from __future__ import annotations

import re
import struct
from datetime import UTC, datetime, timedelta

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inboxes import (
    CHAPTER,
    NAME,
    NOON,
    answered,
    archive,
    by_student,
    code,
    code_of,
    course,
    put,
    raw,
    released,
    unassigned,
)
from nbgrader.utils import parse_utc

from classroom.collect import clean_collected, collect, problems
from classroom.students import Roster, is_safe, owner, sanitised


@pytest.fixture
def root(tmp_path):
    return course(tmp_path / "course")


@pytest.fixture
def inbox(root):
    return root / "grading" / "inbox"


# --- Whose it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "student"),
    [
        (f"jane_{CHAPTER}", "jane"),
        (f"jane_doe_{CHAPTER}", "jane_doe"),
        (f"jane_{CHAPTER}-2", "jane"),
        (f"jane_{CHAPTER} (1)", "jane"),
        (f"jane-{CHAPTER}", "jane"),
        ("jane_assignment", "jane"),
        ("jane", "jane"),
        (CHAPTER, None),
        (f"{CHAPTER}-1", None),
        (f"{CHAPTER} (2)", None),
        ("Jane Doe_12345_assignsubmission_file_", "Jane Doe"),
        ("Jane Doe_12345_assignsubmission_file_bob_999_assignsubmission_file_x", "Jane Doe"),
        (f"doejane_12345_67890_{CHAPTER}-1", "doejane"),
        (f"doejane_LATE_12345_67890_{CHAPTER}", "doejane"),
        (f"doejane_1_2_bob_3_4_{CHAPTER}", "doejane"),
        (f"04 GAN_jane_attempt_2026-11-20-13-00-00_{CHAPTER}", "jane"),
        (
            "04_jane_attempt_2026-11-20-13-00-00_x_bob_attempt_2026-11-20-13-00-00_x",
            "jane",
        ),
    ],
)
def test_whose_a_file_is(name, student):
    """What a student can choose, the end of the name, does not make it another's."""
    who = owner(name, CHAPTER, Roster([]))
    assert (who and who.name) == student


def test_the_list_of_the_class_decides_about_names(root, inbox):
    (root / "grading" / "students.csv").write_text(
        "\ufeffid,first_name,last_name,email\n"
        "s1_a,Jane,Doe,jdoe@x.edu\ns2,Márta,Ó Néill,mo@x.edu\ns3,Jo,Li,jo@x.edu\n"
        "s4,Jo,Li,jo2@x.edu\n",
        "utf8",
    )
    for number, name in enumerate(
        ["s1_a_bob_04.ipynb", f"oneillmarta_1_2_{NAME}", "nobody_x.ipynb", f"jo2@x.edu_{NAME}"]
    ):
        put(inbox / name, code(number))
    put(inbox / "Jo Li_5_assignsubmission_file_" / NAME, code(9))
    got = by_student(root, inbox)
    assert {name: code_of(root, name) for name in got} == {
        **{"s1_a": 0, "s2": 1, "nobody": 2, "s4": 3, "Jo_Li": 9},
    }
    assert "not in grading/students.csv" in got["nobody"].problems[0]
    assert "not in grading/students.csv" in got["Jo_Li"].problems[0], "two have this name"
    assert got["s1_a"].problems == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,first_name\na,b", "last_name, email"),
        ("id;first_name;last_name;email\na;b;c;d", "commas"),
        ("id,first_name,last_name,email\n../x,b,c,d", "'../x'"),
        ("id,first_name,last_name,email\na,b,c,d\na,b,c,d", "line 3"),
        ("id,first_name,last_name,email\n,b,c,d", "line 2"),
    ],
)
def test_a_list_of_the_class_with_a_mistake_is_refused(root, inbox, text, words):
    (root / "grading" / "students.csv").write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)):
        collect(root, CHAPTER, inbox)


def test_two_people_of_one_name_stay_two_and_keep_their_ids(root, inbox):
    put(inbox / f"smithjo_222_1_{NAME}", code(2))
    first = by_student(root, inbox)
    put(inbox / f"smithjo_111_7_{NAME}", code(1))
    put(inbox / f"Smithjo_{NAME}", code(3))
    again = by_student(root, inbox)
    assert list(first) == ["smithjo"]
    assert {name: code_of(root, name) for name in again} == {
        **{"smithjo": 2, "smithjo-111": 1, "Smithjo-2": 3}
    }
    assert "another has the name" in again["smithjo-111"].problems[0]
    assert by_student(root, inbox).keys() == again.keys()


def test_moodle_numbers_tell_people_apart_in_a_chapter_only(root, inbox):
    put(inbox / "Jo Li_1_assignsubmission_file_" / NAME, code(1))
    put(inbox / "Jo Li_2_assignsubmission_file_" / NAME, code(2))
    assert {name: code_of(root, name) for name in by_student(root, inbox)} == {
        **{"Jo_Li": 1, "Jo_Li-2": 2}
    }
    other = root / "later"
    put(other / "Jo Li_77_assignsubmission_file_" / "x.ipynb", code(3))
    assert [each.student for each in collect(root, "05_gan_in_practice", other)] == ["Jo_Li"]


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("Jane Doe", "Jane_Doe"),
        ("José", "Jose"),
        ("Jose\u0301", "Jose"),
        ("李明", r"student-\w{8}"),
        ("王", r"student-\w{8}"),
        ("..", r"student-\w{8}"),
        ("", r"student-\w{8}"),
        ("CON", r"student-\w{8}"),
        ("nul.txt", r"student-\w{8}"),
        ("a" * 255, r"a{40}-\w{8}"),
        ("../../etc/passwd", "etc_passwd"),
        ("a\0b\nc", r"a_b_c-\w{8}"),
        ("\udcff", r"student-\w{8}"),
        ("<script>", "script"),
        ("-rf", "rf"),
        ("*", r"student-\w{8}"),
    ],
)
def test_names_become_ids(name, student):
    assert re.fullmatch(student, sanitised(name))


@given(st.text(), st.text())
def test_every_id_is_safe_and_scripts_do_not_collide(one, other):
    assert is_safe(sanitised(one))
    letters = [re.sub(r"[^A-Za-z]", "", sanitised(name)) for name in (one, other)]
    if not any(c.isascii() for c in one + other) and one.strip() != other.strip():
        assert sanitised(one) != sanitised(other) or letters[0]


# --- What an LMS hands out ------------------------------------------------------------------------


def test_files_folders_and_archives_of_all_kinds(root, inbox):
    put(inbox / f"a1_{NAME}", code(1))
    put(inbox / "a2_homework.ipynb", code(2))
    put(inbox / "Given Name_12345_assignsubmission_file_" / "x.ipynb", code(3))
    put(inbox / f"lastfirst_12345_67890_{CHAPTER}-1.ipynb", code(4))
    put(inbox / f"latefirst_LATE_12_67890_{NAME}", code(5))
    put(inbox / "a6" / "deep" / NAME, code(6))
    put(inbox / "a7" / "work.zip", archive({f"folder/{NAME}": code(7)}))
    put(inbox / f"a8_{CHAPTER}.zip", archive({"mine.ipynb": code(8)}))
    put(
        inbox / "submissions.zip",
        archive(
            {
                f"b1_{NAME}": code(11),
                "b2/x.ipynb": code(12),
                "Other Name_5_assignsubmission_file_/y.ipynb": code(13),
                "b4/packed.zip": archive({NAME: code(14)}),
                f"b5_{CHAPTER}.zip": archive({NAME: code(15)}),
                "__MACOSX/._b2.ipynb": b"junk",
                ".DS_Store": b"junk",
            }
        ),
    )
    put(inbox / "all.zip", archive({f"all of them/{n}/{NAME}": code(20 + n) for n in (1, 2)}))
    put(inbox / CHAPTER / f"c1_{NAME}", code(31))
    put(inbox / ".DS_Store", b"junk")
    put(inbox / "d1_05_gan_in_practice.ipynb", b"of another chapter")
    put(inbox / "e1" / ".ipynb_checkpoints" / "x.ipynb", code(99), NOON + timedelta(days=1))
    put(inbox / "e1" / "x.ipynb", code(41))
    got = by_student(root, inbox)
    expected = {
        **{"a1": 1, "a2": 2, "Given_Name": 3, "lastfirst": 4, "latefirst": 5, "a6": 6, "a7": 7},
        **{"a8": 8, "b1": 11, "b2": 12, "Other_Name": 13, "b4": 14, "b5": 15, "1": 21, "2": 22},
        **{"c1": 31, "e1": 41},
    }
    assert {name: code_of(root, name) for name in got} == expected
    notes = {name: each.problems for name, each in got.items() if each.problems}
    assert notes == {"latefirst": ["Canvas marks this submission as late"]}
    assert unassigned(root) == []
    assert (got["Given_Name"].name, got["Given_Name"].path) == (
        *("Given Name", inbox / "Given Name_12345_assignsubmission_file_" / "x.ipynb"),
    )


def test_what_nobody_can_be_found_for_is_reported(root, inbox):
    put(inbox / NAME, code(1))
    put(inbox / "class.zip", archive({NAME: code(1), "jo_report.pdf": b""}))
    put(inbox / "broken.zip", b"PK not an archive")
    put(inbox / "jo.docx", b"")
    got = collect(root, CHAPTER, inbox)
    assert {each.student for each in got} == {"", "jo"}
    told = "\n".join(unassigned(root))
    for words in (
        f"{NAME}: does not say whose",
        f"class.zip/{NAME}: does not",
        "broken.zip: is not",
    ):
        assert words in told
    assert "neither a notebook" in problems(root, CHAPTER, "jo")["problems"][0]
    assert code_of(root, "jo") is None


def test_the_latest_that_can_be_read_counts(root, inbox):
    put(inbox / f"jo_{CHAPTER}.ipynb", code(1))
    put(inbox / f"jo_{CHAPTER}-1.ipynb", code(2), NOON + timedelta(hours=2))
    put(inbox / "jo_old.ipynb", code(3), NOON - timedelta(hours=1))
    put(inbox / "jo_damaged.ipynb", b"{", NOON + timedelta(hours=3))
    put(inbox / "jo_other.ipynb", raw(nbformat.v4.new_notebook()), NOON + timedelta(hours=4))
    (got,) = by_student(root, inbox).values()
    assert code_of(root, "jo") == 2 and got.is_readable
    assert got.received == NOON + timedelta(hours=2)
    assert got.problems[0].startswith("5 files were handed in; jo_04_gan_minimax-1.ipynb counts")
    assert any("jo_damaged.ipynb: your file is no notebook" in each for each in got.problems)


def test_hand_ins_of_the_same_minute_are_ordered_by_their_number(root, inbox):
    put(inbox / f"jo_1_2_{CHAPTER}-2.ipynb", code(2))
    put(inbox / f"jo_1_9_{CHAPTER}-10.ipynb", code(10))
    by_student(root, inbox)
    assert code_of(root, "jo") == 10


# --- Times ----------------------------------------------------------------------------------------


def timestamp(root, student):
    path = root / "grading" / "submitted" / student / CHAPTER / "timestamp.txt"
    return parse_utc(path.read_text().strip()).replace(tzinfo=UTC)


def test_the_time_is_that_of_the_file_of_the_archive_or_of_the_name(root, inbox):
    (root / "grading.toml").write_text('[course]\ntime_zone = "Europe/Berlin"')
    put(inbox / f"file_{NAME}", code(1), NOON)
    put(inbox / "class.zip", archive({f"member_{NAME}": code(1)}), NOON + timedelta(days=9))
    put(inbox / f"04_name_attempt_2026-11-20-13-00-00_{NAME}", code(1), NOON + timedelta(days=9))
    got = by_student(root, inbox)
    assert {name: timestamp(root, name) for name in got} == {
        **{"file": NOON, "member": NOON - timedelta(hours=1), "name": NOON}
    }
    assert all(each.received == timestamp(root, name) for name, each in got.items())


def test_a_student_cannot_date_the_own_submission_back(root, inbox):
    early = archive({NAME: code(1)}, hour=1)
    put(inbox / f"one_{CHAPTER}.zip", early)
    put(inbox / "class.zip", archive({"two/x.zip": early}, hour=12))
    by_student(root, inbox)
    assert timestamp(root, "one") == timestamp(root, "two") == NOON


def test_an_archive_without_times_is_as_old_as_its_file(root, inbox):
    content = archive({f"jo_{NAME}": code(1)})
    month_zero = struct.pack("<H", 0)
    content = content.replace(struct.pack("<H", (2026 - 1980) << 9 | 11 << 5 | 20), month_zero)
    put(inbox / "class.zip", content)
    by_student(root, inbox)
    assert timestamp(root, "jo") == NOON


# --- Collecting again -----------------------------------------------------------------------------


def test_collecting_again_changes_nothing(root, inbox):
    put(inbox / f"jo_{NAME}", code(1))
    put(inbox / "jo_2.ipynb", b"{")
    put(inbox / "bad_x.ipynb", b"{")
    first = collect(root, CHAPTER, inbox)
    files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert collect(root, CHAPTER, inbox) == first
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == files


def test_a_later_file_replaces_an_earlier_one_and_not_the_reverse(root, inbox):
    put(inbox / f"jo_{NAME}", code(1))
    by_student(root, inbox)
    (inbox / f"jo_{NAME}").unlink()
    put(inbox / "jo_new.ipynb", code(2), NOON + timedelta(days=1))
    by_student(root, inbox)
    assert code_of(root, "jo") == 2
    (inbox / "jo_new.ipynb").unlink()
    put(inbox / "jo_old.ipynb", code(3), NOON)
    got = by_student(root, inbox)
    assert (code_of(root, "jo"), timestamp(root, "jo")) == (2, NOON + timedelta(days=1))
    assert "jo_old.ipynb is older than what was collected on 2026-11-21" in got["jo"].problems[0]
    assert problems(root, CHAPTER, "jo")["file"] == "jo_new.ipynb"


def test_a_later_damaged_file_does_not_take_a_good_one_away(root, inbox):
    put(inbox / f"jo_{NAME}", code(1))
    by_student(root, inbox)
    (inbox / f"jo_{NAME}").unlink()
    put(inbox / "jo_new.ipynb", b"{", NOON + timedelta(days=1))
    by_student(root, inbox)
    by_student(root, inbox)
    assert (code_of(root, "jo"), timestamp(root, "jo")) == (1, NOON)
    (told,) = problems(root, CHAPTER, "jo")["problems"]
    assert "jo_new.ipynb" in told and "2026-11-20 12:00 UTC counts" in told


def test_a_good_file_replaces_a_damaged_one_though_it_is_older(root, inbox):
    put(inbox / f"jo_{NAME}", b"{")
    assert not by_student(root, inbox)["jo"].is_readable
    assert code_of(root, "jo") is None
    put(inbox / f"jo_{NAME}", code(1), NOON - timedelta(days=1))
    assert by_student(root, inbox)["jo"].is_readable
    assert code_of(root, "jo") == 1


# --- nbgrader's exchange --------------------------------------------------------------------------


def test_what_the_exchange_brought_is_cleaned_in_place(root, inbox):
    submitted = root / "grading" / "submitted"
    notebook = answered()
    notebook.cells[4].source = "assert True"
    notebook.metadata["evil"] = True
    put(submitted / "jane" / CHAPTER / NAME, raw(notebook))
    put(submitted / "jane" / CHAPTER / "timestamp.txt", b"2026-11-19 10:00:00.5 Europe/Berlin")
    put(submitted / "jane" / CHAPTER / "evil" / "evil.py", b"evil")
    put(submitted / "eve" / CHAPTER / NAME, b"{")
    (submitted / "max" / CHAPTER).mkdir(parents=True)
    (submitted / "max" / CHAPTER / NAME).symlink_to("/etc/passwd")
    (submitted / "max" / CHAPTER / "timestamp.txt").symlink_to("/etc/passwd")
    put(submitted / "ann" / CHAPTER / "renamed.ipynb", code(3))
    put(submitted / "dir" / CHAPTER / NAME / "x.ipynb", code(4))
    put(inbox / f"bob_{NAME}", code(1))
    collect(root, CHAPTER, inbox)
    got = {each.student: each for each in clean_collected(root, CHAPTER)}
    assert {name: code_of(root, name) for name in got} == {
        **{"jane": 0.5, "eve": None, "max": None, "ann": 3, "dir": 4}
    }
    assert timestamp(root, "jane") == datetime(2026, 11, 19, 9, 0, 0, 500_000, UTC)
    assert "check_half" in problems(root, CHAPTER, "jane")["problems"][0]
    assert "evil" not in (submitted / "jane" / CHAPTER / NAME).read_text()
    everything = [path for path in submitted.rglob("*") if not path.is_dir()]
    assert len(everything) == 12 and not any(path.is_symlink() for path in everything)
    assert clean_collected(root, CHAPTER) == [], "clean already: nothing to do"
    assert problems(root, CHAPTER, "jane")["problems"] != [], "and nothing forgotten"
    put(submitted / "jane" / CHAPTER / NAME, code(7))
    assert [each.student for each in clean_collected(root, CHAPTER)] == ["jane"]


def test_the_blank_notebook_is_the_released_one(root, inbox):
    put(inbox / f"eve_{NAME}", b"{")
    by_student(root, inbox)
    path = root / "grading" / "submitted" / "eve" / CHAPTER / NAME
    assert nbformat.read(path, as_version=4) == released()
