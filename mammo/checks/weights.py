"""Pretrained weights: in the cache, or to be had over the network, or not at all. Nothing is downloaded."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any

from mammo.checks.report import Finding, note, ok, problem, some

# A blocked network swallows packets: without these it would be waited for in vain, also for names.
ANSWER_TIMEOUT_SECONDS = 4.0
WHOLE_TIMEOUT_SECONDS = 6.0
WITHOUT = (
    "choose model=efficientnet_lite0 or give model.weights=FILE, or fetch them once where there is a network: "
    "python -m mammo.prepare weights model=NAME; without them the models above train on real data only with "
    "model.weights=none"
)


def check_weights(weights: list[dict[str, Any]] | None) -> list[Finding]:
    """A finding for each model of `conf/model`; `weights` is what the probe says, None when it could not say."""
    if weights is None:
        return [note("all models", "not known: torch, torchvision or timm could not be asked")]
    to_ask = {entry["url"] for entry in weights if entry["state"] in ("absent", "hub") and not entry.get("is_offline")}
    unreachable = _unreachable(to_ask)
    findings = [_finding_of(entry, unreachable.get(entry["url"], "")) for entry in weights]
    if unreachable:
        findings.append(note("without a network", "published weights that are not in the cache cannot be had", WITHOUT))
    return findings


def _finding_of(entry: dict[str, Any], unreachable: str) -> Finding:
    model, state = entry["model"], entry["state"]
    if state == "installed":
        return ok(model, "installed with the project")
    if state == "cached":
        return ok(model, "in the cache, and whole")
    if state == "unknown":
        return note(model, f"not known of the family {entry['family']}: a run with this model finds out")
    if state == "damaged":
        return problem(model, f"damaged: {entry['file']}", "remove it (it is downloaded again), or install it again")
    if state == "hub":
        cached = f"in the cache: {some(entry['cached'])}" if entry["cached"] else "none in the cache"
        if entry["is_offline"]:
            return note(model, f"{cached}; HF_HUB_OFFLINE is set, so no other can be had")
        if unreachable:
            return note(model, f"{cached}; the Hugging Face hub: {unreachable}")
        return ok(model, f"{cached}; the Hugging Face hub answers")
    if unreachable:
        return note(model, f"not in the cache; its download: {unreachable}")
    return ok(model, "not in the cache; the address of its download answers")


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
