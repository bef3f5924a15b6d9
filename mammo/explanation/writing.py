"""Where the pictures of cases go, what they are called, and the table of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mammo.explanation.cases import Case
from mammo.explanation.pictures import GRID_CASES, case_figure, grid_figure
from mammo.inference.datasets import ShownImages
from mammo.inference.trained import Trained
from mammo.support.errors import ConfigError
from mammo.support.figures import figure_bytes
from mammo.support.files import file_sha256, read_csv, safe_name
from mammo.support.outputs import Outputs

log = logging.getLogger(__name__)

FOLDER = "explanations"
TABLE = "explanations.csv"
GRID = "grid"
PAGES = (f"{GRID}.png", f"{GRID}.pdf")
# Columns that say of which network and of which images a row is: only what is alike stands in one table.
ORIGIN = ("checkpoint", "epoch", "split")
HASH_DIGITS = 12
# File systems take 255 bytes.
MAX_NAME_CHARACTERS = 180


def picture_names(image_ids: Iterable[str]) -> dict[str, str]:
    """Image id -> file name of its picture: `safe_name`, with a hash after it where that alone is not its own.

    Of ids with one safe name, upper and lower case taken for equal, the first in order keeps it.
    """
    names: dict[str, str] = {}
    taken = {GRID}
    for image_id in sorted(set(image_ids)):
        stem = safe_name(image_id)
        if stem.casefold() in taken or len(stem) > MAX_NAME_CHARACTERS:
            digest = hashlib.sha256(image_id.encode(errors="surrogatepass")).hexdigest()[:8]
            stem = f"{stem[:MAX_NAME_CHARACTERS]}-{digest}"
        taken.add(stem.casefold())
        names[image_id] = f"{stem}.png"
    return names


class Explanations:
    """The folder of the pictures: `explanations/` of a run, with a folder in it for other data, or one that is named.

    Raises ConfigError where there is neither a run directory nor a name.
    """

    def __init__(self, trained: Trained, shown: ShownImages, output: str | None, *, overwrite: bool = False) -> None:
        named = Path(output).expanduser() if output is not None else None
        folder = named or trained.run_folder
        if folder is None:
            raise ConfigError(
                f"{trained.checkpoint.name} is in no run directory: it is not known where the pictures should go",
                to_do="add output=FOLDER",
            )
        if named is None:
            folder = trained.folder(FOLDER) or folder
            folder = folder if shown.is_own else folder / safe_name(shown.dataset.manifest.name)
        inside = trained.run_folder if named is None else None
        self._outputs = Outputs(folder, "explain", overwrite=overwrite, inside=inside)
        self._outputs.require_free([TABLE, *PAGES])
        self._class_names = trained.class_names
        self._columns = (
            "image_id", "y_true", "y_pred", *(f"p_{name}" for name in trained.class_names), "method", "layer", "target",
            "fraction_on_black", *ORIGIN, "file",
        )  # fmt: skip
        digest = file_sha256(trained.checkpoint)[:HASH_DIGITS]
        self._origin = [digest, str(trained.facts.get("epoch", "")), shown.split]
        self._rows: dict[str, list[str]] = {}
        self._cases: list[Case] = []
        everything = np.arange(len(shown.dataset.table))
        self._names = picture_names(shown.dataset.described(everything)["image_id"])

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._outputs.folder

    def require_free(self, image_ids: Iterable[str]) -> None:
        """Raises OutputError where something else has the name of the picture of an image."""
        self._outputs.require_free(self._names[one] for one in image_ids if one in self._names)

    def write(self, case: Case) -> None:
        """Write the picture of a case; what the table and the page need of it is kept."""
        name = self._names[case.image_id]
        self._outputs.write_bytes(name, figure_bytes(case_figure(case), name))
        self._rows[name] = self._row(case)
        alike = [other for other in self._cases if (other.y_true, other.is_right) == (case.y_true, case.is_right)]
        if len(alike) < GRID_CASES:
            self._cases.append(case)

    def finish(self, *, with_grid: bool) -> None:
        """Write `explanations.csv` and the page.

        The table has the pictures of earlier calls too, where they are of the same checkpoint and split; what others
        have left stays in the folder, but no table and no page speaks of it.
        """
        found = self._earlier()
        earlier = {row[-1]: row for row in found or [] if (self.folder / row[-1]).is_file()}
        table = sorted((earlier | self._rows).values(), key=lambda row: row[-1])
        if found is None:
            log.warning("the pictures that were in %s are of another network or split: not in the table", self.folder)
        self._outputs.write_csv(TABLE, self._columns, table)
        figure = grid_figure(self._cases, self._class_names) if with_grid else None
        for name in PAGES:
            if figure is not None:
                self._outputs.write_bytes(name, figure_bytes(figure, name))
            elif found is None:
                self._outputs.remove(name)

    def _row(self, case: Case) -> list[str]:
        on_black = "" if case.fraction_on_black is None else f"{case.fraction_on_black:.4f}"
        return [
            case.image_id, case.y_true, case.y_pred, *(repr(value) for value in case.probabilities.values()),
            case.method, str(case.layer), case.target, on_black, *self._origin, self._names[case.image_id],
        ]  # fmt: skip

    def _earlier(self) -> list[list[str]] | None:
        """The rows that are there; None where the table is of another network or split, or is damaged."""
        try:
            found, rows = read_csv(self.folder / TABLE)
        except FileNotFoundError:
            return []
        except (OSError, ValueError):
            return None
        first = len(self._columns) - len(ORIGIN) - 1
        is_same = found == list(self._columns) and all(row[first:-1] == self._origin for row in rows)
        return rows if is_same else None
