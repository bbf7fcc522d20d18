"""What a document is once it has been read: sections of text under headings, on pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Section:
    """Text under one chain of headings. Paragraphs are separated by an empty line."""

    headings: tuple[str, ...]
    text: str
    page: int = 0
    """Page number from 1; 0 where the format has no pages."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document. `uri` is unique within the index."""

    uri: str
    title: str
    sections: tuple[Section, ...]


@dataclass(frozen=True, slots=True)
class RawDocument:
    """The bytes of one document, before it is read."""

    uri: str
    name: str
    """File name, or the last part of the URL's path: its suffix decides how it is read."""
    content: bytes
    media_type: str = ""
    charset: str = ""
    """The character set that the server names, if it does."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A document, or a part of one, that is not in the index, and why."""

    uri: str
    reason: str


class UnreadableError(Exception):
    """This document cannot be read; the others can."""


def encodable(text: str) -> str:
    """The text with a question mark for each half of a surrogate pair: file names and PDFs hold such, UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def clipped(text: str, limit: int) -> str:
    """The beginning of the text that takes at most `limit` bytes of UTF-8, cut between characters."""
    return text.encode("utf-8")[:limit].decode("utf-8", "ignore")
