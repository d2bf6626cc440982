"""A function across the wall does what the same function does here."""

from __future__ import annotations

import time

import pytest
import torch

from classroom.types import Limits
from classroom.wall import AnswerError, Answers, RemoteFunction, Stopped

CELL = """
import torch

def mix(x, w, *, power=2):
    return {"y": (x @ w) ** power, "n": len(x)}, x.sum()

def scale_in_place(x, notes):
    x.mul_(2)
    notes.append("scaled")
    return x

def backward(x):
    (x ** 3).sum().backward()

def stray():
    torch.manual_seed(5)
    return torch.rand(2)

def switch():
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)

def fail(kind):
    kinds = {"value": ValueError, "stub": NotImplementedError, "exit": SystemExit, "own": Own}
    raise kinds[kind]("why")

class Own(Exception):
    pass

def loud(n):
    print("x" * n)

def sleep():
    import time
    time.sleep(60)

def leave():
    import os
    os._exit(3)

def solve(a):
    return torch.linalg.solve(a, a)

def constant(x):
    return torch.nn.Parameter(torch.ones(2)), x.detach()

def shape():
    return torch.ones(3)
"""


@pytest.fixture(scope="module")
def answers():
    """A process of answers without a sandbox: what is tested here does not depend on it."""
    found = Answers("trusted", Limits(output_characters=1000))
    found.deadline = time.monotonic() + 100
    assert found.run("cell 1", CELL) == (None, "")
    yield found
    found.close()


@pytest.fixture
def remote(answers):
    return lambda name: RemoteFunction(answers, name)


@pytest.fixture(scope="module")
def local():
    namespace: dict = {}
    exec(CELL, namespace)
    return namespace


def test_results_and_options(remote, local):
    x, w = torch.randn(4, 3), torch.randn(3, 2)
    for power in (1, 3):
        (got, total), (expected, wanted) = (
            f(x, w, power=power) for f in (remote("mix"), local["mix"])
        )
        assert torch.equal(got["y"], expected["y"]) and got["n"] == 4 and total == wanted
        assert not got["y"].requires_grad


def test_first_and_second_derivatives(remote, local):
    x = torch.randn(4, 3, dtype=torch.float64)
    w = torch.randn(3, 2, dtype=torch.float64)
    found = []
    for f in (remote("mix"), local["mix"]):
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        result, total = f(a, b, power=3)
        assert result["y"].requires_grad and total.requires_grad
        grads = torch.autograd.grad((result["y"].sin() * total).sum(), (a, b), create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in grads), (a, b))
        found.append([*grads, *second])
    for got, expected in zip(*found, strict=True):
        assert torch.allclose(got, expected, atol=1e-10)
    third = torch.tensor([[2.0]], requires_grad=True)
    value = remote("mix")(third, torch.ones(1, 1), power=4)[0]["y"]
    for factor in (32.0, 48.0, 48.0, 24.0):  # of x^4 at 2
        (value,) = torch.autograd.grad(value.sum(), third, create_graph=True)
        assert value.item() == factor


def test_gradcheck_of_torch(remote):
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    f = remote("mix")
    assert torch.autograd.gradcheck(lambda a, b: f(a, b, power=3)[0]["y"], (x, w))


def test_no_graph_where_none_is_wanted(remote):
    x = torch.ones(2, 2, requires_grad=True)
    with torch.no_grad():
        assert not remote("mix")(x, x)[1].requires_grad
    parameter, plain = remote("constant")(x)
    assert parameter.requires_grad and not plain.requires_grad


def test_changes_in_place_are_seen(remote):
    x, notes = torch.ones(3), ["before"]
    got = remote("scale_in_place")(x, notes)
    assert got is x and x.tolist() == [2.0, 2.0, 2.0] and notes == ["before", "scaled"]


def test_gradients_left_in_arguments_are_seen_and_add_up(remote):
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    remote("backward")(x)
    assert x.grad.tolist() == [3.0, 12.0]
    remote("backward")(x)
    assert x.grad.tolist() == [6.0, 24.0]


def test_the_global_random_state_is_shared(remote, local):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    remote("mix")(torch.ones(1, 1), torch.ones(1, 1))
    assert torch.equal(torch.get_rng_state(), before)
    got, state = remote("stray")(), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(got, local["stray"]()) and torch.equal(torch.get_rng_state(), state)


