"""The tables of what a result rests on: data, split, quarantine, configuration, code and machine."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mammo.reporting.document import Block, Code, Details, Heading, Section, Text
from mammo.reporting.report_data import ReportData, ReportedRun
from mammo.reporting.summary_text import plural
from mammo.runs.json_access import count, look, mapping, number, text, texts
from mammo.support.plain_text import as_typed, without_folders
from mammo.support.table import Cell, Column, Table, columns, row

# More columns than this do not fit; then the values are listed with how often they occur.
MAX_RUN_COLUMNS = 6
MAX_LISTED_FILES = 2000
SHORT_HASH = 12
# The beginning of an absolute path on any system, or in a home folder.
_ABSOLUTE = re.compile(r"^(/|~|[A-Za-z]:[\\/]|\\\\)")


def shown_value(value: Any) -> str:
    """A value of a configuration as it is typed, folders cut to their last names: a report is passed on."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(shown_value(item) for item in value) + "]"
    if isinstance(value, str) and _ABSOLUTE.match(value):
        return ".../" + re.split(r"[\\/]", value.rstrip("\\/"))[-1]
    return without_folders(as_typed(value))


def by_value(runs: Sequence[ReportedRun], of: Callable[[ReportedRun], str]) -> str:
    """What is the same for all runs, or each value with how many have it."""
    values = Counter(of(run) for run in runs)
    if len(values) == 1:
        return next(iter(values))
    return "; ".join(f"{value or 'not known'} ({plural(n, 'run')})" for value, n in values.items())


def _facts(caption: str, runs: Sequence[ReportedRun], facts: Mapping[str, Callable[[ReportedRun], str]]) -> Table:
    rows = []
    for name, of in facts.items():
        value = by_value(runs, of)
        if value:
            rows.append(row(name, value))
    return Table(caption, columns("what", "value"), tuple(rows), shape="facts")


def data_section(data: ReportData) -> Section:
    """What was learnt from and validated on."""
    started = [run for run in data.runs if look(run.summary, "data") is not None]
    if not started:
        return Section("data", "Data and split", (Text("No run has come to its data.", tone="bad"),))
    facts = _facts(
        "Data",
        started,
        {
            "dataset": lambda run: text(run.summary, "data", "name"),
            "images": lambda run: count(run.summary, "data", "num_images"),
            "patients": lambda run: count(run.summary, "data", "num_patients"),
            "exams": lambda run: "not known" if number(run.summary, "data", "num_exams") == 0
            else count(run.summary, "data", "num_exams"),
            "kept together in the split": lambda run: f"images of one {text(run.summary, 'data', 'group_by')}",
            "image size": lambda run: f"{shown_value(run.config.get('data.image_size'))} px",
            "left out": lambda run: count(run.summary, "data", "num_quarantined"),
            "fingerprint of the data": lambda run: text(run.summary, "data", "fingerprint")[:SHORT_HASH],
            "remarks": lambda run: "; ".join(texts(run.summary, "data", "notes")),
        },
    )  # fmt: skip
    return Section("data", "Data and split", (facts, *_split(started)))


def _split(runs: Sequence[ReportedRun]) -> Iterator[Block]:
    """The parts of each division; runs with the same one share its rows."""
    divisions: dict[str, list[ReportedRun]] = {}
    for run in runs:
        divisions.setdefault(text(run.summary, "split", "fingerprint"), []).append(run)
    names = list(dict.fromkeys(name for run in runs for name in mapping(run.summary, "split", "train", "class_counts")))
    rows, notes = [], []
    for fingerprint, members in divisions.items():
        folds = sorted({run.result.fold for run in members if run.result.fold is not None})
        which = "all runs" if len(divisions) == 1 else members[0].label
        if folds:
            which = f"fold {', '.join(map(str, folds))}"
        for part, words in (("train", "training"), ("val", "validation"), ("test", "test (set aside)")):
            tree = look(members[0].summary, "split", part)
            if tree is None or (part == "test" and not number(tree, "images")):
                continue
            rows.append(row(Cell(which), words, count(tree, "patients"), count(tree, "images"),
                            *(count(tree, "class_counts", name) for name in names),
                            Cell(fingerprint[:SHORT_HASH], tone="code")))  # fmt: skip
        notes += texts(members[0].summary, "split", "notes")
    if rows:
        heads = (*columns("runs", "part", numbers=("patients", "images", *names)), Column("fingerprint"))
        yield Table("Split: patients, images, and images of each class", heads, tuple(rows),
                    note="; ".join(dict.fromkeys(notes)))  # fmt: skip


