"""Every format becomes sections under headings; what cannot be read is skipped with a reason."""

from __future__ import annotations

import io
import time
import tomllib
from pathlib import Path

import pytest
from hearth_indexer import parse
from hearth_indexer.documents import Document, RawDocument, Section, Skipped, UnreadableError
from hearth_indexer.isolation import in_own_process
from hearth_indexer.parse import parse_all
from hearth_indexer.parse_html import parse_html
from hearth_indexer.parse_markdown import parse_markdown
from hearth_indexer.parse_pdf import page_sections
from pypdf import PdfWriter
from pypdf.generic import DictionaryObject, NameObject, StreamObject

ROOT = Path(__file__).resolve().parents[3]

MARKDOWN = """---
title: "Travel rules"
---
# Travel rules

Book *early*, see [the portal](https://portal).
It is
quick.

## Hotels

- up to **140** euros
- breakfast `included`

### Abroad

| City | Limit |
|------|-------|
| Oslo | 190   |

## Trains

1. first
2. second

```
code stays
  as it is
```
"""


def test_markdown_headings_become_structure_and_inline_marks_go() -> None:
    title, sections = parse_markdown(MARKDOWN)

    assert title == "Travel rules"
    assert sections == (
        Section((), "Book early, see the portal. It is quick."),
        Section(("Hotels",), "- up to 140 euros\n- breakfast included"),
        Section(("Hotels", "Abroad"), "| City | Limit |\n|------|-------|\n| Oslo | 190   |"),
        Section(("Trains",), "1. first\n2. second\n\n```\ncode stays\n  as it is\n```"),
    )


HTML = """<html><head><title>Portal - Sick leave</title><script>evil()</script></head><body>
<nav><a href="/">Home</a></nav>
<h1>Sick leave</h1><p>Call <b>before</b> 08:15.</p>
<div><h2>Notes</h2>loose words<ul><li>day 4: a <i>certificate</i></li><li>day 40: a meeting</li></ul></div>
<h2>Rates</h2><table><tr><th>Month</th><th>Pay</th></tr><tr><td>1</td><td>100 %</td></tr></table>
<footer>imprint</footer></body></html>"""


def test_html_loses_its_chrome_and_keeps_lists_and_tables() -> None:
    title, sections = parse_html(HTML)

    assert title == "Sick leave"
    assert sections == (
        Section((), "Call before 08:15."),
        Section(("Notes",), "loose words\n\n- day 4: a certificate\n- day 40: a meeting"),
        Section(("Rates",), "Month | Pay\n1 | 100 %"),
    )


GUIDE = "<h2>Linux</h2><p>Run make.</p><p>Then reboot.</p><ul><li>one</li><li>two</li></ul>"
HOW = Section(("Linux",), "Run make.\n\nThen reboot.\n\n- one\n- two")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (
            f"<details><summary>Install</summary>{GUIDE}</details>",
            [Section((), "Install"), HOW],
        ),
        *(
            (f"{begin}{GUIDE}{end}", [HOW])
            for begin, end in (("<center>", "</center>"), ("<my-card>", "</my-card>"), ("<a href=x><b><div>", "</a>"))
        ),
        (
            "<figure><table><tr><td>Leave</td><td>27</td></tr></table><figcaption>Days</figcaption></figure>",
            [Section((), "Leave | 27\n\nDays")],
        ),
        (
            "<table><tr><td>Q1</td><td>10</td></tr><tfoot><tr><td>Total</td><td>10</td></tr></tfoot></table>",
            [Section((), "Q1 | 10\nTotal | 10")],
        ),
        ("<fieldset><legend>Leave</legend>27 days</fieldset>", [Section((), "Leave\n\n27 days")]),
        (
            "<table><tr><td><table><tr><td><table><tr><td>Leave is 27 days.</table></table></table>",
            [Section((), "Leave is 27 days.")],
        ),
        (
            "<table><tr><td><h2>Linux</h2><p>Run make.</p></td><td>Then reboot.</td></tr></table>",
            [Section(("Linux",), "Run make.\n\nThen reboot.")],
        ),
        (
            "<table><tr><th><h2>Month</h2></th><th>Pay</th></tr><tr><td>1</td><td>2</td></tr></table>",
            [Section((), "Month | Pay\n1 | 2")],
        ),
        ("<ul><li><h2>Linux</h2><p>Run make.</p></li></ul>", [Section(("Linux",), "Run make.")]),
        ("<h1></h1><p>See the title.", [Section((), "See the title.")]),
    ],
)
def test_blocks_of_html_stand_apart_wherever_they_stand(page: str, expected: list[Section]) -> None:
    assert parse_html(f"<title>T</title>{page}") == ("T", tuple(expected))


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>H<sub>2</sub>O, 27<sup>th</sup>, un<b>believ</b>able", "H2O, 27th, unbelievable"),
        ("H<sub>2</sub>O, see <a>the manual</a>.", "H2O, see the manual."),
        ("<p><code><span>os</span>.<span>path</span></code>()", "os.path()"),
        ("<p>one<br>two <b>three<br>four</b>", "one two three four"),
        ("one<br>two <b>three<br>four</b>", "one two three four"),
        ("<ul><li>A<ul><li>B</li></ul>C</li></ul>", "- A B C"),
        ("<ul><li><p>A</p><p>B</p></li></ul>", "- A B"),
        ("<pre>a:\n  b<span>: 1</span><br>c</pre>", "a:\n  b: 1\nc"),
        ("<pre><div>a</div><div>b</div></pre>", "a\nb"),
        ("<p>a<!-- no -->b", "ab"),
        (f"<p>{'<font color=red size=1>' * 1500}deep", "deep"),
    ],
)
def test_words_of_html_are_parted_where_a_browser_parts_them(page: str, text: str) -> None:
    assert parse_html(page) == ("", (Section((), text),))


