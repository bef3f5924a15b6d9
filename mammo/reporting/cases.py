"""Single images that a reader wants to see: the most wrong and the most uncertain ones."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mammo.reporting.document import Block, Code, Group, Heading, Photograph, Section, Text
from mammo.reporting.report_data import ReportData, ReportedRun, best_position
from mammo.reporting.summary_text import plural
from mammo.support.files import read_bytes, read_csv, safe_name
from mammo.support.table import Bar, Cell, Column, Role, Table
from mammo.support.table import columns as plain_columns

NUM_CASES = 8
# Pictures are large, and a report is sent by mail.
MAX_PICTURES = 8
PICTURE_WIDTH_PX = 720
MAX_FILE_BYTES = 8 * 2**20
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXPLANATIONS = "explanations"
EXPLANATIONS_TABLE = "explanations.csv"


def overlays(run_folder: Path, image_ids: Sequence[str]) -> dict[str, bytes]:
    """PNG of some images beside their heat maps, by image id; those that have not been made are left out."""
    listed = _explained(run_folder)
    return {
        image_id: png
        for image_id in image_ids
        if image_id in listed and (png := _picture(listed[image_id].file)) is not None
    }


@dataclasses.dataclass(frozen=True)
class _Explained:
    """What `mammo.explain` lists of a picture; `target` is the class whose heat map it has."""

    file: Path
    y_true: str
    y_pred: str
    target: str


def _explained(run_folder: Path) -> dict[str, _Explained]:
    """Image id to what is listed of its picture."""
    folder = run_folder / EXPLANATIONS
    try:
        names, rows = read_csv(folder / EXPLANATIONS_TABLE)
        image, file, *facts = (names.index(name) for name in ("image_id", "file", "y_true", "y_pred", "target"))
    except (OSError, ValueError):
        return {}
    return {
        row[image]: _Explained(folder / row[file], *(row[fact] for fact in facts))
        for row in rows
        if safe_name(row[file]) == row[file]
    }


def _picture(file: Path) -> bytes | None:
    """The picture in a file, no wider than it is shown; None for what is no PNG of reasonable size."""
    try:
        content = read_bytes(file, MAX_FILE_BYTES)
        if not content.startswith(PNG_SIGNATURE):
            return None
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.width <= PICTURE_WIDTH_PX:
                image.load()
                return content
            height = max(1, round(image.height * PICTURE_WIDTH_PX / image.width))
            small = image.convert("RGB").resize((PICTURE_WIDTH_PX, height), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return buffer.getvalue()


def mean_predictions(runs: Sequence[ReportedRun]) -> pd.DataFrame | None:
    """Predictions of runs averaged image by image; None where they cannot be read or have different classes.

    Columns: image_id (the index), laterality, view, y_true, y_pred, `p_<class>` (mean over the runs that validated the
    image), `num_runs`, `num_wrong`, `of_truth` (mean probability of the true class) and `entropy` (of the mean
    probabilities, in units of its largest value).
    """
    tables = [run.predictions for run in runs if run.predictions is not None and len(run.predictions)]
    if not tables or len({table.class_names for table in tables}) > 1 or len(tables[0].class_names) < 2:
        return None
    names = tables[0].class_names
    scores = [f"p_{name}" for name in names]
    every = pd.concat([table.table.assign(wrong=table.table["y_true"] != table.table["y_pred"]) for table in tables])
    grouped = every.groupby("image_id", sort=True)
    mean = grouped[["laterality", "view", "y_true"]].first()
    mean[scores] = grouped[scores].mean()
    probabilities = mean[scores].to_numpy()
    mean["num_runs"], mean["num_wrong"] = grouped.size(), grouped["wrong"].sum()
    task = tables[0].task
    mean["y_pred"] = task.texts(task.decide(probabilities), names)
    true = [names.index(name) for name in mean["y_true"]]
    mean["of_truth"] = probabilities[np.arange(len(mean)), true]
    logarithms = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    mean["entropy"] = -(probabilities * logarithms).sum(axis=1) / np.log(len(names))
    return mean


def cases_section(data: ReportData) -> Section | None:
    """The most wrong and the most uncertain images of the best configuration; None without predictions."""
    best = best_position(data)
    if best is None:
        return None
    runs = data.of(best)
    mean = mean_predictions(runs)
    if mean is None:
        return None
    several = int(mean["num_runs"].max()) > 1
    words = []
    if len(data.findings) > 1:
        words.append(f"Of {data.name_of(best)}, the best.")
    if several:
        words.append("Probabilities are means over the runs that validated the image.")
    words.append("An image that every run gets wrong is worth a second look at its label.")
    wrong = mean[mean["y_true"] != mean["y_pred"]].sort_values("of_truth", kind="stable")
    unsure = mean.sort_values("entropy", ascending=False, kind="stable")
    chosen = list(dict.fromkeys([*wrong.index[:NUM_CASES], *unsure.index[:NUM_CASES]]))
    blocks: list[Block] = [Text(" ".join(words), tone="muted")]
    if len(wrong):
        total = f"{plural(len(wrong), 'image')} of {len(mean)} wrong"
        blocks.append(_table(f"Most wrong: least probability of the true class ({total})", wrong, several))
    else:
        blocks.append(Text(f"Not one of {plural(len(mean), 'image')} is wrong."))
    blocks.append(_table("Most uncertain: highest entropy of the probabilities", unsure, several))
    return Section("cases", "Cases", (*blocks, *_pictures(runs, mean, chosen)))


def _table(caption: str, frame: pd.DataFrame, several: bool) -> Table:
    names = [column.removeprefix("p_") for column in frame.columns if column.startswith("p_")]
    rows = []
    for image_id, line in frame.head(NUM_CASES).iterrows():
        bars = tuple(Bar(name, float(line[f"p_{name}"]), _role(name, line["y_true"], line["y_pred"])) for name in names)
        view = " ".join(filter(None, (line["laterality"], line["view"])))
        agreement = [Cell(f"{line['num_wrong']} of {line['num_runs']}")] if several else []
        rows.append((Cell(str(image_id), below=view), Cell(line["y_true"]),
                     Cell(line["y_pred"], "" if line["y_true"] == line["y_pred"] else "bad"),
                     Cell("", bars=bars), *agreement, Cell(f"{line['entropy']:.2f}")))  # fmt: skip
    heads = [*plain_columns("image", "true", "predicted", "probabilities")]
    heads += [Column("wrong in runs", is_number=True)] if several else []
    heads += [Column("entropy", is_number=True)]
    note = "Bars: green is the true class, orange what was predicted instead. Entropy: 0 certain, 1 knows nothing."
    return Table(caption, tuple(heads), tuple(rows), note=note)


def _role(name: str, true: str, predicted: str) -> Role:
    if name == true == predicted:
        return "both"
    return "true" if name == true else "predicted" if name == predicted else ""


def _pictures(runs: Sequence[ReportedRun], mean: pd.DataFrame, image_ids: Sequence[str]) -> Iterator[Block]:
    """Heat maps of these cases, then of others, as many as there is room for."""
    pictures: dict[str, tuple[bytes, ReportedRun]] = {}
    for wanted in (image_ids, None):
        for run in runs:
            room = MAX_PICTURES - len(pictures)
            ids = _with_pictures(run) if wanted is None else wanted
            new = [image_id for image_id in ids if image_id not in pictures and image_id in mean.index]
            for image_id, png in list(overlays(run.result.folder, new).items())[:room]:
                pictures[image_id] = png, run
    yield Heading("Heat maps")
    if not pictures:
        yield Text("Heat maps have not been made. Of the most confident cases of a run, or of those named here:")
        yield Code("python -m mammo.explain DIR\npython -m mammo.explain DIR 'image=[ID, ID]'")
        return
    yield Text(
        "A heat map shows what the network uses, not why, and not that it is right. The pictures show the images "
        "themselves: share this report as you would share them.",
        tone="muted",
    )
    beside = {run.key: gradcam_file(run) for run in runs if gradcam_pictures(run)}
    photographs = []
    for image_id, (png, run) in pictures.items():
        what = _caption(image_id, _explained(run.result.folder)[image_id], str(mean.loc[image_id, "y_pred"]),
                        "" if len(runs) == 1 else run.label)  # fmt: skip
        photographs.append(Photograph(png, f"Image {image_id} beside its heat map", what, beside.get(run.key, "")))
    yield Group(tuple(photographs))


def _caption(image_id: str, listed: _Explained, of_mean: str, label: str) -> str:
    """What the network of the picture says, and what the mean of the runs says where that is something else."""
    of_run = f" by {label}" if label else ""
    predicted = f"predicted {listed.y_pred}{of_run}, heat map of class {listed.target}"
    mean = "" if of_mean == listed.y_pred else f"; the mean of the runs says {of_mean}"
    return f"{image_id}: true class {listed.y_true}, {predicted}{mean}"


def _with_pictures(run: ReportedRun) -> list[str]:
    return sorted(_explained(run.result.folder))


def gradcam_file(run: ReportedRun) -> str:
    """The name, without suffix, of the figure of a run's heat maps."""
    return f"density_gradcam_{run.key}"


def gradcam_pictures(run: ReportedRun) -> list[tuple[str, bytes]]:
    """The images of a run that have heat maps, each with its id, for a figure; the most wrong ones first."""
    mean = mean_predictions([run])
    if mean is None:
        return []
    known = [image_id for image_id in _with_pictures(run) if image_id in mean.index]
    chosen = mean.loc[known].sort_values("of_truth", kind="stable").index[:MAX_PICTURES]
    return list(overlays(run.result.folder, list(chosen)).items())
