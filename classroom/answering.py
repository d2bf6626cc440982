"""The process of the answers: it runs what a student wrote, in the sandbox, and nothing else.

It takes orders on its standard input and answers on its standard output (messages of values.py):
``run`` a cell, ``call`` a function, ``grad``: the gradients of what a call returned, ``beside``:
run cells and a check in a forked child. The grading does not trust it: whatever it says, it can
only return values, and no hidden test or expected value is ever sent to it, except in ``beside``,
which is for answers that take functions and networks and is guarded by the screen (screen.py).
"""

from __future__ import annotations

import builtins
import contextlib
import io
import linecache
import os
import random
import re
import resource
import signal
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import torch

from classroom.screen import MODULES
from classroom.values import Decoder, Encoder, NotTransferable, pack, raw, read_message

STUB = "no answer yet"


class Bounded(io.TextIOBase):
    """A text stream that keeps the first characters and counts the rest."""

    def __init__(self, limit: int) -> None:
        self.limit, self.length, self.lost = limit, 0, 0
        self.parts: list[str] = []

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        text = str(text)
        kept = text[: max(0, self.limit - self.length)]
        if kept:
            self.parts.append(kept)
            self.length += len(kept)
        self.lost += len(text) - len(kept)
        return len(text)

    def take(self) -> str:
        text = "".join(self.parts)
        if self.lost:
            text += f"\n[cut off here: {self.lost} more characters]\n"
        self.parts, self.length, self.lost = [], 0, 0
        return text


def describe(error: BaseException) -> dict[str, Any]:
    """What the other side learns of an error: its kind, its message, the student's own lines."""
    lines: list[list[Any]] = []
    is_of_check = False
    trace = error.__traceback__
    while trace is not None and len(lines) < 8:
        name = trace.tb_frame.f_code.co_filename
        is_of_check = name == "<check>" or (is_of_check and not name.startswith("<cell"))
        if name.startswith("<cell"):
            text = linecache.getline(name, trace.tb_lineno).strip()
            lines.append([name[1:-1], trace.tb_lineno, text[:200]])
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and str(error.filename).startswith("<cell"):
        text = (error.text or "").strip()
        lines.append([str(error.filename)[1:-1], error.lineno or 0, text[:200]])
    try:
        message = str(error)[:2000]
    except Exception:
        message = ""
    return {
        "type": type(error).__name__[:80],
        "message": message,
        "lines": lines,
        "is_of_check": is_of_check,  # raised by the check, or by what it gave to the answer
    }


def compiled(source: str, name: str) -> types.CodeType:
    """The code of a cell; its lines can be shown in a traceback."""
    if re.search(r"^\s*[%!?]|\?\s*$", source, re.MULTILINE):
        # Magics of the notebook: turned into calls of get_ipython(), which do nothing here.
        from IPython.core.inputtransformer2 import TransformerManager

        source = TransformerManager().transform_cell(source)
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    return compile(source, name, "exec", dont_inherit=True)


