"""One run of several: what goes wrong with it is left in its folder, and the others go on."""

from __future__ import annotations

import logging
from pathlib import Path

from mammo.config.tree import Config, config_tree
from mammo.evaluation.selection import worst_objective
from mammo.runs.directory import HydraFiles, RunDirectory
from mammo.runs.provenance import utc_now
from mammo.runs.summary import failed_early
from mammo.runs.training import run_training
from mammo.support.errors import RunDirectoryError, UserError
from mammo.support.hardware import Share, release_memory
from mammo.support.progress import log_to_file
from mammo.support.tracebacks import error_text

log = logging.getLogger(__name__)


def run_in_sweep(config: Config, folder: str, hydra_files: HydraFiles, share: Share) -> float:
    """Train; a failure is recorded in the folder and counts as the worst objective.

    Raises RunDirectoryError when the folder is not this run's to write into, and what happens to a run that is
    finished: its results stay.
    """
    directory = RunDirectory(Path(folder))
    started_at = utc_now()
    try:
        return run_training(config, folder, hydra_files, share, is_one_of_several=True)
    except RunDirectoryError:
        raise
    except Exception as error:
        if directory.is_finished:
            raise
        if not getattr(error, "is_recorded", False):
            _record_early_failure(directory, config, hydra_files, error, started_at)
        return worst_objective(config.train.monitor, config.num_classes or 2)
    finally:
        # Not before the first run, which has nothing to give back.
        release_memory()


def _record_early_failure(
    directory: RunDirectory, config: Config, hydra_files: HydraFiles, error: Exception, started_at: str
) -> None:
    """A run directory for a run that failed before it had one."""
    with directory.lock():
        directory.claim(config_tree(config), hydra_files)
        log_to_file(directory.file("run.log"))
        log.error("%s", error_text(error), exc_info=None if isinstance(error, UserError) else error)
        directory.write_error(error, error_text(error))
        stored, overrides = directory.summary(), hydra_files.overrides
        directory.write_summary(failed_early(stored, config, directory.path.name, overrides, started_at))
