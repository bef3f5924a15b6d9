"""What a run would make of a dataset: used and left out, classes, views, vendors, and what looks wrong."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.checks.leakage import check_leakage
from mammo.checks.report import Finding, Section, Table, counted, note, ok, problem
from mammo.data.data_options import DataOptions
from mammo.data.dataset import Dataset, load_dataset
from mammo.data.dicom import looks_like_dicom, read_header
from mammo.data.dicom_header import Header
from mammo.data.image_list import Counting
from mammo.data.manifest import LeftOut
from mammo.data.parallel import in_order
from mammo.data.vendors_and_ages import vendor_of
from mammo.data.views import shown_view
from mammo.support.cores import usable_cores
from mammo.support.errors import BadFile, DataError

# Reading headers waits for the disk, not for the processor.
HEADER_THREADS = 8
# With fewer validation images of a class, each of them moves its recall by more than a tenth.
FEW_IMAGES = 10
UNKNOWN = "not known"
SHOWN_PLACES = 5


def check_dataset(options: DataOptions, cache_folder: Path, counting: Counting) -> list[Section]:
    """Load a dataset as a run does, decoding what is not in the store yet, and look at it.

    Raises DataError when there is no folder to look at; any other is a finding.
    """
    title = f"Dataset {options.name}"
    dataset, problems = _loaded(options, cache_folder, counting)
    if dataset is None:
        return [Section(title, problems)]
    headers = _headers(dataset, counting)
    return [
        *([Section(title, problems)] if problems else []),
        Section(f"{title}: what a run uses", [*_use_findings(dataset)], [_class_table(dataset)]),
        Section(f"{title}: images", [*_image_findings(dataset, headers)], _image_tables(dataset, headers)),
        Section(f"{title}: split and duplicates", [*_split_findings(dataset), *check_leakage(dataset)]),
    ]


def _loaded(options: DataOptions, cache_folder: Path, counting: Counting) -> tuple[Dataset | None, list[Finding]]:
    """The dataset as far as it can be read, and what would end a run, one after the other.

    After a problem it is read with the options that go on; what cannot be divided is looked at as one part.
    """
    workers = usable_cores() if options.num_workers is None else options.num_workers
    problems: list[Finding] = []
    only_test = False
    while True:
        try:
            return load_dataset(options, cache_folder, workers, counting, only_test=only_test), problems
        except DataError as error:
            if options.format != "phantom" and not (options.root and Path(options.root).expanduser().is_dir()):
                raise  # nothing was looked at: a mistake in the command
            expected = f"\nexpected: {error.expected}" if error.expected else ""
            found = problem("data", f"a run would end: {error.found}{expected}", error.to_do)
            if found in problems:
                return None, problems
            problems.append(found)
            only_test = only_test or not error.go_on_with
            options = _with(options, error.go_on_with)


def _with(options: DataOptions, changes: Mapping[str, Any]) -> DataOptions:
    """The options with others in their place; keys are dotted where they are of the table."""
    of_table = {key.removeprefix("table."): value for key, value in changes.items() if key.startswith("table.")}
    if "columns" in of_table:
        of_table["columns"] = {**options.table.columns, **of_table["columns"]}
    own = {key: value for key, value in changes.items() if not key.startswith("table.")}
    return dataclasses.replace(options, **own, table=dataclasses.replace(options.table, **of_table))


def _class_table(dataset: Dataset) -> Table:
    """Images and patients of each class in each part; a patient counts for every class of her images."""
    unit = {"patient": "pat.", "exam": "exams", "image": ""}[dataset.manifest.group_by]
    parts = {"all": None, **{name: rows for name, rows in dataset.split.parts.items() if len(rows)}}
    columns = ["class"]
    for name in parts:
        columns += [name, unit] if unit else [name]
    rows: list[list[str | int]] = []
    for label in (*dataset.manifest.class_names, ""):
        row: list[str | int] = [label or "total"]
        for chosen in parts.values():
            table = dataset.table if chosen is None else dataset.table.iloc[chosen]
            of_class = table[table["label"] == label] if label else table
            row.append(len(of_class))
            if unit:
                row.append(int(of_class["patient_id"].nunique()))
        rows.append(row)
    title = f"images, and {dataset.manifest.group_by}s that have some" if unit else "images, each standing for itself"
    return Table(title, columns, rows)


def _use_findings(dataset: Dataset) -> Iterator[Finding]:
    groups = dataset.table["patient_id"].nunique()
    unit = dataset.manifest.group_by
    grouped = f" of {counted(int(groups), unit)}" if unit != "image" else ""
    yield ok("used", f"{counted(len(dataset.table), 'image')}{grouped}")
    by_reason: dict[tuple[str, str], list[LeftOut]] = defaultdict(list)
    for item in dataset.manifest.left_out:
        by_reason[item.stage, item.reason].append(item)
    for (stage, reason), items in sorted(by_reason.items(), key=lambda entry: (-len(entry[1]), entry[0])):
        if items[0].is_defect:
            yield note("left out", f"{len(items):,}, defective ({stage}): {reason}: {_places(items, dataset)}")
        else:
            yield note("left out", f"{len(items):,}, on purpose: {reason}")
    if not by_reason:
        yield ok("left out", "nothing")
    for text in dataset.manifest.notes:
        yield note("dataset", text)


def _places(items: Sequence[LeftOut], dataset: Dataset) -> str:
    """Where a few of them are: rows of a label table, else images by their pseudonyms."""
    places = [item.where or dataset.rename(item.image_id) for item in items[:SHOWN_PLACES]]
    more = f" and {len(items) - SHOWN_PLACES:,} more" if len(items) > SHOWN_PLACES else ""
    by_pseudonym = dataset.is_pseudonymized and any(not item.where for item in items[:SHOWN_PLACES])
    hint = f" (in the cache folder pseudonyms/{dataset.lookup_name} leads back to ids)" if by_pseudonym else ""
    return f"{', '.join(places)}{more}{hint}"


def _image_tables(dataset: Dataset, headers: Sequence[Header | None]) -> list[Table]:
    sides, views = dataset.table["laterality"], dataset.table["view"].map(shown_view)
    number_of = Counter(zip(views, sides, strict=True))
    by_view: list[list[str | int]] = [
        [view or UNKNOWN, number_of[view, "L"], number_of[view, "R"], number_of[view, ""]]
        for view in sorted(set(views), key=lambda view: (not view, view))
    ]
    tables = []
    if set(number_of) != {("", "")}:
        tables.append(Table("", ["view", "left", "right", UNKNOWN], by_view))
    if any(headers):
        vendors = Counter(_vendor(header) for header in headers)
        ordered = sorted(vendors.items(), key=lambda entry: (-entry[1], entry[0]))
        by_vendor: list[list[str | int]] = [[name, number] for name, number in ordered]
        tables.append(Table("", ["vendor in the DICOM header", "images"], by_vendor))
    return tables


def _vendor(header: Header | None) -> str:
    """The vendor that the manufacturer's name means: the name itself is free text."""
    return (vendor_of(header.manufacturer) if header is not None else "") or UNKNOWN


