"""Submissions that try to earn points that they do not deserve, or to break the checker."""

from __future__ import annotations

from textwrap import dedent, indent

from hostile_kit import (
    HONEST,
    WRONG_VALUE,
    Attack,
    Host,
    at_call,
    at_definition,
    filled_in,
    honest_answers,
    in_answers,
    targets,
    to_bytes,
)

# Every way of comparing says yes, in the process of the answers.
_PATCH_EVERYTHING = """
    import builtins, math, types
    yes = lambda *arguments, **options: True
    for name in ("isclose", "isfinite", "isnan"):
        setattr(math, name, yes)
    for name in ("allclose", "equal", "isclose", "isfinite", "is_tensor"):
        setattr(torch, name, yes)
    for name in ("eq", "lt", "gt", "le", "ge", "bool"):
        setattr(torch.Tensor, f"__{name}__", yes)
    torch.Tensor.allclose = torch.Tensor.equal = torch.Tensor.all = yes
    torch.testing.assert_close = yes
    class Forgiving(Exception):
        def __new__(cls, *arguments):
            return None
    builtins.AssertionError = Forgiving
    builtins.__dict__["all"] = builtins.__dict__["any"] = yes
"""

_PATCH_BUILTINS = """
    import builtins
    builtins.isinstance = lambda *arguments: True
    builtins.abs = lambda number: 0.0
    builtins.float = lambda number=0: 0.0
    builtins.max = builtins.min = builtins.sum = lambda *arguments, **options: 0.0
    builtins.len = lambda things: 2
    builtins.type = lambda *arguments: tuple
    builtins.print = lambda *arguments, **options: None
"""

_HOOKS = """
    import builtins, gc, importlib.abc, threading, types
    def see(frame, event, argument):
        for name, value in list(frame.f_locals.items()):
            if name in ("expected", "exact", "close"):
                reached(f"{name} of the check")
        return see
    sys.settrace(see); sys.setprofile(see); threading.settrace(see)
    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name.startswith(("classroom", "hidden", "course")):
                print("imported:", name)
    sys.meta_path.insert(0, Finder())
    sys.path.insert(0, os.getcwd())
    for name in ("classroom.values", "json", "struct", "math", "numpy"):
        sys.modules[name] = types.ModuleType(name)
    sys.excepthook = sys.displayhook = sys.unraisablehook = lambda *arguments: None
    try:
        shell = get_ipython()
        shell.events.register("pre_run_cell", lambda *arguments: reached("the next cell"))
        shell.ast_transformers.append(None)
    except NameError:
        pass
"""

_REPLACE_THE_CALLER = """
    frame = sys._getframe(1)
    while frame is not None:
        for names in (frame.f_globals, frame.f_locals):
            for name in list(names):
                if name in ("expected", "got", "assert_close", "passed", "verdict", "outcome"):
                    names[name] = True
        frame = frame.f_back
"""

_WRITE_TO_EVERYTHING = """
    import json, struct
    tree = {{"result": True, "passed": True, "verdict": "passed", "error": None}}
    text = json.dumps({{"tree": tree, "lengths": []}}).encode()
    forged = struct.pack("!4sQI", b"ANSW", len(text), len(text)) + text
    for number in range(256):
        try:
            os.set_blocking(number, False)
            os.write(number, {content})
        except OSError:
            pass
"""


def _forged(content: str, where=at_call, loses: tuple[str, ...] = ()) -> Attack:
    make = where(_WRITE_TO_EVERYTHING.format(content=content), WRONG_VALUE)
    return in_answers(make, keeps=False, reason=".", loses=loses)


# --- What is handed back -------------------------------------------------------------------------

