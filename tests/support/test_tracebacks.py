"""An unforeseen error says where it arose and quotes no data."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
import torch

from mammo.data.labels import limit_patients
from mammo.data.vendors_and_ages import attributes_of
from mammo.evaluation.exams import exam_predictions
from mammo.support.errors import DataError
from mammo.support.files import read_csv
from mammo.support.progress import counting
from mammo.support.tracebacks import _KNOWS_NO_PATIENTS, error_text, traceback_text
from tests.conftest import REPOSITORY

NAME = "Quesada^Ximena"


def caught(call):
    try:
        call()
    except Exception as error:
        return error
    return pytest.fail("nothing was raised")


def test_what_arises_among_the_data_is_not_quoted():
    for error in (
        caught(lambda: limit_patients(NAME, 3)),
        caught(lambda: pd.read_csv(io.StringIO(f"a,b\n{NAME},2\n"), dtype={"a": int})),
    ):
        assert NAME not in error_text(error) + traceback_text(error)
        assert type(error).__name__ in traceback_text(error)


def test_only_code_that_knows_no_patients_is_quoted():
    for file in _KNOWS_NO_PATIENTS:
        assert (REPOSITORY / file).exists()
    errors = (
        caught(lambda: exam_predictions(NAME)),
        caught(lambda: read_csv(NAME)),
        caught(lambda: attributes_of({NAME: 1}, 1, counting)),
    )
    for error in errors:
        assert NAME not in error_text(error)


def test_what_a_network_says_is_told():
    error = caught(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3))
    assert "mat1 and mat2 shapes cannot be multiplied" in traceback_text(error)


def test_names_of_files_and_folders_are_not():
    error = caught(Path("/home/ximena/quesada.dcm").read_bytes)
    assert error_text(error) == "No such file or directory"

    def fail():
        raise RuntimeError("cannot write '/home/ximena/a b.pth' or /data/quesada/x.pth: no")

    error = caught(fail)
    assert error_text(error) == "cannot write <path> or <path>: no"
    shown = traceback_text(error)
    assert "tests/support/test_tracebacks.py" in shown
    assert "/home" not in shown.replace("raise RuntimeError(\"cannot write '/home/ximena", "")


def test_our_own_messages_and_what_led_to_them():
    def fail():
        try:
            int(NAME)
        except ValueError as error:
            raise DataError("the table cannot be read") from error

    shown = traceback_text(caught(fail))
    assert "the table cannot be read" in shown
    assert shown.index("ValueError") < shown.index("which led to:") < shown.index("DataError")