def quarantine_section(data: ReportData) -> Section:
    """Everything that was left out, and why."""
    found: dict[tuple[str, str, str], None] = {}
    for run in data.runs:
        table = run.files.quarantine
        if table is not None and {"image_id", "stage", "reason"} <= set(table.columns):
            found |= dict.fromkeys(
                (line["image_id"], line["stage"], without_folders(line["reason"])) for line in table.rows
            )
    if not found:
        known = any(run.files.quarantine is not None for run in data.runs)
        words = "Nothing was left out." if known else "No run has a quarantine.csv: it is not known what was left out."
        return Section("quarantine", "Left out", (Text(words),))
    counts = Counter((stage, reason) for _, stage, reason in found)
    by_reason = Table(
        "Files that were left out, by reason",
        columns("reason", "stage", numbers=("files",)),
        tuple(row(reason, stage, f"{n:,}") for (stage, reason), n in counts.most_common()),
    )
    lines = list(found)
    listed = Table(
        "Every file that was left out",
        columns("image", "stage", "reason"),
        tuple(row(*line) for line in lines[:MAX_LISTED_FILES]),
        note=f"{len(lines) - MAX_LISTED_FILES:,} more are in quarantine.csv" if len(lines) > MAX_LISTED_FILES else "",
    )
    words = f"{plural(len(lines), 'file')} could not be used. Nothing of what follows is in training or validation."
    return Section("quarantine", "Left out", (Text(words), by_reason, Details(f"All {len(lines):,}", (listed,))))


def configuration_section(data: ReportData) -> Section:
    """Every option; those in which the runs differ stand first and are marked in the whole list."""
    runs = [run for run in data.runs if run.config]
    if not runs:
        return Section("configuration", "Configuration", (Text("No config.yaml could be read.", tone="bad"),))
    keys = list(dict.fromkeys(key for run in runs for key in run.config))
    values = {key: [shown_value(run.config[key]) if key in run.config else "-" for run in runs] for key in keys}
    differing = [key for key in keys if len(set(values[key])) > 1]
    blocks: list[Block] = []
    if len(runs) == 1:
        blocks.append(Text("One run: there is nothing to compare."))
    elif not differing:
        blocks.append(Text(f"All {len(runs)} runs have the same options."))
    else:
        options = f"{plural(len(differing), 'option')} of {len(keys)}"
        differ = "differs" if len(differing) == 1 else "differ"
        blocks += [Text(f"{options} {differ} between the {len(runs)} runs."), _differences(runs, differing, values)]
    rows = tuple(
        row(Cell(key, tone="changed" if key in differing else ""),
            Cell(_listed_values(values[key]), tone="changed" if key in differing else ""))
        for key in keys
    )  # fmt: skip
    marked = ", what differs between runs marked" if differing else ""
    whole = Table(f"All {len(keys)} options{marked}", columns("option", "value"), rows)
    return Section("configuration", "Configuration", (*blocks, Details(f"All {len(keys)} options", (whole,))))


def _differences(runs: Sequence[ReportedRun], keys: Sequence[str], values: Mapping[str, Sequence[str]]) -> Table:
    caption = "Options in which the runs differ"
    if len(runs) > MAX_RUN_COLUMNS:
        return Table(caption, columns("option", "values"), tuple(row(key, _listed_values(values[key])) for key in keys))
    return Table(caption, columns("option", *(run.label for run in runs)),
                 tuple(row(key, *values[key]) for key in keys))  # fmt: skip


def _listed_values(values: Sequence[str]) -> str:
    counts = Counter(values)
    if len(counts) == 1:
        return values[0]
    return ", ".join(f"{value} ({n} x)" if n > 1 else value for value, n in counts.items())


