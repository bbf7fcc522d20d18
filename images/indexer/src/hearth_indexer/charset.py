"""Bytes to text, by the names that the web has for character sets (WHATWG, Encoding Standard)."""

from __future__ import annotations

import codecs
import re

from hearth_indexer.documents import UnreadableError

READ_AS = {
    "ascii": "cp1252",
    "iso8859_1": "cp1252",
    "iso8859_9": "cp1254",
    "iso8859_11": "cp874",
    "tis_620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
"""Python's name of what a page declares, and what it is written in: as a rule the larger set that Windows has."""

ALIASES = {
    "x-sjis": "cp932", "windows-31j": "cp932", "windows-949": "cp949", "windows-874": "cp874",
    "x-gbk": "gb18030", "x-cp1252": "cp1252", "x-euc-jp": "euc_jp",
}  # fmt: skip
"""Names that Python does not know."""

NO_TEXT_ENCODINGS = frozenset({"undefined", "idna", "punycode", "unicode_escape", "raw_unicode_escape"})
"""Codecs that Python finds by name and no document is written in: some always fail, some take quadratic time."""

MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
"""Byte order marks, which tell for certain."""


def declared_in(page: bytes) -> str:
    """The character set that an HTML page declares in its head; empty where it does not.

    Who can read that it declares UTF-16 has read one byte a letter.
    """
    found = re.search(rb"<meta[^>]+charset\s*=\s*[\"']?([A-Za-z0-9_.:-]+)", page[:2048], re.IGNORECASE)
    declared = found.group(1).decode() if found else ""
    return "utf-8" if declared.lower().startswith("utf-16") else declared


def decoded(content: bytes, charset: str) -> str:
    """The bytes as text: by byte order mark, else in the character set.

    Raises UnreadableError where they are not that.
    """
    marked = next((name for mark, name in MARKS if content.startswith(mark)), None)
    try:
        codec = marked or _codec(charset)
        # Five bytes mean nothing in cp1252, and no browser makes a fuss of them; elsewhere an error tells another set.
        text = content.decode(codec, "replace" if codec == "cp1252" else "strict")
    except (UnicodeError, LookupError) as error:
        raise UnreadableError(f"is no {marked or charset} text: {error}") from error
    if "\x00" in text:
        raise UnreadableError("is binary, not text")
    return text


def _codec(charset: str) -> str:
    name = codecs.lookup(ALIASES.get(charset.lower(), charset)).name.replace("-", "_")
    if name in NO_TEXT_ENCODINGS:
        raise UnreadableError(f"declares {charset}, which is no character set of documents")
    return READ_AS.get(name, name)
