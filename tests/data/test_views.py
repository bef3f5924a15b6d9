"""Views of a breast: the codes against the tables that pydicom carries, and what is certain in a text."""

from __future__ import annotations

import pytest
from pydicom.sr._cid_dict import cid_concepts
from pydicom.sr._concepts_dict import concepts
from pydicom.sr._snomed_dict import mapping

from mammo.data.views import MODIFIER_CODES, VIEW_CODES, ViewText, is_among, read_view, shown_view, side_of

# Notes of CID 4014: what earlier versions of it had, beside the codes of the SNOMED of its time.
EARLIER = {"Y-X1770": "XCCL", "Y-X1771": "XCCM", "R-102CF": "XCC", "399265009": "XCC"}


@pytest.mark.parametrize(("number", "table"), [(4014, VIEW_CODES), (4015, MODIFIER_CODES)])
def test_every_code_of_the_standard_is_known_in_both_schemes(number, table):
    listed = {
        code: mapping["SCT"][code]
        for scheme, keywords in cid_concepts[number].items()
        for keyword in keywords
        for code, (_, groups) in concepts[scheme][keyword].items()
        if number in groups
    }
    assert all(table[code] == table[older] for code, older in listed.items())
    earlier = EARLIER if number == 4014 else {}
    assert set(table) == {*listed, *listed.values(), *earlier}
    assert earlier.items() <= table.items()
    assert len(set(table.values())) == len(listed) + (number == 4014)  # XCC


@pytest.mark.parametrize(
    ("text", "view", "side"),
    [
        ("CC", "CC", ""), ("mlo", "MLO", ""), ("RCC", "CC", "R"), ("LMLO", "MLO", "L"), ("L-MLO", "MLO", "L"),
        ("r_cc", "CC", "R"), ("CC L", "CC", "L"), ("MLO-R", "MLO", "R"), ("Right CC", "CC", "R"),
        ("LT MLO", "MLO", "L"), ("LTCC", "CC", "L"), ("RTMLO", "MLO", "R"), ("LTCCID", "CC", "L"),
        ("RTXCCL", "XCCL", "R"),
        ("craneocaudal", "CC", ""), ("cr\u00e1neo-caudal", "CC", ""), ("cr\u00e2nio-caudal esquerda", "CC", "L"),
        ("cranio-caudale destra", "CC", "R"), ("kraniokaudal links", "CC", "L"), ("CC droit", "CC", "R"),
        ("Oblicua mediolateral derecha", "MLO", "R"), ("obl\u00edqua m\u00e9dio-lateral", "MLO", ""),
        ("medio-laterale obliqua sinistra", "MLO", "L"), ("mediolateral schr\u00e4g rechts", "MLO", "R"),
        ("Schraeg medio-lateral", "MLO", ""), ("Mediolaterale Schr\u00e4gaufnahme", "MLO", ""),
        ("MLO gauche", "MLO", "L"),
        ("mediolaterale", "ML", ""), ("Mama izquierda MLO", "MLO", "L"),
        ("LEFTCC", "CC", "L"), ("MAMMO,R CC", "CC", "R"), ("[MAMMO,L MLO   ]", "MLO", "L"),
        ("R CC, R CC", "CC", "R"),
        ("CRANIO-CAUDAL", "CC", ""), ("Craniocaudal left breast", "CC", "L"), ("kraniokaudal", "CC", ""),
        ("medio-lateral oblique", "MLO", ""), ("M\u00e9dio-lateral obl\u00edqua", "MLO", ""),
        ("mediolateral", "ML", ""),
        ("latero-medial oblique", "LMO", ""), ("caudo-cranial (from below)", "FB", ""),
        ("cranio-caudal exaggerated laterally", "XCCL", ""), ("Exaggerated cranio-caudal", "XCC", ""),
        # Names of views are nothing else ...
        ("LM", "LM", ""), ("LMO", "LMO", ""), ("XCCL", "XCCL", ""), ("SIO", "SIO", ""), ("FB", "FB", ""),
        ("LLM", "LM", "L"), ("RML", "ML", "R"), ("LLMO", "LMO", "L"), ("LXCCL", "XCCL", "L"), ("R XCC", "XCC", "R"),
        # ... and modifiers before and after them make another view, or leave it what it is.
        ("CC-ID", "CC", ""), ("CCID", "CC", ""), ("RMLOID", "MLO", "R"), ("CC-MAG", "CC-MAG", ""),
        ("LMCC", "CC-MAG", "L"),
        ("RMMLO", "MLO-MAG", "R"), ("SMLO", "MLO-SPOT", ""), ("Spot compression L CC", "CC-SPOT", "L"),
        ("CC RL", "CC-RL", ""), ("R AT", "AT", "R"), ("Axillary Tail", "AT", ""), ("MAG SPOT MLO", "MLO-MAG-SPOT", ""),
    ],
)  # fmt: skip
def test_texts_that_are_certain(text, view, side):
    found = read_view(text)
    assert found is not None
    assert (found.full_view, found.side) == (view, side)


