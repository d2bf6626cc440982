"""The checker's side of the wall: a student's function that looks like any other function.

``RemoteFunction`` sends copies of its arguments to the process of the answers and returns what that
process sends back, as plain values. It also carries over what else a check can see of a call:
changes of tensors and containers in place, their gradients, the state of torch's global random
numbers, errors, and the derivatives of what was returned, to any order.
"""

from __future__ import annotations

import builtins
import os
import select
import time
from typing import Any

import torch

from classroom.sandbox import Sandboxed, SandboxError
from classroom.types import Limits, SandboxKind
from classroom.values import (
    HEAD,
    Decoder,
    Encoder,
    NotTransferable,
    pack,
    unpack_body,
    unpack_head,
)


class Stopped(BaseException):
    """The answer used up its time or memory, or its process ended: nothing more can be asked.

    No ``except Exception`` of a check may take it for an error of the answer.
    """


class AnswerError(Exception):
    """An error of the student's code whose class is not one of Python's own."""


class Answers:
    """A connection to a process of answers; ``deadline`` is the time at which it is stopped."""

    def __init__(
        self, kind: SandboxKind, limits: Limits, image: str = "", engine: str = ""
    ) -> None:
        self.limits = limits
        self.sandboxed = Sandboxed(kind, limits, image, engine)
        self.deadline = time.monotonic() + 60
        self.reason = "the time limit"
        self.changed = False  # whether a call has changed an argument in place
        self.printed: list[str] = []
        self.errors: list[dict[str, Any]] = []  # of the student's code, for the feedback
        megabyte = 2**20
        settings = {
            "output_characters": limits.output_characters,
            "seed": 0,
            "limits": {
                "RLIMIT_CORE": 0,
                "RLIMIT_CPU": int(limits.total_seconds) + 1,
                "RLIMIT_DATA": limits.memory_megabytes * megabyte,
                "RLIMIT_FSIZE": limits.file_megabytes * megabyte,
                "RLIMIT_NOFILE": 64,
            },
        }
        try:
            ready, _ = self.ask(settings)
        except Stopped as stopped:
            ready = stopped
        if not isinstance(ready, dict) or ready.get("ready") is not True:
            self.close()
            text = self.sandboxed.last_words[-2000:]
            raise SandboxError(f"the process of the answers does not start ({kind}):\n{text}")

    # --- Messages ---

    def ask(self, order: Any, buffers: list[bytes] | None = None) -> tuple[Any, list[bytes]]:
        """Send an order and wait for the reply.

        Raises:
            Stopped: if the process does not answer in time, ends, or breaks the protocol.
        """
        try:
            self.send(pack(order, buffers or []))
        except NotTransferable as problem:
            raise self.stop(f"its arguments cannot be sent ({problem})") from None
        except BrokenPipeError:
            raise self.stop(self.ending()) from None
        return self.listen()

    def listen(self) -> tuple[Any, list[bytes]]:
        """Wait for a reply; raises as ``ask`` does."""
        try:
            total, text = unpack_head(self.receive(HEAD.size))
            return unpack_body(self.receive(total), text)
        except NotTransferable as problem:
            raise self.stop(f"its process sent a reply that cannot be read ({problem})") from None
        except EOFError:
            raise self.stop(self.ending()) from None

    def ending(self) -> str:
        """Why the process is gone."""
        try:
            status = self.sandboxed.process.wait(timeout=5)
        except Exception:
            return "its process closed the connection to the grading"
        if self.sandboxed.killed:
            return self.sandboxed.killed
        kind = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return f"its process ended ({kind})"

    def send(self, message: bytes) -> None:
        stream = self.sandboxed.process.stdin
        assert stream is not None
        descriptor, view = stream.fileno(), memoryview(message)
        os.set_blocking(descriptor, False)
        while view:
            _, ready, _ = select.select([], [descriptor], [], self.remaining())
            if not ready:
                continue
            view = view[os.write(descriptor, view[: 2**16]) :]

    def receive(self, size: int) -> bytes:
        stream = self.sandboxed.process.stdout
        assert stream is not None
        parts = bytearray()
        while len(parts) < size:
            ready, _, _ = select.select([stream], [], [], self.remaining())
            if not ready:
                continue
            piece = os.read(stream.fileno(), min(2**20, size - len(parts)))
            if not piece:
                raise EOFError
            parts += piece
        return bytes(parts)

    def remaining(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self.stop(f"it had not ended after {self.reason}")
        return min(left, 1.0)

    def stop(self, reason: str) -> Stopped:
        self.close()
        return Stopped(self.sandboxed.killed or reason)

    def close(self) -> None:
        self.sandboxed.close()

    # --- Orders ---

    def run(self, name: str, source: str) -> tuple[dict[str, Any] | None, str]:
        """Execute a cell; returns (the error or None, what it printed)."""
        reply, _ = self.ask({"order": "run", "name": name, "source": source})
        return error_of(reply), text_of(reply, "printed", self.limits.output_characters)

    def forget(self) -> None:
        """Drop the graphs of earlier calls, and with them their tensors."""
        self.ask({"order": "forget"})

    def raise_error(self, reply: Any) -> None:
        """Raise what the student's function raised, in a class of Python's own."""
        error = error_of(reply)
        if error is None:
            return
        self.errors.append(error)
        kind = getattr(builtins, error["type"], None)
        if error["type"] == "_LinAlgError":
            kind = torch.linalg.LinAlgError
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                raised = kind(error["message"])
            except TypeError:  # UnicodeDecodeError and its like take five arguments
                raised = AnswerError(f"{error['type']}: {error['message']}")
        else:
            raised = AnswerError(f"{error['type']}: {error['message']}")
        raised.from_answer = True  # type: ignore[attr-defined]
        raise raised


def error_of(reply: Any) -> dict[str, Any] | None:
    """The error in a reply, with nothing in it but short texts and numbers."""
    error = reply.get("error") if isinstance(reply, dict) else {"type": "malformed reply"}
    if error is None:
        return None
    lines = error.get("lines") if isinstance(error, dict) else None
    return {
        "type": str(error.get("type", ""))[:80] if isinstance(error, dict) else "malformed reply",
        "message": str(error.get("message", ""))[:2000] if isinstance(error, dict) else "",
        "is_of_check": isinstance(error, dict) and error.get("is_of_check") is True,
        "lines": [
            [str(line[0])[:80], line[1], str(line[2])[:200]]
            for line in (lines if isinstance(lines, list) else [])[:8]
            if isinstance(line, list) and len(line) == 3 and isinstance(line[1], int)
        ],
    }


def text_of(reply: Any, key: str, limit: int) -> str:
    value = reply.get(key) if isinstance(reply, dict) else ""
    return value[: limit + 100] if isinstance(value, str) else ""


class RemoteFunction:
    """A function of the student's, called by its name in the process of the answers."""

    def __init__(self, answers: Answers, name: str) -> None:
        self.answers, self.__name__ = answers, name

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        answers, encoder = self.answers, Encoder()
        order = {
            "order": "call",
            "function": self.__name__,
            "arguments": encoder(arguments),
            "options": encoder(options),
            "grad_enabled": torch.is_grad_enabled(),
            "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
            "meta": torch.get_default_device().type == "meta",
        }
        state = torch.get_rng_state().numpy().tobytes()
        reply, buffers = answers.ask(order, [*encoder.buffers, state])
        answers.printed.append(text_of(reply, "printed", answers.limits.output_characters))
        if not isinstance(reply, dict) or "result" not in reply:
            answers.raise_error(reply if isinstance(reply, dict) else {"error": {}})
            raise answers.stop("its process sent a reply that cannot be read")
        try:
            result = self.take_over(reply, buffers, encoder)
        except (NotTransferable, TypeError, ValueError, IndexError, KeyError) as problem:
            raise answers.stop(f"it returned what cannot be read ({problem})") from None
        answers.raise_error(reply)
        return result

    def take_over(self, reply: dict[str, Any], buffers: list[bytes], sent: Encoder) -> Any:
        """The result; and the arguments, the random numbers and the modes as the call left them."""
        decoder = Decoder(buffers, known=sent.tensors)
        result = decoder(reply["result"])
        returned = list(decoder.tensors)
        for number, tree, gradient, flag in reply["changed"]:
            original = sent.tensors[number]
            with torch.no_grad():
                if tree is not None:
                    self.answers.changed = True
                    original.data = decoder(tree).to(original.dtype)
                if gradient is not None and original.is_leaf and original.requires_grad:
                    new = decoder(gradient)
                    original.grad = new if original.grad is None else original.grad + new
            if original.is_leaf and original.is_floating_point() and flag != original.requires_grad:
                original.requires_grad_(bool(flag))
        for number, tree in reply["refilled"]:
            self.answers.changed = True
            refill(sent.containers[number], decoder(tree))
        torch.set_grad_enabled(reply["grad_enabled"] is True)
        if reply["default_dtype"] in ("float32", "float64", "float16", "bfloat16"):
            torch.set_default_dtype(getattr(torch, reply["default_dtype"]))
        if reply["random"] is not None:
            state = torch.frombuffer(bytearray(buffers[reply["random"]]), dtype=torch.uint8)
            try:
                torch.Generator().set_state(state)
            except RuntimeError as problem:
                raise ValueError(f"a malformed state of the random numbers: {problem}") from None
            stream = torch.Generator()
            stream.set_state(state)
            if torch.rand(64, generator=stream).unique().numel() < 32:
                raise ValueError("a state of the random numbers that is not random")
            torch.set_rng_state(state)
        inputs = [each for each in sent.tensors if each.requires_grad]
        graphs = [flag is True for flag in reply["has_graph"]]
        if inputs and any(graphs) and torch.is_grad_enabled():
            plain = [each.detach() for each in returned]
            made = Remote.apply(self.answers, reply["graph"], len(plain), *plain, *inputs)
            pairs = zip(returned, made, graphs, strict=True)
            swap = {id(old): new for old, new, graph in pairs if graph}
            result = replaced(result, swap)
        return result


class Remote(torch.autograd.Function):
    """Tensors whose graph is on the other side of the wall."""

    @staticmethod
    def forward(ctx: Any, answers: Answers, graph: int, count: int, *tensors: torch.Tensor) -> Any:
        ctx.answers, ctx.graph, ctx.count = answers, graph, count
        ctx.save_for_backward(*tensors[count:])
        ctx.set_materialize_grads(False)
        made = tuple(each.clone() for each in tensors[:count])
        whole = [each for each in made if not (each.is_floating_point() or each.is_complex())]
        ctx.mark_non_differentiable(*whole)
        return made

    @staticmethod
    def backward(ctx: Any, *weights: torch.Tensor | None) -> Any:
        answers, inputs, encoder = ctx.answers, ctx.saved_tensors, Encoder()
        trees = [None if each is None else encoder.tensor(each.detach()) for each in weights]
        order = {"order": "grad", "graph": ctx.graph, "weights": trees}
        reply, buffers = answers.ask(order, encoder.buffers)
        answers.raise_error(reply)
        try:
            decoder = Decoder(buffers)
            found = [None if tree is None else decoder(tree).detach() for tree in reply["grads"]]
            graph = reply["graph"]
            if len(found) != len(inputs) or any(
                each is not None and each.shape != leaf.shape
                for each, leaf in zip(found, inputs, strict=True)
            ):
                raise ValueError("a gradient has another shape than its variable")
        except (NotTransferable, TypeError, ValueError, KeyError) as problem:
            raise answers.stop(f"its gradients cannot be read ({problem})") from None
        if torch.is_grad_enabled():
            plain = [each for each in found if each is not None]
            given = [each for each in weights if each is not None]
            made = iter(Remote.apply(answers, graph, len(plain), *plain, *inputs, *given))
            found = [None if each is None else next(made) for each in found]
        return (None, None, None, *[None] * ctx.count, *found)


def refill(container: Any, content: Any) -> None:
    """Give a list, a dictionary or a set of the checker's the content of another one."""
    if type(container) is not type(content):
        raise ValueError("a container has changed its kind")
    container.clear()
    (container.extend if isinstance(container, list) else container.update)(content)


def replaced(value: Any, swap: dict[int, torch.Tensor]) -> Any:
    """The same value with some tensors replaced, looked up by their identity."""
    if isinstance(value, torch.Tensor):
        return swap.get(id(value), value)
    if isinstance(value, list | tuple | set | frozenset):
        return type(value)(replaced(each, swap) for each in value)
    if isinstance(value, dict):
        return {key: replaced(each, swap) for key, each in value.items()}
    return value
