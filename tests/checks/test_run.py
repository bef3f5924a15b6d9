"""A healthy run passes; each thing that is broken on purpose is named."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mammo.checks.report import Level, text_lines
from mammo.checks.run import check_run
from tests.checks.conftest import status_of
from tests.checks.damages import DAMAGES, LAST, changed, truncate
from tests.sweeps.sweeps import change


def problems(folder: Path) -> list[str]:
    """Subject and text of every problem of a run."""
    findings = check_run(folder).findings
    return [f"{finding.subject}: {finding.text}" for finding in findings if finding.level is Level.PROBLEM]


def test_a_healthy_run_passes(run, capsys):
    assert status_of(run) == 0
    output = capsys.readouterr().out
    assert "0 problems" in output
    assert max(map(len, output.splitlines()[1:])) <= 80


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_broken_is_named(run, name, capsys):
    damage, wanted = DAMAGES[name]
    damage(run)
    assert status_of(run, "json=true") == 1
    (section,) = json.loads(capsys.readouterr().out)["sections"]
    found = [f"{one['subject']}: {one['text']}" for one in section["findings"] if one["level"] == "PROBLEM"]
    for text in wanted:
        assert text in "\n".join(found)


@pytest.mark.parametrize("name", [name for name, (_, wanted) in DAMAGES.items() if "has written" not in wanted[0]])
def test_what_does_not_follow_is_named_in_a_run_without_hashes_as_well(run, name):
    damage, wanted = DAMAGES[name]
    (run / "SHA256SUMS").unlink()
    damage(run)
    for text in wanted:
        assert text in "\n".join(problems(run))


def test_any_change_of_a_file_is_named(run):
    """Also one that still fits everything else."""
    for name in ("embeddings_val.npy", "metrics/history.png", ".hydra/overrides.yaml", "checkpoints/MODEL_CARD.md"):
        (run / name).write_bytes((run / name).read_bytes() + b" ")
        assert any(text.startswith(changed(name)) for text in problems(run))


def spots(tree: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths to all values in a tree."""
    yield path
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in children:
        yield from spots(value, (*path, key))


def test_no_content_of_a_file_ends_the_doctor(run):
    """Values of other types, damaged bytes and odd cells are findings, never an error of the doctor itself."""
    shutil.rmtree(run / "checkpoints")
    draw = random.Random(7)
    files = sorted(run.glob("*.json")) + sorted(run.glob("*/*.json")) + sorted(run.rglob("*.csv"))
    for _ in range(60):
        file = draw.choice([*files, run / "config.yaml"])
        before = content = file.read_bytes()
        if draw.random() < 0.3 and content:
            content = bytearray(content)
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        elif file.suffix == ".csv":
            cells = content.decode().split(",")
            cells[draw.randrange(len(cells))] = draw.choice(["", "nan", "inf", "-1", "\x00"])
            content = ",".join(cells).encode()
        else:
            tree = yaml.safe_load(content)  # JSON is YAML
            *path, last = draw.choice([spot for spot in spots(tree) if spot])
            node = tree
            for key in path:
                node = node[key]
            node[last] = draw.choice([None, [], {}, "x", -1, 10**400, True, [[]], {"a": 1}])
            content = json.dumps(tree).encode()
        file.write_bytes(content)
        assert text_lines([check_run(run)])
        file.write_bytes(before)


def test_looking_changes_nothing(run):
    def state() -> dict[str, tuple[int, bytes]]:
        files = [path for path in run.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    check_run(run)
    assert state() == before


def test_a_run_without_hashes_is_a_note(run):
    for file in (run / "SHA256SUMS", run / "checkpoints" / "SHA256SUMS"):
        file.unlink()
    assert problems(run) == []
    lines = "\n".join(text_lines([check_run(run)]))
    assert "no hash of it was recorded" in lines


HOLDS_LOCK = (
    "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); input()"
)


def test_a_run_that_says_running_is_interrupted_when_nobody_holds_it(run):
    change(run / "summary.json", status="running")
    status = next(finding for finding in check_run(run).findings if finding.subject == "status")
    assert (status.level, status.to_do) == (Level.NOTE, "the same command goes on")
    assert "interrupted" in status.text
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS_LOCK, str(run / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        status = next(finding for finding in check_run(run).findings if finding.subject == "status")
        assert "a process is training it now" in status.text
    finally:
        holder.communicate("\n")


def test_a_failed_run_is_a_note_and_says_why(run):
    change(run / "summary.json", status="failed")
    (run / "error.json").write_text(json.dumps({"type": "TrainingError", "message": "the loss is\x1b[31m not finite"}))
    assert problems(run) == []
    lines = "\n".join(text_lines([check_run(run)]))
    assert "failed: TrainingError" in lines
    assert "\x1b" not in lines


def test_a_folder_named_by_hand_is_a_note(run):
    renamed = run.rename(run.with_name("mine"))
    assert problems(renamed) == []
    assert any("named by hand" in finding.text for finding in check_run(renamed).findings)


def test_several_folders_one_of_them_broken(run, tmp_path, capsys):
    broken = shutil.copytree(run, tmp_path / "copies" / run.name)
    truncate(broken / LAST)
    assert status_of(run, broken, "json=true") == 1
    content = json.loads(capsys.readouterr().out)
    assert content["problems"] == 1
    assert [len([f for f in s["findings"] if f["level"] == "PROBLEM"]) for s in content["sections"]] == [0, 1]
