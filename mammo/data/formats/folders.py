"""A folder a class (`data.format=folders`): `<class>/<image>`, the label is the folder's name.

What is an image is decided by content where the name does not say it: archives export DICOM files without a suffix.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.dicom import looks_like_dicom, read_header
from mammo.data.dicom_header import PROJECTION_MODALITIES
from mammo.data.formats.registry import Progress, reader
from mammo.data.formats.rows import (
    Row,
    build_manifest,
    contents_of,
    files_and_others,
    id_of,
    is_dicom_name,
    is_image_name,
)
from mammo.data.formats.tabular import is_hidden
from mammo.data.images import looks_like_picture
from mammo.data.labels import parse_labels
from mammo.data.manifest import LeftOut, Manifest
from mammo.data.parallel import HEADER_THREADS, counted, in_order
from mammo.support.errors import BadFile, DataError


@reader("folders")
def read_folders(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of images below one folder a class; files that are no images are left out, each with an entry.

    The label set is A-D when every folder is named by a density (A-D or 1-4), else the folder names, sorted.
    Raises `DataError` when there is no image, or `data.group_by=image` is not said.
    """
    entries = sorted(path for path in root.iterdir() if not is_hidden(path.name))
    folders = [path for path in entries if path.is_dir()]
    listed = [files_and_others(folder) for folder in folders]
    everything = [file for found, _ in listed for file in found]
    real_root = None if options.allow_outside_root else Path(os.path.realpath(root))
    examined = in_order(partial(_is_image, real_root=real_root), everything, HEADER_THREADS)
    is_image = dict(zip(everything, counted(examined, len(everything), progress), strict=True))
    files = {
        folder.name: [file for file in found if is_image[file]]
        for folder, (found, _) in zip(folders, listed, strict=True)
    }
    names = [name for name, found in files.items() if found]
    if not names:
        raise DataError(
            f"no image is below a class folder of data.root; there: {contents_of(root)}",
            expected="<class>/<image>, for example A/first.png",
            to_do="correct data.root or data.format",
        )
    rows = [
        Row(where=f"class folder {number}", label=name, file=file)
        for number, name in enumerate(names, start=1)
        for file in files[name]
    ]
    left_out = [
        LeftOut(id_of(file, root), "excluded", "the file is no image") for file in everything if not is_image[file]
    ]
    beside = [path for path in entries if path.is_file() and _is_image(path, real_root)]
    left_out += [LeftOut(id_of(file, root), "excluded", "the image is in no class folder") for file in beside]
    num_others = sum(number for _, number in listed)
    notes = [f"{num_others} hidden files and links to folders are not looked at"] if num_others else []
    classes = options.classes
    if classes is None and not options.table.label_map and any(parse_labels(names, names).problems):
        classes = names
    return build_manifest(rows, root, options, classes=classes, left_out=left_out, notes=notes, progress=progress)


def _is_image(file: Path, real_root: Path | None) -> bool:
    """Whether a file has the name of an image, or else the content of one.

    A DICOM object that says that it is none (a report, a presentation state) is none under any such name. What cannot
    be opened, or must not because it is outside of the folder, counts as one: the reason is told later.
    """
    has_name = is_image_name(file.name)
    if has_name and not is_dicom_name(file.name):
        return True
    if real_root is not None and not Path(os.path.realpath(file)).is_relative_to(real_root):
        return True
    try:
        if file.name.upper() == "DICOMDIR" or not os.path.isfile(file):
            return has_name
        if not looks_like_dicom(file):
            return has_name or looks_like_picture(file)
        header = read_header(file)  # reports and presentation states lie beside the images of many archives
        return header.rows > 0 or header.modality in ("", *PROJECTION_MODALITIES)
    except (OSError, BadFile):
        return True
