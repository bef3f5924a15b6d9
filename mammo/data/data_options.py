"""Options of the data room. No heavy imports: these are read by `--help` and by the config check."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mammo.support.option_registry import option, section
from mammo.tasks.task import TASKS

DEFAULT_IMAGE_SIZE_PX = 512


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """How a label table is read (`data.format=table` and the formats built on it)."""

    files: list[str] = option([], "label tables below data.root, as names or glob patterns")
    columns: dict[str, Any] = option(
        {}, "manifest column -> table column, a list of spellings, or a pattern such as '{study_id}/{image_id}.dicom'"
    )
    label_map: dict[str, str] = option({}, "label in the table -> class name; empty accepts A-D and 1-4")
    split_map: dict[str, str] = option({}, "split in the table -> train, val or test")


@dataclasses.dataclass(frozen=True)
class PhantomOptions:
    """The synthetic screening exams that are generated when there is no data (`data=phantom`)."""

    num_patients: int = option(60, "women, four views each", at_least=8, at_most=20000)
    seed: int = option(0, "seed of the generator", at_least=0)


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Which images, how they are prepared, how they are split and batched."""

    name: str = option("data", "name of the dataset in run names and summaries")
    format: str = option("auto", "reader of the dataset: auto, archive, mamografias, patches, table, folders, ...")
    root: str | None = option(None, "folder of the dataset", in_run_id=False)
    csv: str | None = option(None, "label table of an archive, when it is not below data.root", in_run_id=False)
    allow_outside_root: bool = option(
        False, "use images that a table or a link names outside of data.root", in_run_id=False, guarded=True
    )
    kind: Literal["mass", "calc", "both"] | None = option(None, "CBIS-DDSM only: which of the two studies")
    classes: list[str] | None = option(None, "label set in order; null: A, B, C, D or what the labels hold")
    task: str = option("density4", "; ".join(f"{name}: {task.doc}" for name, task in TASKS.items()), among=TASKS)
    table: TableOptions = section(TableOptions)
    phantom: PhantomOptions = section(PhantomOptions)
    group_by: Literal["patient", "exam", "image"] = option(
        "patient", "what never spans two splits; image only where there is neither patient nor exam"
    )
    same_patient: Literal["merge", "distinct"] | None = option(
        None,
        "what ids are that may be one patient's (1 and 0001, P-1 and P1, letters that look alike): merge or distinct; "
        "null: ask",
        since_default=None,
        guarded=True,
    )
    exam_ids: Literal["global", "per_patient"] | None = option(
        None,
        "global: images that share an exam id are of one woman; per_patient: each patient counts her own exams "
        "(visit 1, 2); null: by the table, and ask where it is not clear",
        since_default=None,
        guarded=True,
    )
    views: list[str] | None = option(["CC", "MLO"], "views to keep; images without a known view are kept; null: all")
    implants: Literal["include", "exclude"] = option("include", "images with a breast implant")
    accept: list[Literal["for_processing", "other_modality", "colour", "multiframe"]] = option(
        [], "kinds of DICOM image that are refused unless named here"
    )
    modality: Literal["MG"] | None = option(
        None,
        "what DICOM files without a Modality are, where it is known; null: only those with a mammographic SOP class or "
        "view are used",
        since_default=None,
        in_run_id=False,
    )
    frames: Literal["refuse", "middle", "mean", "max"] = option(
        "refuse",
        "DICOM images of several frames (tomosynthesis): refuse them, or use the middle frame, or the mean or maximum "
        "of the grey levels of all",
        since_default="refuse",
    )
    max_bad_fraction: float = option(0.05, "stop when more than this fraction is defective", at_least=0, at_most=1)
    file_timeout_seconds: float = option(
        60.0,
        "a file that takes longer to read and decode, tried twice, is left out",
        at_least=1,
        at_most=86400,
        in_run_id=False,
    )
    allow_duplicates: bool = option(
        False,
        "go on when different patients of train and val (or test) have the same picture",
        in_run_id=False,
        guarded=True,
    )
    limit: int | None = option(
        None, "use only N patients (a quick look), in sorted order round-robin by class", at_least=2
    )
    pseudonymize: bool = option(
        True, "write keyed hashes instead of patient, exam and image ids", in_run_id=False, guarded=True
    )

    image_size: int | None = option(
        None,
        "side of the square in pixels; null: 512 (phantom 256), or the only size a network takes",
        at_least=32,
        at_most=4096,
    )
    decode: Literal["fast", "exact"] = option(
        "fast",
        "fast: JPEG 2000 is decoded at 1/2, 1/4, ... of its size where that leaves about 1.5 times the image size, "
        "which moves grey levels of real images by less than 1 of 255 on average; exact: everything is decoded whole",
    )
    crop: bool = option(True, "crop to the breast")
    orient: bool = option(True, "turn every breast to the left")
    mean: float | None = option(
        None, "grey mean in 0..1 to normalise with; null: that of the weights", at_least=0, at_most=1
    )
    std: float | None = option(None, "grey standard deviation; null: that of the weights", above=0, at_most=1)

    split_seed: int = option(42, "seed of the split, independent of the training seed", at_least=0, at_most=2**31 - 1)
    val_fraction: float = option(0.2, "fraction of patients in the validation set", above=0, below=1)
    num_folds: int | None = option(
        None, "divide the patients into N folds; data.fold is validated on (val_fraction is not used)", at_least=2
    )
    fold: int | None = option(
        None, "the fold to validate on, numbered from 0; all of them: -m data.fold=all", at_least=0
    )
    inner_folds: int | None = option(
        None,
        "nested choice: the fold of data.fold is set aside as test, the other patients are divided into N inner folds, "
        "and epochs are chosen on one of them",
        at_least=2,
        since_default=None,
    )
    inner_fold: int = option(
        0, "the inner fold that is validated on, from 0; all: -m data.inner_fold=all", at_least=0, since_default=0
    )
    test_fraction: float = option(0.0, "fraction of patients set aside before everything else", at_least=0, below=1)

    batch_size: int = option(16, "images a batch", at_least=2, at_most=4096)
    num_workers: int | None = option(
        None,
        "parallel workers that decode files and prepare batches; null: by the machine",
        at_least=0,
        in_run_id=False,
    )


@dataclasses.dataclass(frozen=True)
class PrepareOptions:
    """How `python -m mammo.prepare` fills the image store; nothing here changes what is in it."""

    workers: int | None = option(
        None,
        "files decoded at once by each job; null: one on each usable core (set it for shards on one machine)",
        at_least=1,
        at_most=1024,
    )
    shard: int | None = option(
        None, "only this part of the files, numbered from 0; several as jobs: -m prepare.shard=0,1,2,3", at_least=0
    )
    num_shards: int | None = option(None, "number of parts; with -m and all of them it need not be given", at_least=1)
    weights: bool = option(
        False, "fetch the published weights of the model into their cache instead; the word weights says the same"
    )