def provenance_section(data: ReportData) -> Section:
    """Which code, machine, weights and commands made the runs, and when."""
    runs = [run for run in data.runs if run.summary]
    blocks: list[Block] = []
    if runs:
        blocks += [_code_and_machine(runs), _times(runs), _commands(runs)]
    else:
        blocks.append(Text("No summary.json could be read.", tone="bad"))
    if data.problems:
        blocks.append(Heading("Not understood"))
        blocks += [Text(problem, tone="bad") for problem in data.problems]
    return Section("provenance", "Provenance", tuple(blocks))


def _code_and_machine(runs: Sequence[ReportedRun]) -> Table:
    def environment(key: str) -> Callable[[ReportedRun], str]:
        return lambda run: as_typed(value) if (value := look(run.summary, "environment", key)) is not None else ""

    def versions(run: ReportedRun) -> str:
        names = ("python", "torch", "torchvision", "timm", "hydra")
        return ", ".join(f"{name} {value}" for name in names if (value := text(run.summary, "environment", name)))

    return _facts(
        "Code, machine and weights",
        runs,
        {
            "commit": lambda run: text(run.summary, "git", "commit")[:SHORT_HASH] or "not known",
            "branch": lambda run: text(run.summary, "git", "branch"),
            "changes in no commit": _changes,
            "mammo": environment("mammo"),
            "versions": versions,
            "platform": environment("platform"),
            "device": lambda run: " ".join(
                filter(None, (text(run.summary, "environment", "device"),
                              text(run.summary, "environment", "device_name")))),
            "CPU threads": environment("threads"),
            "dtype in training": environment("amp_dtype"),
            "deterministic kernels": environment("deterministic"),
            "model": lambda run: text(run.summary, "model", "name"),
            "weights": lambda run: text(run.summary, "model", "weights", "source"),
            "why these weights": lambda run: text(run.summary, "model", "weights", "reason"),
            "SHA-256 of the weights": lambda run: text(run.summary, "model", "weights", "sha256")[:SHORT_HASH],
            "parameters": lambda run: count(run.summary, "model", "parameters_total"),
            "trainable parameters": lambda run: count(run.summary, "model", "parameters_trainable"),
            "strategy": lambda run: text(run.summary, "strategy"),
            "sampler": lambda run: text(run.summary, "balance", "sampler"),
        },
    )  # fmt: skip


def _changes(run: ReportedRun) -> str:
    dirty = look(run.summary, "git", "dirty")
    if dirty is None:
        return "not known"
    digest = text(run.summary, "git", "diff_sha256")[:SHORT_HASH]
    return f"yes (SHA-256 of the difference {digest})" if dirty else "none"


def _times(runs: Sequence[ReportedRun]) -> Table:
    rows = []
    for run in runs:
        seconds = number(run.summary, "seconds")
        rate = number(run.summary, "throughput", "train_images_per_second")
        rows.append(row(
            Cell(run.label, below=text(run.summary, "run_id")), _time(text(run.summary, "started_at")),
            _time(text(run.summary, "finished_at")), "-" if seconds is None else duration(seconds),
            f"{count(run.summary, 'epochs_run')} of {count(run.summary, 'epochs_planned')}",
            "-" if rate is None else f"{rate:,.0f}",
        ))  # fmt: skip
    heads = columns("run", "started (UTC)", "finished (UTC)", numbers=("duration", "epochs", "images/s in training"))
    return Table("When and how long", heads, tuple(rows))


def _time(text_of_time: str) -> str:
    return text_of_time.replace("T", " ").removesuffix("+00:00") or "-"


def duration(seconds: float) -> str:
    """`3.2 s`, `4 min 05 s`, `2 h 03 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min {int(seconds % 60):02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _commands(runs: Sequence[ReportedRun]) -> Details:
    commands = dict.fromkeys(_command(text(run.summary, "command")) for run in runs)
    blocks = tuple(Code(command) for command in commands if command)
    return Details("Commands, folders cut to their last names", blocks or (Text("not recorded"),))


def _command(command: str) -> str:
    """A command as it was typed, every folder in it cut to its last name."""
    try:
        words = shlex.split(command)
    except ValueError:
        return without_folders(command)
    parts = (word.partition("=") for word in words)
    return shlex.join(f"{shown_value(key)}{sign}{shown_value(value)}" for key, sign, value in parts)
