"""What else is known of images, to see on whom a network fails: the vendor, and an age band.

Neither exact ages nor free text of a header are written: an age becomes a band of ten years, open at both ends,
and a manufacturer the name of a vendor in a list.
"""

from __future__ import annotations

import re

import pandas as pd

from mammo.data.dicom import header_or_none
from mammo.data.image_list import Counting
from mammo.data.parallel import counted, in_order

# How a word of a manufacturer's name begins (or is, where it is short) -> the vendor. Lorad is an earlier name.
_VENDORS = {
    "hologic": "Hologic", "lorad": "Hologic", "ge": "GE", "general": "GE", "siemens": "Siemens",
    "fuji": "Fujifilm", "philips": "Philips", "sectra": "Philips", "ims": "IMS Giotto", "giotto": "IMS Giotto",
    "planmed": "Planmed", "carestream": "Carestream", "kodak": "Carestream", "agfa": "Agfa", "konica": "Konica Minolta",
    "metaltronica": "Metaltronica", "villa": "Villa", "instrumentarium": "Instrumentarium", "lumisys": "film digitiser",
    "howtek": "film digitiser", "vidar": "film digitiser", "icad": "film digitiser",
}  # fmt: skip
_SHORT = 3
_YOUNGEST, _OLDEST = 40, 80
_AGE = re.compile(r"0*(\d{1,3})(?:\.\d+)?\s*([YMWD]?)", re.IGNORECASE)


def vendor_of(manufacturer: str) -> str:
    """The vendor that a manufacturer's name means; `other` for one that is not known, empty for none."""
    words = re.findall(r"[a-z]+", manufacturer.lower())
    for key, vendor in _VENDORS.items():
        if any(word == key if len(key) <= _SHORT else word.startswith(key) for word in words):
            return vendor
    return "other" if words else ""


def age_band_of(age: str) -> str:
    """The band of an age such as `045Y` or `45`: below 40, 40-49, ..., 70-79, 80 and above; empty when unknown."""
    found = _AGE.fullmatch(age.strip())
    if found is None:
        return ""
    years = int(found[1]) if found[2].upper() in ("", "Y") else 0
    if years < _YOUNGEST:
        return f"below {_YOUNGEST}"
    if years >= _OLDEST:
        return f"{_OLDEST} and above"
    return f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def attributes_of(table: pd.DataFrame, num_workers: int, counting: Counting) -> pd.DataFrame:
    """Columns `manufacturer` and `age_band` for the rows of a manifest's table, empty where nothing is known.

    The label table of a dataset comes before the header of a DICOM file.
    """

    def look(place: int) -> tuple[str, str]:
        manufacturer, age = table["manufacturer"].iloc[place], table["age"].iloc[place]
        if not manufacturer or not age:
            header = header_or_none(table["path"].iloc[place])
            if header is not None:
                manufacturer, age = manufacturer or header.manufacturer, age or header.age
        return vendor_of(manufacturer), age_band_of(age)

    with counting("Reading vendors and ages") as count:
        found = list(counted(in_order(look, range(len(table)), num_workers), len(table), count))
    return pd.DataFrame(found, columns=["manufacturer", "age_band"], dtype=str)
