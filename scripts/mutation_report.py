"""What became of the mutants, for people and for results/mutants.json, and how it is explained."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NEEDED_SHARE = 0.95  # of the mutants that are not equivalent, rejected

Key = tuple[str, str, str]  # a part, a line of its solution, and what that becomes
Explanations = dict[Key, tuple[str, str]]  # the kind and the reason


@dataclass(frozen=True)
class Survivor:
    """A mutant that its check accepts; ``kind`` and ``reason`` are None where none is given."""

    part: str
    change: str
    line: str
    becomes: str
    kind: str | None
    reason: str | None


@dataclass
class Tally:
    """What became of the mutants of one part or, added up, of several."""

    parts: int = 0
    mutants: int = 0
    failed: int = 0
    error: int = 0
    stopped: int = 0
    equivalent: int = 0

    @property
    def rejected(self) -> int:
        return self.failed + self.error + self.stopped

    @property
    def share(self) -> float:
        """Of the mutants that are not equivalent, how many are rejected; 1 if there is none."""
        return self.rejected / max(1, self.mutants - self.equivalent) if self.mutants else 1.0

    @staticmethod
    def of(tallies: Iterable[Tally]) -> Tally:
        """The sum of several."""
        total = Tally()
        for tally in tallies:
            for name, count in asdict(tally).items():
                setattr(total, name, getattr(total, name) + count)
        return total


def read_explanations(path: Path) -> Explanations:
    """What is known about survivors, from a file as scripts/mutants.py describes it.

    Raises:
        ValueError: if an entry lacks a field, or has an unknown kind, no reason or a twin.
    """
    found: Explanations = {}
    for entry in tomllib.loads(path.read_text("utf8")).get("survivor", []):
        if set(entry) != {"part", "line", "becomes", "kind", "reason"}:
            raise ValueError(
                f"{path.name}: an entry needs part, line, becomes, kind and reason, got {entry}"
            )
        key = entry["part"], entry["line"].strip("\n"), entry["becomes"].strip("\n")
        if entry["kind"] not in ("equivalent", "accepted") or not entry["reason"].strip():
            raise ValueError(
                f'{path.name}: kind must be "equivalent" or "accepted", with a reason in words, '
                f"got {entry}"
            )
        if key in found:
            raise ValueError(f"{path.name}: an entry for each survivor, got two for {key}")
        found[key] = entry["kind"], entry["reason"]
    return found


@dataclass
class Report:
    """All that a run found out."""

    tallies: dict[str, Tally]  # by part
    survivors: list[Survivor]
    stale: list[Key]  # explained, but rejected now, or no longer made
    tried_all: bool

    @property
    def unexplained(self) -> list[Survivor]:
        return [survivor for survivor in self.survivors if survivor.kind is None]

    @property
    def total(self) -> Tally:
        return Tally.of(self.tallies.values())

    @property
    def status(self) -> int:
        return 1 if self.unexplained or self.total.share < NEEDED_SHARE else 0

    def lines(self) -> Iterator[str]:
        """The report for people: survivors with their changes, then the table."""
        for survivor in self.survivors:
            yield f"\n{survivor.part} ({survivor.change}): {survivor.kind or 'NOT EXPLAINED'}"
            yield from (f"  - {line}" for line in survivor.line.splitlines())
            yield from (f"  + {line}" for line in survivor.becomes.splitlines())
            if survivor.reason:
                yield f"  {survivor.reason}"
        for part, line, becomes in self.stale:
            yield f"\nstale, no longer survives: {part}\n  - {line}\n  + {becomes}"
        yield (
            f"\n{'chapter':38}{'parts':>6}{'mutants':>9}{'equivalent':>12}{'rejected':>10}"
            f"{'share':>9}"
        )
        total = self.total
        chapters = dict.fromkeys(path.split("/")[0] for path in self.tallies)
        rows = {
            chapter: Tally.of(
                tally for path, tally in self.tallies.items() if path.startswith(f"{chapter}/")
            )
            for chapter in chapters
        }
        for name, row in {**rows, "all": total}.items():
            yield (
                f"{name:38}{row.parts:>6}{row.mutants:>9}{row.equivalent:>12}{row.rejected:>10}"
                f"{row.share:>9.2%}"
            )
        yield (
            f"of the rejected, {total.failed} failed an assertion, {total.error} raised another "
            f"error and {total.stopped} were stopped"
        )
        yield (
            f"{len(self.survivors)} survivors, {len(self.unexplained)} of them not explained; "
            f"{len(self.stale)} stale explanations"
        )

    def as_json(self) -> dict[str, Any]:
        """The report for results/mutants.json."""
        total = self.total
        return {
            "all mutants tried": self.tried_all,
            "share": round(total.share, 6),
            "total": {**asdict(total), "rejected": total.rejected},
            "parts": {path: asdict(tally) for path, tally in self.tallies.items()},
            "survivors": [asdict(survivor) for survivor in self.survivors],
        }
