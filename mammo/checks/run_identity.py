"""Which run a directory holds, and whether everything in it says the same about that."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from mammo.checks.report import Finding, note, ok, problem, some
from mammo.config.check import check_stored
from mammo.config.tree import Config, run_id
from mammo.runs.provenance import git_state
from mammo.runs.reading import RunFiles
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError


def checked_config(run: RunFiles) -> Config | ConfigError | None:
    """The configuration of a run; the error where it does not fit this version; None without `config.yaml`."""
    if run.config is None:
        return None
    try:
        return check_stored(run.config)
    except ConfigError as error:
        return error


def check_identity(run: RunFiles, config: Config | ConfigError | None) -> Iterator[Finding]:
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
        yield _repeated_finding(run, config)
    if of_folder is None:
        yield note("folder", "its name does not end with a run id: it was named by hand")


def _repeated_finding(run: RunFiles, config: Config) -> Finding:
    """Whether the files that repeat options state those of `config.yaml`."""
    data = config.data
    of_summary = {
        "seed": config.seed, "fold": data.fold, "strategy": config.strategy.name, "data.name": data.name,
        "model.name": config.model.name, "balance.sampler": config.sampler.name, "epochs_planned": config.train.epochs,
    }  # fmt: skip
    of_manifest = {
        "split_seed": data.split_seed, "num_folds": data.num_folds, "fold": data.fold,
        "val_fraction": data.val_fraction if data.num_folds is None else None,
    }  # fmt: skip
    wrong = []
    for file, tree, wanted in (("summary.json", run.summary, of_summary), ("manifest.json", run.manifest, of_manifest)):
        stated = flatten(tree or {})
        wrong += [
            f"{file} says {key}={stated[key]}, not {value}"
            for key, value in wanted.items()
            if key in stated and stated[key] != value
        ]
    return problem("options", some(wrong, 4)) if wrong else ok("options", "all files state those of config.yaml")


def check_provenance(run: RunFiles) -> Iterator[Finding]:
    """Command and code are known."""
    if run.summary is None or "git" not in run.summary:
        return
    if run.summary["command"].strip():
        yield ok("command", "is there")
    else:
        yield problem("command", "is empty: it is not known how the run was started")
    git = run.summary["git"]
    if not git["commit"]:
        yield note("git", "no commit: the code was not in a git checkout")
    elif git["dirty"]:
        text = f"{git['commit'][:12]}, with changes that were not committed: that code cannot be had again"
        yield note("git", text)
    else:
        yield ok("git", f"{git['commit'][:12]}, nothing changed")


def _other_code(run: RunFiles) -> str:
    """That the run was made by another commit than this one; empty where it was not, or that is not known."""
    made_by = ((run.summary or {}).get("git") or {}).get("commit")
    here = _commit()
    return f"made by commit {made_by[:12]}, this is {here[:12]}" if made_by and here and made_by != here else ""


@functools.cache
def _commit() -> str | None:
    return git_state()["commit"]
