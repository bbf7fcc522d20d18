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
        texts = [page_text(reader.pages[at].extract_text()) for at in range(min(len(reader.pages), max_pages))]
        pages = len(reader.pages)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError) as error:
        # pypdf lets all of these through for damaged files.
        raise UnreadableError(f"is no readable PDF: {error}") from error
    sections = tuple(Section((), text, page) for page, text in enumerate(texts, start=1) if text)
    return title.strip(), sections, pages


def page_text(extracted: str) -> str:
    """Lines of one paragraph joined, hyphenation at line ends undone, paragraphs kept apart."""
    text = re.sub(r"(\w)-\n(\w)", r"\1\2", extracted.replace("\r\n", "\n"))
    paragraphs = [re.sub(r"\s*\n\s*", " ", part).strip() for part in re.split(r"\n\s*\n", text)]
    return "\n\n".join(part for part in paragraphs if part)
