"""Which of several processes this is, where a launcher such as torchrun has started them together."""

from __future__ import annotations

import dataclasses
import os

from mammo.support.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Ranks:
    """The number of this process, from 0, and how many there are; alone it is the first of one and does all."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes results."""
        return self.rank == 0

    def require_alone(self) -> None:
        """Raises ConfigError where several processes were started for one run: each would train all of it."""
        if self.size > 1:
            raise ConfigError(
                f"{self.size} processes were started together (WORLD_SIZE={self.size}, RANK={self.rank})",
                "one process for a run",
                "start it without torchrun or srun --ntasks; -m with launcher=local_parallel or slurm gives each run "
                "of a sweep a device of its own",
            )


def ranks_of_environment() -> Ranks:
    """What torchrun and its like say in the environment; alone where they say nothing."""
    return Ranks(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
