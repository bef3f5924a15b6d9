"""Modules are imported on every system: what only some have is asked for where it is used."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.conftest import REPOSITORY

# Of the standard library; none of these is there on Windows.
ONLY_POSIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "spwd", "syslog", "termios", "tty"}
MODULES = sorted([*(REPOSITORY / "mammo").rglob("*.py"), *(REPOSITORY / "hydra_plugins").rglob("*.py")])


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What a module executes when it is imported: not the bodies of functions, nor what a `try` may fail at."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Try):
            continue
        yield child
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            for outside in (*getattr(child, "decorator_list", []), child.args):
                yield from run_at_import(outside)
        else:
            yield from run_at_import(child)


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [(node.module or "").split(".")[0]] if isinstance(node, ast.ImportFrom) else []


def needed_at_import(code: str) -> set[str]:
    return {name for node in run_at_import(ast.parse(code)) for name in imported(node)} & ONLY_POSIX


def test_no_import_needs_a_system() -> None:
    found = {file: needed_at_import(file.read_text(encoding="utf-8")) for file in MODULES}
    assert len(found) > 100
    assert {file: names for file, names in found.items() if names} == {}


def test_such_an_import_is_found() -> None:
    code = "import os, fcntl\nclass A:\n    import pwd\ndef f():\n    import grp\ntry:\n    import tty\nfinally: ..."
    assert needed_at_import(code) == {"fcntl", "pwd"}
