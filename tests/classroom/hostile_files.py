"""Files that are hostile before any of their code is run: notebooks, archives and names."""

from __future__ import annotations

import io
import json
import stat
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

from hostile_kit import HONEST, Attack, Host, filled_in, honest_answers, to_bytes
from nbformat import NotebookNode

NotebookJson = dict[str, Any]


def _bytes(content: bytes, reason: str, name: str = "{student}_{chapter}.ipynb") -> Attack:
    """A file that is no notebook at all."""
    return Attack(lambda host, released: content, (), reason, name)


def _honest(released: NotebookNode) -> bytes:
    return to_bytes(filled_in(released, honest_answers()))


def _edited(edit: Callable[[NotebookJson], object], reason: str, earns=HONEST) -> Attack:
    """An honest notebook whose JSON was changed in place."""

    def build(host: Host, released: NotebookNode) -> bytes:
        notebook = json.loads(_honest(released))
        edit(notebook)
        return json.dumps(notebook).encode()

    return Attack(build, tuple(earns), reason)


def _of_cells(edit: Callable[[NotebookJson, str], object], reason: str, earns=HONEST) -> Attack:
    """An honest notebook whose graded cells were changed; ``edit`` gets the cell and its name."""

    def edit_all(notebook: NotebookJson) -> None:
        for cell in notebook["cells"]:
            edit(cell, cell["metadata"].get("nbgrader", {}).get("grade_id", ""))

    return _edited(edit_all, reason, earns)


def _weaken(cell: NotebookJson, name: str) -> None:
    if name.startswith("check_"):
        cell["source"] = "print('OK')"
        cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "OK\n"}]
        cell["metadata"]["nbgrader"].update(points=1000, locked=False)


def _duplicate_checks(notebook: NotebookJson) -> None:
    checks = [c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("points")]
    checks = [cell for cell in checks if cell["cell_type"] == "code"]
    for cell in json.loads(json.dumps(checks)):
        cell["source"] = "pass"
        cell["id"] = cell["id"][::-1]
        notebook["cells"].append(cell)


def _spoil_metadata(cell: NotebookJson, name: str) -> None:
    """Whatever is not needed to find the answer is of the wrong kind."""
    if name.startswith("check_"):
        cell["metadata"] = ["no", {"dictionary": None}]
    elif name:
        cell["metadata"]["nbgrader"] |= {"points": [], "locked": {}, "schema_version": "x" * 1000}
        cell["metadata"]["tags"] = {"a": 1}
    else:
        cell["metadata"] = {"nbgrader": "not a table", "collapsed": [[[]]]}


def _spoil_names(cell: NotebookJson, name: str) -> None:
    if name == "diagnose":
        cell["metadata"]["nbgrader"]["grade_id"] = {"a": ["list"]}


def _spoil_cells(notebook: NotebookJson) -> None:
    notebook["cells"][1:1] = ["text", 3, None, [], {}, {"cell_type": 7}, {"cell_type": "code"}]
    notebook["cells"].append({"cell_type": "code", "source": [1, {"a": 2}], "metadata": {}})
    notebook["metadata"] = {"kernelspec": {"name": "../../../bin/sh", "language": 3}}
    notebook["nbformat_minor"] = 10**9


def _grow(notebook: NotebookJson) -> None:
    notebook["cells"] += [
        {"cell_type": "code", "source": "x = 1", "metadata": {}, "outputs": []}
        for _ in range(20_000)
    ]


