"""The files of a run directory by name: what a run writes, and what other commands put into its folder."""

from __future__ import annotations

from pathlib import Path

from mammo.training.tracker import MLFLOW_RUN_FILE

SUMMARY_FILE, ERROR_FILE, CALIBRATION_FILE = "summary.json", "error.json", "metrics/calibration.json"
BEST, LAST = "checkpoints/best_model.pth", "checkpoints/last_model.pth"
LOCK_FILE, EVALUATIONS = ".lock", "evaluation"
# The SHA-256 of the files of a finished run; the folder of its checkpoints has a list of its own.
SUMS_FILE = "SHA256SUMS"
# These change after a run is finished, or are none of its results.
_WITHOUT_SUM = ("run.log", ERROR_FILE, "optuna_trial.json", MLFLOW_RUN_FILE, SUMS_FILE)
# What a run writes, and what is made from it; `run.restart=true` removes these and nothing else.
OWN_FILES = (
    SUMMARY_FILE, "train_history.json", "train_history.csv", "val_predictions.csv", "embeddings_val.npy",
    "quarantine.csv", "config.yaml", *_WITHOUT_SUM,
)  # fmt: skip
# What other commands make from a run (or a sweep) and put into its folder.
LATER_FOLDERS = (EVALUATIONS, "explanations", "embeddings", "exports", "report")
# What a run writes into its other folders.
OWN_PATTERNS = {
    ".hydra": ("config.yaml", "hydra.yaml", "overrides.yaml", "experiment/*.yaml"),
    "checkpoints": (
        "best_model.pth", "last_model.pth", "previous_model.pth", "checkpoint_epoch_*.pth", "SHA256SUMS",
        "MODEL_CARD.md",
    ),
    "metrics": ("val_metrics.json", "history.png", "confusion_matrix.png", "calibration.json"),
    "splits": ("train.csv", "val.csv", "test.csv", "manifest.json"),
    "tensorboard": ("events.out.tfevents.*",),
}  # fmt: skip
OWN_FOLDERS = (*OWN_PATTERNS, *LATER_FOLDERS)


def files_with_sums(folder: Path) -> list[str]:
    """The files of a finished run that nothing changes any more, but its checkpoints, as far as they are there."""
    names = [name for name in OWN_FILES if name not in _WITHOUT_SUM]
    patterns = names + [
        f"{below}/{pattern}"
        for below, inside in OWN_PATTERNS.items()
        for pattern in inside
        if below != "tensorboard" and not pattern.endswith(".pth")
    ]
    return sorted(path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern))
