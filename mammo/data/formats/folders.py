"""A folder a class (`data.format=folders`): `<class>/<image>`, the label is the folder's name."""

from __future__ import annotations

from pathlib import Path

from mammo.data.formats.registry import Progress, reader
from mammo.data.formats.rows import Row, build_manifest, contents_of, is_image_name, list_files
from mammo.data.labels import parse_labels
from mammo.data.manifest import Manifest
from mammo.data.options import DataOptions
from mammo.errors import DataError


@reader("folders")
def read_folders(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of images below one folder a class; files that are no images are ignored.

    The label set is A-D when every folder is named by a density (A-D or 1-4), else the folder names, sorted.
    Raises `DataError` when there is no image, or `data.group_by=image` is not said.
    """
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = {folder.name: [file for file in list_files(folder) if is_image_name(file.name)] for folder in folders}
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
    classes = options.classes
    if classes is None and not options.table.label_map and any(parse_labels(names, names).problems):
        classes = names
    return build_manifest(rows, root, options, classes=classes)
