"""Image files without labels: which there are, what they say of themselves, and their pixels for a network.

Read by processes of their own (`mammo.data.crash_safe_pool`), which import this: nothing heavy belongs here.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mammo.data.dicom_elements import shown_code
from mammo.data.dicom_header import Header
from mammo.data.formats.rows import contents_of, id_of, is_image_name, list_files
from mammo.data.header_remarks import WORDS, remarks_on
from mammo.data.images import ALL_KINDS, is_coloured, open_image
from mammo.data.pixels import PixelSettings, pixels_of
from mammo.data.quoting import is_known
from mammo.data.store import read_content
from mammo.data.views import is_among, shown_view
from mammo.support.errors import BadFile, DataError, nearest

# What lies beside images and is none. A file of any other name is tried: DICOM files often have no suffix.
_NO_IMAGES = {
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".md", ".html", ".htm", ".pdf", ".log", ".xls",
    ".xlsx", ".doc", ".docx", ".zip", ".gz", ".tar", ".7z", ".py", ".ipynb", ".npy", ".npz", ".pth", ".pt", ".ini",
    ".db", ".sql", ".exe", ".dll", ".sh", ".bat", ".lock", ".tmp",
}  # fmt: skip
COLOURED = "coloured picture: a screenshot, a photograph, or drawn on?"
_NO_IMAGE_NAMES = {"DICOMDIR", "README", "LICENSE", "LICENCE", "Makefile"}


@dataclasses.dataclass(frozen=True)
class NewFile:
    """A file that may hold an image; `name` is its path below the folder that was named."""

    path: Path
    name: str


class NewImage(NamedTuple):
    """The pixels of a file for each network, uint8 [S, S] or None where it does not accept them, and its header.

    `patient_id` and `study_uid` are identifiers: they are never written as they are. `remarks` are what makes a
    prediction doubtful, in words.
    """

    pixels: tuple[np.ndarray | None, ...]
    patient_id: str
    study_uid: str
    laterality: str
    view: str
    remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Demands:
    """What a network can be shown: prepared in which way, of which views (None: any), with implants or without."""

    settings: PixelSettings
    views: tuple[str, ...] | None
    allows_implants: bool = True

    def check(self, header: Header) -> None:
        """Raises BadFile for an image of a kind that the network has not seen.

        MG is what mammographs write; CR, DX and RG are of any part of the body, unless the view is one of a breast.
        Without a modality an image has been accepted for its SOP class or view, or because the run's had none either.
        """
        is_breast = header.is_mammogram or not header.modality
        if not is_breast and "other_modality" not in self.settings.accept:
            modality = shown_code(header.modality)
            raise BadFile(f"modality {modality} without a mammographic view may be no mammogram (force=true takes it)")
        if self.views is not None and not is_among(header.view, header.laterality, self.views):
            known = ", ".join(self.views)
            raise BadFile(f"view {shown_view(header.view)} is none of those that the network has seen ({known})")
        if header.implant and not self.allows_implants:
            raise BadFile("a breast implant: the network has seen none")

    def check_colour(self, is_coloured: bool) -> None:
        """Raises BadFile for a picture that no film or detector has made, unless the network has seen such."""
        if is_coloured and "colour" not in self.settings.accept:
            raise BadFile(f"{COLOURED} (force=true takes it)")


def find_files(named: Path, *, may_name_others: bool = False) -> tuple[list[NewFile], int]:
    """The files that may be images below a folder (or the one file), and how many others are beside them.

    Raises DataError when there is nothing; only with `may_name_others` it names what is there instead, as folders of
    images are named after patients.
    """
    if named.is_file():
        return [NewFile(named, named.name)], 0
    if not named.is_dir():
        raise DataError(
            f"input={named}: there is no such file or folder",
            "a DICOM, PNG or JPEG file, or a folder of them",
            _what_is_there(named, may_name=may_name_others),
        )
    files = list_files(named)
    chosen = [NewFile(file, id_of(file, named)) for file in files if _may_be_image(file)]
    if not chosen:
        raise DataError(f"no image is below input={named}", "DICOM, PNG or JPEG files", "name another folder")
    return chosen, len(files) - len(chosen)


def _what_is_there(missing: Path, *, may_name: bool) -> str:
    """What the nearest folder above a path holds: names like it, or how many there are of each kind."""
    around = next(folder for folder in missing.absolute().parents if folder.is_dir())
    try:
        names = [path.name for path in around.iterdir()]
        near = nearest(missing.name, [name for name in names if may_name or is_known(name)])
        if near.startswith("did you mean"):
            return near
        where = "its folder" if around == missing.absolute().parent else "the nearest folder above it"
        return f"correct it; in {where}: {contents_of(around)}"
    except OSError:
        return "correct it"


def _may_be_image(file: Path) -> bool:
    is_other = file.suffix.lower() in _NO_IMAGES or file.name in _NO_IMAGE_NAMES
    return is_image_name(file.name) or not is_other


class Reader:
    """Reads a file and prepares its pixels for each network that accepts it, or says why none does."""

    def __init__(self, demands: Sequence[Demands]) -> None:
        self.demands = tuple(demands)

    def __call__(self, file: NewFile) -> NewImage | str:
        """The image, or the reason why there is none, without patient data."""
        try:
            content, _, _ = read_content(file.path)
            return self._prepared(content)
        except OSError as error:
            return f"the file cannot be read ({error.strerror or type(error).__name__})"
        except BadFile as error:
            return error.reason

    def _prepared(self, content: bytes) -> NewImage:
        # Networks of one sweep are mostly shown the same: what is the same is made once.
        header_of = functools.cache(lambda accept: open_image(content, accept).header)
        square_of = functools.cache(lambda laterality, settings: pixels_of(content, laterality, settings))
        has_colour = functools.cache(lambda: is_coloured(content))
        pixels: list[np.ndarray | None] = []
        header, reasons, remarks = None, [], set[str]()
        for demands in self.demands:
            try:
                found = header_of(demands.settings.accept)
                if found is not None:
                    demands.check(found)
                square = square_of("" if found is None else found.laterality, demands.settings)
                demands.check_colour(found is None and has_colour())
                pixels.append(square)
                header = found
                if found is not None:
                    remarks |= {WORDS[remark] for remark in remarks_on(found, "", demands.settings.accept)}
            except BadFile as error:
                pixels.append(None)
                reasons.append(error.reason)
        if len(reasons) == len(pixels):
            raise BadFile("; ".join(dict.fromkeys(reasons)))
        if header is None:
            return NewImage(tuple(pixels), "", "", "", "", (COLOURED,) if has_colour() else ())
        if header.is_colour:
            remarks.add(f"colour image ({shown_code(header.photometric)})")
        return NewImage(
            tuple(pixels), header.patient_id, header.study_uid, header.laterality, shown_view(header.view),
            tuple(sorted(remarks)),
        )  # fmt: skip


def forced(settings: PixelSettings) -> PixelSettings:
    """The settings with every kind of image accepted."""
    return dataclasses.replace(settings, accept=tuple(sorted({*settings.accept, *ALL_KINDS})))
