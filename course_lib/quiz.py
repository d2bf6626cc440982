"""Questions to check oneself with: jupyterquiz, from a file, in JupyterLab and on the static site.

The questions are in jupyterquiz's own format, so that its documentation holds for them. Around its
markup this module puts what a course needs: the same bytes at every run (a saved notebook is
compared), no request to another host (jupyterquiz would fetch MathJax), answers that the keyboard
reaches and feedback that a screen reader speaks, colours that suit a light and a dark page, and,
where no script may run (GitHub, an untrusted notebook, paper), the questions as plain text.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyterquiz.dynamic.loader import load_questions_script
from jupyterquiz.dynamic.renderer import build_script, build_styles, render_div


@dataclass(frozen=True)
class Quiz:
    """A finished quiz; Jupyter shows it through `_repr_html_`.

    Attributes:
        html: the whole quiz, self-contained.
        questions: how many it asks.
    """

    html: str
    questions: int

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"<Quiz: {self.questions} questions>"


def quiz(path: str | Path) -> Quiz:
    """Shows the questions of a file; put it on the last line of a cell.

    Args:
        path: a JSON file with a list of questions, each `{"question": "…", "type":
            "multiple_choice", "answers": [{"answer": "…", "correct": true, "feedback": "…"}, …]}`.
            Texts may hold `<i>`, `<b>`, `<sub>`, `<sup>` and `<code>`, but no TeX: JupyterLab does
            not typeset what a script writes.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no JSON, or a question without a text, with fewer than two answers, not exactly
            one right answer, or an answer without feedback.
    """
    questions = _read(Path(path))
    digest = hashlib.sha256(json.dumps(questions).encode()).hexdigest()[:12]
    name = f"quiz_{digest}"  # jupyterquiz also uses it as the name of a variable
    prefix, static, url = load_questions_script(questions, name)
    # A question with "</script>" would end the script element; nothing else here holds a "<".
    prefix = prefix.replace("<", "\\u003c")
    container = render_div(name, False, False, False, len(questions), 700, 8, "left")
    styles = build_styles(name, {}).removeprefix("<style>").removesuffix("</style>")
    script = build_script(prefix, static, url, name, True).replace("</", "<\\/")
    markup = (
        f"<style>{_minified(styles)}{_minified(_STYLE)}</style>"
        f'<div class="course-quiz">{container}</div>{_plain(questions)}</div>'
        # jupyterquiz sees neither MathJax, which it would load from another host, nor a console,
        # into which it writes at every click.
        f"<script>(function (MathJax, console) {{\n{script}\n}})"
        f"(undefined, {{log: function () {{}}, error: console.error}});\n"
        f"{_SCRIPT.replace('NAME', name)}</script>"
    )
    return Quiz(html=markup, questions=len(questions))


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        questions = json.loads(path.read_text("utf8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(questions, list) or not questions:
        raise ValueError(f"{path}: expected a list with at least one question")
    for number, question in enumerate(questions, start=1):
        if fault := _fault(question):
            raise ValueError(f"{path}, question {number}: {fault}")
    return questions


def _fault(question: Any) -> str:
    """What is wrong with a question; nothing if it can be asked."""
    if not isinstance(question, dict) or not str(question.get("question", "")).strip():
        return 'expected {"question": "…", "type": "multiple_choice", "answers": […]}'
    if question.get("type") != "multiple_choice":
        return f'type must be "multiple_choice", got {question.get("type")!r}'
    answers = question.get("answers")
    if not isinstance(answers, list) or len(answers) < 2:
        return "expected at least two answers"
    for answer in answers:
        if not isinstance(answer, dict) or not all(
            str(answer.get(key, "")).strip() for key in ("answer", "feedback")
        ):
            return f'each answer needs "answer" and "feedback", got {answer}'
    right = sum(answer.get("correct") is True for answer in answers)
    return "" if right == 1 else f'expected one answer with "correct": true, got {right}'


def _plain(questions: list[dict[str, Any]]) -> str:
    """The questions for readers whose page runs no script; `_SCRIPT` takes them away."""
    asked, explained = "", ""
    for question in questions:
        answers = question["answers"]
        asked += f"<li><p>{question['question']}</p><ul>"
        asked += "".join(f"<li>{answer['answer']}</li>" for answer in answers) + "</ul></li>"
        right = next(answer for answer in answers if answer.get("correct") is True)
        explained += f"<li>{right['answer']} <i>{right['feedback']}</i></li>"
    return (
        f'<div class="course-quiz-plain"><ol>{asked}</ol>'
        f"<details><summary>Answers</summary><ol>{explained}</ol></details></div>"
    )


def _minified(style: str) -> str:
    return re.sub(r"\s*\n\s*", "", re.sub(r"/\*.*?\*/", "", style, flags=re.S))


# Colours are inherited, so that light and dark pages both work; right and wrong are told by a sign
# and a word as well as by a colour.
_STYLE = """
.course-quiz .Quiz{max-width:44rem;margin:0 0 1.5rem;padding:0;font-size:1rem;line-height:1.45}
.course-quiz .MultipleChoiceQn{background:rgba(128,128,128,.1);color:inherit;
padding:.9rem 1rem .4rem;border-radius:8px}
.course-quiz{counter-reset:question}
.course-quiz .MultipleChoiceQn::before{counter-increment:question;
content:counter(question) ". ";font-weight:bold;float:left;margin-right:.4em}
.course-quiz .Answer{grid-template-columns:1fr;grid-gap:.5rem;margin:.75rem 0}
.course-quiz .MCButton{position:relative;justify-content:flex-start;text-align:left;
font-size:1rem;padding:.55rem .8rem;margin:0;background:transparent;color:inherit;
border:1px solid #808a94;border-left-width:6px;border-radius:6px;box-shadow:none;animation:none}
.course-quiz .MCButton:hover{background:rgba(128,128,128,.15)}
.course-quiz .MCButton input{position:absolute;opacity:0;width:1px;height:1px;margin:0}
.course-quiz .MCButton:focus-within{outline:3px solid #0072b2;outline-offset:2px}
.course-quiz .correctButton{border-color:#009e73;background:rgba(0,158,115,.15)}
.course-quiz .incorrectButton{border-color:#d55e00;background:rgba(213,94,0,.15)}
.course-quiz .Feedback{font-size:1rem;text-align:left;color:inherit;min-height:1.45em;
padding:0 .2rem .5rem}
.course-quiz .Feedback.correct::before{content:"✓ Right. ";font-weight:bold}
.course-quiz .Feedback.incorrect::before{content:"✗ Not so. ";font-weight:bold}
.course-quiz code{background:rgba(128,128,128,.18);color:inherit}
"""

# The quiz is in the page by now. Without the attribute data-lm-suppress-shortcuts JupyterLab takes
# the arrow keys and the space bar for itself.
_SCRIPT = """
(function () {
  "use strict";
  var quiz = document.getElementById("NAME");
  if (!quiz || !quiz.querySelector(".Quiz")) return;
  var plain = quiz.parentElement.querySelector(".course-quiz-plain");
  if (plain) plain.remove();
  quiz.querySelectorAll(".Quiz").forEach(function (one) {
    one.setAttribute("role", "radiogroup");
    one.setAttribute("aria-labelledby", one.querySelector(".MultipleChoiceQn > div").id);
    one.querySelector(".Feedback").setAttribute("aria-live", "polite");
    one.querySelectorAll("input").forEach(function (input) {
      input.setAttribute("data-lm-suppress-shortcuts", "");
    });
    // To walk over the answers is not to choose one: that takes the space bar.
    one.addEventListener("keydown", function (event) {
      var step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      var inputs = Array.from(one.querySelectorAll("input"));
      var next = inputs.indexOf(document.activeElement) + step + inputs.length;
      inputs[next % inputs.length].focus();
    });
  });
})();
"""
