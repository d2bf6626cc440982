"""Do the chapters hold on machines unlike the one that wrote their outputs?

    python scripts/portability.py                    every chapter on every kind of machine
    python scripts/portability.py 08_autoencoders    this chapter

Another number of threads or another set of instructions adds up in another order: after some steps
of training the digits differ, and a check whose band is too narrow fails for the reader although
nothing is wrong. Each chapter is executed as on such a machine; its outputs are thrown away.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from unittest import mock

import notebooks
from nbclient import NotebookClient
from notebooks import chapters

# torch's own loops, Intel's linear algebra and its networks choose their instructions one by one.
INSTRUCTIONS = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
MACHINES = {
    "two threads": dict.fromkeys(THREADS, "2"),
    "no AVX-512": {
        **dict.fromkeys(THREADS, "1"),
        **dict(zip(INSTRUCTIONS, ("avx2", "AVX2", "AVX2"), strict=True)),
    },
    "no AVX": {
        **dict.fromkeys(THREADS, "1"),
        **dict(zip(INSTRUCTIONS, ("default", "SSE4_2", "SSE41"), strict=True)),
    },
}


def failures(text: Path, variables: dict[str, str]) -> list[str]:
    """The cells of a chapter that fail under these environment variables, in a line each."""
    notebook = notebooks.read_text(text)
    folder = {"metadata": {"path": str(text.parent)}}
    client = NotebookClient(
        notebook, timeout=notebooks.CELL_TIMEOUT, allow_errors=True, resources=folder
    )
    with mock.patch.dict(os.environ, variables):
        client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [
        f"code cell {number}, {cell.source.splitlines()[0]!r}: {output.ename} {output.evalue}"
        for number, cell in enumerate(code, 1)
        for output in cell.outputs
        if output.output_type == "error"
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("chapter", nargs="*", help="such as 04_gan_minimax")
    options = parser.parse_args(arguments)
    texts = {text.stem: text for text in chapters()}
    if unknown := set(options.chapter) - texts.keys():
        parser.error(f"no chapter {', '.join(sorted(unknown))}; there are {', '.join(texts)}")
    found = 0
    for stem in options.chapter or texts:
        for machine, variables in MACHINES.items():
            failed = failures(texts[stem], variables)
            print(f"{stem:34}{machine:14}", *failed or ["holds"], sep="\n    " if failed else "")
            sys.stdout.flush()
            found += len(failed)
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
