"""Docstrings of fields, read from the source."""

from hearth.api.field_docs import field_docs


class Top:
    """Not asked for."""

    hidden: int = 0
    """Not asked for either."""


class Base(Top):
    """A base."""

    inherited: int = 0
    """What the base says."""
    told_anew: int = 0
    """What the base says of it."""


class Model(Base):
    """A model."""

    told_anew: int = 1
    """Two
    lines."""
    silent: int = 0
    plain = 3
    """Of no field."""


def test_a_field_has_the_docstring_under_it_or_that_of_a_base() -> None:
    assert field_docs(Model, Top) == {"inherited": "What the base says.", "told_anew": "Two\nlines."}