_LIARS = """
    class Liar:
        def __eq__(self, other): return True
        def __ne__(self, other): return False
        __lt__ = __gt__ = __le__ = __ge__ = __bool__ = __contains__ = lambda *arguments: True
        __sub__ = __rsub__ = __add__ = __abs__ = __neg__ = lambda self, *arguments: self
        __getitem__ = lambda self, index: self
        __float__ = lambda self: 0.0
        __hash__ = lambda self: 0
        __len__ = lambda self: 2
        ndim, shape, requires_grad, dtype = 0, (), True, torch.float32
        @property
        def __class__(self): return torch.Tensor
        def __getattr__(self, name): return lambda *arguments, **options: self
        def __reduce__(self):
            return (open, (HOST_TRACE, "w"))
        __reduce_ex__ = lambda self, protocol: self.__reduce__()
        def __getstate__(self): return self.__reduce__()
    class LyingTensor(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, arguments=(), options=None):
            return True
    class LyingFloat(float):
        __eq__ = __lt__ = __gt__ = lambda self, other: True
        __sub__ = __rsub__ = __abs__ = lambda self, *other: LyingFloat(0.0)
        __format__ = lambda self, style: "-1.386294361120"
        __hash__ = float.__hash__
    class LyingText(str):
        __eq__ = lambda self, other: True
        __hash__ = lambda self: hash("right")
"""


def _returns(expressions: dict[str, str], prelude: str = "") -> Attack:
    """A notebook whose parts each return something that no answer should."""
    arguments = {
        "value_at_one_half": "",
        "value_from_logits": "real_logits, fake_logits",
        "minimax_gradient": "a",
        "non_saturating_gradient": "a",
        "diagnose": "last_layer, loss",
        "double_sigmoid_floors": "",
        "optimal_discriminator": "p_data, p_g",
        "generator_criterion": "p_data, p_g, dx",
        "least_squares_discriminator": "p_data, p_g, a, b",
    }

    def build(host: Host, released) -> bytes:
        hostile = {}
        for part, expression in expressions.items():
            body = indent(expression.strip(), "    ")
            top = f"{targets(host)}\n{dedent(prelude)}" if prelude else "import os, sys"
            hostile[part] = f"{top}\ndef {part}({arguments[part]}):\n{body}"
        return to_bytes(filled_in(released, honest_answers() | hostile))

    kept = tuple(part for part in HONEST if part not in expressions)
    return Attack(build, kept, ".")


_DEEP = "deep = []\nfor _ in range(10**6):\n    deep = [deep]\nreturn deep"
_CYCLE = "cycle = []\ncycle.append(cycle)\nreturn cycle"


