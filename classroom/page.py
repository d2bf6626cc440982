"""The frame of the pages that grading writes: one HTML file, without script or network."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader


@functools.cache
def _environment() -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def render(template: str, **content: Any) -> str:
    """A page as HTML.

    ``template`` is a file of this folder that extends page.html, ``content`` what it names; all of
    that is escaped, except for markupsafe.Markup.
    """
    return _environment().get_template(template).render(**content)
