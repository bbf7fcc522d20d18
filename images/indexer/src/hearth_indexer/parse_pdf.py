"""PDF to sections, one per page, within a budget of pages."""

from __future__ import annotations

import io
import re

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from hearth_indexer.documents import Section, UnreadableError


def parse_pdf(content: bytes, max_pages: int) -> tuple[str, tuple[Section, ...], int]:
    """The title from the document's own information, the text of at most `max_pages` pages, and how many it has.

    Raises UnreadableError for what is no PDF, is damaged, or asks for a password.
    """
    try:
        reader = PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UnreadableError("is encrypted: save it without a password")
        title = (reader.metadata.title if reader.metadata else None) or ""
        texts = [reader.pages[at].extract_text() for at in range(min(len(reader.pages), max_pages))]
        pages = len(reader.pages)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError) as error:
        # pypdf lets all of these through for damaged files.
        raise UnreadableError(f"is no readable PDF: {error}") from error
    title = title.strip()
    sections = tuple(s for at, text in enumerate(texts, start=1) for s in page_sections(text, title, at))
    return title, sections, pages


def page_sections(extracted: str, title: str, page: int) -> list[Section]:
    """The sections of one page. A PDF has no structure to read: what looks like a heading is taken for one."""
    lines = [line.strip() for line in re.sub(r"(\w)-\r?\n(\w)", r"\1\2", extracted).splitlines()]
    width = max((len(line) for line in lines), default=0)
    sections: list[Section] = []
    headings: tuple[str, ...] = ()
    held: list[str] = []
    for at, line in enumerate(lines):
        following = next((after for after in lines[at + 1 :] if after), "")
        if line == title and not held:
            continue
        if _looks_like_heading(line, following, width) and (held or not headings):
            sections += _section(headings, held, page)
            headings, held = (line,), []
        else:
            held.append(line)
    return sections + _section(headings, held, page)


def _looks_like_heading(line: str, following: str, width: int) -> bool:
    """Short, without a full stop, and followed by a line that begins a sentence."""
    short = len(line) <= min(60, width * 0.7)
    return short and bool(re.search(r"\w$", line)) and following[:1].isupper() and not line[:1].islower()


def _section(headings: tuple[str, ...], lines: list[str], page: int) -> list[Section]:
    """Lines joined to paragraphs at empty lines; nothing where there is no text."""
    paragraphs = [re.sub(r"\s*\n\s*", " ", part).strip() for part in re.split(r"\n\s*\n", "\n".join(lines))]
    text = "\n\n".join(part for part in paragraphs if part)
    if not text:
        return [Section((), headings[0], page)] if headings else []
    return [Section(headings, text, page)]
