"""Python and the installed packages, against what the project asks for and what it was tested with."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mammo.checks.report import Finding, Level, note, ok, problem, some

if TYPE_CHECKING:
    from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[2]
# These have a line of their own; the others are counted when nothing is wrong with them.
SHOWN = ("torch", "torchvision", "timm", "hydra-core", "pydicom", "imagecodecs", "scikit-learn")
INSTALL = "make train installs everything into .venv; or: pip install -c constraints.txt -e ."


def check_packages(import_errors: Mapping[str, str]) -> list[Finding]:
    """Findings about versions; `import_errors` is why a distribution cannot be imported."""
    python, required = _required()
    findings = [_python_finding(python)]
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return [*findings, problem("packaging", "is not installed, so versions cannot be compared", INSTALL)]
    every = [_package_finding(wanted, import_errors.get(wanted.name)) for wanted in map(Requirement, required)]
    shown = [finding for finding in every if finding.subject in SHOWN or finding.level is not Level.OK]
    findings += shown
    if len(every) > len(shown):
        findings.append(ok("other packages", f"{len(every) - len(shown)} more, as pyproject.toml asks"))
    if not required:
        findings.append(note("packages", "not compared: there is neither pyproject.toml nor an installed mammo"))
    return [*findings, *_compared_with_tested()]


def _required() -> tuple[str, list[str]]:
    """The Python and the packages that are asked for: by pyproject.toml, or by the installed metadata."""
    file = REPOSITORY / "pyproject.toml"
    if file.is_file():
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        return project["requires-python"], project["dependencies"]
    try:
        metadata = importlib.metadata.metadata("mammo")
    except importlib.metadata.PackageNotFoundError:
        return "", []
    every = importlib.metadata.requires("mammo") or []
    return metadata["Requires-Python"], [text for text in every if "extra ==" not in text]


def _python_finding(required: str) -> Finding:
    version = platform.python_version()
    lowest = tuple(map(int, re.findall(r"\d+", required)))
    if tuple(map(int, platform.python_version_tuple()[:2])) < lowest:
        return problem("Python", f"{version}, but {required} is asked for", "install it, then make train")
    return ok("Python", f"{version} on {platform.system()} {platform.machine()}")


def _package_finding(wanted: Requirement, import_error: str | None) -> Finding:
    asked_for = f"asked for: {wanted.specifier}" if wanted.specifier else "asked for: any version"
    try:
        version = importlib.metadata.version(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        return problem(wanted.name, f"is not installed; {asked_for}", INSTALL)
    if import_error is not None:
        return problem(wanted.name, f"{version} is installed, but cannot be imported:\n{import_error}", INSTALL)
    if not wanted.specifier.contains(version, prereleases=True):
        return problem(wanted.name, f"{version}; {asked_for}", INSTALL)
    return ok(wanted.name, f"{version} ({asked_for})")


def _compared_with_tested() -> list[Finding]:
    """Whether the versions are those of constraints.txt, the set that the tests pass with."""
    file = REPOSITORY / "constraints.txt"
    if not file.is_file():
        return []
    pins = re.findall(r"^([\w.-]+)==(\S+)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    others = []
    for name, tested in pins:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an extra, or of another platform
        if version.partition("+")[0] != tested:
            others.append(f"{name} {version} ({tested})")
    if not others:
        return [ok("constraints.txt", "all versions are those that were tested together")]
    # Those that a reader knows come first.
    others.sort(key=lambda text: (text.split()[0] not in SHOWN, text))
    text = f"{len(others)} packages have another version than the tested one (in brackets): {some(others, 5)}"
    return [note("constraints.txt", text)]
