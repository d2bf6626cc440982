"""All hostile submissions: what each does, and what must become of it."""

from __future__ import annotations

from hostile_beside import BESIDE
from hostile_cheats import CHEATS
from hostile_files import FILES
from hostile_kit import Attack, Host, make_host
from hostile_reach import REACH
from hostile_resources import RESOURCES

__all__ = [
    "BESIDE",
    "CHEATS",
    "FILES",
    "HOSTILE",
    "REACH",
    "RESOURCES",
    "Attack",
    "Host",
    "make_host",
]

HOSTILE: dict[str, Attack] = {**RESOURCES, **REACH, **CHEATS, **BESIDE, **FILES}
