"""Makes rows that teach a model to answer from numbered passages, to cite, and to decline (the RAFT recipe).

    python examples/raft/generate.py [--seed 7] [--train 340] [--eval 60] [--out FOLDER]

RAFT: Zhang et al. 2024, "Adapting Language Model to Domain Specific RAG". A row has one passage that holds the answer
among distractors; in about a quarter of the rows no passage holds it and the target is `not in the documents`.
Everything is invented and drawn from `facts.py`; the same seed makes the same bytes. Rows are in chat format.
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from facts import FILLERS, TOPICS, WORDS, Fact, Topic
from values import draw, institution

SYSTEM = (
    "Answer from the passages only. Cite the passage as [n]. If they do not hold the answer, say: not in the documents."
)
DECLINE = "not in the documents"
UNANSWERABLE_SHARE = 0.25
HELD_OUT = TOPICS[-3:]
"""Topics that only eval.jsonl asks about: who does well on them reads, and has not learnt sentences by heart."""
TAUGHT = TOPICS[:-3]

DOCUMENTS = (
    "{name} rules",
    "{name} handbook",
    "{name} guide",
    "Notes for {p}",
    "Manual for {p}",
    "Everyday life at {name}",
    "{name}",
    "Rules for {p}",
)


SUBJECTS = ("product", "town", "thing")
"""Gaps for what a fact is about: the same fact about another subject is no answer."""
PLACES = (0.5, 0.3, 0.2)
"""How often the passage with the answer stands first, second, third: retrieval puts the likeliest first."""


@dataclass(frozen=True)
class Passage:
    """A piece of a document, and the facts it states with their values."""

    title: str
    heading: str
    text: str
    values: dict[Fact, str]


@dataclass(frozen=True)
class Setting:
    """The invented institution that a row is about, and the subjects that its facts speak of."""

    name: str
    people: str
    workplace: str
    subjects: dict[str, str]

    def about_others(self, dice: random.Random) -> Setting:
        """The same institution, with facts about other subjects."""
        others = {k: dice.choice([w for w in WORDS[k] if w != v]) for k, v in self.subjects.items()}
        return replace(self, subjects=others)

    def fill(self, text: str, value: str = "") -> str:
        """The text with its gaps filled, capitalised."""
        filled = text.replace("{p}", self.people).replace("{w}", self.workplace).replace("{v}", value)
        for kind, subject in self.subjects.items():
            filled = filled.replace("{" + kind + "}", subject)
        return filled[0].upper() + filled[1:]


def make_setting(dice: random.Random) -> Setting:
    """A new institution."""
    workplace = dice.choice(WORDS["workplace"])
    subjects = {kind: dice.choice(WORDS[kind]) for kind in SUBJECTS}
    return Setting(institution(dice, workplace), dice.choice(WORDS["people"]), workplace, subjects)


def make_passage(
    dice: random.Random, setting: Setting, topic: Topic, without: Fact | None, having: Fact | None
) -> Passage:
    """Two to four facts of a topic in running text; `having` is among them, `without` is not."""
    pool = [fact for fact in topic.facts if fact not in (without, having)]
    chosen = dice.sample(pool, dice.randint(1, 3))
    if having is not None:
        chosen.append(having)
    dice.shuffle(chosen)
    values = {fact: draw(dice, fact.kind) for fact in chosen}
    sentences = [setting.fill(fact.sentence, value) for fact, value in values.items()]
    if dice.random() < 0.5:
        sentences.insert(dice.randrange(len(sentences) + 1), dice.choice(FILLERS))
    title = setting.fill(dice.choice(DOCUMENTS).replace("{name}", setting.name))
    return Passage(title, dice.choice(topic.headings), " ".join(sentences), values)


def ask(passages: list[Passage], question: str) -> str:
    """The user message: numbered passages, then the question."""
    numbered = [f"[{n}] {p.title} > {p.heading}\n{p.text}" for n, p in enumerate(passages, start=1)]
    return "Passages:\n" + "\n\n".join(numbered) + f"\n\nQuestion: {question}"


def make_row(
    dice: random.Random, topics: tuple[Topic, ...], topic: Topic, fact: Fact, answerable: bool
) -> dict[str, Any]:
    """One row about `fact`; its passage is there either way, but only an answerable row states the fact.

    Where the fact is about a subject, an unanswerable row may state it about another one.
    """
    setting = make_setting(dice)
    has_subject = any("{" + kind + "}" in fact.sentence for kind in SUBJECTS)
    near_miss = not answerable and has_subject and dice.random() < 0.7
    told_of = setting.about_others(dice) if near_miss else setting
    wanted = make_passage(dice, told_of, topic, fact, fact if answerable or near_miss else None)
    # Neighbours come from any topic, the same one included, but never state the fact that is asked for.
    others = dice.choices(topics, k=dice.choice((1, 2, 2, 2)))
    passages = [make_passage(dice, setting.about_others(dice), other, fact, None) for other in others]
    passages.insert(min(len(passages), dice.choices((0, 1, 2), PLACES)[0]), wanted)
    question = setting.fill(dice.choice(fact.questions))
    target = f"{wanted.values[fact]} [{passages.index(wanted) + 1}]" if answerable else DECLINE
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": ask(passages, question)},
            {"role": "assistant", "content": target},
        ]
    }


def make_rows(seed: int, count: int, topics: tuple[Topic, ...]) -> list[dict[str, Any]]:
    """`count` rows; every fact is asked for about equally often."""
    dice = random.Random(seed)
    facts = [(topic, fact) for topic in topics for fact in topic.facts]
    rows = []
    while len(rows) < count:
        dice.shuffle(facts)
        rows += [make_row(dice, topics, topic, fact, dice.random() >= UNANSWERABLE_SHARE) for topic, fact in facts]
    return rows[:count]


def as_lines(rows: list[dict[str, Any]]) -> str:
    """JSON Lines."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in rows)


def main() -> None:
    """Writes train.jsonl and eval.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--train", type=int, default=340)
    parser.add_argument("--eval", type=int, default=60)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    args = parser.parse_args()
    (args.out / "train.jsonl").write_text(as_lines(make_rows(args.seed, args.train, TAUGHT)), encoding="utf-8")
    (args.out / "eval.jsonl").write_text(as_lines(make_rows(args.seed + 1, args.eval, HELD_OUT)), encoding="utf-8")


if __name__ == "__main__":
    main()
