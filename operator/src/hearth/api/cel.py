"""The part of CEL that this API's rules use, evaluated without an API server.

Rules are written once, in CEL, for the API server. The operator checks them again, and `hearth plan` checks them with
no cluster at hand, so that a rule that was bypassed gives the same message. Semantics: github.com/google/cel-spec
doc/langdef.md; quantities as in k8s.io/apiserver/pkg/cel/library/quantity.go. What is not in the tables below is
refused when the expression is compiled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from hearth.api.cel_functions import FUNCTIONS, METHODS, CelError, binary, truth

Scope = Mapping[str, Any]
Expression = Callable[[Scope], Any]

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+\.\d+(?:[eE][-+]?\d+)?|\d+)
          |(?P<raw>r'[^']*'|r"[^"]*")
          |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
          |(?P<name>[A-Za-z_]\w*)
          |(?P<op>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}]))""",
    re.VERBOSE,
)
_LEVELS = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+", "-"), ("*", "/", "%"))
_CONSTANTS = {"true": True, "false": False, "null": None}
_MACROS = {"all", "exists", "exists_one", "filter", "map"}


@lru_cache(maxsize=512)
def compile_rule(source: str) -> Expression:
    """The expression as a function of its variables.

    Raises CelError where the source is malformed or uses what this subset does not have.
    """
    parser = _Parser(_tokens(source), source)
    expression = parser.ternary()
    if parser.peek():
        raise CelError(f"unexpected {parser.peek()!r} in {source!r}")
    return expression


def holds(source: str, scope: Scope) -> bool:
    """Whether a rule holds. An evaluation error (a missing key, a text that is no number) counts as a broken rule.

    That is what the API server does: a rule that cannot be evaluated refuses the object.
    """
    try:
        return truth(compile_rule(source)(scope))
    except CelError:
        return False


def _tokens(source: str) -> list[tuple[str, str]]:
    out: list[tuple[str, str]] = []
    at, text = 0, source.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise CelError(f"cannot read {text[at:]!r} in {source!r}")
        out.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    return out


class _Parser:
    """Recursive descent over the tokens of one expression, building closures."""

    def __init__(self, tokens: list[tuple[str, str]], source: str) -> None:
        self._tokens = tokens
        self._source = source
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _next(self) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise CelError(f"{self._source!r} ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _accept(self, token: str) -> bool:
        if self.peek() == token and self._tokens[self._at][0] in {"op", "name"}:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise CelError(f"expected {token!r} before {self.peek()!r} in {self._source!r}")

    def ternary(self) -> Expression:
        condition = self._level(0)
        if not self._accept("?"):
            return condition
        then = self._level(0)
        self._expect(":")
        otherwise = self.ternary()
        return lambda scope: then(scope) if truth(condition(scope)) else otherwise(scope)

    def _level(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._unary()
        left = self._level(level + 1)
        while self.peek() in _LEVELS[level] and self._tokens[self._at][0] in {"op", "name"}:
            left = binary(self._next()[1], left, self._level(level + 1))
        return left

    def _unary(self) -> Expression:
        if self._accept("!"):
            inner = self._unary()
            return lambda scope: not truth(inner(scope))
        if self._accept("-"):
            number = self._unary()
            return lambda scope: -number(scope)
        return self._member(self._primary())

    def _member(self, value: Expression) -> Expression:
        while True:
            if self._accept("."):
                name = self._next()[1]
                value = self._call_method(value, name) if self._accept("(") else _select(value, name)
            elif self._accept("["):
                value = _index(value, self.ternary())
                self._expect("]")
            else:
                return value

    def _call_method(self, value: Expression, name: str) -> Expression:
        if name in _MACROS:
            return self._macro(value, name)
        method = METHODS.get(name)
        if method is None:
            raise CelError(f"{name}() is not in the subset ({self._source!r})")
        arguments = self._list(")")
        return lambda scope: method(value(scope), *[argument(scope) for argument in arguments])

    def _macro(self, value: Expression, name: str) -> Expression:
        variable = self._next()[1]
        self._expect(",")
        body = self.ternary()
        self._expect(")")

        def bodies(scope: Scope) -> list[tuple[Any, Any]]:
            return [(item, body({**scope, variable: item})) for item in value(scope)]

        fold: dict[str, Callable[[list[tuple[Any, Any]]], Any]] = {
            "all": lambda pairs: all(truth(result) for _, result in pairs),
            "exists": lambda pairs: any(truth(result) for _, result in pairs),
            "exists_one": lambda pairs: sum(truth(result) for _, result in pairs) == 1,
            "filter": lambda pairs: [item for item, result in pairs if truth(result)],
            "map": lambda pairs: [result for _, result in pairs],
        }
        return lambda scope: fold[name](bodies(scope))

    def _primary(self) -> Expression:
        kind, token = self._next()
        if kind in {"number", "raw", "text"}:
            constant = _literal(kind, token)
            return lambda _scope: constant
        if kind == "name":
            return self._name(token)
        if token == "(":  # noqa: S105 (a parenthesis)
            inner = self.ternary()
            self._expect(")")
            return inner
        if token == "[":  # noqa: S105 (a bracket)
            items = self._list("]")
            return lambda scope: [item(scope) for item in items]
        raise CelError(f"unexpected {token!r} in {self._source!r}")

    def _name(self, name: str) -> Expression:
        if name in _CONSTANTS:
            return lambda _scope: _CONSTANTS[name]
        if not self._accept("("):
            return lambda scope: _lookup(scope, name)
        if name == "has":
            return self._has()
        function = FUNCTIONS.get(name)
        if function is None:
            raise CelError(f"{name}() is not in the subset ({self._source!r})")
        arguments = self._list(")")
        return lambda scope: function(*[argument(scope) for argument in arguments])

    def _has(self) -> Expression:
        """`has(a.b.c)`: everything up to the last dot must exist, the last need not."""
        value = self._name(self._next()[1])
        self._expect(".")
        name = self._next()[1]
        while self._accept("."):
            value, name = _select(value, name), self._next()[1]
        self._expect(")")
        parent = value
        return lambda scope: name in parent(scope)

    def _list(self, closing: str) -> list[Expression]:
        items: list[Expression] = []
        while not self._accept(closing):
            if items:
                self._expect(",")
            items.append(self.ternary())
        return items


def _literal(kind: str, token: str) -> str | int | float:
    if kind == "number":
        return float(token) if "." in token else int(token)
    if kind == "raw":
        return token[2:-1]
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t"}.get(match[1], match[1]), token[1:-1])


def _lookup(scope: Scope, name: str) -> Any:
    if name not in scope:
        raise CelError(f"undeclared reference to {name}")
    return scope[name]


def _select(value: Expression, name: str) -> Expression:
    def select(scope: Scope) -> Any:
        parent = value(scope)
        if not isinstance(parent, Mapping) or name not in parent:
            raise CelError(f"no such key: {name}")
        return parent[name]

    return select


def _index(value: Expression, at: Expression) -> Expression:
    def index(scope: Scope) -> Any:
        parent, position = value(scope), at(scope)
        try:
            return parent[position]
        except (KeyError, IndexError, TypeError) as error:
            raise CelError(f"no such key: {position}") from error

    return index
