"""Which run a directory holds, and whether everything in it says the same about that."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from mammo.checks.report import Finding, note, ok, problem
from mammo.config.tree import Config, run_id
from mammo.runs.provenance import git_state
from mammo.runs.reading import RunReader
from mammo.support.errors import ConfigError


def check_identity(run: RunReader, config: Config | ConfigError | None) -> Iterator[Finding]:
    """The run id, recomputed, in the name of the folder and in the summary."""
    stated = (run.summary or {}).get("run_id")
    found = re.search(r"-([0-9a-f]{8})$", run.folder.resolve().name)
    of_folder = found.group(1) if found else None
    if isinstance(config, ConfigError):
        text = f"does not fit this version of mammo: {config.found.splitlines()[0]}"
        # Options come and go: with other code that is no sign of damage.
        yield note("config.yaml", f"{text}; {_other_code(run)}") if _other_code(run) else problem("config.yaml", text)
    elif config is not None:
        recomputed = run_id(config)
        differing = [
            f"{where} says {value}"
            for where, value in (("summary.json", stated), ("the name of the folder", of_folder))
            if value not in (None, recomputed)
        ]
        if differing:
            other_code = f"; {_other_code(run)}, which may have other options" if _other_code(run) else ""
            text = f"{recomputed} follows from config.yaml, but {' and '.join(differing)}{other_code}"
            yield problem("run id", text, "find out which of them was changed; run.restart=true starts over")
        else:
            yield ok("run id", f"{recomputed}, recomputed from config.yaml")
    if of_folder is None:
        yield note("folder", "its name does not end with a run id: it was named by hand")


def check_provenance(run: RunReader) -> Iterator[Finding]:
    """Command and code are known."""
    if "git" not in (summary := run.summary or {}):
        return
    if summary["command"].strip():
        yield ok("command", "is there")
    else:
        yield problem("command", "is empty: it is not known how the run was started")
    git = summary["git"]
    if not git["commit"]:
        yield note("git", "no commit: the code was not in a git checkout")
    elif git["dirty"]:
        text = f"{git['commit'][:12]}, with changes that were not committed: that code cannot be had again"
        yield note("git", text)
    else:
        yield ok("git", f"{git['commit'][:12]}, nothing changed")


def _other_code(run: RunReader) -> str:
    """That the run was made by another commit than this one; empty where it was not, or that is not known."""
    made_by = ((run.summary or {}).get("git") or {}).get("commit")
    here = _commit()
    return f"made by commit {made_by[:12]}, this is {here[:12]}" if made_by and here and made_by != here else ""


@functools.cache
def _commit() -> str | None:
    return git_state()["commit"]
