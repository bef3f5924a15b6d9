"""What a launcher of Hydra does with this machine."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf


def jobs_at_once(launcher: DictConfig) -> int | None:
    """How many jobs run at once on this machine; None where the launcher runs them elsewhere."""
    if str(OmegaConf.select(launcher, "_target_")).endswith("BasicLauncher"):
        return 1
    return OmegaConf.select(launcher, "n_jobs")
