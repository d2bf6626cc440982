"""What an answer may not use where the check has to run in the same process as the answer.

Most answers take and return values, and are called across a wall (wall.py): there this screen is
not needed. An answer that is given a network or a function cannot be called like that. Its check
runs beside it, in a process where the student's code could in principle look at the check or change
what the check relies on; so the code is read before it is run, and what no exercise needs (looking
into frames, replacing parts of torch, files, other processes) is refused, with a reason.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import types

import torch

MODULES = {
    *("collections", "collections.abc", "contextlib", "copy", "dataclasses", "fractions"),
    *("sklearn.datasets", "sklearn.linear_model"),
    *("functools", "itertools", "math", "numpy", "numpy.linalg", "numpy.random", "random"),
    *("re", "statistics", "torch", "torch.autograd", "torch.autograd.functional"),
    *("torch.distributions", "torch.fft", "torch.func", "torch.linalg", "torch.nn"),
    *("torch.nn.functional", "torch.nn.init", "torch.nn.utils", "torch.optim"),
    *("torch.optim.lr_scheduler", "torch.random", "torch.special", "typing", "warnings"),
}
NAMES = {
    *("__import__", "breakpoint", "compile", "delattr", "dir", "eval", "exec", "exit", "getattr"),
    *("globals", "help", "input", "locals", "memoryview", "open", "quit", "setattr", "vars"),
    *("get_ipython", "copyright", "credits", "license"),
    "type",  # with three arguments it makes classes that lie about themselves
}
ATTRIBUTES = {
    *("f_back", "f_globals", "f_locals", "f_builtins", "f_code", "gi_frame", "gi_code", "cr_frame"),
    *("ag_frame", "tb_frame", "tb_next", "with_traceback", "mro", "settrace", "setprofile"),
    *("builtins", "ctypes", "gc", "importlib", "inspect", "io", "multiprocessing", "os", "pathlib"),
    *("pickle", "shutil", "signal", "socket", "subprocess", "sys", "threading", "traceback"),
    *("types", "weakref", "linecache", "attrgetter", "methodcaller", "format", "format_map"),
    *("get_type_hints", "update_wrapper", "wraps", "singledispatch", "singledispatchmethod"),
    *("make_dataclass", "ForwardRef", "ABCMeta", "NamedTuple", "NamedTupleMeta", "TypedDict"),
    *("savetxt", "savez", "savez_compressed", "dump", "dumps", "loadtxt", "genfromtxt"),
    *("fromregex", "DataSource", "testing", "dump_svmlight_file", "load_svmlight_file"),
    *("load_svmlight_files", "load_files", "runstring"),
    *("hub", "jit", "ops", "classes", "package", "library", "serialization", "distributed"),
    *("overrides", "load", "save", "compile", "from_file", "tofile", "fromfile", "memmap"),
    *("ctypeslib", "lib", "f2py", "data_ptr", "untyped_storage", "storage", "_C"),
}
METHODS = {
    *("__init__", "__call__", "__len__", "__getitem__", "__iter__", "__next__", "__enter__"),
    *("__exit__", "__repr__", "__post_init__"),
}
# Attributes of networks, tensors and optimisers that an answer may set.
SETTABLE = {"grad", "data", "requires_grad", "training", "weight", "bias"}


def taken(name: str) -> bool:
    """Whether the name is one of a class that a check relies on."""
    classes = (torch.Tensor, torch.nn.Module, torch.optim.Optimizer, torch.Generator, dict, list)
    return any(hasattr(each, name) for each in classes)


class Screen(ast.NodeVisitor):
    """Walks over the code of a cell and stops at the first thing that is refused."""

    def __init__(self, modules: dict[str, types.ModuleType]) -> None:
        self.modules = dict(modules)  # the names that stand for modules
        self.imported: set[str] = set(modules)
        self.docstrings: set[int] = set()

    def refuse(self, node: ast.AST, what: str) -> None:
        raise Refused(f"line {getattr(node, 'lineno', 0)}: {what}")

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name not in MODULES:
                self.refuse(node, f"the import of {alias.name}")
            name = alias.asname or alias.name.split(".")[0]
            whole = alias.name if alias.asname else name
            self.modules[name] = importlib.import_module(whole)
            self.imported.add(name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or node.module not in MODULES:
            self.refuse(node, f"the import of {node.module}")
        for alias in node.names:
            if alias.name == "*" or alias.name.startswith("_") or alias.name in ATTRIBUTES:
                self.refuse(node, f"the import of {alias.name} from {node.module}")
            found = getattr(importlib.import_module(str(node.module)), alias.name, None)
            name = alias.asname or alias.name
            if isinstance(found, types.ModuleType):
                if found.__name__ not in MODULES:
                    self.refuse(node, f"the import of {alias.name} from {node.module}")
                self.modules[name] = found
            self.imported.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in NAMES or node.id.startswith("__"):
            self.refuse(node, f"the name {node.id}")
        if not isinstance(node.ctx, ast.Load):
            if node.id in self.imported:
                self.refuse(node, f"another use of the imported name {node.id}")
        elif node.id in self.modules:
            self.refuse(node, f"the module {node.id} as a value: use what is in it")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = node.attr
        if name.startswith("_") and name not in METHODS:
            self.refuse(node, f"the attribute {name}")
        if name in ATTRIBUTES or name.startswith("register_module_"):
            self.refuse(node, f"the attribute {name}")
        if not isinstance(node.ctx, ast.Load):
            base = node.value
            is_self = isinstance(base, ast.Name) and base.id == "self"
            if not is_self and (
                root(base) in self.imported or (taken(name) and name not in SETTABLE)
            ):
                self.refuse(node, f"setting or deleting the attribute {name}")
        if self.module(node) is not None:  # a longer chain visits its last attribute only
            self.refuse(node, f"the module {ast.unparse(node)} as a value: use what is in it")
        if self.module(node.value) is None:
            self.visit(node.value)

    def module(self, node: ast.expr) -> types.ModuleType | None:
        """The module that an expression such as torch.nn stands for."""
        if isinstance(node, ast.Name):
            return self.modules.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self.module(node.value)
            found = getattr(base, node.attr, None) if base is not None else None
            if isinstance(found, types.ModuleType):
                if found.__name__ not in MODULES:
                    self.refuse(node, f"the module {found.__name__}")
                return found
        return None

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr == "format":
            if not isinstance(function.value, ast.Constant):
                self.refuse(node, "format of a text that is not written out")
            self.visit(function.value)
            for each in [*node.args, *node.keywords]:
                self.visit(each)
            return
        if isinstance(function, ast.Name) and function.id == "getattr" and len(node.args) >= 2:
            name = node.args[1]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                stand_in = ast.Attribute(node.args[0], name.value, ast.Load())
                self.visit(ast.copy_location(stand_in, node))
                for each in node.args[2:]:
                    self.visit(each)
                return
        self.generic_visit(node)

    def visit_definition(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        if node.name.startswith("__") and node.name not in METHODS:
            self.refuse(node, f"a definition of {node.name}")
        if node.body and isinstance(node.body[0], ast.Expr):
            self.docstrings.add(id(node.body[0].value))
        if node.name in self.imported:
            self.refuse(node, f"another use of the imported name {node.name}")
        self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.visit_definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.visit_definition(node)

    def visit_arg(self, node: ast.arg) -> None:
        if node.annotation is not None:
            self.visit(node.annotation)

    def visit_Constant(self, node: ast.Constant) -> None:
        # A field such as {0.__globals__} of a format string reaches into objects.
        text = node.value
        if not isinstance(text, str) or id(node) in self.docstrings:
            return
        if "__" in text or "._" in text:
            self.refuse(node, "a text with two underscores")

    def visit_MatchClass(self, node: ast.MatchClass) -> None:
        self.refuse(node, "a match on a class")

    def visit_Global(self, node: ast.Global) -> None:
        for name in node.names:
            if name in self.modules or hasattr(builtins, name):
                self.refuse(node, f"global {name}")


class Refused(ValueError):
    """Code that is not run beside a check."""


def root(node: ast.expr) -> str:
    """The name at the start of a chain such as torch.nn.Linear."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def screen(source: str, modules: dict[str, types.ModuleType]) -> tuple[str, dict]:
    """Read a cell before it is run beside a check.

    Args:
        source: the cell.
        modules: the names that stand for modules so far.

    Returns:
        (why it is refused, or an empty text; the names that stand for modules after the cell).
    """
    walker = Screen(modules)
    try:
        walker.visit(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as problem:
        reason = str(problem) if isinstance(problem, Refused) else "it is not plain Python"
        return reason, modules
    return "", walker.modules