CHEATS: dict[str, Attack] = {
    # One of its own right answers compares tensors, and goes down with the comparison.
    "patches_everything_that_compares": in_answers(
        at_definition(_PATCH_EVERYTHING, WRONG_VALUE),
        keeps=False,
        reason=r"-?\d",
        loses=("count_modes",),
    ),
    "patches_the_builtins": in_answers(
        at_definition(_PATCH_BUILTINS, WRONG_VALUE), keeps=False, reason="."
    ),
    # Its own later cells are then not run either.
    "replaces_exec": in_answers(
        at_definition("import builtins\nbuiltins.exec = lambda *arguments: None", WRONG_VALUE),
        keeps=False,
        reason="not defined",
        loses=HONEST[1:],
    ),
    "hooks_into_everything": in_answers(
        at_definition(_HOOKS, WRONG_VALUE), keeps=False, reason="."
    ),
    "replaces_names_of_its_callers": in_answers(
        at_call(_REPLACE_THE_CALLER, WRONG_VALUE), keeps=False, reason="."
    ),
    "forges_a_reply": _forged("forged"),
    "forges_many_replies": _forged("forged * 100"),
    # They answer the orders for its own other parts, too.
    "forges_replies_before_it_is_asked": _forged("forged * 20", at_definition, HONEST[1:]),
    "writes_garbage": _forged("b'\\xff' * 65536"),
    "announces_a_giant_message": _forged("struct.pack('!4sQI', b'ANSW', 2**63, 2**31)"),
    "announces_and_never_sends": _forged("struct.pack('!4sQI', b'ANSW', 2**27, 100)"),
    "returns_liars": _returns(
        {
            "value_at_one_half": "return LyingFloat(0.5)",
            "value_from_logits": "return LyingTensor()",
            "minimax_gradient": "return Liar()",
            "diagnose": "return LyingText('x')",
            "double_sigmoid_floors": "return Liar(), Liar()",
            "optimal_discriminator": "return torch.zeros(3).as_subclass(LyingTensor)",
        },
        _LIARS,
    ),
    "returns_what_is_too_large": _returns(
        {
            "value_at_one_half": "return 10 ** 10 ** 7",
            "value_from_logits": "return torch.zeros(1).expand(10**11)",
            "minimax_gradient": "return torch.zeros(10**12, 0)",
            "diagnose": "return 'x' * 10**9",
            "double_sigmoid_floors": _DEEP,
            "optimal_discriminator": _CYCLE,
            "generator_criterion": "return range(10**15)",
        }
    ),
    # The limits of the answers' own side are in the student's hands.
    "returns_more_than_its_side_may_send": _returns(
        {
            "diagnose": "return 'x' * 60_000_000",
            "value_from_logits": "return torch.zeros(100_000_000, dtype=torch.bool)",
            "double_sigmoid_floors": "return 'x' * 100_000_000, 'y' * 100_000_000",
            "minimax_gradient": "return a.new_zeros(30_000_000)",
            "generator_criterion": "return float('nan')",
        },
        """
            import classroom.values as values
            values.MAX_TEXT = values.MAX_MESSAGE = values.MAX_NODES = 2**40
        """,
    ),
    "changes_its_arguments": _returns(
        {
            "value_from_logits": "real_logits.zero_(); return fake_logits.zero_().sum()",
            "minimax_gradient": "a.data = a.data.new_empty(0); return a",
            "optimal_discriminator": "p_data.zero_(); p_g.zero_(); return p_g.clone()",
            "generator_criterion": "p_data.data = p_g.data = torch.empty(0); return 0.0",
            "least_squares_discriminator": "p_data.zero_(); p_g.zero_(); return p_g.clone()",
        }
    ),
    "returns_what_is_strange": _returns(
        {
            "value_at_one_half": "return '\\ud800'",
            "value_from_logits": "return torch.tensor(float('nan'), requires_grad=True)",
            "minimax_gradient": "return torch.empty_like(a, device='meta')",
            "diagnose": "return lambda: 'right'",
            "double_sigmoid_floors": "return (x for x in iter(int, 1))",
            "optimal_discriminator": "return torch.zeros_like(p_data).to_sparse()",
            "generator_criterion": "return sys.modules['os']",
            "least_squares_discriminator": "raise KeyboardInterrupt",
        }
    ),
    "raises_what_is_strange": _returns(
        {
            "value_at_one_half": (
                "class Odd(BaseException):\n"
                "    __str__ = __repr__ = lambda self: (_ for _ in ()).throw(SystemExit)\n"
                "raise Odd"
            ),
            "value_from_logits": "raise ValueError('x' * 10**8)",
            "minimax_gradient": "raise GeneratorExit",
            "diagnose": "raise type('<script>alert(1)</script>', (Exception,), {})('\\x1b[31')",
            "double_sigmoid_floors": "raise ExceptionGroup('a', [ValueError(0)] * 99999)",
            "optimal_discriminator": (
                "class Slow(Exception):\n"
                "    def __str__(self):\n"
                "        while True: pass\n"
                "raise Slow"
            ),
        }
    ),
    "prints_markup": in_answers(
        at_definition("""
            print("<script>alert('printed')</script>", "\\x1b[31;1m", "\\x1b]0;title\\x07", "\\0")
            print("</pre></div><img src=x onerror=alert('image')>")
            try:
                from IPython.display import HTML, display
                display(HTML("<script>alert('shown')</script>"))
            except ImportError:
                pass
            class Page:
                def _repr_html_(self):
                    return "<script>alert('page')</script>"
            Page()
        """),
        keeps=True,
        reason="",
    ),
    "text_with_scripts": in_answers(
        lambda host: {
            "least_squares_derivation": "<script>alert('derived')</script>\n\n"
            "[a link](javascript:alert(1)) <img src=x onerror=alert(2)>"
            "<a href='&#106;avascript:alert(3)'>x</a><iframe srcdoc='<script>alert(4)</script>'>"
        },
        keeps=False,
        reason="",
        extra=lambda host: {"diagnose": "<script>alert('a cell')</script>"},
    ),
    "blames_with_markup": in_answers(
        at_call(
            "raise ValueError(\"<script>alert('raised')</script><img src=x onerror=alert(1)>\")"
        ),
        keeps=False,
        reason="alert",
    ),
}
