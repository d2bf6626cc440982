"""grades.csv and the page for the instructor, for a class whose results are known."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from graded_class import add, add_chapter, passed, wrong
from inboxes import CHAPTER, course

from classroom.gradebook import open_gradebook
from classroom.summary import general, write_grades, write_summary
from classroom.summary_page import _histogram
from classroom.types import CellOutcome

# nbgrader's own habit of using its database session
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
EVIL = "<script>alert('x')</script>"
OTHER = "05_gan_in_practice"


@pytest.fixture(scope="module", autouse=True)
def no_address():
    """Not the gradebook of a class that somebody is teaching."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GRADEBOOK_URL", raising=False)
        yield


@pytest.fixture
def root(original, tmp_path):
    """The class, to do with as one likes."""
    return shutil.copytree(original, tmp_path / "course")


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Five students: right, wrong twice in the same way, blank, stopped; a sixth is missing."""
    root = course(tmp_path_factory.mktemp("class"))
    add_chapter(root)
    (root / "grading.toml").write_text(
        f'[course]\ntime_zone = "Europe/Berlin"\n[deadlines]\n{CHAPTER} = 2026-11-20T13:00:00\n'
        f"[worth]\n{CHAPTER} = 50\n"
    )
    (root / "grading" / "students.csv").write_text(
        'id,first_name,last_name,email\ns1,Ann,"=HYPERLINK(1)",a@x\ns6,Never,Came,n@x\n'
    )
    add(root, "s1", {"check_half": passed()}, {"proof": 1})
    add(root, "s2", {"check_half": wrong(f"got 0.25, {EVIL}")}, {"proof": 2}, hours=30)
    add(root, "s3", {"check_half": wrong(f"got 0.75, {EVIL}")}, {"proof": None})
    add(root, "s4", {"check_half": CellOutcome("blank")}, {"proof": 0})
    stopped = CellOutcome("stopped", "the time limit of 60 seconds")
    add(root, "s5", {"check_half": stopped}, notes=["started again"], cells={"a": stopped})
    about = {"problems": [f"s4.ipynb: {EVIL}"], "is_readable": False, "name": "Display Name"}
    path = root / "grading" / "problems" / CHAPTER / "s4.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(about))
    path.parent.with_suffix(".json").write_text(json.dumps([f"x.docx: {EVIL}"]))
    (root / "grading" / "returned" / CHAPTER).mkdir(parents=True)
    (root / "grading" / "returned" / CHAPTER / "s1.html").touch()
    return root


def rows(path):
    with open(path, newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


# --- grades.csv ----------------------------------------------------------------------------------


def test_grades_have_a_line_for_each_student_and_chapter_and_the_total(root):
    table = rows(write_grades(root))
    by_student = {row["student"]: row for row in table if row["chapter"] == CHAPTER}
    assert len(table) == 2 * len(by_student) == 12
    assert by_student["s2"] == {
        **{"student": "s2", "first_name": "", "last_name": "", "email": "", "chapter": CHAPTER},
        **{"submitted": "2026-11-21 19:00+01:00", "hours_late": "30.00", "raw_points": "2"},
        **{"late_penalty": "0.4", "points": "1.6", "maximum": "5", "worth": "50"},
        **{"counted": "16", "to_be_read": "0"},
    }
    assert [by_student[name]["points"] for name in ("s1", "s3", "s6")] == ["4", "0", "0"]
    assert (by_student["s6"]["submitted"], by_student["s6"]["first_name"]) == ("", "Never")
    assert [by_student[name]["to_be_read"] for name in ("s1", "s3")] == ["0", "1"]
    assert by_student["s4"]["last_name"] == "Display Name"


def test_the_total_counts_chapters_at_their_worth_once_they_are_handed_in(root):
    add_chapter(root, OTHER)
    (total,) = [
        r for r in rows(write_grades(root)) if (r["student"], r["chapter"]) == ("s1", "total")
    ]
    assert (total["counted"], total["worth"], total["maximum"]) == ("40", "50", "5")
    add(root, "s2", {"check_half": passed()}, {"proof": 2}, chapter=OTHER)
    table = rows(write_grades(root))
    totals = {row["student"]: row for row in table if row["chapter"] == "total"}
    assert (totals["s1"]["counted"], totals["s1"]["worth"]) == ("40", "55")
    assert (totals["s2"]["counted"], totals["s2"]["points"]) == ("21", "6.6")
    wide = {row["student"]: row for row in rows(root / "grading" / "grades_wide.csv")}
    assert [wide["s2"][column] for column in (CHAPTER, OTHER, "total")] == ["16", "5", "21"]
    assert list(wide) == list(totals)


def test_points_given_later_and_a_new_deadline_count(root):
    with open_gradebook(root) as gradebook:
        gradebook.find_grade("proof", CHAPTER, CHAPTER, "s3").manual_score = 2
        gradebook.db.commit()
    text = (root / "grading.toml").read_text()
    (root / "grading.toml").write_text(text.replace("11-20T", "11-19T"))
    table = {r["student"]: r for r in rows(write_grades(root)) if r["chapter"] == CHAPTER}
    assert (table["s3"]["raw_points"], table["s3"]["points"]) == ("2", "1.8")
    assert table["s1"]["points"] == "3.6"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_no_cell_is_taken_for_a_formula(root, start):
    with open_gradebook(root) as gradebook:
        gradebook.update_or_create_student("s2", last_name=f"{start}cmd|' /C calc'!A0")
    write_grades(root)
    for name in ("grades.csv", "grades_wide.csv"):
        text = (root / "grading" / name).read_text()
        cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
        assert any("calc" in cell for cell in cells)
        assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))] == []


# --- The page ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The page as a reader meets it: its words, and the tags and attributes there are."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, words = [], [], []
        self.handle_data = words.append
        self.feed(text)
        self.words = " ".join(" ".join(words).split())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes


@pytest.fixture(scope="module")
def page(original):
    return Page(write_summary(original, CHAPTER).read_text("utf8"))


def test_what_students_wrote_is_text_and_nothing_is_fetched(page):
    assert page.words.count(EVIL) == 4  # two students share one
    assert "script" not in page.tags and "link" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    addresses = [value for name, value in page.attributes if name in ("src", "srcset", "href")]
    assert len(addresses) == 3
    assert [a for a in addresses if not a.startswith(("data:image/svg+xml;base64,", "../"))] == []


def test_the_numbers_on_the_page(page):
    for words in (
        *("5 submissions 1 missing", "0 of 5 median", "1 handed in late", "2 to be read"),
        *("due 20 November 2026, 13:00 (Europe/Berlin)", "proof (2)", "30 h late", "Never Came"),
        "2 half got …,",
        "Stopped by the sandbox the time limit of … seconds s5",
        "Remark of the sandbox started again s5",
        "Not readable, counted as blank",
        "x.docx:",
    ):
        assert words in page.words, words


def test_each_part_says_what_became_of_it(page):
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert labels == [
        "half: 1 solved, 2 wrong, 1 stopped, 1 blank",
        "proof: 1 solved, 1 partly, 1 wrong, 2 to be read",
    ]
    assert re.search(r"half hardest part 20 %", page.words)
    assert re.search(r"Exercise 1 hardest exercise 20 % of 3 points", page.words)
    assert "Exercise 2 30 % of 2 points so far" in page.words


def test_the_picture_is_described_and_the_feedback_linked(page):
    (described,) = [value for name, value in page.attributes if name == "alt"]
    assert (
        described
        == (
            "Histogram of points. Submissions: 3 from 0 to 0.5, 1 from 1.5 to 2, 1 from 4 to 4.5. "
            "Median 0."
        )
        or "Median 1.6" not in described
    )
    assert [value for name, value in page.attributes if name == "href"] == [
        f"../returned/{CHAPTER}/s1.html"
    ]


def test_the_same_class_gives_the_same_page(root):
    assert write_summary(root, CHAPTER).read_bytes() == write_summary(root, CHAPTER).read_bytes()


def test_a_chapter_without_submissions_has_no_page(root):
    with pytest.raises(ValueError, match=f"'{OTHER}'.*make grade CHAPTER={OTHER}"):
        write_summary(root, OTHER)


@pytest.mark.parametrize(
    ("points", "maximum", "expected"),
    [
        ([0, 0.9, 1, 39, 40, 41], 40, {0: 2, 1: 0, 19: 3}),
        ([0], 0, {0: 1}),
        ([3], 3, {5: 1}),
        ([], 35, {0: 0, 17: 0}),
    ],
)
def test_full_marks_are_in_the_last_bin(points, maximum, expected):
    counts, edges = _histogram(points, maximum)
    assert sum(counts) == len(points) and len(edges) == len(counts) <= 20
    if maximum == 40:
        expected = {0: 3, 19: 3}
    assert {index: counts[index] for index in expected} == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("got 0.25 for x[3]", "got -1e-07 for x[12]"),
        ("tensor([1., 2., 3.])", "tensor([0.5])"),
        ("<object at 0x7f12ab>", "<object at 0x7f99>"),
        ("a" * 500, "a" * 600),
        ("  1,234.5 ", "7"),
    ],
)
def test_messages_that_differ_in_numbers_are_one(one, other):
    assert general(one) == general(other)


def test_names_with_digits_stay():
    assert general("layer_2 of conv1d is not float32") == "layer_2 of conv1d is not float32"
