"""Ids as people and programs write them: what is the same, what may be, what is different, what is nobody."""

from __future__ import annotations

import hashlib
import itertools
import random
import re
import string
import unicodedata

import pytest

from mammo.data.spelling import Groups, compare_key, difference, may_be_same, tidy
from tests.conftest import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "patients.md"


def verdict(one, other):
    """`same`, `ask` or `different`; `nobody` where one of them is no id."""
    keys = [compare_key(one), compare_key(other)]
    if "" in keys:
        return "nobody"
    if keys[0] == keys[1]:
        return "same"
    return "ask" if may_be_same(keys) else "different"


SAME = [
    ("P1", "p1"), ("P1", " P1\t"), ("P  1", "P 1"), ("P\u00a01", "P 1"), ("P\u20031", "P 1"), ("P\u28001", "P 1"),
    ("P\u200b1", "P1"), ("\ufeffP1", "P1"), ("P\u00ad1", "P1"), ("P\u200e1\u202c", "P1"), ("P1\ufe0f", "P1"),
    ("P\u034f1", "P1"), ("P\x001", "P1"), ("P\U000e00411", "P1"), ("\uff30\uff11", "P1"), ("P\u00b9", "P1"),
    ("Jos\u00e9", "Jose\u0301"), ("Jose\u200d\u0301", "Jos\u00e9"), ("Stra\u00dfe 1", "STRASSE 1"),
    ("'0001", "0001"), ("\u20190001", "0001"), ('"P1"', "P1"), ('="0001"', "0001"), ("\u201cP1\u201d", "P1"),
    ("\ufb01x1", "FIX1"), ("\u1e9e1", "ss1"),
]  # fmt: skip

ASK = [
    ("1", "000001", "leading zeros"), ("P1", "P01", "leading zeros"), ("P-1", "P-001", "leading zeros"),
    ("0", "000", "leading zeros"),
    ("1", "1.0", "the way a number is written"), ("1", "1,0", "the way a number is written"),
    ("1234", "1,234", "the way a number is written"), ("1234567", "1.234.567", "the way a number is written"),
    ("1000", "1e3", "the way a number is written"), ("12345678", "1.2345678E+7", "the way a number is written"),
    ("P1", "P-1", "blanks, dashes or other signs"), ("P-1", "P\u20131", "blanks, dashes or other signs"),
    ("P_1", "P 1", "blanks, dashes or other signs"), ("P1", "P 1", "blanks, dashes or other signs"),
    ("P1", "(P1)", "blanks, dashes or other signs"), ("123-456", "123456", "blanks, dashes or other signs"),
    ("O'Hara", "O\u2019Hara", "blanks, dashes or other signs"), ("1", "-1", "blanks, dashes or other signs"),
    ("Jose", "Jos\u00e9", "accents"), ("Mueller", "M\u00fcller", "accents"), ("Soerensen", "S\u00f8rensen", "accents"),
    ("P1", "\u04201", "letters or digits that look alike"), ("P1", "\u03a11", "letters or digits that look alike"),
    ("H1", "\u041d1", "letters or digits that look alike"), ("P1", "\u13e21", "letters or digits that look alike"),
    ("P1", "\ua4d11", "letters or digits that look alike"), ("a1", "\u04301", "letters or digits that look alike"),
    ("PO1", "P01", "letters or digits that look alike"), ("1I", "11", "letters or digits that look alike"),
    ("P3", "P\u0663", "digits of another script"), ("17", "\u0967\u096d", "digits of another script"),
    ("1", "patient 1", "a word before the number"), ("17", "P17", "a word before the number"),
    ("1", "P\u2013001", "several ways of writing"),
]  # fmt: skip

DIFFERENT = [
    ("1", "2"), ("1", "10"), ("1", "11"), ("P1", "P10"), ("1.0", "10"), ("1-12", "11-2"), ("1.12", "11.2"),
    ("A1", "B1"), ("A1", "1"), ("i", "l"), ("AI", "AL"), ("A0", "AO"), ("A1I", "A1L"), ("1.2.3", "1.23"),
    ("P1", "P1a"), ("TCGA-A0-A03U", "TCGA-AO-A03U"), ("s01-p011", "s11-p001"), ("1e3", "1003"), ("", "x"),
    ("0a1b", "a10b"),
]  # fmt: skip

NOBODY = [
    "", " ", "nan", "NaN", "None", "NULL", "NA", "N/A", "n.a.", "#N/A", "<NA>", "NaT", "unknown", "Unknown Patient",
    "UNK", "anonymous", "Anonymized", "anon", "An\u00f4nimo", "unbekannt", "?", "??", "-", "--", "\u2013", ".", "...",
    "_", "'", '""', "*", "xxx", "#REF!", "#VALUE!", "#DIV/0!", "na\u200bn", "\uff4e\uff41\uff4e", "not available",
]  # fmt: skip

