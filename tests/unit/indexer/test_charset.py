"""Bytes become text as browsers read them."""

from __future__ import annotations

import pytest
from hearth_indexer.charset import declared_in, decoded
from hearth_indexer.documents import UnreadableError


@pytest.mark.parametrize(
    ("charset", "written", "text"),
    [
        ("utf-8", "utf-8", "“Urlaub” – 30 €"),
        ("iso-8859-1", "cp1252", "“Urlaub” – 30 €"),
        ("Latin1", "cp1252", "“Urlaub” – 30 €"),
        ("us-ascii", "cp1252", "“Urlaub”"),
        ("windows-1252", "cp1252", "“Urlaub” – 30 €"),
        ("iso-8859-9", "cp1254", "“İzin” – 30 €"),
        ("gb2312", "gbk", "朱镕基 年假"),
        ("gbk", "gb18030", "朱镕基 年假 30 €"),
        ("shift_jis", "cp932", "①年次休暇㈱"),
        ("x-sjis", "cp932", "①年次休暇㈱"),
        ("ks_c_5601-1987", "cp949", "똠방각하"),
        ("euc-kr", "cp949", "똠방각하"),
        ("big5", "big5", "年假"),
        ("koi8-r", "koi8-r", "отпуск"),
    ],
)
def test_a_name_stands_for_the_set_that_browsers_read(charset: str, written: str, text: str) -> None:
    assert decoded(text.encode(written), charset) == text


def test_a_byte_that_means_nothing_in_a_western_page_leaves_the_others() -> None:
    assert decoded(b"30\x81 days", "iso-8859-1") == "30\ufffd days"


def test_a_byte_order_mark_goes_before_all_that_is_said() -> None:
    assert decoded("Für".encode("utf-16"), "iso-8859-1") == "Für"
    assert decoded("Für".encode("utf-8-sig"), "iso-8859-1") == "Für"


@pytest.mark.parametrize("charset", ["utf-8", "shift_jis", "klingon", "hex", "undefined"])
def test_what_is_not_in_its_set_is_told(charset: str) -> None:
    with pytest.raises(UnreadableError, match=charset):
        decoded(b"a\xff\xff\x81", charset)


@pytest.mark.parametrize(
    ("page", "declared"),
    [
        (b'<meta charset="gbk">', "gbk"),
        (b"<META CharSet = 'gbk'>", "gbk"),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=iso-8859-1">', "iso-8859-1"),
        (b'<meta charset="UTF-16">', "utf-8"),
        (b"<p>charset=gbk", ""),
        (b" " * 2048 + b'<meta charset="gbk">', ""),
    ],
)
def test_a_page_declares_its_set_in_its_head(page: bytes, declared: str) -> None:
    assert declared_in(page) == declared
