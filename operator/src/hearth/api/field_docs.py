"""The docstrings of a model's fields, which Python itself throws away.

pydantic reads them as well (`use_attribute_docstrings`), but while a class is made: an operator that starts would parse
the source of every model for texts that only the generator of CustomResourceDefinitions wants.
"""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from textwrap import dedent

_READ: dict[type, dict[str, str]] = {}
"""What has been read: a schema asks for a class wherever it is used, and reading takes the whole file."""


def field_docs(model: type, above: type) -> dict[str, str]:
    """The docstring under each annotated name of the class and of its bases up to `above`, by name."""
    docs: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, above) and cls is not above:
            if cls not in _READ:
                _READ[cls] = _docs_of(cls)
            docs |= _READ[cls]
    return docs


def _docs_of(cls: type) -> dict[str, str]:
    (tree,) = ast.parse(dedent(inspect.getsource(cls))).body
    if not isinstance(tree, ast.ClassDef):
        return {}
    return {
        above.target.id: inspect.cleandoc(below.value.value)
        for above, below in pairwise(tree.body)
        if isinstance(above, ast.AnnAssign)
        and isinstance(above.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