@pytest.mark.parametrize(
    ("text", "title", "expected"),
    [
        ("one<br>two<br/>H<sub>2</sub>O", "", "one two H2O"),
        ("---\n\nEveryone has 27 days.\n\n---\n\nSecond", "", "Everyone has 27 days.\n\nSecond"),
        ("---\n# by hand\n\n'title': Leave\nowner: hr\n---\nSecond", "", "Second"),
        ("---\ntitle: Leave\n---\nSecond", "Leave", "Second"),
        ("---\n" + "\n \n" * 5000 + "\n---\nSecond", "", "Second"),
    ],
)
def test_markdown_loses_front_matter_and_nothing_else(text: str, title: str, expected: str) -> None:
    assert parse_markdown(text) == (title, (Section((), expected),))


PAGE = """Emergency plan
Floods
When the Wyre rises above 4.1 metres, the head office is evacu-
ated. The flood gates are closed by the
harbour master, Emeric Tolland.

Sandbags lie in the cellar.
Power cuts
The generator runs for 16 hours
"""


def test_a_pdf_page_is_cut_at_what_looks_like_a_heading() -> None:
    floods = (
        "When the Wyre rises above 4.1 metres, the head office is evacuated. The flood gates are closed by the "
        "harbour master, Emeric Tolland.\n\nSandbags lie in the cellar."
    )

    assert page_sections(PAGE, "Emergency plan", 3) == [
        Section(("Floods",), floods, 3),
        Section(("Power cuts",), "The generator runs for 16 hours", 3),
    ]


@pytest.mark.parametrize("page", ["Contents\nFloods\nPower cuts\n", "Alone", "A\nB\nShort.\nC", "a\n\nB\n\nC d e f g."])
def test_no_word_of_a_pdf_is_lost(page: str) -> None:
    found = page_sections(page, "", 1)

    assert " ".join(" ".join((*s.headings, s.text)) for s in found).split() == page.split()


def blank_pdf(pages: int, password: str = "") -> bytes:
    """A PDF without text."""
    writer = PdfWriter()
    for _ in range(pages):
        writer.add_blank_page(72, 72)
    if password:
        writer.encrypt(password)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.docx", b"PK", "unknown type 'a.docx': expected .htm .html .markdown .md .pdf .text .txt"),
        ("a.md", b"", "holds no text"),
        ("a.md", b"\xff\x00\x41", "is no utf-8 text"),
        ("a.txt", b"a\x00b", "is binary"),
        ("a.html", b'<meta charset="undefined"><p>x', "declares undefined"),
        ("a.html", b'<meta charset="punycode"><p>x', "declares punycode"),
        ("a.html", b'<meta charset="hex"><p>x', "is no hex text"),
        ("a.html", b'<meta charset="klingon"><p>x', "is no klingon text"),
        ("a.html", b"<div>" * 1500 + b"x", "is nested too deeply"),
        ("a.pdf", b"%PDF-1.7 broken", "is no readable PDF"),
        ("a.pdf", b"", "is no readable PDF"),
        ("a.pdf", blank_pdf(1), "scanned pages"),
        ("a.pdf", blank_pdf(1, "secret"), "is encrypted"),
    ],
)
def test_a_bad_file_is_skipped_and_the_next_one_is_read(name: str, content: bytes, reason: str) -> None:
    bad, good = parse_all([RawDocument("u/1", name, content), RawDocument("u/2", "b.txt", b"fine")], 10)

    assert isinstance(bad, Skipped)
    assert bad.uri == "u/1"
    assert reason in bad.reason
    assert good == Document("u/2", "b", (Section((), "fine"),))


def test_what_utf8_cannot_say_is_replaced_in_names_and_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a file name that is no UTF-8, and of a PDF: pypdf gives out what a broken font says.
    monkeypatch.setattr(parse, "in_own_process", lambda *_: ("A\ud800", (Section(("B\udfff",), "c\ud800d", 1),), 1))
    found = list(parse_all([RawDocument("u/\udce9.pdf", "\udce9.pdf", b""), Skipped("u/\udce9", "large")], 1))

    assert found == [Document("u/?.pdf", "A?", (Section(("B?",), "c?d", 1),)), Skipped("u/?", "large")]


