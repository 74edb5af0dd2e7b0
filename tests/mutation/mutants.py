"""Small wrong changes of a module: each comparison, condition, constant, call and piece of SQL has some."""

from __future__ import annotations

import ast
import copy
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}  # fmt: skip
SQL = {
    " AND ": " OR ", " OR ": " AND ", ">=": ">", "<=": "<", " < ": " <= ", " > ": " >= ", " = ": " <> ", " <> ": " = ",
    "NOT EXISTS": "EXISTS", " IS NULL": " IS NOT NULL", " DESC": " ASC", "GRANT ": "-- GRANT ", " + 1": " + 2",
    "attribute_not_exists": "attribute_exists", "COUNT(*)": "COUNT(*) + 1", "MAX(": "MIN(", "MIN(": "MAX(",
}  # fmt: skip
"""Pieces of SQL, and of DynamoDB's expressions."""
SAID = {"debug", "info", "warning", "error", "exception", "echo"}
"""Functions that only say something: their words may change."""


class Mutant(NamedTuple):
    """One change of one module."""

    path: str
    lines: range
    place: str
    change: str
    source: str

    @property
    def name(self) -> str:
        return f"{self.path} {self.place}: {self.change}"


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _constants(node: ast.Constant) -> Iterator[ast.AST]:
    value = node.value
    if isinstance(value, bool):
        yield _changed(node, value=not value)
    elif isinstance(value, (int, float)):
        yield _changed(node, value=value + 1)
    elif isinstance(value, str):
        pieces = [(found.start(), piece) for piece in SQL for found in re.finditer(re.escape(piece), value)]
        for start, piece in sorted(pieces):
            yield _changed(node, value=value[:start] + SQL[piece] + value[start + len(piece) :])
        if not pieces and " " not in value.strip():  # several words are said to people
            yield _changed(node, value=value + "X")


def _variants(node: ast.AST) -> Iterator[ast.AST]:
    """Wrong versions of one node."""
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                yield _changed(node, ops=[*ops[:index], COMPARISONS[type(op)](), *ops[index + 1 :]])
        case ast.BoolOp(op=op, values=values):
            yield _changed(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            yield from (_changed(node, values=values[:i] + values[i + 1 :]) for i in range(len(values)))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(op=op) if type(op) in ARITHMETIC:
            yield _changed(node, op=ARITHMETIC[type(op)]())
        case ast.Constant():
            yield from _constants(node)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare):
            yield _changed(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Set(elts=elements) | ast.Tuple(elts=elements, ctx=ast.Load()) if len(elements) > 1:
            yield from (_changed(node, elts=elements[:i] + elements[i + 1 :]) for i in range(len(elements)))
        case ast.comprehension(ifs=conditions):
            yield from (_changed(node, ifs=conditions[:i] + conditions[i + 1 :]) for i in range(len(conditions)))
        case ast.Expr() | ast.Raise() | ast.AugAssign():
            yield ast.Pass()
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None))
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()


def _is_words(node: ast.AST) -> bool:
    """Whether a node is a docstring, a message, an annotation or an import: not behaviour."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))):
            return name in SAID
        case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.Assign(targets=[ast.Name(id="__all__")]):
            return True  # tests/test_house.py holds doors to what they export
    return False


def _fields(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """The parts of a node that are behaviour, and where each is kept."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "ctx", "op", "ops"}:
            continue
        if (type(node), name) in {(ast.Raise, "exc"), (ast.ClassDef, "keywords"), (ast.ClassDef, "decorator_list")}:
            continue
        if isinstance(value, list):
            yield from ((name, i, part) for i, part in enumerate(value) if isinstance(part, ast.AST))
        elif isinstance(value, ast.AST):
            yield name, None, value


def _put(parent: ast.AST, name: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


def find_mutants(path: str, source: str) -> list[Mutant]:
    """Find every mutant of a module.

    Args:
        path: Its path, for the mutants' names.
        source: Its text.

    Returns:
        The mutants, each with the whole changed text.
    """
    tree, found = ast.parse(source), list[Mutant]()
    whole = ast.unparse(tree)

    def visit(parent: ast.AST, place: str, lines: range) -> None:
        for name, index, node in _fields(parent):
            if _is_words(node):
                continue
            inner = place
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = f"{place}.{node.name}".lstrip(".")
            if isinstance(node, ast.stmt):
                body = getattr(node, "body", None)
                last = body[0].lineno if isinstance(body, list) else (node.end_lineno or node.lineno) + 1
                lines = range(node.lineno, max(last, node.lineno + 1))
            for variant in _variants(node):
                _put(parent, name, index, variant)
                text = ast.unparse(ast.fix_missing_locations(tree))
                change = f"{_line(node)}  ->  {_line(variant)}"
                if text != whole:
                    found.append(Mutant(path, lines, inner or "module", change, text))
                _put(parent, name, index, node)
            visit(node, inner, lines)

    visit(tree, "", range(0))
    # Changes that look alike are told apart by their number.
    seen: Counter[str] = Counter()
    for number, mutant in enumerate(found):
        seen[mutant.name] += 1
        if (count := seen[mutant.name]) > 1:
            found[number] = mutant._replace(change=f"{mutant.change} ({count})")
    return found


def _line(node: ast.AST) -> str:
    return " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())[:110]
