"""Operators and functions of the CEL subset in `hearth.api.cel`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hearth.api.base import QUANTITY, quantity

Scope = Mapping[str, Any]
Expression = Callable[[Scope], Any]


class CelError(ValueError):
    """An expression that cannot be compiled, or that has no value for the object at hand."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A parsed Kubernetes quantity. As in the API server it has no `<` or `>=`, only the methods below."""

    value: float


def truth(value: Any) -> bool:
    """A value that has to be a boolean: CEL has no truthiness."""
    if not isinstance(value, bool):
        raise CelError(f"no such overload: {value!r} is not a bool")
    return value


def binary(operator: str, left: Expression, right: Expression) -> Expression:
    """The two sides combined. `&&` and `||` hold if one side decides, even where the other has no value."""
    if operator in _DECIDES:
        return _logical(decides=_DECIDES[operator], left=left, right=right)
    apply = _BINARY[operator]

    def evaluate(scope: Scope) -> Any:
        try:
            return apply(left(scope), right(scope))
        except (TypeError, ZeroDivisionError) as error:
            raise CelError(f"no such overload: {error}") from error

    return evaluate


_DECIDES = {"&&": False, "||": True}


def _logical(*, decides: bool, left: Expression, right: Expression) -> Expression:
    def evaluate(scope: Scope) -> bool:
        try:
            first = truth(left(scope))
        except CelError:
            if truth(right(scope)) is decides:
                return decides
            raise
        return decides if first is decides else truth(right(scope))

    return evaluate


def _equal(left: Any, right: Any) -> bool:
    # Python's True == 1; CEL's is not.
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _divide(left: Any, right: Any) -> Any:
    return math.trunc(left / right) if isinstance(left, int) and isinstance(right, int) else left / right


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "in": lambda left, right: left in right,
    "+": lambda left, right: left + right,
    "-": lambda left, right: left - right,
    "*": lambda left, right: left * right,
    "/": _divide,
    "%": lambda left, right: int(math.fmod(left, right)),
}


def _convert(to: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        try:
            return to(value)
        except (TypeError, ValueError) as error:
            raise CelError(str(error)) from error

    return convert


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _duration(text: str) -> float:
    """Go's notation: no days."""
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise CelError(f"{text!r} is no duration")
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))


def _is_quantity(text: str) -> bool:
    return re.fullmatch(QUANTITY, text.removeprefix("-")) is not None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _matches(text: str, pattern: str) -> bool:
    # RE2's `$` is the end of the text; Python's stands before a line break at the end too.
    return re.search(re.sub(r"(?<!\\)\$", r"\\Z", pattern), text) is not None


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "size": _convert(len),
    "int": _convert(int),
    "double": _convert(float),
    "string": _text,
    "quantity": _convert(lambda text: Quantity(quantity(text))),
    "isQuantity": _is_quantity,
    "duration": _duration,
}
"""Called as `name(argument)`."""


METHODS: dict[str, Callable[..., Any]] = {
    "size": _convert(len),
    "matches": _matches,
    "startsWith": lambda text, prefix: text.startswith(prefix),
    "endsWith": lambda text, suffix: text.endswith(suffix),
    "contains": lambda text, part: part in text,
    "split": lambda text, separator: text.split(separator),
    "isGreaterThan": lambda left, right: left.value > right.value,
    "isLessThan": lambda left, right: left.value < right.value,
    "compareTo": lambda left, right: (left.value > right.value) - (left.value < right.value),
}
"""Called as `value.name(arguments)`."""
