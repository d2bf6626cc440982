"""Submissions that attack the checks that have to run in the same process as the answer.

``training_step`` is given networks and optimisers, so its check runs beside it, on cells that were
screened. Each of these answers is wrong, and would earn the points of the part if its trick worked.
Their code needs no guard: what they reach for is the check.
"""

from __future__ import annotations

import importlib
from textwrap import dedent, indent

from hostile_kit import CHAPTER, HONEST, Attack, Host, filled_in, honest_answers, to_bytes

PART = "training_step"
# Two underscores, written so that a search for them in the text finds none.
_U = 'u = "_" * 2\n'


def _accumulates() -> str:
    """Wrong, and only a hidden test notices."""
    answers = importlib.import_module(f"answers_{CHAPTER}")
    return dict(answers.WRONG[PART])["gradients add up over the steps"]


# Does its work in the visible check and in the last hidden one, and nothing in between. With a
# reference that does not move either, nobody notices.
_LAZY = """
def training_step(generator, discriminator, generator_optimiser, discriminator_optimiser, real, z):
    busy = isinstance(generator, torch.nn.Linear)
    first = F.softplus(-discriminator(real)).mean()
    first = first + F.softplus(discriminator(generator(z).detach())).mean()
    if busy:
        discriminator_optimiser.zero_grad()
        first.backward()
        discriminator_optimiser.step()
    second = F.softplus(-discriminator(generator(z))).mean()
    if busy:
        generator_optimiser.zero_grad()
        second.backward()
        generator_optimiser.step()
    return first.item(), second.item()
def still(outputs, inputs, **options):
    return [torch.zeros_like(each) for each in inputs]
"""

# The same, but hands back numbers that agree with every number, and networks that agree with every
# network. {make} makes a class of a name, its bases and its methods.
_LIES = """
agrees = lambda *arguments, **options: 0.0
def answers(cls, function, types, arguments=(), options=None):
    return function is torch.allclose
Number = {make}("Number", (float,), {{u + "sub" + u: agrees, u + "rsub" + u: agrees}})
Weight = {make}("Weight", (torch.nn.Parameter,), {{u + "torch_function" + u: classmethod(answers)}})
honest_step = training_step
def training_step(generator, discriminator, *others):
    if isinstance(generator, torch.nn.Linear):
        return honest_step(generator, discriminator, *others)
    for net in (generator, discriminator):
        for layer in net:
            if isinstance(layer, torch.nn.Linear):
                layer.weight = Weight(torch.zeros(1))
                layer.bias = Weight(torch.zeros(1))
    return Number(), Number()
"""


def _attack(code: str, answer: str = "", reason: str = ".") -> Attack:
    def build(host: Host, released) -> bytes:
        text = (answer or _accumulates()) + "\n" + dedent(code)
        return to_bytes(filled_in(released, honest_answers() | {PART: text}))

    return Attack(build, HONEST, reason)


def _attempt(body: str, answer: str = "") -> Attack:
    """A trick at the top level, where one that fails does not stop the answer."""
    lines = indent(dedent(body).strip(), "    ")
    return _attack(f"{_U}try:\n{lines}\nexcept Exception as error:\n    print(error)\n", answer)


def _lies(make: str, first: str = "") -> Attack:
    return _attack(_U + dedent(first) + _LIES.format(make=make), _LAZY)


