"""Quadratic kappa on mini-MIAS: training runs beside a logistic regression on frozen features.

    python benchmarks/mias_quality.py --root FOLDER [--strategy full_finetune] [--image-size 256] [KEY=VALUE ...]

Trains `model=efficientnet_lite0` on the splits 42, 43 and 44 (32 women in each validation set, so single
splits vary by about 0.1) and prints the metrics of the best epochs. The regression sees the pooled features
of the same network, untrained, on the same images and splits; nothing of it is tuned on validation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo.config.composition import checked_config, prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.tree import Config, image_size_px, run_name
from mammo.data.batches import EvaluationBatches, Preparation
from mammo.data.dataset import load_dataset
from mammo.evaluation.metrics import Metrics, compute_metrics
from mammo.models.build import build_model
from mammo.models.strategy import HeadOnly
from mammo.support.cache import user_cache_folder
from mammo.support.progress import counting

SPLIT_SEEDS = (42, 43, 44)
SHOWN = ("kappa_quadratic", "bal_acc_adj", "auc_ovr", "acc")


def composed(overrides: list[str]) -> Config:
    """The configuration that the command line would give."""
    prepare_hydra()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return checked_config(compose("train", overrides=overrides))


def trained(overrides: list[str]) -> dict[str, float]:
    """Metrics of the best epoch of a run; a finished run is not trained again."""
    subprocess.run([sys.executable, "-m", "mammo.train", *overrides], check=True, stdout=subprocess.DEVNULL)
    summary = json.loads((Path("outputs") / run_name(composed(overrides)) / "summary.json").read_text())
    return summary["metrics"] | {"best_epoch": summary["best_epoch"]}


def probed(config: Config) -> Metrics:
    """Metrics of a logistic regression on pooled features of the untrained network."""
    dataset = load_dataset(config.data, user_cache_folder(config.cache_dir), 2, counting)
    names = dataset.manifest.class_names
    built = build_model(config.model, HeadOnly(), len(names), image_size_px(config), config.seed)
    network = built.network.eval()
    prepare = Preparation(built.mean, built.std, torch.device("cpu"))
    features = []
    with torch.inference_mode():
        for batch in EvaluationBatches(dataset.part(np.arange(len(dataset.table))), 16, 0):
            features.append(network.tail.features(network.forward_trunk(prepare(batch)[0])).numpy())
    table, targets = np.concatenate(features), dataset.targets
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000, class_weight="balanced"))
    model.fit(table[dataset.split.train], targets[dataset.split.train])
    rows = dataset.split.val
    patients = dataset.table["patient_id"].iloc[rows].tolist()
    return compute_metrics(model.predict_proba(table[rows]), targets[rows], names, patients)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of mini-MIAS")
    parser.add_argument("--strategy", default="frozen_last_block")
    parser.add_argument("--image-size", type=int, default=512)
    parser.add_argument("--probe-only", action="store_true")
    arguments, further = parser.parse_known_args()
    base = [
        "data=mias", f"data.root={arguments.root}", "model=efficientnet_lite0", f"strategy={arguments.strategy}",
        f"data.image_size={arguments.image_size}", *further,
    ]  # fmt: skip
    rows: dict[str, list[dict[str, float]]] = {arguments.strategy: [], "logistic regression": []}
    for seed in SPLIT_SEEDS:
        overrides = [*base, f"data.split_seed={seed}"]
        if not arguments.probe_only:
            rows[arguments.strategy].append(trained(overrides))
        rows["logistic regression"].append(probed(composed(overrides)).to_dict())
    for name, results in rows.items():
        print(f"\n{name}, {arguments.image_size} px")
        for key in SHOWN if results else ():
            values = np.array([result[key] for result in results])
            per_split = "  ".join(f"{value:.3f}" for value in values)
            print(f"  {key:<16} {per_split}   mean {values.mean():.3f} +- {values.std(ddof=1):.3f} (n=3, ddof=1)")
        if results and "best_epoch" in results[0]:
            print(f"  best epochs      {[result['best_epoch'] for result in results]}")


if __name__ == "__main__":
    main()
