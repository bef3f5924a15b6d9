"""Configuration files from elsewhere are data: they choose options, and name nothing that is called.

Hydra makes objects of what a configuration names: callbacks, launchers, samplers, the handlers of logs. The files
of conf/ belong to the code and may use that. A file of another folder (`--config-dir`, the `best_config.yaml` of
somebody else's search) may set the options of the project and nothing else, and is refused before Hydra acts on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigResult

from mammo.errors import ConfigError
from mammo.yaml_files import read_yaml

CONFIG_FOLDER = Path(__file__).resolve().parents[1] / "conf"
# `${train.epochs}` refers to another option; everything else between braces calls a function (`${oc.env:NAME}`).
_REFERENCE = re.compile(r"\$\{[\w.]+\}")


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's reader of configuration files; those outside of conf/ are checked first.

    It has the name of Hydra's own: processes of a launcher get it with the state of Hydra, which then goes by names.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """See ConfigSource; raises ConfigError for a file that is more than data."""
        file = Path(self.path, self._normalize_file_name(config_path))
        if not file.exists() or Path(self.path).resolve() == CONFIG_FOLDER:
            return super().load_config(config_path)
        name = f"{Path(self.path).name}/{config_path.removesuffix('.yaml')}.yaml"
        try:
            tree = read_yaml(file)
        except yaml.YAMLError as error:
            raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
        except ValueError as error:
            raise ConfigError(f"{name} cannot be read: {error}") from error
        result = super().load_config(config_path)
        package = str((result.header or {}).get("package") or "")
        places = [*config_path.removesuffix(".yaml").split("/"), *package.split(".")]
        found = "it is meant for Hydra" if "hydra" in places else next(_more_than_data(tree), None)
        if found is not None:
            raise ConfigError(
                f"{name}: {found}",
                "a file outside of conf/ sets options of the project: it is data, whoever wrote it",
                "if you wrote it and trust it: put it into conf/, or give these settings on the command line",
            )
        return result


def check_config_files() -> None:
    """Let Hydra read files through this `FileConfigSource`; its plugins must have been found already."""
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource


def _more_than_data(tree: Any, where: str = "") -> Iterator[str]:
    """What of a file would be called, or would change Hydra, in words."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            name = f"{where}{key}"
            if key == "_target_":
                yield f"{name} names code to call"
            if not where and re.match(r"hydra\b", str(key)):
                yield f"{name} is a setting of Hydra, which can start programs"
            if name == "defaults" and "hydra" in str(value):
                yield "its defaults choose settings of Hydra, which can start programs"
            yield from _more_than_data(value, f"{name}.")
    elif isinstance(tree, list):
        for value in tree:
            yield from _more_than_data(value, where or "list.")
    elif isinstance(tree, str) and "${" in _REFERENCE.sub("", tree):
        yield f"{where.rstrip('.')} calls a resolver ({tree[:40]})"
