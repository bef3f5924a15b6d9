"""The options of the YAML files as the command composes them, and where the shared data is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mammo.data.data_options import DataOptions, TableOptions

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = REPOSITORY.parent / "shared" / "data"


@pytest.fixture
def options_of() -> Callable[..., DataOptions]:
    """Options of `conf/data/<name>.yaml` over the defaults, with changes; `table` changes are merged."""

    def load(name: str, table: dict[str, Any] | None = None, **changes: Any) -> DataOptions:
        values = yaml.safe_load((REPOSITORY / "conf" / "data" / f"{name}.yaml").read_text(encoding="utf-8"))
        values["table"] = TableOptions(**{**values.get("table", {}), **(table or {})})
        return DataOptions(**{**values, **changes})

    return load


@pytest.fixture(scope="session")
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"the shared real data is not at {SHARED}")
    return SHARED
