"""Features analysed: projections, probes and clusters, and what is left of them: files, figures, last lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from mammo.data.formats.rows import contents_of
from mammo.embedding.clusters import Clustering, cluster, clustering_facts
from mammo.embedding.features import Embedded
from mammo.embedding.figures import NAMES, clusters_figure, scatter_figure
from mammo.embedding.probes import SHOWN_SCORES, Probe, run_probes, scores
from mammo.embedding.projections import Projection, project
from mammo.evaluation.comparison import compare
from mammo.evaluation.predictions import make_predictions
from mammo.support.errors import DataError
from mammo.support.figures import figure_bytes
from mammo.support.files import read_json
from mammo.support.outputs import LIST_FILE, Outputs
from mammo.support.plain_text import wrapped
from mammo.support.table import UNDEFINED, Table, columns, estimate, limits, row, terminal_lines

SCHEMA_VERSION = 1
PROJECTIONS = ("pca", "tsne", "umap")
FIGURES = (*PROJECTIONS, "silhouette")
SUFFIXES = (".png", ".pdf")
TABLES = ("features.npy", "metadata.csv", "projections.csv", "embedding.json")
OWN_FILES = (*TABLES, *(f"{name}{suffix}" for name in FIGURES for suffix in SUFFIXES))
COMPARED = "logistic_regression"
# What tells one embedding from another; the rest follows from it, or changes as a run goes on.
IDENTITY = {"source": ("kind", "run_id", "checkpoint", "model", "image_size_px", "weights"), "data": ("name", "split")}
PACKAGES = ("numpy", "scikit-learn")
PROBE_NAMES = {"knn": "k-NN", "logistic_regression": "logistic regression", "head": "the run's own head"}


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What was computed from features; `facts` is the content of `embedding.json`."""

    projections: list[Projection]
    clusterings: list[Clustering]
    facts: dict[str, Any]


def analyse(embedded: Embedded, seed: int, umap: bool) -> Analysis:
    """Projections, probes and clusters of features; on one thread, so that the same features give the same numbers."""
    with threadpool_limits(1):
        projections = project(embedded.features, seed, umap)
        probes = run_probes(embedded.features, embedded.table, embedded.class_names, seed)
        clusterings = cluster(embedded.features, embedded.targets, seed)
        facts = _facts(embedded, seed, projections, probes, clusterings)
    return Analysis(projections, clusterings, facts)


def _probe_minus_head(embedded: Embedded, probes: Sequence[Probe]) -> dict[str, Any] | None:
    """What logistic regression scores more than the head, with intervals from the same resamplings of both."""
    (probe,) = (one for one in probes if one.name == COMPARED)
    if probe.probabilities is None or embedded.probabilities is None:
        return None
    truth = [embedded.class_names[i] for i in embedded.targets]
    described = embedded.table[["image_id", "patient_id"]]
    head, other = (
        make_predictions(described, truth, probabilities, embedded.class_names)
        for probabilities in (embedded.probabilities, probe.probabilities)
    )
    found = compare(head, other).differences
    return {name: {"difference": found[name].difference, "ci95": found[name].ci95} for name in SHOWN_SCORES}


def _facts(
    embedded: Embedded,
    seed: int,
    projections: Sequence[Projection],
    probes: Sequence[Probe],
    clusters: list[Clustering],
) -> dict[str, Any]:
    def scored(probabilities: Any) -> dict[str, Any]:
        return scores(probabilities, embedded.targets, embedded.class_names, embedded.patient_ids)

    packages = (*PACKAGES, "umap-learn") if any(one.name == "umap" for one in projections) else PACKAGES
    return {
        "schema_version": SCHEMA_VERSION,
        "source": embedded.source,
        "data": embedded.data,
        "num_features": embedded.features.shape[1],
        "seed": seed,
        "projections": {one.name: one.facts for one in projections},
        "probes": {
            probe.name: {
                "classifier": probe.words,
                "num_folds": probe.num_folds,
                "c_of_each_fold": probe.chosen_c,
                "undefined_because": probe.reason,
                **scored(probe.probabilities),
            }
            for probe in probes
        },
        "head": None if embedded.probabilities is None else scored(embedded.probabilities),
        "logistic_regression_minus_head": _probe_minus_head(embedded, probes),
        "clusters": clustering_facts(clusters, embedded.targets, embedded.class_names),
        "environment": embedded.environment | {name.replace("-", "_"): version(name) for name in packages},
    }


def outputs_in(folder: Path, run_folder: Path | None = None, *, overwrite: bool = False) -> Outputs:
    """Where the results go, below `run_folder` or in a folder that was named; raises OutputError, see `Outputs`."""
    inside = run_folder if run_folder in folder.parents else None
    outputs = Outputs(folder, "embed", overwrite=overwrite, inside=inside)
    outputs.require_free(OWN_FILES)
    return outputs


def require_free(folder: Path, embedded: Embedded | None = None) -> None:
    """Raises DataError for a folder in which there is something else than results of this command.

    With `embedded`, also where they are of another network, dataset or split.
    """
    known = (*OWN_FILES, LIST_FILE)
    strange = sorted(path.name for path in folder.iterdir() if path.name not in known) if folder.is_dir() else []
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file", "a folder for the results", "output=DIR")
    if strange:
        raise DataError(
            f"{folder} holds other things: {contents_of(folder)}",
            "a new or empty folder",
            "choose another: output=DIR",
        )
    differing = _differing(folder, embedded) if embedded is not None else []
    if differing:
        raise DataError(
            f"{folder} holds features that differ in {', '.join(differing)}",
            "a new or empty folder, or an earlier result of the same network and images",
            "choose another: output=DIR",
        )