SOMEBODY = ["0", "00000", "999999", "anon12", "unknown 7", "patient", "X", "N", "ref", "name", "nan1", "no 5"]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_certainly_the_same(one, other):
    assert verdict(one, other) == verdict(other, one) == "same"


@pytest.mark.parametrize(("one", "other", "how"), ASK)
def test_what_may_be_the_same_and_how_it_differs(one, other, how):
    assert verdict(one, other) == verdict(other, one) == "ask"
    assert difference([compare_key(one), compare_key(other)]) == how


@pytest.mark.parametrize(("one", "other"), DIFFERENT[:-2] + DIFFERENT[-1:])
def test_what_is_different(one, other):
    assert verdict(one, other) == verdict(other, one) == "different"


@pytest.mark.parametrize("text", NOBODY)
def test_nobody(text):
    assert compare_key(text) == tidy(text) == ""


@pytest.mark.parametrize("text", SOMEBODY)
def test_somebody(text):
    assert compare_key(text)
    assert tidy(text) == text


@pytest.mark.parametrize("text", ["P1", "000123", "1.2.840.113619.2.1", "Jos\u00e9", "a b", "P_00038"])
def test_clean_ids_are_written_as_they_are(text):
    assert tidy(text) == text


def test_tidy_keeps_letters_and_drops_what_cannot_be_seen():
    assert tidy("\ufeff 'P\u200b\u00a0 1") == "P 1"


SCHEMES = {
    "whole numbers": map(str, range(3000)),
    "padded": (f"{i:05d}" for i in range(3000)),
    "P_": (f"P_{i:05d}" for i in range(2000)),
    "hashes": (hashlib.md5(str(i).encode()).hexdigest() for i in range(2000)),
    "short hashes": (hashlib.md5(str(i).encode()).hexdigest()[:8] for i in range(2000)),
    "letters": string.ascii_uppercase,
    "two letters": map("".join, itertools.product(string.ascii_uppercase, repeat=2)),
    "site and number": (f"{site}-{i}" for site in range(1, 20) for i in range(1, 40)),
    "site and padded": (f"S{site:02d}-P{i:03d}" for site in range(1, 20) for i in range(1, 40)),
    "site.number": (f"{site}.{i}" for site in range(1, 20) for i in range(1, 40)),
    "uids": (f"1.2.840.113619.2.{site}.{i}" for site in range(40) for i in range(40)),
    "letter and number": (f"{letter}{i}" for letter in string.ascii_uppercase for i in range(30)),
    "floats": (f"{i}.0" for i in range(2000)),
}


@pytest.mark.parametrize("name", SCHEMES)
def test_no_question_about_ids_of_one_kind(name):
    ids = list(SCHEMES[name])
    keys = {compare_key(one) for one in ids}
    assert len(keys) == len(set(ids))
    assert may_be_same(keys) == []


def test_groups_are_the_same_in_any_order():
    rng = random.Random(0)
    ids = ["1", "01", "1.0", "p1", "patient 1", "2", "a-2", "a2", "3-4", "34", "3.4", "7"]
    expected = may_be_same(ids)
    assert expected == [["01", "1", "1.0", "p1", "patient 1"], ["3-4", "3.4", "34"], ["a-2", "a2"]]
    for _ in range(20):
        rng.shuffle(ids)
        assert may_be_same(ids) == expected


def test_the_key_of_a_key_is_itself():
    rng = random.Random(1)
    alphabet = "aZ01 \u00a0'\"\u00e9\u0301\u0130\u0345\u1e9e\ufb01\u200b\uff21\u2160\u00bd\u0660=-_."
    for _ in range(3000):
        text = "".join(rng.choices(alphabet, k=rng.randint(0, 7)))
        key = compare_key(text)
        assert compare_key(key) == key
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            assert compare_key(unicodedata.normalize(form, text)) == key, ascii(text)
        assert compare_key(f"\u2003{text}\u200b ") == key


def test_groups_join_directly_and_through_others():
    groups = Groups()
    groups.join(["c", "d"])
    groups.join(["b", "c"])
    groups.join(["x"])
    groups.join([])
    assert groups.several() == [["b", "c", "d"]]
    assert groups.of("d") == "b"
    assert groups.of("never seen") == "never seen"


def test_the_documented_table_is_what_the_code_does():
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (same|ask|different|nobody)\b", DOCUMENT.read_text(), re.MULTILINE)
    assert len(rows) >= 20
    for one, other, gets in rows:
        written = [text.encode().decode("unicode_escape") for text in (one, other)]
        assert verdict(*written) == gets, (one, other)
