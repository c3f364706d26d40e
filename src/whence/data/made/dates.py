"""A text of pairs made here: dates as people write them in eight languages, and in ISO form.

Each date comes once, in one of its written forms, so that a date held out was never seen at all.
"""

import datetime
import random
from collections.abc import Callable, Iterator

MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
    "dicembre",
    "pt": "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro "
    "dezembro",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
    "sv": "januari februari mars april maj juni juli augusti september oktober november december",
}
DAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
    "nl": "maandag dinsdag woensdag donderdag vrijdag zaterdag zondag",
    "sv": "måndag tisdag onsdag torsdag fredag lördag söndag",
}
ROMAN = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"]
Form = Callable[[datetime.date], str]


def _month(language: str, date: datetime.date) -> str:
    return MONTHS[language].split()[date.month - 1]


def _day(language: str, date: datetime.date) -> str:
    return DAYS[language].split()[date.weekday()]


def _ordinal(n: int) -> str:
    ending = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


# Only forms that can be read in one way: 3/5/1999 is two dates, and is left out.
FORMS: list[Form] = [
    lambda d: f"{d.day} {_month('en', d)} {d.year}",
    lambda d: f"{_month('en', d)} {_ordinal(d.day)}, {d.year}",
    lambda d: f"{_month('en', d)[:3]} {d.day}, {d.year}",
    lambda d: f"the {_ordinal(d.day)} of {_month('en', d)} {d.year}",
    lambda d: f"{_day('en', d)}, {d.day:02d}-{_month('en', d)[:3].upper()}-{d.year}",
    lambda d: f"{d.day}. {_month('de', d)} {d.year}",
    lambda d: f"{_day('de', d)}, den {d.day}. {_month('de', d)} {d.year}",
    lambda d: f"{d.day:02d}.{d.month:02d}.{d.year}",
    lambda d: f"{d.day}. {ROMAN[d.month - 1]}. {d.year}",
    lambda d: f"le {'1er' if d.day == 1 else d.day} {_month('fr', d)} {d.year}",
    lambda d: f"{_day('fr', d)} {'1er' if d.day == 1 else d.day} {_month('fr', d)} {d.year}",
    lambda d: f"{d.day} de {_month('es', d)} de {d.year}",
    lambda d: f"{_day('es', d)}, {d.day} de {_month('es', d)} de {d.year}",
    lambda d: f"{_day('it', d)} {d.day} {_month('it', d)} {d.year}",
    lambda d: f"{d.day} de {_month('pt', d)} de {d.year}",
    lambda d: f"{_day('nl', d)} {d.day} {_month('nl', d)} {d.year}",
    lambda d: f"{_day('sv', d)}en den {d.day} {_month('sv', d)} {d.year}",
    lambda d: f"{d.year}年{d.month}月{d.day}日",
]


def date_pairs(n: int = 20_000, seed: int = 0) -> list[tuple[str, str]]:
    """Make pairs (written date, ISO date) of different days between 1800 and 2099.

    Args:
        n: how many, at most 109,573.
        seed: of the choice of days and forms.

    Example:
        >>> date_pairs(2)[0][1].count("-")
        2
    """
    chance = random.Random(seed)
    first, last = datetime.date(1800, 1, 1).toordinal(), datetime.date(2099, 12, 31).toordinal()
    dates = map(datetime.date.fromordinal, chance.sample(range(first, last + 1), n))
    return [(chance.choice(FORMS)(date), date.isoformat()) for date in dates]


def dates() -> Iterator[str]:
    """Give the built-in text `dates`: a line for each pair, a tab between its sides."""
    for written, iso in date_pairs():
        yield f"{written}\t{iso}\n"
