"""Vendors and age bands of images."""

import pandas as pd
import pytest

from mammo.data.manifest import make_table
from mammo.data.vendors_and_ages import age_band_of, attributes_of, vendor_of
from mammo.support.progress import counting
from tests.data.dicom_files import RAMP, build, save


@pytest.mark.parametrize(
    ("manufacturer", "vendor"),
    [
        ("HOLOGIC, Inc.", "Hologic"), ("LORAD", "Hologic"), ("GE MEDICAL SYSTEMS", "GE"), ("GE", "GE"),
        ("General Electric", "GE"), ("SIEMENS", "Siemens"), ("FUJIFILM Corporation", "Fujifilm"),
        ("IMS s.r.l.", "IMS Giotto"), ("Gerda Mustermann", "other"), ("", ""), ("42", ""),
    ],
)  # fmt: skip
def test_a_manufacturer_is_a_vendor_or_other(manufacturer, vendor):
    assert vendor_of(manufacturer) == vendor


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("045Y", "40-49"), ("39", "below 40"), ("061", "60-69"), ("79.9", "70-79"), ("080Y", "80 and above"),
        ("101Y", "80 and above"), ("018M", "below 40"), ("", ""), ("unknown", ""), ("-5", ""), ("1961-02-03", ""),
    ],
)  # fmt: skip
def test_an_age_is_a_band_of_ten_years(age, band):
    assert age_band_of(age) == band


def test_headers_fill_what_the_table_leaves_open(tmp_path):
    save(build(RAMP, Manufacturer="SIEMENS", PatientAge="052Y"), tmp_path / "a.dcm")
    save(build(RAMP), tmp_path / "b.dcm")
    (tmp_path / "c.png").write_bytes(b"no image is looked at here")
    rows = [
        {"image_id": "a", "patient_id": "1", "path": str(tmp_path / "a.dcm"), "age": "71"},
        {"image_id": "b", "patient_id": "2", "path": str(tmp_path / "b.dcm"), "manufacturer": "Planmed Oy"},
        {"image_id": "c", "patient_id": "3", "path": str(tmp_path / "c.png")},
        {"image_id": "d", "patient_id": "4", "path": str(tmp_path / "gone.dcm")},
    ]
    found = attributes_of(make_table(rows), 0, counting)
    expected = {"manufacturer": ["Siemens", "Planmed", "", ""], "age_band": ["70-79", "", "", ""]}
    pd.testing.assert_frame_equal(found, pd.DataFrame(expected, dtype=str))
