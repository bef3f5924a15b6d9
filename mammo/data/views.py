"""What a view of a breast is called: the codes of DICOM, and texts that say nothing else than view and side.

A text is read only where every word of it is known and there is one view, and at most one side, in it. Anything else is
left as it is written: no image is taken for a CC because the letters stand somewhere. Codes and abbreviations:
CID 4014 and CID 4015 of DICOM PS3.16, https://dicom.nema.org/medical/dicom/current/output/chtml/part16/sect_CID_4014.html
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

# CID 4014, as SNOMED CT and as the older SNOMED-RT (scheme SRT, SNM3 or 99SDM). Its notes name three codes of earlier
# versions that old images still have: Y-X1770, Y-X1771, and XCC, which says not to which side.
VIEW_CODES = {
    "399162004": "CC", "R-10242": "CC", "399368009": "MLO", "R-10226": "MLO", "399260004": "ML", "R-10224": "ML",
    "399352003": "LM", "R-10228": "LM", "399099002": "LMO", "R-10230": "LMO", "399196006": "FB", "R-10244": "FB",
    "399188001": "SIO", "R-102D0": "SIO", "441555000": "ISO", "R-40AAA": "ISO",
    "399192008": "XCCL", "R-1024A": "XCCL", "Y-X1770": "XCCL", "399101009": "XCCM", "R-1024B": "XCCM",
    "Y-X1771": "XCCM", "399265009": "XCC", "R-102CF": "XCC", "127457009": "SPECIMEN", "G-8310": "SPECIMEN",
}  # fmt: skip
VIEWS = frozenset(VIEW_CODES.values())
# CID 4015. Those that show less or something else than the whole breast in its usual position ...
_OTHER_VIEW_MODIFIERS = {
    "399055006": "SPOT", "R-102D7": "SPOT", "399163009": "MAG", "R-102D6": "MAG", "399161006": "CV", "R-102D2": "CV",
    "399011000": "AT", "R-102D1": "AT", "442580003": "AX", "R-40AB2": "AX", "399110001": "TAN", "R-102C2": "TAN",
    "399197002": "RL", "R-102D3": "RL", "399226006": "RM", "R-102D4": "RM", "415670009": "RS", "R-102C9": "RS",
    "414493004": "RI", "R-102CA": "RI",
}  # fmt: skip
# ... and those that leave a CC a CC.
_SAME_VIEW_MODIFIERS = {
    "399209000": "ID", "R-102D5": "ID", "442581004": "NP", "R-40AB3": "NP", "441752004": "AC", "P2-00161": "AC",
    "442593008": "IMF", "R-40ABE": "IMF",
}  # fmt: skip
MODIFIER_CODES = _OTHER_VIEW_MODIFIERS | _SAME_VIEW_MODIFIERS
OTHER_VIEWS = frozenset(_OTHER_VIEW_MODIFIERS.values())
_MODIFIERS = frozenset(MODIFIER_CODES.values())

# English, Spanish, Portuguese, French, Italian, German; D, E, G and S are right or left in some of them only.
_SIDE_WORDS = {
    "L": "L LT LEFT IZQUIERDA IZQUIERDO ESQUERDA ESQUERDO GAUCHE SINISTRA SINISTRO LINKS LINKE",
    "R": "R RT RIGHT DERECHA DERECHO DIREITA DIREITO DROITE DROIT DESTRA DESTRO RECHTS RECHTE",
}
_SIDES = {word: side for side, words in _SIDE_WORDS.items() for word in words.split()}
# Views and modifiers in words, each after those that it is a part of; beside English as Romance languages and German
# write them.
_OBLIQUE = r"(?:OBLIQU[EAO]|OBLICU[AO]|OBLIK|SCHRAE?GE?R?(?: ?AUFNAHME)?)"
_MEDIO_LATERAL = r"MEDIO ?LATERALE?R?"
_PHRASES = tuple(
    (re.compile(rf"\b(?:{pattern})\b"), name)
    for pattern, name in (
        (r"[CK]RAN[IE]O ?[CK]AUDALE?R?", "CC"), (r"CAUDO ?CRANIALE?(?: FROM BELOW)?", "FB"),
        (rf"{_MEDIO_LATERAL} ?{_OBLIQUE}|{_OBLIQUE} ?{_MEDIO_LATERAL}", "MLO"), (r"LATERO ?MEDIAL OBLIQUE", "LMO"),
        (r"SUPERO ?LATERAL TO INFERO ?MEDIAL OBLIQUE", "SIO"), (r"INFERO ?MEDIAL TO SUPERO ?LATERAL OBLIQUE", "ISO"),
        (_MEDIO_LATERAL, "ML"), (r"LATERO ?MEDIAL", "LM"),
        (r"CC EXAGGERATED LATERAL(?:LY)?", "XCCL"), (r"CC EXAGGERATED MEDIAL(?:LY)?", "XCCM"),
        (r"CC EXAGGERATED|EXAGGERATED CC", "XCC"), (r"TISSUE SPECIMEN(?: FROM BREAST)?", "SPECIMEN"),
        (r"SPOT COMPRESSION", "SPOT"), (r"MAGNIFICATION|MAGNIFIED", "MAG"), (r"IMPLANT DISPLACED", "ID"),
        (r"CLEAVAGE", "CV"), (r"AXILLARY TAIL", "AT"), (r"AXILLARY TISSUE", "AX"), (r"TANGENTIAL", "TAN"),
        (r"ROLLED LATERAL", "RL"), (r"ROLLED MEDIAL", "RM"), (r"ROLLED SUPERIOR", "RS"), (r"ROLLED INFERIOR", "RI"),
        (r"NIPPLE IN PROFILE", "NP"), (r"ANTERIOR COMPRESSION", "AC"), (r"INFRA ?MAMMARY FOLD", "IMF"),
    )
)  # fmt: skip
# Say nothing of the view.
_OTHER_WORDS = frozenset(
    ("MAMMO", "MAMMOGRAM", "MAMMOGRAPHY", "BREAST", "MAMA", "MAMMA", "BRUST", "SEIN", "VIEW", "PROJECTION")
)
# One word as it is written on films: side, M (magnification) or S (spot), view, then what follows it.
_PREFIXES = {"": (), "M": ("MAG",), "S": ("SPOT",)}
_SUFFIXES = _MODIFIERS - {"SPOT", "MAG", "CV", "AT", "TAN"}
_LONGEST_TEXT = 64


class ViewText(NamedTuple):
    """What a text says: a view such as CC (empty where only a modifier is named), modifiers, `L` or `R` or no side."""

    view: str
    modifiers: tuple[str, ...] = ()
    side: str = ""

    @property
    def full_view(self) -> str:
        """The view with what makes it another one, as in a manifest."""
        return full_view(self.view, self.modifiers)


def full_view(view: str, modifiers: Sequence[str]) -> str:
    """A view with those modifiers that make it another one: CC, CC-SPOT, MLO-MAG-SPOT."""
    return "-".join([view, *sorted(OTHER_VIEWS.intersection(modifiers))]).strip("-")


@functools.lru_cache(maxsize=4096)
def read_view(text: str) -> ViewText | None:
    """What a text says of the view, in any case and with any signs between its words; None where it is not certain.

    `RCC`, `L-MLO`, `MAMMO,R CC`, `CRANIO-CAUDAL`, `Right Medio-Lateral Oblique`, `CC-ID`, `LMCC` (magnification).
    """
    if len(text) > _LONGEST_TEXT:
        return None
    views, sides, modifiers = set(), set(), []
    words = _words(text)
    for before, word in zip(["", *words], words, strict=False):
        if word in _SIDES:
            if before == "XCC":  # to the lateral, or the left one?
                return None
            sides.add(_SIDES[word])
        elif word in _MODIFIERS and word not in VIEWS:
            modifiers.append(word)
        else:
            found = set(_in_one_word(word))
            if len(found) != 1:
                return None
            ((side, view, more),) = found
            views.add(view)
            sides |= {side} - {""}
            modifiers += more
    if len(views) > 1 or len(sides) > 1 or not (views or OTHER_VIEWS.intersection(modifiers)):
        return None
    return ViewText("".join(views), tuple(dict.fromkeys(modifiers)), "".join(sides))


def side_of(text: str) -> str:
    """`L` or `R` of any usual spelling (`left`, `RIGHT`, `r`, `Left breast`), else an empty string."""
    words = _words(text)
    return _SIDES.get(words[0], "") if len(words) == 1 else ""


def is_among(view: str, side: str, wanted: Sequence[str] | None) -> bool:
    """Whether a view, as `read_view` gives it, is one of those that are wanted, however they are written.

    Without a view it is, and with None for all; `RCC` among the wanted ones means the CC of the right breast.
    """
    if wanted is None or not view:
        return True
    asked = (read_view(text) or ViewText(text.strip().upper()) for text in wanted)
    return any(view == one.full_view and one.side in ("", side) for one in asked)


def shown_view(view: str) -> str:
    """A view as it may be written: free text of a header or a table, in which a name can be, is `OTHER`."""
    return view if not view or set(view.split("-")) <= VIEWS | OTHER_VIEWS else "OTHER"


def _words(text: str) -> list[str]:
    """The words of a text in capitals without accents, those that name views as their abbreviations."""
    plain = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    plain = re.sub(r"[\W_]+", " ", plain.upper())
    for pattern, name in _PHRASES:
        plain = pattern.sub(name, plain)
    return [word for word in plain.split() if word not in _OTHER_WORDS]


def _in_one_word(word: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Every way in which a word such as `RCC` or `LMMLO` can be read, as side, view and modifiers.

    The name of a view is nothing else: LM is no left M.
    """
    if word in VIEWS:
        yield "", word, ()
        return
    for side in ("", "LEFT", "RIGHT", "LT", "RT", "L", "R"):
        for prefix, modifiers in _PREFIXES.items():
            for view in VIEWS:
                start = side + prefix + view
                if word.startswith(start) and (more := _suffixes(word[len(start) :])) is not None:
                    yield _SIDES.get(side, ""), view, (*modifiers, *more)


def _suffixes(text: str) -> tuple[str, ...] | None:
    """The modifiers that a text consists of; None where there is something else in it."""
    if not text:
        return ()
    for name in _SUFFIXES:
        if text.startswith(name) and (more := _suffixes(text[len(name) :])) is not None:
            return (name, *more)
    return None
