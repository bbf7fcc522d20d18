"""Makes synthetic court records and the JSON that a clerk would file for each of them.

    python examples/court-records/generate.py [--seed 20] [--train 320] [--eval 64] [--out FOLDER]

Everybody in them is invented: names are drawn from lists of given and family names that are combined at random, and so
are courts and places. The same seed makes the same bytes. A row of `train.jsonl` and `eval.jsonl` has a `prompt` (the
instruction and the record) and a `completion` (the JSON, with its keys in a fixed order). No case of the held-out file
shares a defendant or a case number with the training file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

INSTRUCTION = (
    "Read the court record and answer with JSON only, with the keys "
    "court, case_number, date, defendant, charge, verdict, sentence."
)

GIVEN = (
    "Alda Bram Corin Dessa Edric Fenna Garrick Hesper Ivo Jorun Kestrel Lorcan Maud Nerys Osric Petra Quill Rosalind "
    "Soren Tamsin Ulric Verity Wystan Xenia Yorick Zelda Anselm Briony Caspian Delphine Emeric Freya Gideon Honora "
    "Ingram Jessamy Kenelm Linnet Merrick Ottoline Piers Rowena Silas Thea Ursel Vaughn"
).split()
FAMILY = (
    "Ashdown Birkett Calloway Drummel Eastlake Farrow Glanville Hargrave Ibbotson Jessop Kettering Lambourne Marlowe "
    "Netherby Orchard Pemberton Quarles Ravenhill Stainforth Thackeray Underhill Vickers Wetherby Yarwood Zeller "
    "Amberley Blackwood Crane Denholm Ellery Fairweather Greaves Holloway Inchbald Kingsley Lockyer Mossman Northcote "
    "Pettigrew Rudd Sallow Tindall Vane Winterbourne"
).split()
PLACES = (
    "Aldermere Brackenford Coldwater Dunmarsh Eastholm Fallowby Greystone Harrowby Inverlea Kelbrook Langmoor "
    "Millhaven Northwick Oakhampton Penrose Quenby Ravensworth Stonebridge Thornfield Upwell Wexcombe Yarrow"
).split()
COURTS = (
    "{} Crown Court",
    "{} District Court",
    "{} County Court",
    "{} Magistrates' Court",
    "High Court of {}",
    "{} Circuit Court",
    "Municipal Court of {}",
)
CHARGES = (
    "burglary",
    "theft of a motor vehicle",
    "fraud by false representation",
    "assault causing actual bodily harm",
    "dangerous driving",
    "possession of stolen goods",
    "criminal damage",
    "arson",
    "forgery of a prescription",
    "perjury",
    "tax evasion",
    "smuggling of tobacco",
    "robbery",
    "embezzlement",
    "harassment",
    "driving while disqualified",
    "blackmail",
    "handling of counterfeit currency",
    "poaching of protected game",
    "unlawful dumping of waste",
    "insurance fraud",
    "obstruction of an officer",
    "cruelty to animals",
    "breach of a restraining order",
    "computer misuse",
)
LAWYERS = ("defence counsel", "the duty solicitor", "counsel for the defence", "the defendant's advocate")
DETAILS = (
    "Two witnesses were heard.",
    "The court heard one witness and viewed camera footage.",
    "{lawyer} asked for leniency.",
    "The hearing lasted {hours} hours.",
    "The public gallery was closed for part of the day.",
    "An interpreter was present.",
    "The prosecution was led by {other}.",
    "A report by {other} was read into the record.",
    "The matter had been adjourned twice.",
    "Costs of {costs} crowns were reserved.",
    "Exhibit {exhibit} was returned to its owner.",
    "{lawyer} said that the defendant regretted the matter.",
    "The victim, {other}, did not attend.",
)


@dataclass(frozen=True)
class Case:
    """What the clerk files about one case."""

    court: str
    case_number: str
    date: dt.date
    defendant: str
    charge: str
    verdict: str
    sentence: str
    judge: str
    detail: str

    def target(self) -> str:
        """The JSON of the completion."""
        return json.dumps(
            {
                "court": self.court,
                "case_number": self.case_number,
                "date": self.date.isoformat(),
                "defendant": self.defendant,
                "charge": self.charge,
                "verdict": self.verdict,
                "sentence": self.sentence,
            }
        )


def sentence(dice: random.Random, verdict: str) -> str:
    """What was imposed; an acquittal or a withdrawn case has none."""
    if verdict != "guilty":
        return "none"
    months = dice.randint(2, 48)
    return dice.choice(
        (
            f"{months} months in prison",
            f"{dice.randint(2, 9)} years in prison",
            f"a fine of {dice.randint(3, 95) * 50} crowns",
            f"{dice.randint(4, 24) * 10} hours of community service",
            f"{months} months in prison, suspended for {dice.choice((12, 18, 24, 36))} months",
            f"a driving ban of {dice.randint(6, 36)} months",
        )
    )


def case_number(dice: random.Random, year: int) -> str:
    """A docket number in one of the styles that courts use."""
    number = dice.randint(100, 9999)
    letters = "".join(dice.sample("ABCDEFGHKLMNPRSTW", 2))
    return dice.choice(
        (f"{letters}-{year}-{number}", f"{year}/{number}", f"{letters}{number:05d}", f"{number}-{letters}/{year % 100}")
    )


def details(dice: random.Random, others: list[str]) -> str:
    """One to three sentences that are beside the point, so that extraction has something to leave out."""
    said = dice.sample(DETAILS, dice.randint(1, 3))
    filled = [
        text.format(
            lawyer=dice.choice(LAWYERS),
            hours=dice.randint(2, 7),
            other=dice.choice(others),
            costs=dice.randint(2, 40) * 25,
            exhibit=dice.randint(1, 19),
        )
        for text in said
    ]
    return " ".join(text[0].upper() + text[1:] for text in filled)


def make_case(dice: random.Random, defendant: str, strangers: list[str]) -> Case:
    """One case about `defendant`; judges and bystanders come from `strangers`."""
    day = dt.date(2011, 1, 3) + dt.timedelta(days=dice.randrange(5400))
    verdict = dice.choices(("guilty", "not guilty", "dismissed"), weights=(7, 3, 1))[0]
    judge, *others = dice.sample(strangers, 4)
    return Case(
        court=dice.choice(COURTS).format(dice.choice(PLACES)),
        case_number=case_number(dice, day.year),
        date=day,
        defendant=defendant,
        charge=dice.choice(CHARGES),
        verdict=verdict,
        sentence=sentence(dice, verdict),
        judge=judge,
        detail=details(dice, others),
    )


def spoken_date(day: dt.date) -> str:
    """`3 May 2021`."""
    return f"{day.day} {day:%B %Y}"


def outcome(case: Case) -> str:
    """Verdict and sentence in running text."""
    if case.verdict == "dismissed":
        return "The case was dismissed; nothing was imposed."
    if case.verdict == "not guilty":
        return "The defendant was found not guilty and left the court without a sentence."
    return f"The defendant was found guilty and was sentenced to {case.sentence}."


def narrative(case: Case) -> str:
    """A record as a reporter would write it."""
    return (
        f"On {spoken_date(case.date)} the {case.court} heard case {case.case_number} against {case.defendant}, "
        f"who was charged with {case.charge}. Judge {case.judge} presided. {case.detail} {outcome(case)}"
    )


def minutes(case: Case) -> str:
    """A record as the minutes of a sitting."""
    return (
        f"MINUTES. {case.court}, sitting of {case.date:%B} {case.date.day}, {case.date.year}. Before Judge "
        f"{case.judge}. Called: {case.case_number}, the State v. {case.defendant}. Charge: {case.charge}. "
        f"{case.detail} {outcome(case)}"
    )


def form(case: Case) -> str:
    """A record as a filled-in form, in an order that differs from the answer's."""
    imposed = "no sentence" if case.sentence == "none" else case.sentence
    return (
        f"Docket: {case.case_number}\nAccused: {case.defendant}\nOffence: {case.charge}\nHeard at: {case.court}\n"
        f"Presiding: {case.judge}\nRemarks: {case.detail}\nDecided on: {case.date:%d/%m/%Y}\n"
        f"Finding: {case.verdict}\nDisposal: {imposed}"
    )


