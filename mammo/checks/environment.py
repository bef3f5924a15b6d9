"""Everything about the environment that a run depends on, also where torch cannot be imported."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mammo.checks.folders import check_folders
from mammo.checks.probe import probe
from mammo.checks.report import Finding, Level, Section, counted, note, ok, problem, some
from mammo.runs.provenance import git_state
from mammo.support.cores import usable_cores

if TYPE_CHECKING:
    from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
# These have a line of their own; the others are counted when nothing is wrong with them.
SHOWN = ("torch", "torchvision", "timm", "hydra-core", "pydicom", "imagecodecs", "scikit-learn")
INSTALL = "make train installs everything into .venv; or: pip install -c constraints.txt -e ."
GIGABYTE = 10**9
LOW_MEMORY_BYTES = 4 * GIGABYTE
CONTROL_GROUP = Path("/sys/fs/cgroup")


def check_environment() -> list[Section]:
    """Sections about packages, machine, folders, weights and code."""
    probed = probe()
    return [
        Section("Python and packages", check_packages(probed.import_errors)),
        Section("Machine", [_cores_finding(), _memory_finding(), *probed.machine]),
        Section("Folders", check_folders()),
        Section("Pretrained weights", probed.weights),
        Section("Code", [_git_finding()]),
    ]


def check_packages(import_errors: Mapping[str, str]) -> list[Finding]:
    """Versions against what pyproject.toml asks for and constraints.txt was tested with.

    `import_errors` is why a distribution cannot be imported.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return [problem("packaging", "is not installed, so versions cannot be compared", INSTALL)]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    python = Requirement(f"Python{project['requires-python']}")
    findings = [_version_finding(python, platform.python_version(), None)]
    every = map(Requirement, project["dependencies"])
    packages = [_version_finding(one, _version(one.name), import_errors.get(one.name)) for one in every]
    shown = [finding for finding in packages if finding.subject in SHOWN or finding.level is not Level.OK]
    others = ok("other packages", f"{len(packages) - len(shown)} more, as pyproject.toml asks")
    return [*findings, *shown, others, _tested_finding()]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _version_finding(wanted: Requirement, version: str | None, import_error: str | None) -> Finding:
    asked_for = f"asked for: {wanted.specifier or 'any version'}"
    if version is None:
        return problem(wanted.name, f"is not installed; {asked_for}", INSTALL)
    if import_error is not None:
        return problem(wanted.name, f"{version} is installed, but cannot be imported:\n{import_error}", INSTALL)
    if not wanted.specifier.contains(version, prereleases=True):
        return problem(wanted.name, f"{version}; {asked_for}", INSTALL)
    return ok(wanted.name, f"{version} ({asked_for})")


def _tested_finding() -> Finding:
    """Whether the versions are those of constraints.txt, the set that the tests pass with."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    # Those that a reader knows come first; what is not installed is of an extra, or of another platform.
    versions = [(name not in SHOWN, name, _version(name), tested) for name, tested in pins]
    others = [
        f"{name} {version} ({tested})"
        for _, name, version, tested in sorted(versions)
        if version and version.partition("+")[0] != tested
    ]
    if not others:
        return ok("constraints.txt", "all versions are those that were tested together")
    text = f"{len(others)} packages have another version than the tested one (in brackets): {some(others, 5)}"
    return note("constraints.txt", text)


def _cores_finding() -> Finding:
    cores = usable_cores()
    text = f"{counted(cores, 'core')} to use"
    try:  # what a control group (of a container, of a batch system) leaves; "max" is no number
        quota, period = map(int, (CONTROL_GROUP / "cpu.max").read_text().split())
    except (OSError, ValueError):
        return ok("processor", text)
    if quota >= cores * period:
        return ok("processor", text)
    to_do = f"train.threads={max(1, quota // period)}: more threads than that wait for one another"
    return note("processor", f"{text}; this container may use {quota / period:g} of them at a time", to_do)


def _memory_finding() -> Finding:
    try:
        available, total = (
            int(re.search(rf"{name}:\s*(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024  # type: ignore[index]
            for name in ("MemAvailable", "MemTotal")
        )
    except (OSError, TypeError):
        return note("memory", "not known on this system")
    with contextlib.suppress(OSError, ValueError):  # as above
        limit, used = (int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        available, total = min(available, limit - used), min(total, limit)
    text = f"{available / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free"
    if available < LOW_MEMORY_BYTES:
        return note("memory", text, "a smaller data.batch_size or data.image_size if a run is ended for its memory")
    return ok("memory", text)


def _git_finding() -> Finding:
    state = git_state()
    if state["commit"] is None:
        return note("git", "the code is not in a git checkout, or git is not installed: runs record no commit")
    if state["dirty"]:
        to_do = "commit before runs that are to be published: they record the commit, and that it was changed"
        return note("git", f"{state['commit'][:12]}, with changes that are not committed", to_do)
    return ok("git", f"{state['commit'][:12]} on {state['branch']}, nothing changed")
