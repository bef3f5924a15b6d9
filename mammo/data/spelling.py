"""When two written ids are the same id, when they may be, and when a cell is no id at all.

Ids are typed by hand, pass through spreadsheets and come from tables of several hospitals. *Certain* is what Unicode
and typing explain (`compare_key`). What only *may* be the same (`may_be_same`) is never decided here: `1` and `0001`
are one woman in one hospital and two in another. Everything else is different.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from confusable_homoglyphs.confusables import confusables_data

# What has no width and no shape: default-ignorable code points of Unicode, interlinear marks, and control characters.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_BLANKS = re.compile("[\\s\u2800]+")
_APOSTROPHES = "'`\u2018\u2019\u201b\u02bb\u02bc\u2032"
_QUOTES = _APOSTROPHES + '"\u201a\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a'

# Letters of a cell, without signs and accents, that say that nobody knows. Not the zero: `0` is where counting begins.
_NOBODY = frozenset((
    "nan", "none", "null", "nil", "na", "nat", "unknown", "unk", "notknown", "notavailable", "notapplicable",
    "missing", "undefined", "empty", "blank", "removed", "deleted", "redacted", "withheld", "deidentified",
    "anonymous", "anonymised", "anonymized", "anonym", "anon", "anonymisiert", "unbekannt", "fehlt", "leer",
    "desconhecido", "desconhecida", "desconocido", "desconocida", "anonimo", "anonima", "anonyme", "inconnu",
    "inconnue", "sconosciuto", "sconosciuta", "nenhum", "ninguno", "nessuno", "noid", "nopatient", "nopatientid",
    "unknownpatient", "patientunknown", "unknownid", "unknownexam", "anonymouspatient", "patientanonymous",
    "anonpatient", "ref", "value", "name", "num",
))  # fmt: skip
_ERROR_WORDS = frozenset(("ref", "value", "name", "num"))  # of a spreadsheet, where a # stands before them
_DIVISION_BY_ZERO = "#div/0!"

_WORDS_FOR_PATIENT = re.compile(r"^(?:patient|pat|pt|p|subject|subj|sub|case|client|woman|id|number|no|nr)(?=\d+$)")
_WHOLE_NUMBER = re.compile(r"\+?(\d+)(?:[.,]0+)?")
_IN_THOUSANDS = re.compile(r"\+?(\d{1,3}(?:([., '_])\d{3})(?:\2\d{3})*)(?:[.,]0+)?")
_POWER_OF_TEN = re.compile(r"\+?(\d+)(?:[.,](\d+))?e\+?(\d{1,2})")
_LARGEST_POWER = 30
_TYPED = str.maketrans("oil", "011")
# Letters that do not come apart into a base and a mark, and two ways to write what does.
_BASES = str.maketrans(
    {"\u00f8": "o", "\u0142": "l", "\u0111": "d", "\u00f0": "d", "\u0127": "h", "\u00fe": "th", "\u00e6": "ae",
     "\u0153": "oe"}
)  # fmt: skip
_TWO_LETTERS = str.maketrans({"\u00e4": "ae", "\u00f6": "oe", "\u00fc": "ue", "\u00f8": "oe", "\u00e5": "aa"})


@functools.lru_cache(maxsize=1 << 17)
def compare_key(text: str) -> str:
    """Equal for two ids that are certainly the same; empty for what names nobody (`nan`, `unknown`, `?`, ...).

    After Unicode NFKC and case folding, without invisible characters, surplus blanks of any kind, quotes around and
    apostrophes before.
    """
    key, before = text, None
    while key != before:
        before, key = key, _unquoted(_plain(key).casefold())
    return "" if _names_nobody(key) else key


def tidy(text: str) -> str:
    """An id as it is to be written: without what cannot be seen, letters as they are; empty for what names nobody."""
    return _unquoted(_plain(text)) if compare_key(text) else ""


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    return _BLANKS.sub(" ", _INVISIBLE.sub("", text)).strip()


def _unquoted(text: str) -> str:
    inner = text.removeprefix("=") if text.startswith('="') else text  # ="0001" keeps zeros in a spreadsheet
    if len(inner) > 2 and inner[0] in _QUOTES and inner[-1] in _QUOTES:
        text = inner[1:-1]
    return text.lstrip(_APOSTROPHES).strip()


def _names_nobody(key: str) -> bool:
    letters = re.sub(r"[\W_]", "", _without_marks(key))
    if not letters or key == _DIVISION_BY_ZERO:
        return True
    if letters in _ERROR_WORDS:
        return key.startswith("#")
    return letters in _NOBODY or re.fullmatch("x{3,}", letters) is not None


def _without_marks(text: str) -> str:
    """Accents fall; letters of all scripts stay."""
    decomposed = unicodedata.normalize("NFD", text.translate(_BASES))
    return "".join(character for character in decomposed if not unicodedata.category(character).startswith("M"))


def _latin_digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(character, character)) for character in text)


@functools.cache
def _look(character: str) -> str:
    """One character for all of other scripts that look like it, by the table of Unicode (UTS 39).

    Latin letters and digits stay what they are; of several of them that one character looks like, a letter of its case
    is taken, as the capital I is for the capital iota.
    """
    if character.isascii():
        return character.casefold()
    like = {character}
    for listed in confusables_data.get(character, ()):
        centre = listed["c"].strip("\u200e\u200f")
        like |= {centre, *(other["c"].strip("\u200e\u200f") for other in confusables_data.get(centre, ()))}
    single = sorted(one for one in like if len(one) == 1)
    same_case = [one for one in single if one.isascii() and one.isupper() == character.isupper() and one.isalpha()]
    return (same_case or single)[0].casefold()


def _looks_as_capitals(text: str) -> str:
    capitals = (character.upper() for character in text)
    return "".join(_look(one) if len(one) == 1 else one.casefold() for one in capitals)


def _looks_as_small_letters(text: str) -> str:
    return "".join(map(_look, text))


def _typed_digits(text: str) -> set[str]:
    """The text with the letters O, I and l beside digits as the digits that they look like, where there are some."""
    found = set()
    for letters in ("oi", "ol"):
        beside = rf"(?<=\d)[{letters}]+|[{letters}]+(?=\d)"
        found.add(re.sub(beside, lambda match: match[0].translate(_TYPED), text))
    return found - {text}


def _number(text: str) -> str:
    """The whole number that a text is, without leading zeros; empty for any other text.

    Three digits after a comma or a point are thousands: a column of floats gives `.0`.
    """
    if match := _IN_THOUSANDS.fullmatch(text):
        return re.sub(r"\D", "", match[1]).lstrip("0") or "0"
    if match := _WHOLE_NUMBER.fullmatch(text):
        return match[1].lstrip("0") or "0"
    if (match := _POWER_OF_TEN.fullmatch(text)) and int(match[3]) <= _LARGEST_POWER:
        value = Decimal(f"{match[1]}.{match[2] or 0}").scaleb(int(match[3]))
        return f"{value:.0f}" if value == value.to_integral_value() else ""
    return ""


def _pieces(text: str) -> tuple[str, str]:
    """Runs of letters and of digits without leading zeros, and these joined without a sign between them.

    In the first a sign stays between two runs of a kind, where it tells `1-12` from `11-2`.
    """
    written, joined, before = "", "", None
    for run in re.findall(r"\d+|[^\W\d_]+", text):
        is_digits = run[0].isdecimal()
        run = (run.lstrip("0") or "0") if is_digits else run
        written += "-" * (is_digits == before) + run
        joined += run
        before = is_digits
    return written, joined


class _Forms(NamedTuple):
    """What an id may stand for, each as a pair of `_pieces`.

    `typed` is what it is if letters were typed for digits, `bare` a number without the word before it.
    """

    own: set[tuple[str, str]]
    typed: set[tuple[str, str]]
    bare: set[str]


@functools.lru_cache(maxsize=1 << 17)
def _forms(key: str) -> _Forms:
    looks = {key}
    if not key.isascii():
        key = _latin_digits(key)
        letters = {_without_marks(key), _without_marks(key.translate(_TWO_LETTERS))}
        looks = {look(one) for one in letters for look in (str, _looks_as_capitals, _looks_as_small_letters)}
    own = set(map(_stands_for, looks))
    typed = {_stands_for(text) for one in looks for text in _typed_digits(one)}
    bare = {_WORDS_FOR_PATIENT.sub("", written) for written, _ in own} - {written for written, _ in own}
    return _Forms(own, typed - own, bare)


def _stands_for(text: str) -> tuple[str, str]:
    number = _number(text)
    return (number, number) if number else _pieces(text)


def may_be_same(keys: Iterable[str]) -> list[list[str]]:
    """Groups of several compare keys that may be one id; each sorted, in sorted order, every key in one at most.

    What differs: leading zeros; the way a number is written (`1.0`, `1,000`, `1e3`); letters and digits that look
    alike, also of other scripts; accents; blanks, dashes and other signs; a word such as `patient` before a number.
    """
    holders: dict[str, list[str]] = defaultdict(list)
    bare: dict[str, list[str]] = defaultdict(list)
    written_of: dict[str, set[str]] = defaultdict(set)  # by what is left without any sign
    keys = sorted(set(keys))
    for key in keys:
        for written, joined in _forms(key).own:
            holders[written].append(key)
            written_of[joined].add(written)
        for number in _forms(key).bare:
            bare[number].append(key)
    together = Groups()
    for same in holders.values():
        together.join(same)
    for number, same in bare.items():
        together.join([*same, *holders.get(number, [])])
    for joined, ways in written_of.items():
        if joined in ways:  # somebody left the signs out
            together.join(holders[written][0] for written in ways)
    for key in keys:  # letters for digits only where another id has the digits
        together.join([key, *(holders[written][0] for written, _ in _forms(key).typed if written in holders)])
    return together.several()


_KINDS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("leading zeros", lambda key: re.sub(r"(?<!\d)0+(?=\d)", "", key)),
    ("the way a number is written", lambda key: _number(key) or key),
    ("blanks, dashes or other signs", lambda key: re.sub(r"[\W_]", "", key)),
    ("accents", _without_marks),
    ("accents", lambda key: _without_marks(key.translate(_TWO_LETTERS))),
    ("digits of another script", _latin_digits),
    ("letters or digits that look alike", _looks_as_capitals),
    ("letters or digits that look alike", _looks_as_small_letters),
    ("letters or digits that look alike", lambda key: min(_typed_digits(key), default=key)),
    ("letters or digits that look alike", lambda key: max(_typed_digits(key), default=key)),
    ("a word before the number", lambda key: _WORDS_FOR_PATIENT.sub("", re.sub(r"[\W_]", "", key))),
)


def difference(keys: Sequence[str]) -> str:
    """In words how compare keys differ that may be the same: the one step that makes them equal, or `several ways`."""
    return next((word for word, step in _KINDS if len({step(key) for key in keys}) == 1), "several ways of writing")


class Groups:
    """Things that belong together, directly or through others."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def of(self, one: str) -> str:
        """The first, in sorted order, of all that belong together with `one`."""
        path = []
        while (parent := self._parent.get(one, one)) != one:
            path.append(one)
            one = parent
        self._parent.update(dict.fromkeys(path, one))
        return one

    def join(self, things: Iterable[str]) -> None:
        """All of these belong together."""
        roots = sorted({self.of(one) for one in things})
        for root in roots:
            self._parent[root] = roots[0]

    def several(self) -> list[list[str]]:
        """All groups of more than one, sorted."""
        members: dict[str, list[str]] = defaultdict(list)
        for one in sorted(self._parent):
            members[self.of(one)].append(one)
        return [found for _, found in sorted(members.items()) if len(found) > 1]
