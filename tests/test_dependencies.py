"""What is installed with the project is known to the last package, and exceptions from security rules have reasons."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement

from tests.conftest import REPOSITORY


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def test_every_package_is_pinned():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {name_of(line.split("==")[0]) for line in lines if "==" in line}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    to_do = [Requirement(line) for line in project["dependencies"]]
    seen: set[str] = set()
    while to_do:
        requirement = to_do.pop()
        name = name_of(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        try:
            to_do += [Requirement(line) for line in requires(requirement.name) or []]
        except PackageNotFoundError:
            continue  # an extra of another platform
    assert len(seen) > 30
    assert sorted(seen - pinned - {"setuptools"}) == []


def test_security_rules_are_on_and_exceptions_have_reasons():
    lint = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    for folder in ("mammo", "hydra_plugins"):
        for file in (REPOSITORY / folder).rglob("*.py"):
            for line in file.read_text().splitlines():
                assert not re.search(r"noqa:\s*S\d+\s*$", line), f"{file.name}: {line.strip()}"
