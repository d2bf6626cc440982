"""One small change to a piece of code at a time: what a tired student, or a bad merge, would do.

``mutations(source, lines)`` lists every change that ``make mutants`` tries. The changes are made
in the syntax tree and written back by ``ast.unparse``: comments and layout are not part of them.
"""

from __future__ import annotations

import ast
import copy
import difflib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from textwrap import dedent

# What takes the place of an operator. Of a comparison first the boundary moves, then the verdict.
OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Div,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.MatMult: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
DROPPED_TERMS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.BitAnd, ast.BitOr)
UNORDERED_CALLS = {
    "logaddexp",
    "max",
    "maximum",
    "min",
    "minimum",
    "transpose",
}  # f(a, b) = f(b, a)
UNTOUCHED_CALLS = {"manual_seed"}  # another seed is as good
UNTOUCHED_ARGUMENTS = {"device", "strict"}  # of zip: they say what is so anyway
ORDERED = (ast.Sub, ast.Div, ast.Pow, ast.MatMult)  # a op b is not b op a

PAIRS = (
    ("sum", "mean"), ("max", "min"), ("amax", "amin"), ("argmax", "argmin"), ("any", "all"),
    ("maximum", "minimum"), ("floor", "ceil"), ("exp", "expm1"), ("log", "log1p"), ("sin", "cos"),
    ("var", "std"), ("triu", "tril"), ("zeros", "ones"), ("zeros_like", "ones_like"),
    ("softmax", "log_softmax"), ("sigmoid", "logsigmoid"), ("gammainc", "gammaincc"),
)  # fmt: skip
NAMES = {one: other for pair in PAIRS for one, other in (pair, pair[::-1])}
STRINGS = {"sum": "mean", "mean": "sum", "none": "mean"}
# Where a sign is easily lost: what these get, and what is returned or kept.
SIGNED = {"exp", "expm1", "log_softmax", "logsigmoid", "sigmoid", "softmax", "softplus"}
WITHOUT_SIGN = (
    ast.BoolOp, ast.Compare, ast.Constant, ast.Dict, ast.DictComp, ast.GeneratorExp, ast.IfExp,
    ast.Lambda, ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Tuple, ast.UnaryOp,
)  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """One changed program: what kind of change, the line before and after it, the whole source."""

    kind: str
    line: str
    becomes: str
    source: str


Change = tuple[str, ast.AST]


def mutations(source: str, first: int, last: int) -> list[Mutation]:
    """Every single change to the lines ``first`` to ``last`` (from 1) that still compiles.

    Returns:
        The mutations in the order of their places; no two have the same source, and none has that
        of the original. ``line`` and ``becomes`` are what ``ast.unparse`` writes, and may have
        several lines or, where something is only taken out or put in, none.
    """
    tree = ast.parse(source)
    original = ast.unparse(tree)
    found: dict[str, Mutation] = {}
    for kind, mutant in _everywhere(tree, first, last):
        changed = ast.unparse(ast.fix_missing_locations(mutant))
        if changed == original or changed in found:
            continue
        try:
            with warnings.catch_warnings(action="ignore"):  # such as a call of what is no function
                compile(changed, "mutant", "exec")
        except SyntaxError:
            continue
        found[changed] = Mutation(kind, *_difference(original, changed), changed)
    return list(found.values())


def spread(found: list[Mutation], most: int) -> list[Mutation]:
    """At most ``most`` of the mutations: of each kind in turn one, spread evenly over its places.

    Which ones depends on the list alone; they keep its order.
    """
    kinds: dict[str, list[int]] = {}
    for number, mutation in enumerate(found):
        kinds.setdefault(mutation.kind, []).append(number)
    turns: list[tuple[float, int]] = []
    for numbers in kinds.values():
        # 0, 1/2, 1/4, 3/4, 1/8 ... of the way: every beginning of this order is spread evenly.
        order = sorted(range(len(numbers)), key=_reversed_bits)
        turns += [(turn, numbers[place]) for turn, place in enumerate(order)]
    return [found[number] for number in sorted(number for _, number in sorted(turns)[:most])]


def _reversed_bits(number: int) -> int:
    return int(f"{number:016b}"[::-1], 2)


def _difference(before: str, after: str) -> tuple[str, str]:
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    removed, added = (
        dedent("\n".join(line[2:] for line in lines if line.startswith(sign)))
        for sign in ("- ", "+ ")
    )
    return removed, added


