"""Values of the elements of a DICOM data set, or `BadFile`; nothing of what they hold is quoted but known codes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pydicom
from pydicom import uid

from mammo.support.errors import BadFile

# Codes that a message may quote. Anything else in their place can be anything, in a shifted header also a name.
_SHOWN_CODES = {
    "MG", "CR", "DX", "RG", "CT", "MR", "US", "NM", "PT", "XA", "RF", "IO", "PX", "OT", "SC", "SM", "ES", "GM", "BI",
    "SR", "PR", "KO", "DOC", "SEG", "REG", "RTPLAN", "RTSTRUCT", "RTDOSE", "RTIMAGE",
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420",
    "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT",
}  # fmt: skip


@contextmanager
def bad_file_if_it_fails(what: str) -> Iterator[None]:
    """Turn any exception into `BadFile` with the reason `what` and the kind of the exception.

    pydicom and the decoders raise whatever malformed bytes lead them to. The text of an exception is
    left out: it may quote the value of an element.
    """
    try:
        yield
    except BadFile:
        raise
    except Exception as error:
        raise BadFile(f"{what} ({type(error).__name__})") from error


def integer_of(dataset: pydicom.Dataset, keyword: str, default: int | None = None) -> int:
    """The value of an element as an integer; `BadFile` if it is malformed, or missing without a default."""
    with bad_file_if_it_fails(f"malformed value of {keyword}"):
        value = dataset.get(keyword)
        if value is not None and value != "":
            return int(value)
    if default is None:
        raise BadFile(f"{keyword} is missing")
    return default


def text_of(dataset: pydicom.Dataset, keyword: str) -> str:
    """The value of an element as stripped text, the first of several, empty when missing."""
    with bad_file_if_it_fails(f"malformed value of {keyword}"):
        value = dataset.get(keyword)
        if isinstance(value, pydicom.multival.MultiValue):
            value = value[0] if len(value) else None
        return "" if value is None else str(value).strip(" \0")


def shown_code(code: str) -> str:
    """A modality or colour model as a message may quote it."""
    return "none" if not code else code if code in _SHOWN_CODES else "unknown"


def transfer_syntax_of(dataset: pydicom.Dataset) -> uid.UID:
    """The transfer syntax of a data set that was read from a file.

    A file without one (no file meta information) is in one of the native syntaxes if it can be read at
    all, and pydicom found out which; the length of the pixels confirms it in `mammo.data.decode`.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is not None:
        return uid.UID(str(syntax))
    encodings: dict[tuple[bool | None, bool | None], uid.UID] = {
        (True, True): uid.ImplicitVRLittleEndian,
        (False, True): uid.ExplicitVRLittleEndian,
        (False, False): uid.ExplicitVRBigEndian,
    }
    guess = encodings.get(dataset.original_encoding)
    if guess is None:
        raise BadFile("the transfer syntax is not known")
    return guess