def _add_outputs(notebook: NotebookJson) -> None:
    """15 MB of pictures and scripts in outputs and attachments: large, and yet within the limit."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    page = {"text/html": ["<script>alert('output')</script>"], "image/png": "A" * 15_000_000}
    code[1]["outputs"] = [{"output_type": "display_data", "data": page, "metadata": {}}]
    notebook["cells"][0]["attachments"] = {"x.svg": {"image/svg+xml": "<svg onload=alert(1)>"}}


# --- Archives ------------------------------------------------------------------------------------


def _archive(fill: Callable[[zipfile.ZipFile, bytes, Host], object]):
    def build(host: Host, released: NotebookNode) -> bytes:
        memory = io.BytesIO()
        with warnings.catch_warnings(), zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as file:
            warnings.simplefilter("ignore")  # of two members of the same name
            fill(file, _honest(released), host)
        return memory.getvalue()

    return build


def _zip(fill, reason: str, earns: tuple[str, ...] = ()) -> Attack:
    return Attack(_archive(fill), earns, reason, "{student}_{chapter}.zip")


def _climb(file: zipfile.ZipFile, honest: bytes, host: Host) -> None:
    up = "../" * 12
    for name in (
        up + str(host.trace).lstrip("/"),
        str(host.trace),
        "..\\..\\trace",
        up + "x.ipynb",
    ):
        file.writestr(name, host.secret)
    file.writestr("04_gan_minimax.ipynb", honest)


def _link(file: zipfile.ZipFile, honest: bytes, host: Host) -> None:
    link = zipfile.ZipInfo("04_gan_minimax.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    file.writestr(link, str(host.other_submission))


def _bomb(file: zipfile.ZipFile, honest: bytes, host: Host) -> None:
    with file.open("04_gan_minimax.ipynb", "w") as member:
        for _ in range(1000):
            member.write(b" " * 2**20)


def _many(file: zipfile.ZipFile, honest: bytes, host: Host) -> None:
    for number in range(20_000):
        file.writestr(f"{number}.txt", b"")


def _nested(file: zipfile.ZipFile, honest: bytes, host: Host) -> None:
    content = honest
    for depth in range(8):
        memory = io.BytesIO()
        with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as inner:
            inner.writestr("04_gan_minimax.ipynb" if depth == 0 else "inner.zip", content)
        content = memory.getvalue()
    file.writestr("inner.zip", content)


def _lying_sizes(host: Host, released: NotebookNode) -> bytes:
    """The directory of the archive says that each member has ten bytes; it has a gigabyte."""
    content = bytearray(_archive(_bomb)(host, released))
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = (10).to_bytes(4, "little")
    return bytes(content)


def _deep(n: int) -> bytes:
    return b'{"cells": ' + b"[" * n + b"]" * n + b"}"


_LARGE = b'{"cells": [], "metadata": {"x": "' + b"x" * (200 * 10**6) + b'"}}'
_UNREADABLE = r"no notebook|not UTF-8"
_ODD_NAME = "{student}_\u202egpj.\u00e9\u0301\U0001f4a9 ;$(touch x)`id`'\"<b>&\n_{chapter}.ipynb"


FILES: dict[str, Attack] = {
    "notebook_of_200_megabytes": Attack(lambda host, released: _LARGE, (), r"20 MB"),
    "malformed_json": Attack(lambda host, released: _honest(released)[:-40], (), _UNREADABLE),
    "empty_file": _bytes(b"", "empty|" + _UNREADABLE),
    "picture_called_notebook": _bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)), _UNREADABLE),
    "json_nested_a_million_deep": _bytes(_deep(10**6), _UNREADABLE + "|deep|nest"),
    "json_number_of_a_million_digits": _bytes(b'{"nbformat": ' + b"9" * 10**6 + b"}", "."),
    "json_that_is_a_list": _bytes(b"[1, 2, 3]", "notebook"),
    "cells_that_are_no_list": _bytes(b'{"nbformat": 4, "metadata": {}, "cells": {"a": 1}}', "cell"),
    "format_of_2013": _bytes(b'{"nbformat": 3, "worksheets": [{"cells": []}]}', "format"),
    "format_of_the_future": _edited(lambda n: n.update(nbformat=5), "format", earns=()),
    "byte_order_mark": Attack(
        lambda host, released: b"\xef\xbb\xbf" + _honest(released), HONEST, ""
    ),
    "latin_1": _bytes('{"cells": ["é"]}'.encode("latin-1"), _UNREADABLE + "|UTF-8"),
    "edited_test_cells": _of_cells(_weaken, ""),
    "removed_test_cells": _edited(
        lambda n: n.update(
            cells=[c for c in n["cells"] if not c["metadata"].get("nbgrader", {}).get("grade")]
        ),
        "",
    ),
    "removed_answers": _edited(lambda n: n.update(cells=n["cells"][:1]), ".", earns=()),
    "duplicated_test_cells": _edited(_duplicate_checks, ""),
    "answers_turned_into_text": _of_cells(
        lambda cell, name: cell.update(cell_type="markdown") if name in HONEST else None, ""
    ),
    "invalid_metadata": _of_cells(_spoil_metadata, ""),
    "name_of_a_cell_that_is_no_text": _of_cells(
        _spoil_names,
        "",  # the id of the cell still tells which it is
    ),
    "cells_that_are_no_cells": _edited(_spoil_cells, ""),
    "twenty_thousand_cells": _edited(_grow, "500|cells"),
    "outputs_with_scripts": _edited(_add_outputs, ""),
    "zip_that_climbs": _zip(_climb, "out of the archive", earns=HONEST),
    "zip_with_a_link": _zip(_link, "link"),
    "zip_bomb": _zip(_bomb, "MB|ratio|compress"),
    "zip_that_lies_about_its_size": Attack(_lying_sizes, (), ".", "{student}_{chapter}.zip"),
    "zip_of_twenty_thousand_files": _zip(_many, "500|members|files"),
    "zip_in_zip_in_zip": _zip(_nested, "nest|zip"),
    "zip_that_is_broken": Attack(
        lambda host, released: _archive(lambda file, honest, host: file.writestr("a", honest))(
            host, released
        )[:-50],
        (),
        "zip",
        "{student}_{chapter}.zip",
    ),
    "name_with_everything_in_it": Attack(
        lambda host, released: _honest(released), HONEST, "", _ODD_NAME
    ),
    "name_of_255_characters": Attack(
        lambda host, released: _honest(released), HONEST, "", "{student}_" + "n" * 200 + ".ipynb"
    ),
}
