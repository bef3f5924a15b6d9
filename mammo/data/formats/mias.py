"""MIAS and mini-MIAS: a prepared `labels.csv`, or the original `Info.txt` with `mdbNNN.pgm`.

The films come in pairs: the odd number is the right and the next even one the left breast of the same woman.
"""

from __future__ import annotations

import re
from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.formats.registry import Progress, reader
from mammo.data.formats.rows import Row, as_on_disk, build_manifest, contents_of
from mammo.data.formats.table import table_rows
from mammo.data.formats.tabular import read_text
from mammo.data.manifest import Manifest
from mammo.support.errors import DataError

FILM = re.compile(r"(mdb(\d{3}))\s+(\S+)", re.IGNORECASE)  # mdb001 G CIRC B 535 425 197
PLACES = ("{}.pgm", "images/{}.pgm", "{}.png", "images/{}.png")


@reader("mias")
def read_mias(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of MIAS: from the label table of `options.table.files` if it is there, else from `Info.txt`.

    Raises `DataError` when neither is there.
    """
    if any(next(root.glob(pattern), None) for pattern in options.table.files):
        return build_manifest(table_rows(root, options), root, options)
    info = root / "Info.txt"
    if not info.is_file():
        raise DataError(
            f"data.root holds neither {' nor '.join([*options.table.files, 'Info.txt'])}; there: {contents_of(root)}",
            to_do="set data.root to the folder of MIAS",
        )
    return build_manifest(info_rows(info), root, options)


def info_rows(info: Path) -> list[Row]:
    """The films that `Info.txt` lists; a film with several abnormalities is listed several times."""
    rows = []
    for number, line in enumerate(read_text(info, info.name).splitlines(), start=1):
        match = FILM.match(line.strip())
        if match:
            film, index = match[1].lower(), int(match[2])
            places = [place.format(film) for place in PLACES]
            rows.append(
                Row(
                    where=f"{info.name} line {number}",
                    label=match[3],
                    named=next((place for place in places if as_on_disk(info.parent / place).is_file()), places[0]),
                    folder=info.parent,
                    patient_id=f"p{(index + 1) // 2:03d}",
                    laterality="R" if index % 2 else "L",
                    view="MLO",
                )
            )
    if not rows:
        raise DataError(f"{info.name} lists no film", expected="lines such as 'mdb001 G CIRC B 535 425 197'")
    return rows
