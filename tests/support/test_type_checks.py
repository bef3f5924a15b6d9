"""What is said of values that have another type than their readers build on."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mammo.runs.stored import RESULTS, Malformed, SplitManifest, checked, read_summary, shape_of
from mammo.support.files import read_csv, read_json
from mammo.support.type_checks import faults
from mammo.support.yaml_files import read_yaml
from mammo.training.checkpoint_content import Record

# Key, a wrong value, what is said.
WRONG = {
    "truth for a number": ("seed", True, "seed is true or false, expected a whole number"),
    "number as text": ("objective", "0.5 of Jane Doe", "objective is text, expected a number"),
    "null": ("metrics", None, "metrics is null, expected a mapping"),
    "list for a mapping": ("data", [1], "data is a list, expected a mapping"),
    "fraction for a count": ("epochs_run", 1.5, "epochs_run is a number, expected a whole number"),
    "negative": ("best_epoch", -1, "best_epoch is lower, expected at least 0"),
    "beyond 64 bits": ("best_epoch", 2**70, "best_epoch is a number beyond 64 bits, expected a whole number"),
    "not finite": ("objective", float("nan"), "objective is no finite number, expected a number"),
    "status": ("status", "done by Jane Doe", "status is text, expected one of"),
}


@pytest.fixture
def summary(tiny_run: Path) -> dict:
    return json.loads((tiny_run / "summary.json").read_text())


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_type_is_said_by_key_and_type(summary: dict, name: str) -> None:
    key, value, said = WRONG[name]
    with pytest.raises(Malformed) as error:
        checked({**summary, key: value}, shape_of(summary), RESULTS)
    assert said in str(error.value)
    assert "Jane" not in str(error.value)


def test_what_a_run_writes_is_complete_and_other_versions_may_have_other_keys(summary: dict, tiny_run: Path) -> None:
    assert not list(faults(summary, shape_of(summary), complete=True))
    history = json.loads((tiny_run / "train_history.json").read_text())
    assert not list(faults(history, list[Record], complete=True))
    manifest = json.loads((tiny_run / "splits" / "manifest.json").read_text())
    assert not list(faults(manifest, SplitManifest, complete=True))
    del summary["git"], summary["environment"]["timm"]
    summary["of_a_later_version"] = {"deep": [1]}
    assert checked(summary, shape_of(summary), RESULTS)
    assert list(faults(summary, shape_of(summary), complete=True)) == ["git is missing", "environment.timm is missing"]


def test_what_is_wrong_within_a_list_or_a_mapping_is_said_without_its_names(summary: dict) -> None:
    summary["metrics"]["ci95"] = {"Jane Doe": [1.0]}
    summary["data"]["class_counts"] = {"Jane Doe": "x"}
    said = list(faults(summary, shape_of(summary)))
    assert said == [
        "an entry of data.class_counts is text, expected a whole number",
        "an entry of metrics.ci95 is a list of 1, expected 2",
    ]


@pytest.mark.parametrize("read", [read_json, read_yaml, read_csv, read_summary])
@pytest.mark.parametrize("kind", ["folder", "pipe", "endless", "huge", "bytes", "empty"])
def test_what_is_no_file_of_text_is_refused_at_once(tmp_path: Path, read, kind: str) -> None:
    file = tmp_path / "file"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "endless":
        file.symlink_to("/dev/zero")
    else:
        file.write_bytes({"huge": b"", "bytes": b"\xff\xfe{}", "empty": b""}[kind])
    if kind == "huge":
        os.truncate(file, 2**40)
    if (kind, read) == ("empty", read_yaml):
        assert read(file) is None
        return
    with pytest.raises(ValueError, match=r".+"):
        read(file)


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": 1e999}', '{"a": 1, "a": 2}', '{"a": 99999999999999999999}', "[]"]
)
def test_json_is_strict(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=r".+"):
        read_json(tmp_path / "a.json")
