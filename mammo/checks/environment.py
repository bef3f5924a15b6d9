"""Everything about the environment that a run depends on, also where torch cannot be imported."""

from __future__ import annotations

from mammo.checks.folders import check_folders
from mammo.checks.machine import check_machine
from mammo.checks.packages import check_packages
from mammo.checks.probe import probe
from mammo.checks.report import Finding, Section, note, ok
from mammo.checks.weights import check_weights
from mammo.runs.provenance import git_state


def check_environment() -> list[Section]:
    """Sections about packages, machine, folders, weights and code."""
    probed = probe()
    return [
        Section("Python and packages", check_packages(probed.errors)),
        Section("Machine", check_machine(probed.machine)),
        Section("Folders", check_folders()),
        Section("Pretrained weights", check_weights(probed.weights)),
        Section("Code", [_git_finding()]),
    ]


def _git_finding() -> Finding:
    state = git_state()
    if state["commit"] is None:
        return note("git", "the code is not in a git checkout, or git is not installed: runs record no commit")
    if state["dirty"]:
        to_do = "commit before runs that are to be published: they record the commit, and that it was changed"
        return note("git", f"{state['commit'][:12]}, with changes that are not committed", to_do)
    return ok("git", f"{state['commit'][:12]} on {state['branch']}, nothing changed")
