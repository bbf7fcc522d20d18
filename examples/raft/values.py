"""Invented values of each kind that the facts ask for."""

from __future__ import annotations

import random
from collections.abc import Callable

from facts import WORDS

Dice = random.Random


def institution(dice: Dice, workplace: str) -> str:
    """A proper name such as `Saltmere Museum`."""
    return f"{dice.choice(WORDS['town'])} {workplace.capitalize()}"


def money(dice: Dice) -> str:
    """An amount in one of several currencies and ways of writing."""
    amount = dice.choice((dice.randint(2, 40), dice.randint(5, 99) * 5, dice.randint(2, 30) * 50))
    spoken = f"{amount} {dice.choice(WORDS['currency'])}"
    return dice.choice((spoken, spoken, f"€{amount}", f"${amount}", f"{amount} EUR"))


def person(dice: Dice) -> str:
    """A full name."""
    return f"{dice.choice(WORDS['given'])} {dice.choice(WORDS['family'])}"


def clock(dice: Dice) -> str:
    """A time of day, on a clock of 24 or of 12 hours."""
    hour, minute = dice.randint(5, 23), dice.choice((0, 10, 15, 20, 30, 40, 45, 50))
    half = "am" if hour < 12 else "pm"
    return dice.choice(
        (f"{hour:02d}:{minute:02d}", f"{hour}:{minute:02d}", f"{(hour - 1) % 12 + 1}:{minute:02d} {half}")
    )


def email(dice: Dice) -> str:
    """An address in a domain that cannot exist."""
    return f"{dice.choice(('tours', 'office', 'hello', 'desk'))}@{dice.choice(WORDS['town']).lower()}.example"


def phone(dice: Dice) -> str:
    """A short number inside the house."""
    return dice.choice((f"extension {dice.randint(100, 999)}", str(dice.randint(1000, 9999))))


def percent(dice: Dice) -> str:
    """A share."""
    share = dice.randint(2, 60)
    return dice.choice((f"{share} percent", f"{share}%"))


def one_of(*numbers: int, unit: str) -> Callable[[Dice], str]:
    """One of these numbers with its unit."""
    return lambda dice: f"{dice.choice(numbers)} {unit}"


def between(low: int, high: int, unit: str = "") -> Callable[[Dice], str]:
    """A whole number of a range, with its unit."""
    return lambda dice: f"{dice.randint(low, high)} {unit}".rstrip()


MAKERS: dict[str, Callable[[Dice], str]] = {
    "money": money,
    "person": person,
    "time": clock,
    "email": email,
    "extension": phone,
    "percent": percent,
    "date": lambda dice: f"{dice.randint(1, 28)} {dice.choice(WORDS['month'])}",
    "code": lambda dice: f"{dice.choice('ABKLMRT')}-{dice.randint(10, 99)}",
    "room": lambda dice: f"Room {dice.choice('ABCDE')}{dice.randint(1, 40)}",
    "days": one_of(2, 3, 4, 5, 7, 10, 14, 18, 21, 26, 28, 30, 45, 60, 90, unit="days"),
    "weeks": between(2, 12, "weeks"),
    "months": one_of(2, 3, 4, 6, 9, 12, 18, 24, 30, unit="months"),
    "years": between(2, 25, "years"),
    "hours": one_of(2, 3, 4, 6, 8, 12, 18, 24, 36, 48, 72, unit="hours"),
    "minutes": one_of(3, 4, 5, 8, 10, 12, 15, 20, 25, 40, 45, unit="minutes"),
    "seconds": between(4, 50, "seconds"),
    "count": between(2, 90),
    "age": between(3, 15),
    "year": between(1720, 2015),
    "weight": between(3, 400, "kg"),
    "length": between(8, 24, "characters"),
    "length_m": between(9, 88, "metres"),
    "speed": lambda dice: f"{dice.randint(2, 60)} {dice.choice(('knots', 'km/h'))}",
    "temperature": between(4, 240, "°C"),
    "decibel": between(60, 98, "decibels"),
}


def draw(dice: Dice, kind: str) -> str:
    """A value of this kind."""
    return MAKERS[kind](dice) if kind in MAKERS else dice.choice(WORDS[kind])