def _differing(folder: Path, embedded: Embedded) -> list[str]:
    """In what an earlier result is another one than that of these features, such as `source.run_id`."""
    try:
        earlier = read_json(folder / "embedding.json")
        return [
            f"{part}.{key}"
            for part, now in (("source", embedded.source), ("data", embedded.data))
            for key in IDENTITY[part]
            if earlier[part].get(key) != now.get(key)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []  # none, or one that nothing can be read off


def write_results(outputs: Outputs, embedded: Embedded, analysis: Analysis) -> None:
    """Write everything, `embedding.json` last; what an earlier call has left and this one lacks is removed."""
    outputs.require_free(OWN_FILES)
    figures = [
        (one.name, scatter_figure(one, embedded.targets, embedded.class_names, f"{NAMES[one.name]}: {embedded.title}"))
        for one in analysis.projections
    ]
    if analysis.clusterings:
        drawn = clusters_figure(analysis.clusterings, embedded.targets, embedded.class_names, embedded.title)
        figures.append(("silhouette", drawn))
    for name in {"embedding.json", *OWN_FILES} - {f"{name}{suffix}" for name, _ in figures for suffix in SUFFIXES}:
        outputs.remove(name)
    outputs.write_array("features.npy", embedded.features)
    outputs.write_csv("metadata.csv", embedded.described.columns.tolist(), embedded.described.to_numpy().tolist())
    columns = [f"{one.name}_{axis}" for one in analysis.projections for axis in (1, 2)]
    coordinates = [one.points for one in analysis.projections]
    rows = [
        [image_id, *(repr(float(value)) for points in coordinates for value in points[i])]
        for i, image_id in enumerate(embedded.described["image_id"])
    ]
    outputs.write_csv("projections.csv", ["image_id", *columns], rows)
    for name, figure in figures:
        for file in (f"{name}{suffix}" for suffix in SUFFIXES):
            outputs.write_bytes(file, figure_bytes(figure, file))
    outputs.write_json("embedding.json", analysis.facts)


def closing_lines(folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal, made from `embedding.json`."""
    pictures = ", ".join(f"{name}.png" for name in facts["projections"])
    sentences = [
        f"  {pictures + ' ':<31}the images as points, coloured by class",
        "  silhouette.png                 groups that k-means finds",
        "  features.npy, metadata.csv     the features, and which image each row is",
        "  embedding.json                 all numbers",
        "Distances between groups in t-SNE and UMAP mean little. Research use only, not for diagnosis.",
    ]
    lines = [*_findings(facts), f"Results: {folder}"]
    return lines + [line for sentence in sentences for line in wrapped(sentence)]


def _findings(facts: Mapping[str, Any]) -> list[str]:
    data, probes = facts["data"], facts["probes"]
    unit = {"patient": "patients", "exam": "exams", "image": "images"}[data["group_by"]]
    first = (
        f"{facts['num_features']} features of each of {data['num_images']} images of {data['num_patients']} {unit} "
        f"({data['name']}, split={data['split']})"
    )
    lines = ["", *wrapped(first)]
    reason = probes["knn"]["undefined_because"]
    if reason is not None:
        lines += wrapped(f"No classifier could be fitted to them in folds: {reason}")
    else:
        lines += wrapped(
            f"How well the classes can be read off them, by classifiers fitted to other {unit} in "
            f"{probes['knn']['num_folds']} folds [95% interval by resampling {unit}]:"
        )
        scored = probes if facts["head"] is None else probes | {"head": facts["head"]}
        rows = tuple(
            row(name, *(estimate(of[name], (of["ci95"] or {}).get(name), missing=UNDEFINED) for of in scored.values()))
            for name in SHOWN_SCORES
        )
        heads = columns("", numbers=[PROBE_NAMES[name] for name in scored])
        lines += terminal_lines(Table("", heads, rows), indent=2)
        if facts["head"] is not None:
            lines += wrapped(verdict(facts["logistic_regression_minus_head"]))
    lines += _cluster_lines(facts["clusters"])
    if data.get("num_trained_on"):
        lines += wrapped(f"{data['num_trained_on']} of the images were trained on: expect lower scores of new {unit}.")
    if facts["source"].get("weights", {}).get("source") == "random":
        lines.append("The weights are RANDOM: none of this says what the network can do.")
    return lines


def verdict(differences: Mapping[str, Any]) -> str:
    """What the scores of logistic regression, less those of the head of the run on the same images, say."""
    name = "bal_acc_adj"
    difference, interval = differences[name]["difference"], differences[name]["ci95"]
    if difference is None or interval is None:
        return "Too few patients, or no difference, to say whether logistic regression and the head differ."
    found = f"By {name} logistic regression less the head is {difference:+.3f} {limits(interval, '+')}"
    if interval[0] > 0:
        return f"{found}: the features separate the classes better than the head makes use of."
    if interval[1] < 0:
        return f"{found}: it is below the head; it had fewer images to learn from."
    return f"{found}: these images do not show which of the two is better."


def _cluster_lines(clusters: Mapping[str, Any]) -> list[str]:
    if clusters["best_k"] is None:
        return ["Too few different images for k-means."]
    chosen = next(row for row in clusters["by_k"] if row["k"] == clusters["best_k"])
    return wrapped(
        f"k-means has its best silhouette, {chosen['silhouette']:.2f}, with {chosen['k']} clusters; with the classes "
        f"they agree by {chosen['adjusted_rand_index'] + 0:.2f} (adjusted Rand index, 0 chance, 1 perfect)"
    )