class Notebook(types.SimpleNamespace):
    """Stands for IPython where a cell uses magics: they are not carried out while grading."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: print(f"[not carried out while grading: {name}]")


def fresh_namespace() -> dict[str, Any]:
    notebook = Notebook()
    return {
        "__name__": "__main__",
        "__builtins__": builtins,
        "display": print,
        "get_ipython": lambda: notebook,
    }


class Answers:
    """The names that a student's cells have defined, and the graphs of what was returned."""

    def __init__(self, output: Bounded) -> None:
        self.output = output
        self.namespace = fresh_namespace()
        self.graphs: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []

    def run(self, order: dict[str, Any]) -> tuple[Any, list[bytes]]:
        """Execute a cell."""
        error = None
        try:
            exec(compiled(order["source"], f"<{order['name']}>"), self.namespace)
        except BaseException as problem:
            error = describe(problem)
        return {"error": error, "printed": self.output.take()}, []

    def call(self, order: dict[str, Any], buffers: list[bytes]) -> tuple[Any, list[bytes]]:
        """Call a function with copies of the arguments; report what it did to them, too."""
        decoder = Decoder(buffers)
        arguments, options = decoder(order["arguments"]), decoder(order["options"])
        leaves = decoder.tensors
        with torch.no_grad():
            before = [None if leaf.is_meta else leaf.clone() for leaf in leaves]
        flags = [leaf.requires_grad for leaf in leaves]
        contents = [shallow(each) for each in decoder.containers]
        torch.set_rng_state(torch.frombuffer(bytearray(buffers[-1]), dtype=torch.uint8))
        torch.set_grad_enabled(order["grad_enabled"])
        torch.set_default_dtype(getattr(torch, order["default_dtype"]))
        error, result = None, None
        try:
            with torch.device("meta") if order["meta"] else contextlib.nullcontext():
                name = order["function"]
                if name not in self.namespace:
                    raise NameError(f"name {name!r} is not defined")
                result = self.namespace[name](*arguments, **options)
        except BaseException as problem:
            error = describe(problem)
        encoder = Encoder(known=leaves)
        try:
            tree = encoder(result)
        except Exception as problem:
            error, tree = describe(problem), None
            encoder = Encoder(known=leaves)
        results = encoder.tensors
        is_needed = any(each.grad_fn is not None for each in results)
        self.graphs.append((leaves, results) if is_needed else ([], []))
        state = torch.get_rng_state().numpy().tobytes()
        reply = {
            "error": error,
            "printed": self.output.take(),
            "graph": len(self.graphs) - 1,
            "has_graph": [each.grad_fn is not None for each in results],
            "result": tree,
            "changed": self.changes(encoder, leaves, before, flags),
            "refilled": [
                [number, encoder(each)]
                for number, each in enumerate(decoder.containers)
                if shallow(each) != contents[number]
            ],
            "grad_enabled": torch.is_grad_enabled(),
            "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "random": None if state == buffers[-1] else encoder.buffer(state),
        }
        return reply, encoder.buffers

    @staticmethod
    def changes(
        encoder: Encoder,
        leaves: list[torch.Tensor],
        before: list[torch.Tensor | None],
        flags: list[bool],
    ) -> list[list[Any]]:
        """[number, new numbers or None, new gradient or None, requires_grad] of what changed."""
        found = []
        for number, (leaf, old, flag) in enumerate(zip(leaves, before, flags, strict=True)):
            same = old is None or (
                leaf.shape == old.shape and leaf.dtype == old.dtype and raw(leaf) == raw(old)
            )
            flagged = leaf.requires_grad and leaf.grad_fn is None
            if same and leaf.grad is None and flagged == flag:
                continue
            data = None if same else Encoder.tensor(encoder, leaf.detach())
            grad = None if leaf.grad is None else Encoder.tensor(encoder, leaf.grad.detach())
            found.append([number, data, grad, flagged])
            leaf.grad = None
        return found

    def grad(self, order: dict[str, Any], buffers: list[bytes]) -> tuple[Any, list[bytes]]:
        """The gradients of what a call returned; again a graph, for second derivatives."""
        inputs, outputs = self.graphs[order["graph"]]
        decoder = Decoder(buffers)
        weights = [None if tree is None else decoder(tree) for tree in order["weights"]]
        pairs = [
            (output, weight.requires_grad_())
            for output, weight in zip(outputs, weights, strict=True)
            if weight is not None and output.requires_grad
        ]
        wanted = [each for each in inputs if each.requires_grad]
        error: Any = None
        grads: Any = [None] * len(wanted)
        try:
            with torch.enable_grad():
                grads = torch.autograd.grad(
                    [output for output, _ in pairs],
                    wanted,
                    [weight for _, weight in pairs],
                    create_graph=True,
                    allow_unused=True,
                )
        except BaseException as problem:
            error = describe(problem)
        encoder = Encoder()
        trees = [None if each is None else encoder.tensor(each) for each in grads]
        self.graphs.append((wanted + [weight for _, weight in pairs], encoder.tensors))
        return {"error": error, "grads": trees, "graph": len(self.graphs) - 1}, encoder.buffers


def shallow(container: list | dict | set) -> list[int]:
    """The identities of what a container holds."""
    parts = container.items() if isinstance(container, dict) else enumerate(container)
    return [number for key, value in parts for number in (hash(key), id(value))]


# --- A check beside the answer -------------------------------------------------------------------


def beside(order: dict[str, Any], output: Bounded, ask: Callable[[], str]) -> dict[str, Any]:
    """Run the screened cells and then the check, in this process (a child made for it).

    ``ask`` returns the hidden tests. It is called when the visible ones have passed: until then
    they are nowhere in the memory of this process, or of the one that it was forked from.
    """
    theirs = fresh_namespace()
    theirs["__builtins__"] = vars(builtins) | {"__build_class__": build_class}
    before = parts_of_libraries()
    for name, source in order["cells"]:
        with contextlib.suppress(Exception):  # the same error was shown where the cell itself ran
            exec(compiled(source, f"<{name}>"), theirs)
    output.take()
    functions = {name: theirs[name] for name in order["functions"] if name in theirs}

    def attempt(functions: dict[str, Any], ask: Callable[[], str]) -> dict[str, Any]:
        # Of the names that the cells have left only the answer's own get into the check.
        ours = fresh_namespace()
        exec(compile(order["setup"], "<setup>", "exec"), ours)
        return check(ours | functions, order["visible"], ask, output)

    if differs(before):
        return {"verdict": "changed", "printed": "", "error": None}
    found = attempt(functions, ask)
    if found["verdict"] == "passed" and differs(before):
        return {"verdict": "changed", "printed": "", "error": None}
    if found["verdict"] == "passed":
        # What accepts any answer is no check any more: then a cell has changed what it relies on.
        for wrong in (nothing, first_argument, refuse):
            if attempt(dict.fromkeys(functions, wrong), str)["verdict"] == "passed":
                return {"verdict": "tampered", "printed": "", "error": None}
    return found