@pytest.mark.parametrize(
    "text",
    ["", "  ", "R", "LEFT", "PA", "AP", "LL", "LAT", "RLO", "CC MLO", "L R CC", "L RCC", "LR CC", "JANE CC", "CC JANE",
     "MAMMO", "CHEST,GENERAL", "PREMIUM_VIEW", "XCC-L", "XCC L", "XCC links",
     "CC links rechts", "oblicua", "D CC", "TCC", "CCL", "MLOR", "CC1", "CC 2", "ACC", "MO", "ID",
     "XCCX", "CC" * 40],
)  # fmt: skip
def test_texts_that_are_not(text):
    assert read_view(text) is None


def test_sides():
    left = ["links", "linke", "izquierda", "Izquierdo", "esquerda", "esquerdo", "gauche", "sinistra", "SINISTRO"]
    right = ["rechts", "rechte", "derecha", "derecho", "direita", "direito", "droite", "droit", "destra", "Destro"]
    assert {side_of(text) for text in left} | {side_of("mama izquierda"), side_of("linke Brust")} == {"L"}
    assert {side_of(text) for text in right} | {side_of("Sein droit"), side_of("mamma destra")} == {"R"}
    assert {side_of(text) for text in ("D", "E", "G", "S", "izquierda derecha", "Dexter")} == {""}
    texts = ["L", "left", " Rt ", "Right breast", "RIGHT", "B", "U", "", "LCC", "L R", "lateral"]
    assert [side_of(text) for text in texts] == ["L", "L", "R", "R", "R", "", "", "", "", "", ""]


@pytest.mark.parametrize(
    ("view", "side", "wanted", "expected"),
    [
        ("CC", "L", ["CC", "MLO"], True), ("CC", "", ["cc"], True), ("ML", "L", ["CC", "MLO"], False),
        ("", "", ["CC"], True), ("ML", "", None, True), ("CC", "R", ["RCC"], True), ("CC", "L", ["RCC"], False),
        ("CC", "", ["RCC"], False), ("CC", "L", ["cranio-caudal"], True), ("CC", "L", ["CCID"], True),
        ("CC-MAG", "L", ["CC"], False),
        ("CC-MAG", "L", ["CC-MAG"], True), ("ODD TEXT", "L", ["odd text"], True), ("XCCL", "", ["XCC"], False),
    ],
)  # fmt: skip
def test_views_that_are_asked_for(view, side, wanted, expected):
    assert is_among(view, side, wanted) is expected


def test_only_known_words_of_a_view_are_shown():
    shown = [shown_view(view) for view in ("", "CC", "MLO-MAG-SPOT", "AT", "JANE", "CC-JANE", "CCJANE")]
    assert shown == ["", "CC", "MLO-MAG-SPOT", "AT", "OTHER", "OTHER", "OTHER"]


def test_a_modifier_alone_is_no_view_of_its_own_beside_one():
    assert read_view("AT") == ViewText("", ("AT",), "")
    assert read_view("R CC ID NP") == ViewText("CC", ("ID", "NP"), "R")