def _everywhere(node: ast.AST, first: int, last: int) -> Iterator[Change]:
    """Every change to ``node`` or to something in it; the tree is copied where it changes."""
    match node:
        case ast.Call(func=ast.Attribute(attr=name)) if name in UNTOUCHED_CALLS:
            return
        case ast.keyword(arg=name) if name in UNTOUCHED_ARGUMENTS:
            return
    line = getattr(node, "lineno", None)
    if line is not None and first <= line and (node.end_lineno or line) <= last:  # type: ignore[attr-defined]
        for rule in RULES:
            yield from rule(node)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns"):
            continue
        if isinstance(value, ast.AST):
            for kind, new in _everywhere(value, first, last):
                yield kind, _with(node, field, new)
        elif isinstance(value, list):
            for place, item in enumerate(value):
                if isinstance(item, ast.AST):
                    for kind, new in _everywhere(item, first, last):
                        yield kind, _with(node, field, [*value[:place], new, *value[place + 1 :]])


def _with(node: ast.AST, field: str, value: object) -> ast.AST:
    twin = copy.copy(node)
    setattr(twin, field, value)
    return twin


def _minus(node: ast.expr) -> ast.AST:
    return ast.UnaryOp(ast.USub(), node)


# --- The rules: what a node can become -----------------------------------------------------------


