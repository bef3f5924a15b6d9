"""What was measured, for people: the tables of docs/performance.md and its chart, made from the files of results.

Every machine has a file of its own in benchmarks/results, with all samples; a part that is measured again replaces
only its own numbers there. The text around the markers of the document is written by hand and stays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.chart import write_chart
from benchmarks.samples import Comparison, PartResult, Table, median_and_spread, number

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
CHART = Path("images") / "performance.png"
CHARTED_PARTS = ("training", "decoding")
# As they follow one another in the document, whatever was measured first.
PARTS = ("training", "sweep", "ceiling", "decoding", "evaluation", "growth", "startup")
SCHEMA_VERSION = 1


def store_part(file: Path, machine: dict[str, Any], name: str, result: PartResult, origin: dict[str, Any]) -> None:
    """Put a part into a machine's file of results; `origin` says when, from which commit and beside what load."""
    content = json.loads(file.read_text()) if file.exists() else {"parts": {}}
    content |= {"schema_version": SCHEMA_VERSION, "machine": machine}
    content["parts"][name] = origin | {"machine": machine} | result.to_dict()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


def write_report(results: Path, document: Path) -> None:
    """Replace the generated part of the document, and its chart, by what the files in `results` hold."""
    machines = [json.loads(file.read_text()) for file in sorted(results.glob("*.json"))]
    if not machines:
        return
    text = replace_generated(document.read_text(), "\n\n".join(machine_section(content) for content in machines))
    chart = document.parent / CHART
    charted = {machine_name(content["machine"]): _charted(content) for content in machines}
    chart.parent.mkdir(parents=True, exist_ok=True)
    write_chart({name: comparisons for name, comparisons in charted.items() if comparisons}, chart)
    document.write_text(text)


def replace_generated(text: str, generated: str) -> str:
    """The text with what is between the markers replaced; raises ValueError where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{generated}\n\n{END}{after}"


def machine_name(machine: dict[str, Any]) -> str:
    """Such as `AMD EPYC, 2 cores`, with the GPU where it computes."""
    name = f"{machine['cpu']}, {machine['cores']} cores"
    return f"{machine['gpu']} ({name})" if machine["gpu"] else name


def machine_section(content: dict[str, Any]) -> str:
    """Everything that was measured on a machine, in Markdown."""
    machine = content["machine"]
    versions = ", ".join(f"{package} {number}" for package, number in machine["versions"].items())
    precision = "bf16" if machine["fast_bf16"] else "no fast bf16"
    lines = [f"## {machine_name(machine)}", "", f"{machine['threads']} threads, {precision}; {versions}."]
    for name in sorted(content["parts"], key=PARTS.index):
        lines += ["", *_part_lines(content["parts"][name])]
    return "\n".join(lines)


def _part_lines(part: dict[str, Any]) -> list[str]:
    result = PartResult.from_dict(part)
    commit = (part["git_commit"] or "unknown")[:10] + (" with changes" if part["git_dirty"] else "")
    load = "" if part["load_before"] is None else f", load of the machine before: {part['load_before']:.1f}"
    measured = f"Measured {part['measured_at'][:10]} at commit {commit}{load}."
    lines = [f"### {result.title}", "", *result.notes, measured]
    if result.comparisons:
        lines += ["", *markdown(comparison_table(result.comparisons, result.other_name))]
        lines += [f"\n{comparison.name}: {comparison.note}." for comparison in result.comparisons if comparison.note]
    for table in result.tables:
        lines += ["", *markdown(table)]
    return lines


def comparison_table(comparisons: list[Comparison], other_name: str) -> Table:
    """Medians with the range over the rounds, the ratio of the medians, and what was to be reached."""
    rows = []
    for one in comparisons:
        ratio = "-"
        if one.ratio is not None and one.ratio_range is not None:
            low, high = one.ratio_range
            ratio = f"**{number(one.ratio)}x**" + (f" ({number(low)} - {number(high)})" if len(one.project) > 1 else "")
        target = "" if one.target is None else f"{one.target:g}x"
        reached = {True: "yes", False: "no", None: ""}[one.reached]
        ours, theirs = median_and_spread(one.project), median_and_spread(one.other)
        rows.append([one.name, f"{ours} {one.unit}", theirs, ratio, target, reached])
    return Table(["", "mammo", other_name, "speed ratio", "at least", "reached"], rows)


def markdown(table: Table) -> list[str]:
    """The lines of a table."""
    rows = [table.header, ["---"] * len(table.header), *table.rows]
    return [f"| {' | '.join(row)} |" for row in rows]


def _charted(content: dict[str, Any]) -> list[Comparison]:
    parts = [PartResult.from_dict(content["parts"][name]) for name in CHARTED_PARTS if name in content["parts"]]
    return [comparison for part in parts for comparison in part.comparisons if comparison.ratio is not None]
