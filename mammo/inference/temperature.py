"""The one temperature of a network or an ensemble, whichever command asks for it.

Averaging networks that are each calibrated gives a mean that is less sure than it should be (Gneiting and Ranjan 2013):
they err in different places, and the mean knows that it is right more often than its probabilities say. So the networks
are averaged as they are, and the mean has one temperature, fitted to what they say together of validation images.
"""

from __future__ import annotations

import dataclasses
import logging

from mammo.evaluation.calibration import fit_temperature
from mammo.evaluation.predictions import PredictionTable
from mammo.inference.ensemble import Ensemble
from mammo.inference.labelled import averaged, stored_predictions
from mammo.inference.trained import Trained
from mammo.runs.evaluation import read_temperature
from mammo.runs.layout import CALIBRATION_FILE
from mammo.support.errors import RunDirectoryError

log = logging.getLogger(__name__)


def temperature_of(ensemble: Ensemble) -> float:
    """The temperature that fits the validation sets of the runs; raises RunDirectoryError where they are not known.

    Of one network it is what its run has stored. Of several it is fitted to what their runs have written of their
    validation sets: the mean, weighted as they are, over those networks that have set an image aside. Networks without
    a weight have no say.
    """
    counting = ensemble.counting
    if len(counting.members) == 1:
        return _stored_temperature(counting.members[0])
    have_one_orientation = len({member.config.data.orient for member in counting.members}) == 1
    parts = [_validated(member, have_one_orientation) for member in counting.members]
    together = averaged(parts, counting)
    have_one_kind = len({str(member.config.data.views) for member in counting.members}) == 1
    if have_one_kind and len(together) > max(map(len, parts)):
        log.info("the temperature is fitted to images that not all networks have set aside: it may be a little high")
    return fit_temperature(together.probabilities, together.targets, together.task, together.space)


def _stored_temperature(member: Trained) -> float:
    temperature = None
    if member.run_folder is not None and member.is_best:
        temperature = read_temperature(member.run_folder)
    if temperature is None:
        raise _unknown(member, CALIBRATION_FILE)
    return temperature


def _validated(member: Trained, by_fingerprint: bool) -> PredictionTable:
    """What a run has written of its validation set, each id with its dataset: others may have the same.

    The fingerprint of a dataset depends on whether images are turned, so it tells only networks apart that agree in it.
    """
    stored = stored_predictions(member)
    if stored is None:
        raise _unknown(member, "val_predictions.csv")
    dataset = f"{member.config.data.name} {member.facts.get('data_fingerprint') if by_fingerprint else ''}"
    image_ids = [f"{dataset}/{image_id}" for image_id in stored.table["image_id"]]
    return dataclasses.replace(stored, table=stored.table.assign(image_id=image_ids))


def _unknown(member: Trained, file: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"{member.name} has no {file}",
        "what a finished run leaves of its validation set, for the temperature that fits it",
        "name the directory of a finished run, not the checkpoint alone",
    )
