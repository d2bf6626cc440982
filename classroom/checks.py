"""What is in a notebook of exercises: answers, checks, visible and hidden tests."""

from __future__ import annotations

import ast

from nbformat import NotebookNode

HIDDEN_BEGIN, HIDDEN_END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
SOLUTION_BEGIN = "### BEGIN SOLUTION"

# Annotations of an answer that takes and returns nothing but values. Everything else (functions,
# networks, optimisers, caches) is checked beside the answer.
VALUES = {
    *("torch", "Tensor", "float", "int", "bool", "str", "None", "tuple", "list", "dict", "set"),
}
# A check that watches which functions of torch an answer calls must be where the answer is.
WATCHES = ("mock.patch", "TorchFunctionMode")


def code_of(cell: NotebookNode) -> str:
    return cell.source if cell.cell_type == "code" else ""


def role(cell: NotebookNode) -> str:
    """ "check", "answer", "locked" or "own": what a cell of a notebook of exercises is."""
    about = cell.metadata.get("nbgrader", {})
    if cell.cell_type != "code":
        return "text"
    if about.get("grade") and not about.get("solution"):
        return "check"
    if about.get("solution"):
        return "answer"
    return "locked" if about.get("locked") else "own"


def defined(source: str) -> list[str]:
    """The functions and classes that the code defines at its top level."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in ast.parse(source).body if isinstance(node, kinds)]


def takes_values(solution: str) -> bool:
    """Whether every function of a solution takes and returns values only, by its annotations."""
    functions = [
        n for n in ast.parse(solution).body if isinstance(n, ast.FunctionDef | ast.ClassDef)
    ]
    for function in functions:
        if isinstance(function, ast.ClassDef) or function.returns is None:
            return False
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        if any(each.annotation is None for each in arguments):
            return False
        if function.args.vararg is not None or function.args.kwarg is not None:
            return False
        for annotation in [*(each.annotation for each in arguments), function.returns]:
            for node in ast.walk(annotation):  # type: ignore[arg-type]
                if isinstance(node, ast.Name) and node.id not in VALUES:
                    return False
                if isinstance(node, ast.Attribute) and node.attr != "Tensor":
                    return False
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    return False
    return bool(functions)


def parts_of_check(source: str) -> tuple[str, str]:
    """(what the student sees, the hidden tests) of a check, each with its lines at their place."""
    visible, hidden, inside = [], [], False
    for line in source.splitlines():
        mark = line.strip()
        if mark in (HIDDEN_BEGIN, HIDDEN_END):
            inside = mark == HIDDEN_BEGIN
            line = ""
        visible.append("" if inside else line)
        hidden.append(line if inside else "")
    return "\n".join(visible), "\n".join(hidden)


def imports_of(source: str) -> str:
    """The imports at the top level of a visible check: later cells of a student may use them."""
    kinds = (ast.Import, ast.ImportFrom)
    return "\n".join(ast.unparse(n) for n in ast.parse(source).body if isinstance(n, kinds))
