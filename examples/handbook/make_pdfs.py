# /// script
# requires-python = ">=3.11"
# dependencies = ["fpdf2==2.8.9"]
# ///
"""Makes the handbook's PDF documents: `uv run examples/handbook/make_pdfs.py`.

The text is here, the PDFs are committed beside it; a test reads them back and compares.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

DOCUMENTS = Path(__file__).parent / "documents"

SOURCES = {
    "emergency-plan.pdf": """Emergency plan
=
Floods
When the Wyre rises above 4.1 metres, the head office is evacuated.
The flood gates are closed by the harbour master, Emeric Tolland.

Power cuts
The emergency generator runs for 16 hours. It is tested on the last Friday of a month.
=
Crisis team
The crisis team meets in room K-001. It is led by the site director, Beatrix Lomond.

Press
Only Communications speaks to the press. The press number is 555-0163.
""",
    "installation-guide.pdf": """Installation guide for sensors
=
Mounting
The sensor is mounted 35 centimetres above the river bed. The bolts are tightened to 22 newton metres.

Cable
The cable may be at most 240 metres long. Its shield is grounded at the upper end only.
=
First start
After the first start the lamp blinks green seven times. A red lamp means error code E-42, a wet connector.
""",
    "works-agreement-shifts.pdf": """Works agreement on shifts
=
Shift times
The early shift begins at 05:50. The late shift ends at 22:25. There is no night shift.

Supplement
Work on Sundays is paid with a supplement of 55 percent. Shift plans are published 19 days ahead.
""",
    "insurance.pdf": """Insurance
=
Accident insurance
All employees are insured against accidents with Puffin General. The policy number is PG-30417.

Travel insurance
Travel insurance pays up to 250,000 euros for treatment abroad. The emergency line is 555-0179.
""",
    "patents-and-ideas.pdf": """Patents and ideas
=
Ideas
Ideas are handed in with form ID-6. An idea that is used earns a reward of 320 euros.

Patents
An inventor receives 1,900 euros for each granted patent. The patent attorney is Cordelia Marsh.
""",
}
"""The title, then pages between lines of `=`, each of paragraphs under a heading."""


def pages(name: str) -> tuple[str, list[list[tuple[str, str]]]]:
    """The title of a PDF, and per page the headings with the paragraph below each."""
    title, *parts = SOURCES[name].split("\n=\n")
    blocks = [[block.strip().split("\n", 1) for block in part.split("\n\n")] for part in parts]
    return title, [[(heading, text.replace("\n", " ")) for heading, text in page] for page in blocks]


def make(name: str) -> None:
    """Writes one PDF; the same text gives the same bytes."""
    from fpdf import FPDF

    title, made = pages(name)
    pdf = FPDF(format="A4")
    pdf.set_title(title)
    pdf.set_creation_date(datetime(2026, 11, 24, tzinfo=UTC))
    for page in made:
        pdf.add_page()
        pdf.set_font("Helvetica", "B", 18)
        pdf.multi_cell(0, 10, title, new_x="LMARGIN", new_y="NEXT")
        for heading, paragraph in page:
            pdf.set_font("Helvetica", "B", 13)
            pdf.multi_cell(0, 10, heading, new_x="LMARGIN", new_y="NEXT")
            pdf.set_font("Helvetica", "", 11)
            pdf.multi_cell(0, 6, paragraph, new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(DOCUMENTS / name))


if __name__ == "__main__":
    for pdf_name in SOURCES:
        make(pdf_name)
