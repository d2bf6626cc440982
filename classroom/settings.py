"""The settings of a class, read from grading.toml: deadlines, points, limits, gradebook."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from classroom.types import Limits, SandboxKind

FILE = "grading.toml"
SANDBOXES = ("auto", *get_args(SandboxKind))
DATABASES = re.compile(r"(sqlite|postgresql(\+\w+)?)://")


@dataclass(frozen=True)
class Late:
    """What a late submission loses; the times are counted from the deadline."""

    grace_minutes: float = 15.0
    penalty_per_day: float = 0.1
    latest_days: float = 7.0


@dataclass(frozen=True)
class Sandbox:
    """Where answers run: "auto", or one of the kinds of ``classroom.types.SandboxKind``."""

    kind: Literal["auto"] | SandboxKind = "auto"
    container_engine: str = ""
    container_image: str = "generative-models-grading"


@dataclass(frozen=True)
class Settings:
    """All settings. The deadlines know their time zone; ``points`` and ``worth`` are by chapter."""

    gradebook_url: str
    course_id: str = "generative-models"
    time_zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("Europe/London"))
    deadlines: Mapping[str, datetime] = field(default_factory=dict)
    late: Late = field(default_factory=Late)
    points: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    worth: Mapping[str, float] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    sandbox: Sandbox = field(default_factory=Sandbox)


def load(root: Path) -> Settings:
    """The settings in ``root``/grading.toml; what is not in it, or no file at all, is the default.

    Raises:
        ValueError: if a key is unknown or a value does not fit; the message names both.
    """
    path = root / FILE
    try:
        data = tomllib.loads(path.read_text("utf8")) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{FILE} must be a TOML file in UTF-8, but {error}") from None
    sections = ("course", "deadlines", "late", "points", "worth", "limits", "sandbox", "gradebook")
    _refuse_unknown(data, sections, "")
    table = {name: _table(data.get(name, {}), name) for name in sections}
    _refuse_unknown(table["course"], ("id", "time_zone"), "course.")
    _refuse_unknown(table["gradebook"], ("url",), "gradebook.")
    zone = _time_zone(table["course"].get("time_zone", "Europe/London"))
    chapters = _chapters(root)
    for name in ("deadlines", "points", "worth"):
        if chapters:
            _refuse_unknown(table[name], chapters, f"{name}.")
    return Settings(
        gradebook_url=_gradebook_url(root, table["gradebook"].get("url", "")),
        course_id=_text(table["course"].get("id", "generative-models"), "course.id"),
        time_zone=zone,
        deadlines={
            chapter: _deadline(value, f"deadlines.{chapter}", zone)
            for chapter, value in table["deadlines"].items()
        },
        late=_late(table["late"]),
        points={
            chapter: _numbers(_table(value, f"points.{chapter}"), f"points.{chapter}.")
            for chapter, value in table["points"].items()
        },
        worth=_numbers(table["worth"], "worth."),
        limits=_limits(table["limits"]),
        sandbox=_sandbox(table["sandbox"]),
    )


def with_points(notebook: Any, overrides: Mapping[str, float]) -> Any:
    """A copy of the exercises of a chapter in which some parts are worth something else.

    ``overrides`` maps a part to its points. A part is a function to be written, whose cell
    ``check_<part>`` has the points, or a text that a person reads, which has them itself. The
    points that each exercise states, and the total in the first cell, become the new sums.

    Raises:
        ValueError: if there is no such part; the message lists them.
    """
    notebook = copy.deepcopy(notebook)
    graded = {}
    for cell in notebook.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("grade"):
            graded[about["grade_id"].removeprefix("check_")] = about
    for part, points in overrides.items():
        if part not in graded:
            raise ValueError(
                f"part must be one of {sorted(graded)}, got {part!r}; correct the name in {FILE}, "
                "[points.<chapter>]"
            )
        graded[part]["points"] = points
    heading: int | None = None
    sums: dict[int, float] = {}
    for number, cell in enumerate(notebook.cells):
        if cell.source.startswith("## Exercise"):
            heading = number
        if heading is not None:
            points = cell.metadata.get("nbgrader", {}).get("points", 0)
            sums[heading] = sums.get(heading, 0) + points
    stated = re.compile(r"(?m)^(Difficulty: .* · )[\d.]+ points?$")
    for number, points in sums.items():
        source = notebook.cells[number].source
        notebook.cells[number].source = stated.sub(rf"\g<1>{_points(points)}", source, count=1)
    first = notebook.cells[0]
    total = _points(sum(sums.values()))
    first.source = re.sub(r"\b[\d.]+ points?\b", total, first.source, count=1)
    return notebook


def _points(number: float) -> str:
    return f"{number:g} point{'' if number == 1 else 's'}"


def _chapters(root: Path) -> list[str]:
    texts = (root / "chapters" / "exercises").glob("*/*.md")
    return sorted(path.stem for path in texts if path.stem == path.parent.name)


def _refuse_unknown(table: Mapping[str, Any], known: Any, prefix: str) -> None:
    for key in table:
        if key not in known:
            raise ValueError(
                f"{FILE}: {prefix}{key} is not a setting, expected one of "
                f"{', '.join(prefix + name for name in known)}; correct the name or remove it"
            )


def _wrong(key: str, value: Any, expected: str) -> ValueError:
    shown = value.isoformat() if hasattr(value, "isoformat") else repr(value)
    return ValueError(f"{FILE}: {key} must be {expected}, got {shown}")


def _table(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(key, value, f"a table; write it under a line [{key}]")
    return value


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(key, value, 'a text that is not empty, in quotes: "..."')
    return value


def _number(value: Any, key: str, least: float = 0.0, most: float = float("inf")) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not least <= value <= most or value == float("inf"):
        limits = f"a number from {least:g}" + (f" to {most:g}" if most < float("inf") else " up")
        raise _wrong(key, value, limits)
    return value


def _numbers(table: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {key: _number(value, prefix + key) for key, value in table.items()}


def _time_zone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except (TypeError, ValueError, OSError, KeyError):  # a name that is not found is a KeyError
        pass
    raise _wrong("course.time_zone", value, 'a name such as "Europe/London" (IANA time zones)')


def _deadline(value: Any, key: str, zone: ZoneInfo) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is not None:
        example = "a date and time without offset and without quotes, such as 2026-11-30T23:59:00"
        raise _wrong(key, value, f"{example}; its time zone is course.time_zone")
    return value.replace(tzinfo=zone)


def _late(table: Mapping[str, Any]) -> Late:
    _refuse_unknown(table, [each.name for each in fields(Late)], "late.")
    most = {"penalty_per_day": 1.0}
    return Late(
        **{
            key: float(_number(value, f"late.{key}", most=most.get(key, float("inf"))))
            for key, value in table.items()
        }
    )


def _limits(table: Mapping[str, Any]) -> Limits:
    _refuse_unknown(table, [each.name for each in fields(Limits)], "limits.")
    given = {}
    for key, value in table.items():
        is_whole = isinstance(getattr(Limits, key), int)
        number = _number(value, f"limits.{key}", least=1)
        if is_whole and not isinstance(number, int):
            raise _wrong(f"limits.{key}", value, "a whole number from 1 up")
        given[key] = number if is_whole else float(number)
    return Limits(**given)  # type: ignore[arg-type]  # the loop gives each key its type


def _sandbox(table: Mapping[str, Any]) -> Sandbox:
    _refuse_unknown(table, [each.name for each in fields(Sandbox)], "sandbox.")
    kind = table.get("kind", "auto")
    if kind not in SANDBOXES:
        raise _wrong("sandbox.kind", kind, f"one of {', '.join(SANDBOXES)}")
    engine = table.get("container_engine", "")
    if engine not in ("", "docker", "podman"):
        raise _wrong("sandbox.container_engine", engine, '"docker", "podman" or ""')
    image = _text(table.get("container_image", Sandbox.container_image), "sandbox.container_image")
    return Sandbox(kind=kind, container_engine=engine, container_image=image)


def _gradebook_url(root: Path, value: Any) -> str:
    if given := os.environ.get("GRADEBOOK_URL"):
        # Not shown in the message: it may hold a password.
        if not DATABASES.match(given):
            raise ValueError(
                "the environment variable GRADEBOOK_URL must begin with sqlite:// or "
                "postgresql://, got something else; correct or unset it"
            )
        value = given
    if value == "":
        return f"sqlite:///{root.resolve() / 'grading' / 'gradebook.db'}"
    if not isinstance(value, str) or not DATABASES.match(value):
        raise _wrong(
            "gradebook.url", value, '"", or a text that begins with sqlite:// or postgresql://'
        )
    # Which driver the bare name means depends on the version of SQLAlchemy.
    return re.sub("^postgresql://", "postgresql+psycopg2://", value)