def _operators(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign():
            for other in OPERATORS.get(type(node.op), ()):
                yield "operator", _with(node, "op", other())
        case ast.Compare(ops=[operator]):
            for other in OPERATORS[type(operator)]:
                yield "comparison", _with(node, "ops", [other()])
        case ast.IfExp(test=test) | ast.If(test=test) | ast.While(test=test) if not isinstance(
            test, ast.Compare
        ):
            yield "condition", _with(node, "test", ast.UnaryOp(ast.Not(), test))
        case ast.UnaryOp(op=ast.Not() | ast.Invert()):
            yield "condition", node.operand


def _terms(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.BinOp(left=left, op=operator, right=right):
            if isinstance(operator, DROPPED_TERMS):
                yield "dropped term", left
            if isinstance(operator, ast.Sub):
                yield "dropped term", _minus(right)
            elif isinstance(operator, ast.Div):
                yield "dropped term", _with(node, "left", ast.Constant(1))
            elif isinstance(operator, DROPPED_TERMS) and not isinstance(operator, ast.Pow):
                yield "dropped term", right
            if isinstance(operator, ORDERED):
                yield "swapped", ast.BinOp(right, operator, left)
        case ast.AugAssign(target=target, value=value):
            yield "dropped term", ast.Assign([target], value)
        case ast.BoolOp(values=values):
            for place in range(len(values)):
                yield "dropped term", _with(node, "values", values[:place] + values[place + 1 :])
        case ast.IfExp(body=body, orelse=orelse):
            yield "dropped term", body
            yield "dropped term", orelse


def _signs(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield "sign", operand
        case ast.Return(value=value) | ast.Assign(value=value) if value is not None:
            if not isinstance(value, WITHOUT_SIGN):
                yield "sign", _with(node, "value", _minus(value))
            elif isinstance(value, ast.Tuple):
                for place, each in enumerate(value.elts):
                    if not isinstance(each, WITHOUT_SIGN):
                        items = [*value.elts[:place], _minus(each), *value.elts[place + 1 :]]
                        yield "sign", _with(node, "value", _with(value, "elts", items))
        case ast.Call(func=ast.Attribute(value=owner, attr=name), args=arguments):
            if name in SIGNED and _is_module(owner) and arguments:
                yield "sign", _with(node, "args", [_minus(arguments[0]), *arguments[1:]])
            elif name in SIGNED:
                yield "sign", _with(node, "func", _with(node.func, "value", _minus(owner)))


def _constants(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Constant(value=bool(value)):
            yield "true or false", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "off by one", ast.Constant(value + 1)
            yield "off by one", _number(value - 1)
        case ast.Constant(value=float(value)):
            yield "constant", ast.Constant(2.0 if value == 1 else 1.0)
        case ast.Constant(value=str(value)) if value in STRINGS:
            yield "reduction", ast.Constant(STRINGS[value])


def _number(value: int) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def _ranges(node: ast.AST) -> Iterator[Change]:
    """Ends of ranges and slices one farther and one nearer, or taken out."""
    match node:
        case ast.Slice():
            for field in ("lower", "upper", "step"):
                bound = getattr(node, field)
                if bound is not None:
                    yield "slice", _with(node, field, None)
                    if not isinstance(bound, ast.Constant | ast.UnaryOp):
                        for one_off in _one_off(bound):
                            yield "off by one", _with(node, field, one_off)
        case ast.Subscript(value=value, slice=index, ctx=ast.Load()):
            if not isinstance(index, ast.Slice | ast.Tuple | ast.Constant | ast.UnaryOp):
                yield "slice", value
        case ast.For(iter=iterated):  # the first turn only
            turns = ast.List([ast.Starred(iterated, ast.Load())], ast.Load())
            first = ast.Slice(upper=ast.Constant(1))
            yield "slice", _with(node, "iter", ast.Subscript(turns, first, ast.Load()))
        case ast.Call(func=ast.Name(id="range"), args=arguments):
            for place, bound in enumerate(arguments):
                if not isinstance(bound, ast.Constant):
                    for one_off in _one_off(bound):
                        items = [*arguments[:place], one_off, *arguments[place + 1 :]]
                        yield "off by one", _with(node, "args", items)


def _one_off(node: ast.expr) -> Iterator[ast.expr]:
    for operator in (ast.Add(), ast.Sub()):
        yield ast.BinOp(node, operator, ast.Constant(1))


def _calls(node: ast.AST) -> Iterator[Change]:
    """Another function of the same form, no call at all, arguments swapped or left out."""
    match node:
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in NAMES:
            yield "reduction", _with(node, "attr", NAMES[name])
        case ast.Attribute(attr="T" | "mT", value=owner, ctx=ast.Load()):
            yield "dropped call", owner
        case ast.Name(id=name, ctx=ast.Load()) if name in NAMES:
            yield "reduction", _with(node, "id", NAMES[name])
        case ast.Call(func=function, args=arguments, keywords=keywords):
            match function:
                case ast.Attribute(value=owner) if not _is_module(owner):
                    yield "dropped call", owner
                case _ if arguments and not isinstance(arguments[0], ast.Starred):
                    yield "dropped call", arguments[0]
            called = getattr(function, "attr", getattr(function, "id", None))
            for place in range(len(arguments) - 1):
                left, right = arguments[place : place + 2]
                if called not in UNORDERED_CALLS and not isinstance(right, ast.Starred):
                    items = [*arguments[:place], right, left, *arguments[place + 2 :]]
                    yield "swapped", _with(node, "args", items)
            for place, keyword in enumerate(keywords):
                flag = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
                if not flag and keyword.arg not in UNTOUCHED_ARGUMENTS:
                    rest = [*keywords[:place], *keywords[place + 1 :]]
                    yield "dropped argument", _with(node, "keywords", rest)


def _is_module(owner: ast.expr) -> bool:
    """Whether this is torch, F, nn.functional, math ...: what a function is looked up in."""
    while isinstance(owner, ast.Attribute):
        owner = owner.value
    return isinstance(owner, ast.Name) and owner.id in ("F", "itertools", "math", "nn", "torch")


def _statements(node: ast.AST) -> Iterator[Change]:
    match node:
        case ast.Expr(value=ast.Constant()):
            pass  # a docstring
        case ast.Expr() | ast.AugAssign() | ast.Break() | ast.Continue() | ast.If() | ast.While():
            yield "dropped statement", ast.Pass()
        case ast.Assign(targets=[target], value=value):
            # The first assignment of a name cannot be left out: the next line would not run.
            read = {part.id for part in ast.walk(value) if isinstance(part, ast.Name)}
            written = {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
            if read & written or not isinstance(target, ast.Name | ast.Tuple):
                yield "dropped statement", ast.Pass()
        case ast.With(body=body) | ast.Try(body=body):
            yield "dropped statement", ast.If(ast.Constant(True), body, [])
        case ast.Return(value=ast.Tuple(elts=items) as value):
            for place in range(len(items) - 1):
                swapped = [*items[:place], items[place + 1], items[place], *items[place + 2 :]]
                yield "swapped", _with(node, "value", _with(value, "elts", swapped))


RULES: tuple[Callable[[ast.AST], Iterator[Change]], ...] = (
    _operators, _terms, _signs, _constants, _ranges, _calls, _statements,
)  # fmt: skip
