"""Quizzes: the same bytes at every run, nothing from another host, readable without a script."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from course_lib.quiz import quiz

QUESTION = {
    "question": "Which way round?",
    "type": "multiple_choice",
    "answers": [
        {"answer": "KL(q ‖ p)", "correct": True, "feedback": "It <i>is</i>."},
        {"answer": "KL(p ‖ q)", "correct": False, "feedback": "The other one."},
    ],
}


def changed(**entries):
    return {**QUESTION, **entries}


def answer(**entries):
    return {"answer": "a", "correct": False, "feedback": "b", **entries}


@pytest.fixture
def file(tmp_path):
    def written(questions):
        path = tmp_path / "quiz.json"
        path.write_text(json.dumps(questions), "utf8")
        return path

    return written


class Tree(HTMLParser):
    """Checks that every element is closed in its turn; collects the text outside of scripts."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.text = [], ""
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data


def test_the_same_file_gives_the_same_bytes(file):
    path = file([QUESTION])
    assert quiz(path).html == quiz(str(path)).html
    assert repr(quiz(path)) == "<Quiz: 1 questions>"
    assert quiz(path)._repr_html_() == quiz(path).html


def test_another_question_gives_another_name(file):
    names = {
        re.search(r'id="(quiz_\w+)"', quiz(file([found])).html)[1]
        for found in (QUESTION, changed(question="Which?"))
    }
    assert len(names) == 2


def test_the_markup_is_whole_and_without_a_script_the_questions_can_be_read(file):
    tree = Tree(quiz(file([QUESTION, changed(question="And here?")])).html)
    assert tree.open == []
    for text in ("Which way round?", "And here?", "KL(p ‖ q)", "Answers", "It is."):
        assert text in tree.text
    assert "The other one." not in tree.text  # only the right answer is explained there


def test_a_text_cannot_end_the_script(file):
    found = quiz(file([changed(question="Is a < b </script> c?")])).html
    script = found[found.index("<script>") + 8 :]
    assert script.count("</script>") == 1 and script.endswith("</script>")


def test_nothing_is_fetched_from_another_host(file):
    """The one address in jupyterquiz's script is out of reach: it needs a MathJax to ask for."""
    markup = quiz(file([QUESTION])).html
    assert set(re.findall(r"https?://[\w.]+", markup)) <= {"https://cdn.jsdelivr.net"}
    assert "(function (MathJax, console) {" in markup and "(undefined, {log:" in markup


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ([], "at least one question"),
        ({"question": "?"}, "expected a list"),
        (["?"], "question 1: expected"),
        ([QUESTION, changed(question=" ")], "question 2: expected"),
        ([changed(type="many_choice")], "type must be"),
        ([changed(answers=[])], "at least two answers"),
        ([changed(answers=[answer(), answer()])], "one answer with .* got 0"),
        ([changed(answers=[answer(correct=True)] * 2)], "one answer with .* got 2"),
        ([changed(answers=[answer(correct=True), answer(feedback="")])], "needs"),
        ([changed(answers=[answer(correct=True), "b"])], "needs"),
    ],
)
def test_what_cannot_be_asked_is_refused(file, questions, message):
    with pytest.raises(ValueError, match=message):
        quiz(file(questions))


def test_a_file_that_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json"):
        quiz(tmp_path / "nowhere.json")
    (tmp_path / "half.json").write_text('[{"question": ')
    with pytest.raises(ValueError, match=r"half\.json is not JSON"):
        quiz(tmp_path / "half.json")
