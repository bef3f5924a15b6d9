"""Pretrained weights: in the cache, or to be had over the network, or not at all. Nothing is downloaded."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from mammo.checks.report import Finding, note, ok, problem, some
from mammo.models.families import FAMILIES
from mammo.models.model_options import ModelOptions

MODELS = Path(__file__).resolve().parents[2] / "conf" / "model"
# A blocked network swallows packets: without these it would be waited for in vain, also for names.
ANSWER_TIMEOUT_SECONDS = 4.0
WHOLE_TIMEOUT_SECONDS = 6.0
WITHOUT = (
    "choose model=efficientnet_lite0 or give model.weights=FILE, or fetch them once where there is a network: "
    "python -m mammo.prepare weights model=NAME; without them the models above train on real data only with "
    "model.weights=none"
)


def findings() -> list[Finding]:
    """A finding for each model of `conf/model`."""
    return check_weights(weights_in(MODELS))


def weights_in(folder: Path) -> list[dict[str, Any]]:
    """For each model of a folder like `conf/model`: what its family says of its published weights.

    `state` is what `Family.state_of_weights` says, or unknown with the `reason`.
    """
    return [{"model": file.stem, **_state(file)} for file in sorted(folder.glob("*.yaml"))]


def _state(file: Path) -> dict[str, Any]:
    options = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    family = options.get("family", ModelOptions.family)
    if family not in FAMILIES:
        return {"state": "unknown", "url": None, "reason": f"the family {family}"}
    try:
        return FAMILIES[family].state_of_weights(options.get("name") or "")
    except Exception as error:  # a name that the library does not have, and whatever it makes of it
        return {"state": "unknown", "url": None, "reason": f"the family {family} ({type(error).__name__})"}


def check_weights(weights: list[dict[str, Any]]) -> list[Finding]:
    """A finding for each entry of `weights_in`; asks whether what is not here can be downloaded."""
    to_ask = {entry["url"] for entry in weights if entry["state"] in ("absent", "hub") and not entry.get("is_offline")}
    unreachable = _unreachable(to_ask)
    every = [_finding_of(entry, unreachable.get(entry["url"], "")) for entry in weights]
    if unreachable:
        every.append(note("without a network", "published weights that are not in the cache cannot be had", WITHOUT))
    return every


def _finding_of(entry: dict[str, Any], unreachable: str) -> Finding:
    model, where, source = entry["model"], "not in the cache", "the address of its download"
    match entry["state"]:
        case "installed":
            return ok(model, "installed with the project")
        case "cached":
            return ok(model, "in the cache, and whole")
        case "unknown":
            return note(model, f"not known of {entry['reason']}: a run with this model finds out")
        case "damaged":
            to_do = "remove it (it is downloaded again), or install it again"
            return problem(model, f"damaged: {entry['file']}", to_do)
        case "hub":
            where = f"in the cache: {some(entry['cached'])}" if entry["cached"] else "none in the cache"
            source = "the Hugging Face hub"
            unreachable = "not asked, HF_HUB_OFFLINE is set" if entry["is_offline"] else unreachable
    return note(model, f"{where}; {source}: {unreachable}") if unreachable else ok(model, f"{where}; {source} answers")


def _unreachable(urls: Iterable[str]) -> dict[str, str]:
    """The reason for each address that does not answer; all are asked at once."""
    reasons = dict.fromkeys(urls, "no answer in time")

    def ask(url: str) -> None:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310  (of torchvision and the hub)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_SECONDS):  # noqa: S310  (see above)
                reasons.pop(url)
        except urllib.error.HTTPError as error:
            reasons[url] = f"HTTP status {error.code}"
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            reasons[url] = getattr(reason, "strerror", None) or type(reason).__name__

    # Daemons: the resolver of names has no timeout, and the end of the command must not wait for it.
    threads = [threading.Thread(target=ask, args=[url], daemon=True) for url in list(reasons)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WHOLE_TIMEOUT_SECONDS)
    return dict(reasons)
