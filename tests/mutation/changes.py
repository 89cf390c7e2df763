"""Small changes to a source file, each of which a test should notice.

Messages, log calls, docstrings, decorators, annotations and other types are left as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

BOUNDARIES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}
OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
SUPPRESS = {"suppress", "contextlib.suppress"}
LOGS = {"log", "_log", "logger", "logging", "warnings"}
TEXT_ARGUMENTS = {"description", "title", "help", "examples", "message"}
IDENTIFIER = re.compile(r"[\w.:/-]+")


@dataclass(frozen=True, slots=True)
class Change:
    """`old` becomes `new` at the bytes `start` to `end` of a file."""

    path: str
    line: int
    """Where `old` begins, from 1."""
    statement: range
    """The lines of the statement around it, without the statements inside that one."""
    at_import: bool
    """Whether the line runs when the module is imported, and not in a test."""
    kind: str
    start: int
    end: int
    old: str
    new: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.path}:{self.line} {self.kind} {old!r} -> {new!r}"


def changes(path: str, source: bytes) -> list[Change]:
    """All changes to the file, in the order of their places."""
    tree = ast.parse(source)
    return sorted(_Finder(path, source, tree).found, key=lambda change: (change.start, change.end, change.new))


class _Finder(ast.NodeVisitor):
    """Walks the tree; a visit of a node adds the changes of that node."""

    def __init__(self, path: str, source: bytes, tree: ast.Module) -> None:
        self.found: list[Change] = []
        self._path = path
        self._source = source
        lines = source.splitlines(keepends=True)
        self._offsets = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
        self._statement: ast.stmt | None = None
        self._functions = 0
        self._members = _members(tree)
        self._body(tree.body)

    # Places

    def _span(self, node: ast.stmt | ast.expr | ast.ExceptHandler) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._offsets[node.lineno - 1] + node.col_offset,
            self._offsets[node.end_lineno - 1] + node.end_col_offset,
        )

    def _add(self, node: ast.stmt | ast.expr, kind: str, new: ast.expr | str) -> None:
        text = new if isinstance(new, str) else f"({ast.unparse(new)})"
        start, end = self._span(node)
        self._add_text(node.lineno, kind, (start, end), text)

    def _add_text(self, line: int, kind: str, span: tuple[int, int], text: str) -> None:
        statement = self._statement
        assert statement is not None
        body = getattr(statement, "body", None)
        last = max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno or statement.lineno
        old = self._source[span[0] : span[1]].decode()
        self.found.append(
            Change(self._path, line, range(statement.lineno, last + 1), not self._functions, kind, *span, old, text)
        )

    # Statements

    def _body(self, body: list[ast.stmt]) -> None:
        for number, statement in enumerate(body):
            if number == 0 and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue
            outer, self._statement = self._statement, statement
            self.visit(statement)
            self._statement = outer

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list", "bases", "type_params"}:
                continue
            if isinstance(value, list):
                if value and isinstance(value[0], ast.stmt):
                    self._body(value)
                else:
                    for each in value:
                        self.visit(each) if isinstance(each, ast.AST) else None
            elif isinstance(value, ast.AST):
                self.visit(value)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        self.visit(node.args)
        self._functions += 1
        if isinstance(node, ast.Lambda):
            self.visit(node.body)
        else:
            self._body(node.body)
        self._functions -= 1

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        self._negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self._add(node, "raise removed", "pass")

    def visit_Assert(self, node: ast.Assert) -> None:
        pass

    def _jump(self, node: ast.Continue | ast.Break) -> None:
        self._add(node, "statement removed", "pass")

    visit_Continue = visit_Break = _jump

    def visit_Delete(self, node: ast.Delete) -> None:
        self._add(node, "statement removed", "pass")

    def visit_Expr(self, node: ast.Expr) -> None:
        called = node.value.value if isinstance(node.value, ast.Await) else node.value
        if _is_log(called) or isinstance(called, ast.Constant):
            return
        if isinstance(called, ast.Call) or isinstance(node.value, ast.Await):
            self._add(node, "statement removed", "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if ast.unparse(node.targets[0]) == "__all__":
            return
        if any(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets):
            self._add(node, "statement removed", "pass")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._add(node, "statement removed", "pass")
        if other := ARITHMETIC.get(type(node.op)):
            target, value = ast.unparse(node.target), ast.unparse(node.value)
            changed = ast.unparse(ast.AugAssign(node.target, other(), node.value))
            assert target in changed
            assert value in changed
            self._add(node, "arithmetic", changed)
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        # None instead of False changes no condition; the constant itself is changed to True.
        if node.value is not None and ast.unparse(node.value) not in {"None", "False"}:
            self._add(node, "returns None", "return None")
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        first, last = node.body[0], node.body[-1]
        if not (first is last and isinstance(first, ast.Raise | ast.Pass | ast.Continue)):
            span = (self._span(first)[0], self._span(last)[1])
            self._add_text(first.lineno, "except body removed", span, "pass")
        if isinstance(node.type, ast.Tuple):
            for each in node.type.elts:
                kept = [other for other in node.type.elts if other is not each]
                self._add(node.type, "except narrowed", ast.Tuple(kept, ast.Load()))
        self._body(node.body)

    # Expressions

    def _negate(self, test: ast.expr) -> None:
        if not isinstance(test, ast.Compare) and not (isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)):
            self._add(test, "condition negated", ast.UnaryOp(ast.Not(), test))

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._add(test, "filter dropped", "True")
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        for kind, others in (("boundary", BOUNDARIES), ("comparison", OPPOSITES)):
            for number, operator in enumerate(node.ops):
                if other := others.get(type(operator)):
                    operators = [*node.ops[:number], other(), *node.ops[number + 1 :]]
                    self._add(node, kind, ast.Compare(node.left, operators, node.comparators))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for dropped in node.values:
            kept = [each for each in node.values if each is not dropped]
            self._add(node, "condition dropped", kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self._add(node, "not dropped" if isinstance(node.op, ast.Not) else "minus dropped", node.operand)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if any(isinstance(each, ast.Constant) and each.value is None for each in (node.left, node.right)):
            return  # a type
        texts = (isinstance(each, ast.JoinedStr) or _is_text(each) for each in (node.left, node.right))
        if (other := ARITHMETIC.get(type(node.op))) and not any(texts):
            self._add(node, "arithmetic", ast.BinOp(node.left, other(), node.right))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        if _is_log(node) or name == "TypeVar":
            return
        if name == "cast":
            self.visit(node.args[1])
            return
        if other := CALLS.get(name):
            self._add(node.func, "min/max/any/all", other)
        if name in SUPPRESS:
            self._add(node, "suppress removed", "__import__('contextlib').nullcontext()")
        arguments = node.args
        if len(arguments) >= 2 and not any(isinstance(each, ast.Starred) for each in arguments[:2]):
            first, second = arguments[:2]
            if name not in {*CALLS, *SUPPRESS} and ast.dump(first) != ast.dump(second):
                swapped = ast.Call(node.func, [second, first, *arguments[2:]], node.keywords)
                self._add(node, "arguments swapped", swapped)
        if name == "zip":  # `strict` only states that the lengths are equal, as an assert does
            for each in arguments:
                self.visit(each)
        else:
            self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in TEXT_ARGUMENTS:
            self.visit(node.value)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        members = self._members.get(ast.unparse(node.value), [])
        if node.attr in members and len(members) > 1:
            other = members[(members.index(node.attr) + 1) % len(members)]
            self._add(node, "other member", ast.Attribute(node.value, other, ast.Load()))
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if ast.unparse(node.value) != "Literal":
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        pass  # the places in it are wrong before Python 3.12

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._add(node, "constant", str(not value))
        elif isinstance(value, int):
            self._add(node, "constant", str(value + 1))
            self._add(node, "constant", f"({value - 1})")
        elif isinstance(value, float):
            self._add(node, "constant", repr(value * 2 or 1.0))
        elif isinstance(value, str) and IDENTIFIER.fullmatch(value):
            self._add(node, "text", repr(f"{value}_x"))


def _members(tree: ast.Module) -> dict[str, list[str]]:
    """`Enum.MEMBER`s that the file names: {"Quantity": ["POWER", "VOLTAGE"]}."""
    found: dict[str, set[str]] = {}
    for node in _expressions(tree):
        if isinstance(node.value, ast.Name) and node.value.id[:1].isupper() and node.attr.isupper():
            found.setdefault(node.value.id, set()).add(node.attr)
    return {name: sorted(members) for name, members in found.items()}


def _expressions(tree: ast.Module) -> Iterator[ast.Attribute]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def _is_log(node: ast.expr) -> bool:
    """A call of a logger, or of what `bind` returned."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Attribute) and node.attr in LOGS:
            return True
    return isinstance(node, ast.Name) and node.id in LOGS


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
