"""Every chapter has what a reader may count on, from its question to its quiz."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import notebooks
import pytest
from markdown_pages import dead, prose

CHAPTERS = notebooks.chapters()
TEXTS = [text.read_text("utf8") for text in CHAPTERS]
EQUATIONS = {tag for text in TEXTS for tag in re.findall(r"\\tag\{(\d+\.\d+)\}", text)}
SECTIONS = {number for text in TEXTS for number in re.findall(r"\n## (\d+\.\d+) ", text)}
TIMES = (
    r"Reading with a pencil takes about [^;]+ (minutes|hours)[^;]*; running every cell takes "
    r"(less than|about) a minute on two CPU cores\."
)
WORDS = ("no", "one", "two", "three", "four", "five", "six")
LAST = ("Quiz.", "Exercises.", "Where to read on.")
MARKUP = re.compile(r"</?(?:i|sub|sup|code)>")


def counted(found: list[str], number: str) -> bool:
    """Whether numbers such as 4.1, 4.2, 4.3 follow each other without a gap."""
    return found == [f"{number}{k + 1}" for k in range(len(found))]


# Who reads the site sees the quiz alone.
QUIZ_CELL = """\
:tags: [remove-input]

from course_lib.quiz import quiz

quiz("quizzes/{}.json")
"""


def chapter_faults(markdown: str, stem: str) -> list[str]:
    """What is missing in a chapter, or out of order.

    Args:
        markdown: the text of the chapter.
        stem: its name, such as ``04_gan_minimax``.
    """
    number = f"{int(stem[:2])}."
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S)
    headings = re.findall(r"^##+ (.+)", prose, re.M)
    opening, *_, end = re.split(r"^## ", prose, flags=re.M)
    checks = re.findall(r"^\*\*Check (\d+)\.\*\*", prose, re.M)
    asked = re.search(r"\*\*Quiz\.\*\* (\w+) questions; .*\n\n```.*\n([^`]+)", markdown)
    links = re.findall(r"\[(?:chapter )?(\d\d)\]\((\d\d)_", prose, re.I)
    rules = {
        "a title without a number": len(re.findall(r"^# \D+$", prose, re.M)) == 1,
        "a question in bold before the first section": re.search(r"\*\*[^*]+\?\*\*", opening),
        "the minutes of reading and running": re.search(TIMES, opening),
        "sections that count": counted(re.findall(r"^## (\d+\.\d+) ", prose, re.M), number),
        "equations that count": counted(re.findall(r"\\tag\{(\d+\.\d+)\}", prose), number),
        "checks that count, at least three": counted(checks, "") and len(checks) >= 3,
        "a failure lab": any("Failure lab" in heading for heading in headings),
        "claims": any(re.match(r"\d+\.\d+ Claims you will meet", h) for h in headings),
        "What we learnt at the end": re.match(r"\d+\.\d+ What we learnt\n", end),
        "quiz, exercises, reading, in this order": re.findall(r"^\*\*(.+?)\*\*", end, re.M)
        == [*LAST],
        "its exercises": f"release/{stem}`" in end,
        "the cell of its quiz": asked and asked[2] == QUIZ_CELL.format(stem),
        "links that name the chapter they lead to": all(name == led for name, led in links),
    }
    return [rule for rule, kept in rules.items() if not kept]


def quiz_faults(questions: list[dict], markdown: str) -> list[str]:
    """What is wrong with the quiz of a chapter."""
    texts = [part for q in questions for part in (q["question"], *shown(q))]
    right = [[a["correct"] for a in q["answers"]].index(True) for q in questions if correct(q) == 1]
    said = re.search(r"\*\*Quiz\.\*\* (\w+) questions", markdown)
    checks = set(re.findall(r"^\*\*Check (\d+)\.\*\*", markdown, re.M))
    known = {r"[Cc]hecks? (\d+)": checks, r"[Ss]ections? (\d+\.\d+)": SECTIONS}
    known |= {r"\((\d+\.\d+)\)": EQUATIONS}
    rules = {
        "at least four questions": len(questions) >= 4,
        "the number of questions in words": said and said[1].lower() == WORDS[len(questions)],
        "the form of a question": all(
            q.keys() == {"question", "type", "answers"} and q["type"] == "multiple_choice"
            for q in questions
        ),
        "three or four answers": all(3 <= len(q["answers"]) <= 4 for q in questions),
        "one right answer": all(correct(q) == 1 for q in questions),
        "a feedback for every answer": all(
            len(a.get("feedback", "")) >= 20 for q in questions for a in q["answers"]
        ),
        "no feedback twice": not twice(a.get("feedback") for q in questions for a in q["answers"]),
        "no TeX, no Markdown": not any(
            re.search(r"[$\\`]|\*\*|\]\(", re.sub("<code>.*?</code>", "", text)) for text in texts
        ),
        "i, sub, sup and code only": not any(
            re.search(r"<(?=\S)|&\w+;", MARKUP.sub("", text)) for text in texts
        )
        and all(balanced(text) for text in texts),
        "no question twice": not twice(q["question"] for q in questions),
        "no answer twice": not any(twice(a["answer"] for a in q["answers"]) for q in questions),
        "right answers in different places": max(Counter(right).values()) <= len(right) / 2,
        "right answers that are not the longest": sum(map(longest, questions)) <= len(right) / 2,
        "references that exist": all(
            name in names
            for pattern, names in known.items()
            for text in texts
            for name in re.findall(pattern, text)
        ),
    }
    return [rule for rule, kept in rules.items() if not kept]


def shown(question: dict) -> list[str]:
    return [a.get(part, "") for a in question["answers"] for part in ("answer", "feedback")]


def correct(question: dict) -> int:
    return sum(answer["correct"] is True for answer in question["answers"])


def twice(texts) -> bool:
    return max(Counter(text.lower() if text else text for text in texts).values()) > 1


def balanced(text: str) -> bool:
    opened: list[str] = []
    for tag in MARKUP.findall(text):
        if not tag.startswith("</"):
            opened.append(tag)
        elif not opened or opened.pop() != tag.replace("/", ""):
            return False
    return not opened


def longest(question: dict) -> bool:
    """Whether the right answer can be told by its length."""
    plain = [len(MARKUP.sub("", a["answer"])) for a in question["answers"]]
    right = [size for size, a in zip(plain, question["answers"], strict=True) if a["correct"]]
    return right == [max(plain)] and plain.count(max(plain)) == 1


def quiz_of(text: Path) -> list[dict]:
    return json.loads((text.parent / "quizzes" / f"{text.stem}.json").read_text("utf8"))


def every(texts):
    return pytest.mark.parametrize("text", texts, ids=lambda path: path.stem)


@every(CHAPTERS)
def test_a_chapter_has_all_its_parts(text):
    assert chapter_faults(text.read_text("utf8"), text.stem) == []


@every(CHAPTERS)
def test_a_chapter_has_its_exercises(text):
    assert text.parent.joinpath("exercises", text.stem, text.name).exists()


@every(notebooks.texts())
def test_links_into_the_course_lead_to_a_file_and_a_place_in_it(text):
    not_links = r"`[^`\n]+`|\$\$.*?\$\$|\$[^$]+\$"
    markdown = re.sub(not_links, "", prose(text.read_text("utf8")), flags=re.S)
    assert dead(text, markdown) == []


@every(CHAPTERS)
def test_the_quiz_keeps_its_rules(text):
    assert quiz_faults(quiz_of(text), text.read_text("utf8")) == []


def test_no_question_is_asked_in_two_chapters():
    questions = [question["question"] for text in CHAPTERS for question in quiz_of(text)]
    assert [q for q, count in Counter(questions).items() if count > 1] == []


def test_every_quiz_belongs_to_a_chapter():
    files = {path.stem for path in CHAPTERS[0].parent.glob("quizzes/*.json")}
    assert files == {text.stem for text in CHAPTERS}


# The rules can fail: a good chapter is damaged, one place at a time.

GOOD = next(text for text in CHAPTERS if text.stem == "04_gan_minimax")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("# The GAN", "# 4 The GAN", "a title without a number"),
        ("theorem?**", "theorem.**", "a question in bold before the first section"),
        ("a pencil takes about", "a pencil lasts", "the minutes of reading and running"),
        ("## 4.3 ", "## 4.4 ", "sections that count"),
        (r"\tag{4.5}", r"\tag{4.55}", "equations that count"),
        ("**Check 4.**", "**Check 5.**", "checks that count, at least three"),
        ("Failure lab", "Laboratory", "a failure lab"),
        ("Claims you will meet", "Claims", "claims"),
        ("What we learnt", "Summary", "What we learnt at the end"),
        ("**Exercises.**", "**Exercise.**", "quiz, exercises, reading, in this order"),
        ("release/04_gan_minimax", "release/04_gan", "its exercises"),
        ("quizzes/04_gan_minimax", "quizzes/05_gan_in_practice", "the cell of its quiz"),
        (
            "## 4.2",
            "[Chapter 05](06_gan.ipynb)\n\n## 4.2",
            "links that name the chapter they lead to",
        ),
    ],
)
def test_a_damaged_chapter_is_noticed(old, new, fault):
    markdown = GOOD.read_text("utf8")
    assert old in markdown
    assert fault in chapter_faults(markdown.replace(old, new), GOOD.stem)


def damaged(questions: list[dict], **parts) -> list[dict]:
    return [{**questions[0], **parts}, *questions[1:]]


def answer(**parts) -> dict:
    return {"answer": "A", "correct": False, "feedback": "By Check 1 it is not.", **parts}


ANSWERS = [answer(correct=True), answer(answer="Bb"), answer(answer="C")]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda q: q[:3], "at least four questions"),
        (lambda q: q[:4], "the number of questions in words"),
        (lambda q: damaged(q, type="many_choice"), "the form of a question"),
        (lambda q: damaged(q, answers=ANSWERS[:2]), "three or four answers"),
        (lambda q: damaged(q, answers=[*ANSWERS, answer(correct=True)]), "one right answer"),
        (
            lambda q: damaged(q, answers=[*ANSWERS, answer(feedback="")]),
            "a feedback for every answer",
        ),
        (lambda q: damaged(q, answers=ANSWERS), "no feedback twice"),
        (lambda q: damaged(q, question="Is $x$ large?"), "no TeX, no Markdown"),
        (lambda q: damaged(q, question="Is <b>x</b> large?"), "i, sub, sup and code only"),
        (lambda q: damaged(q, question="Is <i>x large?"), "i, sub, sup and code only"),
        (lambda q: [*q[:-1], q[0]], "no question twice"),
        (lambda q: damaged(q, answers=[*ANSWERS, answer()]), "no answer twice"),
        (lambda q: first_right(q), "right answers in different places"),
        (lambda q: long_right(q), "right answers that are not the longest"),
        (lambda q: damaged(q, question="See Check 77."), "references that exist"),
        (lambda q: damaged(q, question="See equation (4.77)."), "references that exist"),
    ],
)
def test_a_damaged_quiz_is_noticed(damage, fault):
    markdown = GOOD.read_text("utf8")
    assert fault in quiz_faults(damage(quiz_of(GOOD)), markdown)


def first_right(questions: list[dict]) -> list[dict]:
    return [
        {**q, "answers": sorted(q["answers"], key=lambda a: not a["correct"])} for q in questions
    ]


def long_right(questions: list[dict]) -> list[dict]:
    return [
        {
            **q,
            "answers": [
                {**a, "answer": a["answer"] + a["correct"] * 80 * "!"} for a in q["answers"]
            ],
        }
        for q in questions
    ]
