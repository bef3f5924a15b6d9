"""From the command line to Hydra and back to an exit status.

Hydra ends every mistake with status 1 and lets some pass. Here every mistake ends a command with status 2 and the
nearest valid names.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from hydra.core.plugins import Plugins

from hydra_plugins.mammo_sweeper import MammoSweeper
from mammo.config.command import Command
from mammo.config.composition import TRAIN, prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.help import help_text
from mammo.config.hydra_errors import readable, unknown_flag
from mammo.config.own_files import with_own_files
from mammo.config.renamed import current_override
from mammo.config.untrusted import check_config_files
from mammo.support.errors import ConfigError, TrainingError
from mammo.support.interruption import INTERRUPTED_STATUS, listen
from mammo.support.plain_text import terminal_text
from mammo.support.tracebacks import error_text, traceback_text

USER_ERROR_STATUS = 2
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)
DISK_REMEDY = "free some space or choose other folders: cache_dir=DIR, hydra.run.dir=DIR; the same command then goes on"
HYDRA_FLAGS = (
    "--hydra-help", "--version", "--cfg", "--resolve", "--package", "--run", "--multirun", "--shell-completion",
    "--config-path", "--config-name", "--config-dir", "--info",
)  # fmt: skip


def run_command(entry: Callable[[], object], command: Command) -> None:
    """Run a Hydra entry point; mistakes of the user end with status 2 and without a traceback."""
    if any(argument in ("--help", "-h") for argument in sys.argv[1:]):
        print(help_text(command, CONFIG_FOLDER))
        return
    for argument in sys.argv[1:]:
        flag = argument.split("=")[0]
        if flag.startswith("--") and flag not in HYDRA_FLAGS:
            print(f"error: {unknown_flag(flag, command)}", file=sys.stderr)
            sys.exit(USER_ERROR_STATUS)
    try:
        sys.argv[1:], own_files = with_own_files(under_current_names(sys.argv[1:]))
    except (ConfigError, OSError) as error:
        end_with(error, command)
    if {"-m", "--multirun"} & set(sys.argv[1:]) and {"--cfg", "-c"} & {word.split("=")[0] for word in sys.argv[1:]}:
        end_with(
            ConfigError("--cfg shows one run, and -m starts several", to_do="leave out -m, and one value for each")
        )
    for flag in {"-m", "--multirun"} & set(sys.argv[1:]):
        # Hydra takes it before or after all overrides, not between them.
        sys.argv = [argument for argument in sys.argv if argument != flag] + ["--multirun"]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions through instead of printing and exiting with 1
    prepare_hydra(command)
    # Hydra finds plugins in folders on the path; an editable installation has none for it.
    Plugins.instance().register(MammoSweeper)
    check_config_files(sys.argv[1:], own_files, command.sections)
    listen()
    try:
        entry()
    except Exception as error:  # a mistake or a failure, which ends with its message and status
        end_with(error, command)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)


def under_current_names(arguments: Sequence[str]) -> list[str]:
    """Arguments in which options go by their present names, with a hint for each that has another one."""
    current = [current_override(argument) for argument in arguments]
    for old, new in dict.fromkeys(zip(arguments, current, strict=True)):
        if old != new:
            print(f"note: {old.partition('=')[0]} is now called {new.partition('=')[0]}", file=sys.stderr)
    return current


def end_with(error: Exception, command: Command = TRAIN) -> NoReturn:
    """End the command: status 2 and a message for a mistake of the user, status 1 for a failure."""
    message = readable(error, command)
    if message is not None:
        print(terminal_text(f"error: {message}"), file=sys.stderr)
        sys.exit(USER_ERROR_STATUS)
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        # Without what a temporary name has before and behind that of the file.
        name = re.sub(r"^\.(.*?)(\.\d+)?\.tmp$", r"\1", Path(error.filename or "a file").name)
        print(f"failed: {error.strerror}, while {name} was written\n  {DISK_REMEDY}", file=sys.stderr)
        sys.exit(1)
    if not isinstance(error, TrainingError):
        print(terminal_text(traceback_text(error)), file=sys.stderr)
    print(terminal_text(f"failed: {error_text(error)}"), file=sys.stderr)
    sys.exit(1)