def test_switched_modes_are_seen(remote):
    try:
        remote("switch")()
        assert not torch.is_grad_enabled() and torch.get_default_dtype() == torch.float64
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert remote("shape")().is_meta


def test_errors_keep_their_kind(remote, answers):
    with pytest.raises(ValueError, match=r"^why$") as caught:
        remote("fail")("value")
    assert caught.value.from_answer
    assert answers.errors[-1]["lines"][-1][0] == "cell 1"
    with pytest.raises(NotImplementedError):
        remote("fail")("stub")
    for kind in ("exit", "own"):  # no SystemExit may reach the grading
        with pytest.raises(AnswerError, match="why"):
            remote("fail")(kind)
    with pytest.raises(torch.linalg.LinAlgError):
        remote("solve")(torch.zeros(2, 2))
    with pytest.raises(TypeError, match="takes 1 positional"):
        remote("loud")(1, 2)
    with pytest.raises(NameError, match="'no_such_function' is not defined"):
        remote("no_such_function")()


def test_output_is_cut(remote, answers):
    answers.printed = []
    remote("loud")(5000)
    (printed,) = answers.printed
    assert printed.startswith("x" * 1000 + "\n[cut off here: 4001 more")


def test_a_state_that_is_not_random_is_refused():
    zeros = "def f():\n    import torch\n    s = torch.get_rng_state()\n    s[24:5000] = 0\n"
    answers = Answers("trusted", Limits())
    answers.deadline = time.monotonic() + 20
    answers.run("cell 1", zeros + "    torch.set_rng_state(s)")
    before = torch.get_rng_state()
    with pytest.raises(Stopped, match="random"):
        RemoteFunction(answers, "f")()
    assert torch.equal(torch.get_rng_state(), before)


def test_memory_of_earlier_calls_is_given_back(answers, remote):
    answers.run("memory", "import resource\ndef used(x): return x.sum()")
    x = torch.ones(2_500_000)  # 10 MB
    for _ in range(30):
        remote("used")(x)
        answers.forget()
    _, printed = answers.run(
        "look", "print(open('/proc/self/status').read().split('VmRSS:')[1].split()[0])"
    )
    assert int(printed) < 420_000  # kB


@pytest.mark.parametrize(("name", "reason"), [("sleep", "0.5 seconds"), ("leave", "status 3")])
def test_what_does_not_answer_is_stopped(name, reason):
    answers = Answers("trusted", Limits())
    answers.run("cell 1", CELL)
    answers.reason, answers.deadline = "0.5 seconds", time.monotonic() + 0.5
    began = time.monotonic()
    with pytest.raises(Stopped, match=reason):
        RemoteFunction(answers, name)()
    assert time.monotonic() - began < 15
    assert answers.sandboxed.process.poll() is not None


FORGED = '''
import os, struct, json
def forge(text, marked=True):
    """Write a reply of one's own on every open file."""
    body = json.dumps({"tree": text, "lengths": []}).encode()
    head = struct.pack("!4sQI", b"ANSW" if marked else b"EVIL", len(body), len(body))
    for number in range(3, 64):
        try:
            os.write(number, head + body)
        except OSError:
            pass
'''


@pytest.mark.parametrize(
    "text",
    [
        {"verdict": "passed"},
        {"result": {"pickle": "x"}},
        {"result": 1, "changed": [[99, None, None, True]]},
        {"result": 1, "changed": [], "refilled": [[0, {"list": []}]]},
        {"error": {"type": ["x"], "lines": 7}},
        {"error": {"type": "KeyboardInterrupt", "message": 3}},
        {"error": {"type": "__import__", "message": "os"}},
        [],
        None,
    ],
)
def test_a_forged_reply_is_at_most_a_wrong_value(text):
    answers = Answers("trusted", Limits())
    answers.deadline = time.monotonic() + 20
    answers.run("cell 1", FORGED)
    with pytest.raises((Stopped, AnswerError)):
        RemoteFunction(answers, "forge")(text)
    answers.close()


def test_garbage_on_the_channel_is_noticed():
    answers = Answers("trusted", Limits())
    answers.deadline = time.monotonic() + 20
    answers.run("cell 1", FORGED)
    with pytest.raises(Stopped, match="cannot be read"):
        RemoteFunction(answers, "forge")({}, marked=False)
