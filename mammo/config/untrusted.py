"""Configuration files from elsewhere are data: they choose options, and name nothing that is called.

Hydra makes objects of what a configuration names: callbacks, launchers, samplers, the handlers of logs. The files
of conf/ belong to the code and may use that. Every other file (`--config-dir`, the `best_config.yaml` of somebody
else's search, what a link in conf/ leads to) is checked before Hydra acts on it, see `mammo.config.foreign`. What
decides is where a file really lies, links resolved, and not the folder in which it was looked up.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins import file_config_source, importlib_resources_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import OmegaConf
from omegaconf._utils import get_yaml_loader

from mammo.config.foreign import CONFIG_FOLDER, is_plain_path, more_than_data, with_present_names
from mammo.config.own_files import GROUP, OwnFile
from mammo.support.errors import ConfigError
from mammo.support.yaml_files import bounded_text

# Packages whose configurations are code that has been installed.
HYDRA_PACKAGES = ("hydra", "hydra_plugins")
SHOWN_PROBLEMS = 10


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """What the command line says that decides how files are read: see `check_config_files`."""

    typed: Collection[str]
    own_files: Mapping[str, OwnFile]
    sections: Collection[str] | None


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's reader of configuration files; those that do not lie in conf/ are checked first.

    The class has the name of Hydra's own: processes of a launcher get it with the state of Hydra, which then goes by
    names.
    """

    def __init__(self, provider: str, path: str, command_line: CommandLine) -> None:
        super().__init__(provider, path)
        self.command_line = command_line

    def is_config(self, config_path: str) -> bool:
        """See ConfigSource; raises ConfigError for a name that leads out of the folder."""
        return _plain(config_path) and (self._own_file(config_path) is not None or super().is_config(config_path))

    def _own_file(self, config_path: str) -> OwnFile | None:
        """The study file of the user that has this name; it is looked up where conf/ is."""
        group, _, name = config_path.removesuffix(".yaml").partition("/")
        is_conf = Path(self.path).resolve() == CONFIG_FOLDER
        return self.command_line.own_files.get(name) if group == GROUP and is_conf else None

    def load_config(self, config_path: str) -> ConfigResult:
        """See ConfigSource; raises ConfigError for a file that is more than data."""
        own = self._own_file(config_path)
        if own is not None:
            return self._checked(lambda: own.text, config_path, own.path)
        file = Path(self.path, self._normalize_file_name(config_path)).resolve()
        is_of_hydra = config_path.split("/")[0] in ("hydra", "options")
        is_looked_up_in_conf = Path(self.path).resolve() == CONFIG_FOLDER
        is_ours = file.is_relative_to(CONFIG_FOLDER) and (is_looked_up_in_conf or not is_of_hydra)
        if is_ours or not file.exists():
            result = super().load_config(config_path)
            if config_path.split("/")[0] == GROUP and OmegaConf.is_dict(result.config):
                result.config = OmegaConf.create(self._known(OmegaConf.to_container(result.config)))
            return result
        name = f"{Path(self.path).name}/{config_path.removesuffix('.yaml')}.yaml"
        return self._checked(lambda: bounded_text(file), config_path, name)

    def _checked(self, read: Callable[[], str], config_path: str, name: str) -> ConfigResult:
        """What Hydra gets of a file that is not ours; raises ConfigError when it is more than data."""
        tree, header = _parsed(read, name)
        tree = with_present_names(tree, config_path, header["package"])
        problems = more_than_data(tree, config_path, header["package"], self.command_line.typed)
        if found := list(islice(problems, SHOWN_PROBLEMS)):
            raise ConfigError(
                "\n".join(f"{name}: {problem}" for problem in found),
                "a file outside of conf/ sets options of the project: it is data, whoever wrote it",
                "if you wrote it and trust it: put it into conf/, or give these settings on the command line",
            )
        if config_path.split("/")[0] == GROUP:
            tree = self._known(tree)
        # What has been checked, and not what the file holds by now.
        return ConfigResult(self.provider, f"{self.scheme()}://{self.path}", OmegaConf.create(tree or {}), header)

    def _known(self, tree: Any) -> Any:
        """A study without what this command does not know: `mammo.prepare` has no strategy."""
        sections = self.command_line.sections
        if sections is None or not isinstance(tree, Mapping):
            return tree
        known = {key: value for key, value in tree.items() if key in sections}
        entries = [entry for entry in tree.get("defaults", []) if _group_of(entry) in (*sections, "_self_")]
        return {"defaults": entries, **known} if entries else known


def _group_of(entry: Any) -> str:
    """The group that an entry of a defaults list chooses from."""
    key = next(iter(entry), "") if isinstance(entry, Mapping) else entry
    return str(key).split(" ")[-1].strip("/")


class ImportlibResourcesConfigSource(importlib_resources_config_source.ImportlibResourcesConfigSource):
    """Hydra's reader of configurations in packages; only its own packages are read."""

    def __init__(self, provider: str, path: str) -> None:
        super().__init__(provider, path)
        if self.path.split(".")[0] not in HYDRA_PACKAGES:
            raise ConfigError(f"pkg://{self.path}: configurations are read from folders", to_do="--config-dir FOLDER")

    def is_config(self, config_path: str) -> bool:
        """See ConfigSource; raises ConfigError for a name that leads out of the package."""
        return _plain(config_path) and super().is_config(config_path)


def _plain(config_path: str) -> bool:
    if not is_plain_path(config_path):
        raise ConfigError(
            f"{config_path}: the name of a configuration leads out of the folders of configurations",
            "a name below conf/ or below --config-dir, without '..'",
            "--config-dir FOLDER reads the configurations of a folder as data",
        )
    return True


def _parsed(read: Callable[[], str], name: str) -> tuple[Any, dict[str, str | None]]:
    """Values and header of a file, as Hydra would read them; raises ConfigError for what cannot be read."""
    try:
        text = read()
        return yaml.load(text, Loader=get_yaml_loader()), ConfigSource._get_header_dict(text[:512])  # noqa: S506  (safe)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from error
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{name} cannot be read: {error}") from error


def check_config_files(
    words: Sequence[str], own_files: Mapping[str, OwnFile] | None = None, sections: Collection[str] | None = None
) -> None:
    """Let Hydra read files through these sources; its plugins must have been found already.

    `words` is the command line, whose user may set what a file may not, and `own_files` are the study files that it
    names. `sections` are those that a command takes of a study, None for all.
    """
    pairs = [word.partition("=") for word in words if not word.startswith(("-", "~"))]
    typed = frozenset(key.lstrip("+") for key, equals, _ in pairs if equals)
    types: dict[str, Any] = SourcesRegistry.instance().types
    types |= {"file": _Files(CommandLine(typed, own_files or {}, sections)), "pkg": ImportlibResourcesConfigSource}


class _Files:
    """Makes the readers of files for Hydra, also in the processes of a launcher, which do not know the command line."""

    # Hydra compares names where it finds its plugins again.
    __name__ = FileConfigSource.__name__

    def __init__(self, command_line: CommandLine) -> None:
        self.command_line = command_line

    def __call__(self, provider: str, path: str) -> FileConfigSource:
        return FileConfigSource(provider, path, self.command_line)


def own_files() -> Mapping[str, OwnFile]:
    """The study files that the command line names, also in the processes of a launcher."""
    source = SourcesRegistry.instance().types.get("file")
    return source.command_line.own_files if isinstance(source, _Files) else {}
