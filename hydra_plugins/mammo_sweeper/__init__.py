"""The sweeper of `-m`, where Hydra looks for plugins; what it does is in `mammo.sweeps`.

No postponed annotations: Hydra loads plugins in a way that dataclasses cannot look theirs up.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class MammoSweeper(Sweeper):
    """All combinations of the values given with commas; a search with Optuna with a sampler, or with `hpo.space`.

    `params` are overrides that come before those of the command, in the grammar of Hydra's sweepers.
    """

    def __init__(self, sampler: DictConfig | None = None, params: dict[str, str] | None = None) -> None:
        self.sampler, self.params = sampler, dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        # Not above: Hydra imports this module at every start, also for a single run.
        from mammo.sweeps.session import Session

        self.session = Session(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        """Run what an earlier start of the same command has not finished."""
        from_file = [f"{key}={value}" for key, value in self.params.items()]
        space = self.session.option("hpo.space") or {}
        if self.sampler is None and not space:
            from mammo.sweeps.grid import run_grid

            run_grid(self.session, [*from_file, *arguments])
        else:
            from mammo.sweeps.search import run_search
            from mammo.sweeps.space import ranges_of

            from_file += ranges_of(space)
            sampler = self.sampler or ConfigStore.instance().load("hydra/sweeper/sampler/tpe.yaml").node
            run_search(self.session, sampler, [*from_file, *arguments], from_file)


@dataclass
class MammoSweeperConf:
    """Options of MammoSweeper; the samplers are those of hydra-optuna-sweeper (hydra/sweeper/sampler=...)."""

    defaults: list[Any] = field(default_factory=lambda: ["_self_", {"sampler": None}])
    _target_: str = "hydra_plugins.mammo_sweeper.MammoSweeper"
    # Each trial makes a sampler with a seed of its own.
    _recursive_: bool = False
    sampler: Any = None
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="mammo", node=MammoSweeperConf, provider="mammo")
