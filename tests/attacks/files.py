"""What can stand in the place of a file: other content, a folder, a pipe, a link to somewhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import yaml

from tests.attacks.values import Random, changed_tree, chosen, damaged_text, json_text

HUGE_BYTES = 8 * 2**30


def attack_place(file: Path, canary: Path, random: Random) -> str:
    """Put something else into the place of a file."""
    kinds = (
        "folder",
        "pipe",
        "link to a canary",
        "link to itself",
        "endless link",
        "huge",
        "link to nowhere",
        "missing",
    )
    kind = chosen(random, kinds)
    if file.is_dir():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    if kind == "folder":
        (file / "inner").mkdir(parents=True)
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "link to a canary":
        file.symlink_to(canary / "secret.txt")
    elif kind == "link to itself":
        file.symlink_to(file.name)
    elif kind == "endless link":
        file.symlink_to("/dev/zero")
    elif kind == "huge":
        with file.open("wb") as stream:
            stream.truncate(HUGE_BYTES)
    elif kind == "link to nowhere":
        file.symlink_to(canary / "not-there")
    return f"{file.name} is a {kind}"


def attack_folder(folder: Path, canary: Path, random: Random) -> str:
    """Put something else into the place of a folder."""
    if folder.is_dir():
        shutil.rmtree(folder)
    folder.unlink(missing_ok=True) if not folder.is_dir() else None
    kind = chosen(random, ("file", "link to a canary", "missing", "link to itself", "empty"))
    if kind == "file":
        folder.write_text("no folder")
    elif kind == "link to a canary":
        folder.symlink_to(canary)
    elif kind == "link to itself":
        folder.symlink_to(folder.name)
    elif kind == "empty":
        folder.mkdir()
    return f"{folder.name}/ is a {kind}"


def attack_text(file: Path, random: Random, marker: str) -> str:
    """Change what a file says: its tree, if it is JSON or YAML, or its text."""
    content = file.read_bytes()
    tree = _tree_of(content) if file.suffix in (".json", ".yaml") and random.random() < 0.8 else None
    if tree is not None:
        tree, what = changed_tree(tree, random, marker, int(random.integers(1, 3)))
        text = json_text(tree) if file.suffix == ".json" else _yaml_text(tree)
        if file.suffix == ".json" and random.random() < 0.05:
            text = text.replace("{", '{"status": "completed", "status": 3,', 1)
            what += "; a key is there twice"
        new = text.encode("utf-8", "surrogatepass")
    else:
        new, what = damaged_text(content, random)
    file.unlink()  # it may be linked to another one
    file.write_bytes(new)
    return f"{file.name}: {what}"


def _tree_of(content: bytes) -> object:
    """What a JSON or YAML file holds; None where an earlier attack has left neither."""
    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeError, RecursionError):
        return None


def _yaml_text(tree: object) -> str:
    try:
        return yaml.dump(tree, sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, UnicodeError):
        return json_text(tree)


def attack_file(file: Path, canary: Path, random: Random, marker: str) -> str:
    """Any attack on a file."""
    # What stands there may be an earlier attack, which would never end or fill the memory.
    is_text = file.is_file() and not file.is_symlink() and file.stat().st_size < HUGE_BYTES
    if not is_text or random.random() < 0.15:
        return attack_place(file, canary, random)
    return attack_text(file, random, marker)
