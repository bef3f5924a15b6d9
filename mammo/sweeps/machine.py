"""What a launcher of Hydra does with this machine."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from mammo.support.cores import usable_cores
from mammo.support.errors import ConfigError


def jobs_at_once(launcher: DictConfig) -> int | None:
    """How many jobs run at once on this machine; None where the launcher runs them elsewhere.

    Raises ConfigError for none at all.
    """
    if str(OmegaConf.select(launcher, "_target_")).endswith("BasicLauncher"):
        return 1
    num_jobs = OmegaConf.select(launcher, "n_jobs")
    if num_jobs == 0:
        raise ConfigError("hydra.launcher.n_jobs=0", "how many runs at once, or -1 for one on each core")
    if num_jobs is None or num_jobs > 0:
        return num_jobs
    return max(1, usable_cores() + 1 + num_jobs)