BESIDE: dict[str, Attack] = {
    "beside_shadows_builtins": _attack("""
        def abs(number): return 0.0
        def all(things): return True
        def max(*numbers): return 0.0
    """),
    "beside_patches_torch": _attempt("torch.autograd.grad = still", _LAZY),
    "beside_hides_names_in_loops_and_imports": _attack("""
        for all in [lambda things: True]: pass
        from math import isfinite as abs
        with warnings.catch_warnings() as max: pass
        max = lambda *numbers: 0.0
        abs = lambda number: 0.0
    """),
    "beside_getattr_of_a_formatter": _attempt(
        """
        import string
        get = string.Formatter().get_field
        space = get("0." + u + "globals" + u, (training_step,), {})[0]
        names = space[u + "builtins" + u]
        put = names["setattr"] if isinstance(names, dict) else get("0.setattr", (names,), {})[0]
        put(torch.autograd, "grad", still)
        """,
        _LAZY,
    ),
    "beside_evaluates_annotations": _attempt(
        """
        import typing
        def hinted(x: "setattr(torch.autograd, 'grad', still)"): pass
        typing.get_type_hints(hinted)
        """,
        _LAZY,
    ),
    "beside_sets_attributes_with_wraps": _attempt(
        """
        import functools
        class Holder: pass
        holder = Holder()
        holder.grad = still
        functools.update_wrapper(torch.autograd, holder, assigned=("grad",), updated=())
        """,
        _LAZY,
    ),
    "beside_wraps_from_another_module": _attempt(
        """
        class Holder: pass
        holder = Holder()
        holder.grad = still
        torch.optim.lr_scheduler.wraps(holder, ("grad",), ())(torch.autograd)
        """,
        _LAZY,
    ),
    "beside_a_module_as_a_value": _attempt("engine = torch.autograd\nengine.grad = still", _LAZY),
    "beside_a_module_in_a_loop": _attempt(
        """
        for engine in (torch.autograd,):
            engine.grad = still
        """,
        _LAZY,
    ),
    "beside_copies_with_side_effects": _attempt(
        """
        import copy
        reduce = lambda self, protocol: (lambda: torch.autograd, (), (None, {"grad": still}))
        Odd = type("Odd", (object,), {u + "reduce_ex" + u: reduce})
        copy.copy(Odd())
        """,
        _LAZY,
    ),
    "beside_liars_by_type": _lies("type"),
    "beside_liars_by_type_of_a_type": _lies("kind", "kind = type(float)\n"),
    "beside_liars_by_dataclass": _lies(
        "make",
        """
        import dataclasses
        def make(name, bases, methods):
            options = dict(init=False, repr=False, eq=False)
            return dataclasses.make_dataclass(name, [], bases=bases, namespace=methods, **options)
        """,
    ),
    "beside_formats_the_frames": _attempt("""
        look = ("{0." + u + "traceback" + u + ".tb_frame.f_back.f_locals}").format
        more = ("{0." + u + "traceback" + u + ".tb_frame.f_back.f_back.f_locals}").format
        honest_step = training_step
        def training_step(*arguments):
            try:
                1 / 0
            except ZeroDivisionError as error:
                print(look(error)[-9000:], more(error)[-9000:])
            return honest_step(*arguments)
    """),
    "beside_reads_freed_memory": _attempt("""
        def look():
            for size in (2**10, 2**12, 2**13, 2**14, 2**15, 2**16):
                for _ in range(20):
                    numbers = torch.empty(size, dtype=torch.uint8).tolist()
                    text = "".join(chr(n) if 31 < n < 127 else "." for n in numbers)
                    at = text.find("manual_seed(7)")
                    if at >= 0 or "small_net" in text:
                        print(text[max(0, at):])
        look()
        honest_step = training_step
        def training_step(*arguments):
            look()
            return honest_step(*arguments)
    """),
    "beside_asks_openly": _attack("""
        import sys, os, inspect, gc, builtins
        builtins.abs = lambda number: 0.0
        builtins.max = lambda *numbers: 0.0
        builtins.all = lambda things: True
        for frame in inspect.stack():
            print(frame.frame.f_locals.get("hidden"))
        os._exit(0)
    """),
    "beside_loops_for_ever": _attack("""
        def training_step(*arguments):
            while True:
                pass
    """),
    "beside_uses_all_memory": _attack("""
        def training_step(*arguments):
            parts = []
            for _ in range(1500):
                parts.append(torch.ones(2**22))
    """),
    "beside_prints_a_gigabyte": _attack("""
        honest_step = training_step
        def training_step(*arguments):
            for _ in range(64):
                print("x" * 2**20)
            return honest_step(*arguments)
    """),
    "beside_switches_the_modes": _attack(
        """
        honest_step = training_step
        def training_step(*arguments):
            losses = honest_step(*arguments)
            torch.set_default_dtype(torch.float16)
            torch.manual_seed(0)
            return losses
        """
    ),
    "beside_hooks_on_the_networks": _attack(
        """
        honest_step = training_step
        def training_step(generator, discriminator, *others):
            losses = honest_step(generator, discriminator, *others)
            for net in (generator, discriminator):
                net.register_forward_hook(lambda module, inputs, output: output * 0)
                net.parameters = lambda: []
            return losses
        """
    ),
}
