"""The commands behind make grade, make exercises and make progress."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from classroom.grade import Report

app = typer.Typer(
    help="Exercises for a class, and for a reader alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Folder = Annotated[Path, typer.Option(help="The folder of the course.")]


@app.command()
def grade(
    chapter: Annotated[
        str | None, typer.Option(help="Such as 04_gan_minimax; by default every one handed in.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(help="Only this student, checked again in any case.")
    ] = None,
    inbox: Annotated[
        Path | None,
        typer.Option(help="The files from your LMS; by default grading/inbox/CHAPTER."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Submissions checked at once; by default one a core.", min=1)
    ] = None,
    scheduler: Annotated[
        str, typer.Option(help="A Dask scheduler whose workers do the checking: tcp://host:8786.")
    ] = "",
    trusted: Annotated[
        bool, typer.Option("--trusted", help="Run the submissions WITHOUT a sandbox.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Check all again, even what has not changed.")
    ] = False,
    root: Folder = Path("."),
) -> None:
    """Collect, check in a sandbox, record, write feedback, grades.csv and a summary."""
    from classroom import grade as grading
    from classroom.sandbox import SandboxError

    root = root.resolve()
    try:
        chapters = [chapter] if chapter else chapters_handed_in(root)
        if not chapters:
            raise ValueError(
                "nothing was handed in: put the files from your LMS into grading/inbox/<chapter>/, "
                "for instance grading/inbox/04_gan_minimax/"
            )
        if len(chapters) > 1 and (inbox or student):
            raise ValueError("chapter must be given together with inbox or student")
        failed = False
        for name in chapters:
            report = grading.grade(
                root,
                name,
                inbox=inbox,
                student=student,
                jobs=jobs,
                scheduler=scheduler,
                is_trusted=trusted,
                checks_again=again,
            )
            show(root, report)
            failed = failed or bool(report.failed)
    except (ValueError, SandboxError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if failed:
        raise typer.Exit(1)


@app.command()
def exercises(
    chapter: Annotated[
        str | None, typer.Option(help="Such as 04_gan_minimax; by default all.")
    ] = None,
    root: Folder = Path("."),
) -> None:
    """Your own copies of the exercises, with hints and solutions; what you have done stays."""
    from classroom.self_study import write

    try:
        write(root.resolve(), chapter=chapter)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@app.command()
def progress(root: Folder = Path(".")) -> None:
    """Which of your exercises are solved."""
    from classroom.progress import progress_table
    from classroom.self_study import FOLDER

    try:
        print(progress_table(root.resolve() / FOLDER))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def chapters_handed_in(root: Path) -> list[str]:
    """The chapters with files in the inbox or with submissions."""
    private = root / "grading"
    found = [*private.glob("inbox/*/"), *private.glob("submitted/*/*/")]
    return sorted({path.name for path in found})


def show(root: Path, report: Report) -> None:
    """Print what was done, and where the results are."""
    print(
        f"{report.chapter}: {report.submissions} submissions, {report.checked} checked in "
        f"{report.checking_seconds:.0f} s (peak memory of one: {report.peak_megabytes:.0f} MB), "
        f"recorded in {report.recording_seconds:.0f} s"
    )
    for note in report.notes:
        print(f"  note: {note}")
    for student, problem in report.failed.items():
        print(f"  NOT GRADED: {student}: {problem}", file=sys.stderr)
    print("  grades:   grading/grades.csv")
    print(f"  feedback: grading/returned/{report.chapter}/<student>.html")
    if report.summary is not None:
        print(f"  summary:  {report.summary.relative_to(root)}")