def _image_findings(dataset: Dataset, headers: Sequence[Header | None]) -> Iterator[Finding]:
    burned_in = sum(header is not None and header.burned_in_annotation for header in headers)
    if burned_in:
        text = f"{counted(burned_in, 'image')} with BurnedInAnnotation=YES: names may be written in the pixels"
        yield note("annotation", text, "look at them before images or heat maps are passed on")
    elif any(headers):
        yield ok("annotation", "no header says that text is burned into the pixels")
    unit = dataset.manifest.group_by
    if unit != "image":
        labels = dataset.table.groupby("patient_id")["label"].nunique()
        if several := int((labels > 1).sum()):
            yield note("labels", f"{counted(several, unit)} with images of several classes")
        else:
            yield ok("labels", f"one class for each {unit}")


def _split_findings(dataset: Dataset) -> Iterator[Finding]:
    names = dataset.manifest.class_names
    for part, rows in dataset.split.parts.items():
        if len(rows) == 0 or part == "train":  # what train lacks ends a run
            continue
        counts = dict(zip(names, dataset.class_counts(rows), strict=True))
        few = [f"{name} {number}" for name, number in counts.items() if number < FEW_IMAGES]
        if few:
            to_do = f"a larger data.{part}_fraction, or data.num_folds: every patient is then validated once"
            yield note(part, f"few images of {', '.join(few)}: recalls of these classes move in large steps", to_do)
        else:
            yield ok(part, f"at least {FEW_IMAGES} images of every class")
    for text in dataset.split.notes:
        yield note("split", text)


def _headers(dataset: Dataset, counting: Counting) -> list[Header | None]:
    """The header of each image; None for one that is no DICOM file."""
    paths = dataset.table["path"].tolist()
    found = []
    with counting("Looking at headers") as count:
        for header in in_order(_header_or_none, paths, HEADER_THREADS):
            found.append(header)
            count(len(found), len(paths))
    return found


def _header_or_none(path: str) -> Header | None:
    try:
        return read_header(path) if looks_like_dicom(path) else None
    except (BadFile, OSError):
        return None