def test_a_large_text_that_takes_too_long_to_read_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "READ_SECONDS", 0.2)
    row = "|x" * 3000 + "\n"
    table = ("|a" * 3000 + "\n" + "|-" * 3000 + "\n" + row * 60).encode()
    slow, good = parse_all([RawDocument("u/1", "a.md", table), RawDocument("u/2", "b.txt", b"fine")], 10)

    assert slow == Skipped("u/1", "takes longer than 0 s to read")
    assert good == Document("u/2", "b", (Section((), "fine"),))


def test_a_large_text_is_read_like_a_small_one() -> None:
    (found,) = parse_all([RawDocument("u", "a.md", b"# A\n\n" + b"word " * 80_000)], 10)

    assert found == Document("u", "A", (Section((), ("word " * 80_000).strip()),))


def test_pages_beyond_the_budget_are_left_out_and_told() -> None:
    found = list(parse_all([RawDocument("u", "a.pdf", blank_pdf(3))], 2))

    assert Skipped("u", "pages 3 to 3: parsing.maxPages is 2") in found


def test_a_media_type_decides_where_the_name_does_not() -> None:
    (found,) = parse_all([RawDocument("https://x/leave", "leave", b"<h1>Leave</h1><p>30 days", "text/html")], 1)

    assert found == Document("https://x/leave", "Leave", (Section((), "30 days"),))


@pytest.mark.parametrize(
    ("name", "media_type", "title"),
    [
        ("README.md", "text/html", "Leave"),
        ("README.md", "text/plain", "README"),
        ("README.md", "", "README"),
        ("leave.html", "text/plain", "Leave"),
    ],
)
def test_a_server_that_says_it_gives_out_a_page_is_believed(name: str, media_type: str, title: str) -> None:
    (found,) = parse_all([RawDocument("u", name, b"<p><title>Leave</title>30 days", media_type)], 1)

    assert isinstance(found, Document)
    assert found.title == title


@pytest.mark.parametrize(
    ("name", "charset", "written"),
    [
        ("a.html", "", "cp1252"),
        ("a.html", "utf-8", "utf-8"),
        ("a.md", "", "utf-8"),
        ("a.txt", "", "utf-8"),
        ("a.txt", "iso-8859-1", "cp1252"),
    ],
    ids=["the page's own word", "the server's goes before it", "Markdown about a page", "text", "the server's word"],
)
def test_a_text_is_in_the_set_that_its_server_or_else_its_page_names(name: str, charset: str, written: str) -> None:
    text = '<meta charset="iso-8859-1"><p>Für alle “30 €”'
    (found,) = parse_all([RawDocument("u", name, text.encode(written), charset=charset)], 1)

    assert isinstance(found, Document)
    assert found.sections[-1].text.endswith("Für alle “30 €”")


def protected_pdf(algorithm: str) -> bytes:
    """A PDF that every viewer opens, and only its owner may change."""
    writer = PdfWriter()
    page = writer.add_blank_page(300, 300)
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    made = DictionaryObject({NameObject(name): NameObject(value) for name, value in font.items()})
    fonts = DictionaryObject({NameObject("/F1"): made})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    drawn = StreamObject()
    drawn.set_data(b"BT /F1 12 Tf 20 200 Td (Everyone has 27 days of leave.) Tj ET")
    page[NameObject("/Contents")] = writer._add_object(drawn)
    writer.encrypt("", owner_password="boss", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_pdf_that_opens_without_a_password_is_read(algorithm: str) -> None:
    (found,) = parse_all([RawDocument("u", "a.pdf", protected_pdf(algorithm))], 1)

    assert found == Document("u", "a", (Section((), "Everyone has 27 days of leave.", 1),))


def test_what_reads_pdfs_with_aes_is_in_the_indexers_own_image() -> None:
    """The environment of these tests has it for other reasons."""
    project = tomllib.loads((ROOT / "images/indexer/pyproject.toml").read_text())["project"]

    assert any(line.startswith("pypdf[crypto]") for line in project["dependencies"])


def forever() -> None:
    """A parser in a loop."""
    time.sleep(60)


def hungry() -> int:
    """A parser that a small file makes allocate a gigabyte."""
    return len(bytearray(2**30))


def odd() -> None:
    """A parser that fails in a way that nobody thought of."""
    raise ZeroDivisionError("by zero")


def test_a_parser_that_fails_in_its_own_way_is_told() -> None:
    with pytest.raises(UnreadableError, match="is not readable: ZeroDivisionError: by zero"):
        in_own_process(odd, (), 20, 2**28)


def test_a_parser_that_never_ends_is_ended() -> None:
    with pytest.raises(UnreadableError, match="takes longer than 0 s"):
        in_own_process(forever, (), 0.2, 2**28)


def test_a_parser_that_eats_memory_is_stopped() -> None:
    with pytest.raises(UnreadableError, match="needs more than 64 MiB"):
        in_own_process(hungry, (), 20, 2**26)