def letter(case: Case) -> str:
    """A record as a letter of the clerk."""
    found = {
        "guilty": f"was convicted and received {case.sentence}",
        "not guilty": "was acquitted, so no sentence follows (finding: not guilty)",
        "dismissed": "left without a finding, because the case was dismissed",
    }[case.verdict]
    return (
        f"To the registry: please note that {case.defendant}, charged with {case.charge} under number "
        f"{case.case_number}, {found}. The decision was given at the {case.court} on {spoken_date(case.date)} by "
        f"Judge {case.judge}. {case.detail}"
    )


def ruling(case: Case) -> str:
    """A record that opens with the ruling."""
    opening = {
        "guilty": f"{case.defendant} is guilty of {case.charge}. The court imposes {case.sentence}.",
        "not guilty": f"{case.defendant} is not guilty of {case.charge} and is free to go.",
        "dismissed": f"The charge of {case.charge} against {case.defendant} is dismissed.",
    }[case.verdict]
    return (
        f"{opening} So ruled Judge {case.judge} at the {case.court} in matter {case.case_number}. {case.detail} "
        f"Entered on {case.date.isoformat()}."
    )


STYLES: tuple[Callable[[Case], str], ...] = (narrative, minutes, form, letter, ruling)


def row(dice: random.Random, case: Case) -> dict[str, str]:
    """One row of the data set."""
    return {"prompt": f"{INSTRUCTION}\n\n{dice.choice(STYLES)(case)}", "completion": case.target()}


def make_rows(seed: int, train: int, held_out: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Training rows and held-out rows; no defendant and no case number is in both."""
    dice = random.Random(seed)
    people = [f"{given} {family}" for given in GIVEN for family in FAMILY]
    dice.shuffle(people)
    needed = train + held_out
    defendants, strangers = people[:needed], people[needed:]
    cases: list[Case] = []
    numbers: set[str] = set()
    for defendant in defendants:
        case = make_case(dice, defendant, strangers)
        while case.case_number in numbers:
            case = make_case(dice, defendant, strangers)
        numbers.add(case.case_number)
        cases.append(case)
    rows = [row(dice, case) for case in cases]
    return rows[:train], rows[train:]


def as_lines(rows: list[dict[str, str]]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rows)


def main() -> None:
    """Writes train.jsonl and eval.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--train", type=int, default=320)
    parser.add_argument("--eval", type=int, default=64)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    train, held_out = make_rows(args.seed, args.train, args.eval)
    (args.out / "train.jsonl").write_text(as_lines(train), encoding="utf-8")
    (args.out / "eval.jsonl").write_text(as_lines(held_out), encoding="utf-8")


if __name__ == "__main__":
    main()
