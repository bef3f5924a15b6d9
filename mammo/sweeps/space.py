"""What a search may propose: ranges, all of them checked before the first trial."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from optuna.distributions import BaseDistribution, CategoricalDistribution

from mammo.config.renamed import original_key
from mammo.config.tree import Config, config_tree
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError
from mammo.sweeps.launching import say
from mammo.sweeps.plan import Arguments, key_of, make_job
from mammo.sweeps.session import Session

# What makes runs vary without making them better.
NOT_SEARCHED = (
    "seed",
    "augment.seed",
    "data.fold",
    "data.num_folds",
    "data.split_seed",
    "data.inner_fold",
    "data.inner_folds",
)

EXPECTED = "interval(0.0, 0.2), tag(log, interval(1e-4, 1e-2)), int(interval(0, 4)), or a list of values"

Space = dict[str, BaseDistribution]


def ranges_of(space: Mapping[str, Any]) -> list[str]:
    """`hpo.space` as overrides: a list of values is a choice, text is in Hydra's grammar; raises ConfigError."""
    ranges = []
    for key, value in flatten(space).items():
        text = f"choice({','.join(map(json.dumps, value))})" if isinstance(value, list) else str(value)
        try:
            is_range = OverridesParser.create().parse_override(f"{key}={text}").is_sweep_override()
        except HydraException:
            is_range = False
        if not is_range:
            raise ConfigError(
                f"hpo.space: {key}: {value!r} is no range",
                EXPECTED,
                "what is fixed stands beside hpo, not in its space",
            )
        ranges.append(f"{key}={text}")
    return ranges


def searched(session: Session, arguments: Arguments, base: Config, optional: Container[str]) -> tuple[Arguments, Space]:
    """The arguments without ranges that are not searched, and those that are; raises ConfigError.

    `base` is the configuration without a proposal. `optional` are those of the arguments that come from a file: ranges
    among them that have no effect with the strategy, sampler, ... of the command are left out. A study goes by the
    first names of options, so that a rename interrupts no search.
    """
    arguments = _without_foreign_ranges(session, arguments, base, optional)
    _require_sensible(arguments, base)
    space = {original_key(key_of(o)): _distribution(o) for o in arguments.varied}
    _require_possible(session, arguments, space)
    return arguments, space


def _without_foreign_ranges(
    session: Session, arguments: Arguments, base: Config, optional: Container[str]
) -> Arguments:
    """The arguments without the ranges of a file that have no effect with the groups of this command."""
    keys = flatten(config_tree(base))
    kept = []
    for override in arguments.varied:
        key, is_optional = key_of(override), override.input_line in optional
        value = _ends(_distribution(override))[0]
        is_foreign = is_optional and "." in key and key not in keys
        if is_optional and not is_foreign:
            try:
                make_job(session.compose, arguments.fixed, [f"{key}={value}"])
            except ConfigError as error:
                is_foreign = "has no effect" in str(error)
        if is_foreign:
            say(f"{key} is not searched: it has no effect on this configuration")
        else:
            kept.append(override)
    return dataclasses.replace(arguments, varied=tuple(kept))


def _distribution(override: Override) -> BaseDistribution:
    """The range as Optuna has it; raises ConfigError for one that it does not take (its low end above its high one)."""
    try:
        return create_optuna_distribution_from_override(override)
    except (AssertionError, ValueError, NotImplementedError) as error:  # glob(*) has an assertion of the plugin fail
        why = " ".join(str(error).split()) or "no range to draw from"
        raise ConfigError(f"{override.input_line}: {why}", EXPECTED) from error


def _require_sensible(arguments: Arguments, base: Config) -> None:
    """Raises ConfigError for a search that would search nothing, or noise."""
    if not arguments.varied:
        raise ConfigError("a search without a range", to_do="hpo=density, or optimizer.lr='interval(1e-4, 1e-2)'")
    noise = [key_of(override) for override in arguments.varied if key_of(override) in NOT_SEARCHED]
    if noise:
        raise ConfigError(
            f"a search over {noise[0]} finds the luckiest one",
            to_do="hpo.folds=3 lets each trial count with the mean over folds; afterwards sweep seeds with the best",
        )
    data, folds = base.data, base.hpo.folds
    if data.num_folds is not None and data.inner_folds is None:
        raise ConfigError(
            "data.num_folds has no effect in a search",
            to_do="hpo.folds sets the number of folds; with data.inner_folds a fold is set aside from the search",
        )
    if data.inner_folds is not None and folds not in (None, data.inner_folds):
        raise ConfigError(
            f"hpo.folds={folds} with data.inner_folds={data.inner_folds}",
            "the same number: each trial trains the inner folds; or hpo.folds=null: data.inner_fold alone",
        )


def _require_possible(session: Session, arguments: Arguments, space: Space) -> None:
    """Raises ConfigError for a range with an end that no run can have: it would be found hours later."""
    ends = {name: _ends(distribution) for name, distribution in space.items()}
    first = {name: f"{name}={values[0]}" for name, values in ends.items()}
    make_job(session.compose, arguments.fixed, list(first.values()))
    for name, values in ends.items():
        for value in values[1:]:
            make_job(session.compose, arguments.fixed, list({**first, name: f"{name}={value}"}.values()))


def _ends(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return (distribution.low, distribution.high)  # type: ignore[attr-defined]