PRETENDERS = (torch.Tensor, int, float, complex, str, list, tuple, dict, set)


# torch wraps these itself, when the first optimiser is made and when its compiler is loaded.
WRAPPED = {"step", "manual_seed"}


def build_class(*arguments: Any, **options: Any) -> Any:
    """What a class statement does in the student's cells: no class may pretend to be a value."""
    made = builtins.__build_class__(*arguments, **options)
    if isinstance(made, type) and issubclass(made, PRETENDERS):
        kinds = "a tensor, a number, a text or a container"
        raise TypeError(f"{made.__name__} is a class of its own that passes for {kinds}")
    return made


def parts_of_libraries() -> list[tuple[Any, dict[str, Any]]]:
    """The modules that answers may use and their classes, with what is in each."""
    modules = [sys.modules[name] for name in sorted(MODULES) if name in sys.modules]
    classes = {part for each in modules for part in vars(each).values() if isinstance(part, type)}
    owners = [*modules, builtins, *classes, torch.Tensor, torch.nn.Module]
    return [(owner, dict(vars(owner))) for owner in owners]


def differs(before: list[tuple[Any, dict[str, Any]]]) -> bool:
    """Whether a function or a class of a library has been replaced since."""
    for owner, parts in before:
        now = vars(owner)
        for name, part in parts.items():
            if callable(part) and name not in WRAPPED and now.get(name) is not part:
                return True
        if isinstance(owner, type) and any(
            callable(part) and name not in WRAPPED
            for name, part in now.items()
            if name not in parts
        ):
            return True
    return False


def nothing(*arguments: Any, **options: Any) -> None:
    """A wrong answer."""


def first_argument(*arguments: Any, **options: Any) -> Any:
    """A wrong answer."""
    return arguments[0] if arguments else None


def refuse(*arguments: Any, **options: Any) -> None:
    """No answer."""
    raise NotImplementedError(STUB)


def check(
    namespace: dict[str, Any], visible: str, ask: Callable[[], str], output: Bounded
) -> dict[str, Any]:
    """Execute the visible and then the hidden part of a check."""
    part = "visible"
    try:
        exec(compile(visible, "<check>", "exec"), namespace)
        printed = output.take()
        part = "hidden"
        exec(compile(ask(), "<check>", "exec"), namespace)
    except BaseException as problem:
        kept = output.take() if part == "visible" else printed
        return {"verdict": part, "printed": kept, "error": describe(problem)}
    output.take()
    return {"verdict": "passed", "printed": printed, "error": None}


def forked(
    order: dict[str, Any], output: Bounded, orders: BinaryIO, replies: BinaryIO
) -> dict[str, Any]:
    """``beside`` in a child of this process, which itself stays as clean as it was.

    The child talks to the grading itself. The reply of this process comes after it has ended.
    """
    child = os.fork()
    if child == 0:
        try:

            def tell(reply: dict[str, Any]) -> None:
                replies.write(pack(reply | {"token": order["token"]}, []))
                replies.flush()

            def ask() -> str:
                tell({"verdict": "visible tests passed"})
                return read_message(orders)[0]["hidden"]

            tell(beside(order, output, ask))
        finally:
            os._exit(0)
    deadline = time.monotonic() + order["seconds"]
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found == child:
            return {"ended": status, "late": False}
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {"ended": status, "late": True}


# --- The loop ------------------------------------------------------------------------------------


def restrict(limits: dict[str, int]) -> None:
    """Limits that the kernel enforces for each process; they cannot be raised again."""
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # where the machine allows even less
            resource.setrlimit(getattr(resource, name), (value, value))


def prepare(seed: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def main() -> None:
    """Take orders until the input ends."""
    # The protocol keeps the two pipes; prints of the student's code must not get into them.
    orders = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    settings, _ = read_message(orders)
    output = Bounded(settings["output_characters"])
    prepare(settings["seed"])
    restrict(settings["limits"])
    answers = Answers(output)
    replies.write(pack({"ready": True}, []))
    replies.flush()
    os.dup2(nowhere, 2)
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), output, output
    while True:
        try:
            order, buffers = read_message(orders)
        except EOFError:
            return
        reply: Any
        kept: list[bytes] = []
        if order["order"] == "run":
            reply, kept = answers.run(order)
        elif order["order"] == "call":
            reply, kept = answers.call(order, buffers)
        elif order["order"] == "forget":
            answers.graphs.clear()
            reply = {}
        elif order["order"] == "grad":
            reply, kept = answers.grad(order, buffers)
        else:
            reply = forked(order, output, orders, replies)
        sys.stdout = sys.stderr = output  # whatever a cell made of them
        try:
            message = pack(reply, kept)
        except (NotTransferable, ValueError) as problem:
            message = pack({"error": describe(problem), "printed": ""}, [])
        replies.write(message)
        replies.flush()


if __name__ == "__main__":
    main()
