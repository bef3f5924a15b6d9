"""A configuration of somebody else chooses options: whatever it is called, wherever it lies, whoever includes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

GLOBAL = "# @package _global_\n"
CALLBACK = "hydra: {callbacks: {x: {_target_: os.mkdir, path: MARKER}}}\n"
LOG_FILE = (
    "hydra: {hydra_logging: {version: 1, handlers: {f: {class: logging.FileHandler, filename: MARKER}}, "
    "root: {handlers: [f]}}}"
)
REFERENCES = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)
NO_GROUP = "no group of conf/"
LEAVES = "leave the folders of configurations"
GUARDED = "so a file does not decide it"
NO_OPTION = "there is no such option"
OF_HYDRA = "settings of Hydra, which can start programs"

# What the experiment `x` of a folder for --config-dir says, and what the refusal says.
EXPERIMENTS = {
    "callback": (CALLBACK, "hydra is a setting of Hydra"),
    "callback beside options": ("train: {epochs: 1}\n" + CALLBACK, "hydra is a setting of Hydra"),
    "log file": (LOG_FILE, "a setting of Hydra"),
    "environment": ("hydra: {job: {env_set: {GIT_EXTERNAL_DIFF: mkdir MARKER}}}", "a setting of Hydra"),
    "long name": ("defaults: [{override /data: " + "x" * 300 + "}]", "there is no such option"),
    "searchpath": ("hydra: {searchpath: ['file:///tmp']}", "a setting of Hydra"),
    "module to import": ("hydra: {searchpath: ['structured://antigravity']}", "a setting of Hydra"),
    "ranges of a search": ("hydra: {sweeper: {params: {seed: '1,2'}}}", "a setting of Hydra"),
    "key with a dot": ("hydra.callbacks.x: {_target_: os.mkdir, path: MARKER}", NO_OPTION),
    "key with a plus": ("'++hydra.callbacks.x': {_target_: os.mkdir, path: MARKER}", NO_OPTION),
    "key with a place": ("'model@hydra.callbacks': {x: {_target_: os.mkdir, path: MARKER}}", NO_OPTION),
    "capital letters": ("Hydra: {callbacks: {x: {_target_: os.mkdir, path: MARKER}}}", NO_OPTION),
    "number as a key": ("1: {_target_: os.mkdir}", NO_OPTION),
    "null as a key": ("null: x", NO_OPTION),
    "list as a key": ("? [a, b]\n: x", "not valid YAML"),
    "key of a section": ("data.pseudonymize: false", NO_OPTION),
    "range of what is protected": ("hpo: {space: {data.pseudonymize: [false, true]}}", "a file does not decide it"),
    "range of Hydra": ("hpo: {space: {hydra.callbacks.x._target_: [os.mkdir, os.rmdir]}}", NO_OPTION),
    "range below Hydra": ("hpo: {space: {hydra: {job: {chdir: [true, false]}}}}", NO_OPTION),
    "range that asks": ("hpo: {space: {data.root: ['${oc.env:A_PASSWORD}', x]}}", "calls a resolver"),
    "hydra within a section": ("train: {hydra: {callbacks: {x: {_target_: os.mkdir}}}}", f"train.hydra: {NO_OPTION}"),
    "merged": ("x: &x {hydra: {job: {chdir: true}}}\n<<: *x", "a setting of Hydra"),
    "twice": ("train: {epochs: 1}\ntrain: {epochs: 2}", "duplicate key"),
    "two documents": ("train: {epochs: 1}\n---\n" + CALLBACK, "not valid YAML"),
    "no mapping": ("[1, 2]", "holds a list and no options"),
    "text": ("hydra", "holds a str and no options"),
    "launcher": ("defaults: [{override /hydra/launcher: submitit_slurm}]", f"defaults choose {OF_HYDRA}"),
    "launcher of nothing": ("defaults: [{override /hydra/launcher: null}]", f"defaults choose {OF_HYDRA}"),
    "launcher by a list": ("defaults: [{override /hydra/launcher: [joblib]}]", f"defaults choose {OF_HYDRA}"),
    "launcher by no list": ("defaults: [{override /hydra/launcher: []}]", "neither a name nor"),
    "logging": ("defaults: [/hydra/job_logging/stdout]", f"defaults choose {OF_HYDRA}"),
    "package": ("defaults: [{model@hydra.callbacks.x: resnet50}]", f"defaults choose {OF_HYDRA}"),
    "package of a name": ("defaults: ['/model/resnet50@hydra.x']", f"defaults choose {OF_HYDRA}"),
    "other package": ("defaults: [{/model@data: resnet50}]", "for the place that the group has"),
    "asked for": ("defaults: [{/model: '${data}'}]", "a file chooses by name"),
    "no list": ("defaults: {override /hydra/launcher: joblib}", "defaults are no list"),
    "two in one": ("defaults: [{override /model: resnet50, override /hydra/launcher: joblib}]", "neither a name nor"),
    "number in defaults": ("defaults: [7]", "neither a name nor"),
    "other word": ("defaults: [{replace /model: resnet50}]", "'replace /model', which is no group"),
    "internal group": ("defaults: [{/options/model: resnet50}]", NO_GROUP),
    "unknown group": ("defaults: [{/modle: resnet50}]", "did you mean model"),
    "whole again": ("defaults: [/train]", NO_GROUP),
    "up": ("defaults: ['/../friend/notes']", LEAVES),
    "up from here": ("defaults: ['../../friend/notes']", LEAVES),
    "up by a choice": ("defaults: [{override /model: ../../friend/notes}]", LEAVES),
    "up by a group": ("defaults: [{'override /x/../..': friend/notes}]", LEAVES),
    "up by a list": ("defaults: [{/model: [resnet50, ../../friend/notes]}]", LEAVES),
    "from the root": ("defaults: ['//HERE/friend/notes']", LEAVES),
    "from the root by a choice": ("defaults: [{override /model: /HERE/friend/notes}]", LEAVES),
    "backslashes": ("defaults: ['/..\\friend\\notes']", LEAVES),
    "target": ("model: {_target_: os.mkdir, path: MARKER}", "model._target_ names code"),
    "target in a list": ("data: {views: [{_target_: os.mkdir}]}", "data.views[0]._target_ names code to call"),
    "target in a free mapping": ("data: {table: {columns: {path: {_target_: os.mkdir}}}}", "names code to call"),
    "secret": ("run: {name: '${oc.env:A_PASSWORD}'}", "run.name calls a resolver"),
    "secret in a list": ("data: {views: ['${oc.env:A_PASSWORD}']}", "data.views[0] calls a resolver"),
    "hidden secret": ("run: {name: '${${x}:A_PASSWORD}'}", "run.name calls a resolver"),
    "folder of Hydra": ("run: {name: '${hydra.runtime.cwd}'}", "refers to hydra.runtime.cwd"),
    "relative to Hydra": ("run: {name: '${..hydra.runtime.cwd}'}", "run.name calls a resolver"),
    "address of a study": ("run: {name: '${hpo.storage}'}", "refers to hpo.storage"),
    "object": ("a: !!python/object/apply:os.mkdir [MARKER]", "is not valid YAML"),
    "path": ("run: {name: !!python/object/apply:pathlib.Path [x]}", "run.name is a PosixPath"),
    "bytes": ("run: {name: !!binary aGk=}", "run.name is a bytes"),
    "set": ("run: {name: !!set {a, b}}", "run.name is a set"),
    "section that is text": ("data: '${model}'", "data is a section"),
    "section that is nothing": ("data: null", "data is a section"),
    "references": (REFERENCES, "stand for more than"),
    "deep": ("a: " + "[" * 30_000 + "]" * 30_000, "nested deeper"),
    "itself": ("defaults: [/experiment/x]", "in a circle"),
    "pseudonyms": ("data: {pseudonymize: false}", "data.pseudonymize can weaken a protection, remove results or send"),
    "pseudonyms as a number": ("data: {pseudonymize: 0}", GUARDED),
    "pseudonyms by reference": ("data: {pseudonymize: '${train.compile}'}", GUARDED),
    "outside": ("data: {allow_outside_root: true}", GUARDED),
    "duplicates": ("data: {allow_duplicates: true}", GUARDED),
    "patients": ("data: {same_patient: distinct}", GUARDED),
    "exams": ("data: {exam_ids: per_patient}", GUARDED),
    "cache": ("cache_dir: /somewhere", GUARDED),
    "study": ("hpo: {storage: 'postgresql://friend/x'}", GUARDED),
    "tracker": ("defaults: [{override /tracker: mlflow}]\ntracker: {folder: /somewhere}", GUARDED),
    "restart": ("run: {restart: true}", GUARDED),
    "pseudonyms of other data": (
        "defaults: [{override /data: mias}]\ndata: {pseudonymize: false, format: archive}", "data.format differ",
    ),
    "public data read in another way": (
        "defaults: [{override /data: vindr}]\ndata: {table: {columns: {patient_id: name}}}",
        "data.table.columns.patient_id differ",
    ),
    "generated data that is not": ("data: {format: archive}", "data.format differ"),
}  # fmt: skip
# Files below the copy of the project, the command, and what the refusal says.
PLACES = {
    "no header": ({"friend/experiment/x.yaml": CALLBACK}, "it sets experiment, which is no section"),
    "header hydra": ({"friend/experiment/x.yaml": "# @package hydra\njob: {chdir: true}"}, "it is meant for Hydra"),
    "header below hydra": (
        {"friend/experiment/x.yaml": "# @package _global_.hydra.callbacks\nx: {_target_: os.mkdir}"}, "meant for Hydra",
    ),
    "broken header": ({"friend/experiment/x.yaml": "# @package a b c\nseed: 1"}, "cannot be read"),
    "no text": ({"friend/experiment/x.yaml": b"\xff\xfe\x00"}, "cannot be read"),
    "own folder for hydra": (
        {
            "friend/experiment/x.yaml": GLOBAL + "defaults: [hydra/callbacks/y]",
            "friend/experiment/hydra/callbacks/y.yaml": "x: {_target_: os.mkdir, path: MARKER}",
        },
        f"defaults choose {OF_HYDRA}",
    ),
    "in place of Hydra's own": (
        {"friend/experiment/x.yaml": GLOBAL, "friend/hydra/config.yaml": "callbacks: {x: {_target_: os.mkdir}}"},
        "hydra/config.yaml: it is meant for Hydra",
    ),
    "conf in place of Hydra's own": (
        {"friend/experiment/x.yaml": GLOBAL, "friend/hydra/config.yaml": Path("conf/train.yaml")},
        "hydra/config.yaml: it is meant for Hydra",
    ),
    "in place of all options": (
        {"friend/experiment/x.yaml": GLOBAL, "friend/options.yaml": "data: {name: x}"},
        "takes the place of the defaults",
    ),
    "one includes another": (
        {"friend/experiment/x.yaml": GLOBAL + "defaults: [y]", "friend/experiment/y.yaml": GLOBAL + CALLBACK},
        "friend/experiment/y.yaml: hydra is a setting",
    ),
    "a link that leads out of the folder": (
        {"friend/experiment/x.yaml": Path("notes.yaml"), "notes.yaml": GLOBAL + CALLBACK}, "hydra is a setting",
    ),
    "a link in conf that leads out": (
        {"conf/experiment/x.yaml": Path("friend/notes.yaml"), "friend/notes.yaml": GLOBAL + CALLBACK},
        "conf/experiment/x.yaml: hydra is a setting",
    ),
    "a folder in conf that leads out": (
        {"conf/experiment/y": Path("friend"), "friend/notes.yaml": GLOBAL + CALLBACK, "friend/experiment/x.yaml":
         GLOBAL + "defaults: [/experiment/y/notes]"}, "notes.yaml: hydra is a setting",
    ),
    "circle": (
        {"friend/experiment/x.yaml": GLOBAL + "defaults: [y]", "friend/experiment/y.yaml": GLOBAL + "defaults: [x]"},
        "in a circle",
    ),
}  # fmt: skip
SHOW = ("--cfg", "job", "--resolve")
NOTES = {"friend/notes.yaml": GLOBAL + CALLBACK, "friend/experiment/x.yaml": GLOBAL + "train: {epochs: 3}\n"}
X = ("--config-dir", "friend", "experiment=x")
COMMANDS = {
    "up on the command line": (NOTES, ["experiment=../../friend/notes"], "leads out of the folders"),
    "from the root on the command line": (NOTES, ["experiment=/HERE/friend/notes"], "leads out of the folders"),
    "primary": (NOTES, ["--config-dir", "friend", "--config-name", "notes"], "notes.yaml: hydra is a setting"),
    "primary from above": (NOTES, ["--config-name", "../friend/notes"], "leads out of the folders"),
    "other folder": (NOTES, ["--config-path", "HERE/friend", "--config-name", "notes"], "hydra is a setting"),
    "searchpath": (NOTES, ["hydra.searchpath=[file://friend]", "--config-name", "notes"], ""),
    "package": (NOTES, ["--config-path", "pkg://friend", "--config-name", "notes"], "pkg://friend"),
    "package on the searchpath": (NOTES, ["hydra.searchpath=[pkg://friend]"], "pkg://friend"),
    "another key on the command line": (
        {"friend/experiment/x.yaml": GLOBAL + "data: {pseudonymize: false}"},
        [*X, "cache_dir=c", "data.name=x"], GUARDED,
    ),
    "taken back on the command line": (
        {"friend/experiment/x.yaml": GLOBAL + "data: {pseudonymize: false}"}, [*X, "~data.pseudonymize"], GUARDED,
    ),
    "dataset of the command line": (
        {"friend/experiment/x.yaml": GLOBAL + "defaults: [/data/vindr]\ndata: {format: archive}"},
        [*X, "data=archive", "data.root=x"], "data.pseudonymize=false, but not for data=archive",
    ),
    "an include in a file of a dataset": (
        {"friend/data/mine.yaml": "defaults: [phantom]\nformat: archive\nroot: x"},
        ["--config-dir", "friend", "data=mine"], "data.pseudonymize=false, but not for data=mine",
    ),
    "prepare": (
        {"friend/data/mine.yaml": "format: archive\npseudonymize: false"},
        ["prepare", "--config-dir", "friend", "data=mine"], "data.pseudonymize can weaken",
    ),
}  # fmt: skip
# Files and commands that are not refused, and what the composed configuration says then.
ALLOWED = {
    "options": (
        {"friend/experiment/x.yaml": GLOBAL + "defaults: [{override /model: resnet50}, _self_]\n"
         "train: {epochs: 3}\naugment: {seed: '${seed}'}\noptimizer: {lr: 1e-3}\ndata: {views: null}"},
        X, ["epochs: 3", "name: resnet50", "lr: 0.001", "views: null"],
    ),
    "nothing": ({"friend/experiment/x.yaml": "# nothing\n" + GLOBAL}, X, ["name: phantom"]),
    "what protects": (
        {"friend/experiment/x.yaml": GLOBAL + "data: {pseudonymize: true, allow_outside_root: false}\n"
         "hpo: {storage: null}"},
        X, ["pseudonymize: true"],
    ),
    "what the command says too": (
        {"friend/experiment/x.yaml": GLOBAL + "data: {pseudonymize: false}\ncache_dir: c"},
        [*X, "data.pseudonymize=false", "cache_dir=d", "data=archive"], ["pseudonymize: false", "cache_dir: d"],
    ),
    "a public dataset": (
        {"friend/experiment/x.yaml": GLOBAL + "defaults: [{override /data: mias}]\ndata: {pseudonymize: false}"},
        X, ["pseudonymize: false", "format: mias"],
    ),
    "files that include files": (
        {"friend/experiment/x.yaml": GLOBAL + "defaults: [base, {override /model: mine}]\ntrain: {epochs: 3}",
         "friend/experiment/base.yaml": GLOBAL + "seed: 7", "friend/model/mine.yaml": "dropout: 0.25"},
        X, ["seed: 7", "epochs: 3"],
    ),
    "a group": (
        {"friend/model/mine.yaml": "family: timm\nname: resnet18\ndropout: 0.25"},
        ["--config-dir", "friend", "model=mine"], ["dropout: 0.25"],
    ),
    "names of an earlier version": (
        {"friend/experiment/x.yaml": GLOBAL + "augment: {num_views: 9}"}, X, ["num_variants: 9"],
    ),
    "names of an earlier version in a group": (
        {"friend/augment/mine.yaml": "num_views: 9"}, ["--config-dir", "friend", "augment=mine"], ["num_variants: 9"],
    ),
    "a link to conf": ({"friend/experiment/x.yaml": Path("conf/experiment/resnet50_frozen.yaml")}, X, ["lr: 0.0001"]),
    "ones own file in conf": (
        {"conf/experiment/x.yaml": GLOBAL + "hydra: {job: {env_set: {A: b}}}\ndata: {pseudonymize: false}"},
        ["experiment=x", "data=archive"], ["pseudonymize: false"],
    ),
    "settings of Hydra on the command line": (
        {"friend/experiment/x.yaml": GLOBAL},
        [*X, "hydra.job.chdir=false", "+hydra.job.env_set.A=b"], ["name: phantom"],
    ),
}  # fmt: skip

REFUSED = {
    **{name: expected for name, (_, expected) in {**EXPERIMENTS, **PLACES}.items()},
    **{name: expected for name, (_, _, expected) in COMMANDS.items()},
}

RUN = """
import json, os, sys
from mammo import prepare, train
from mammo.cli.entry import run_command
from mammo.config.composition import TRAIN
for folder, words in json.load(sys.stdin):
    os.chdir(folder)
    command, job = (prepare.PREPARE, prepare.job) if words[0] == "prepare" else (TRAIN, train.job)
    sys.argv = [command.program, *words[words[0] == "prepare":]]
    print("=== ", flush=True)
    print("=== ", file=sys.stderr, flush=True)
    try:
        run_command(job, command)
    except SystemExit as end:
        print(f"status {end.code}", file=sys.stderr, flush=True)
"""


def lay_out(folder: Path, files: dict[str, str | bytes | Path], root: Path, marker: Path) -> None:
    for name, content in files.items():
        place = (root if name.startswith("conf/") else folder) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            place.symlink_to((root if content.parts[0] == "conf" else folder) / content)
        elif isinstance(content, bytes):
            place.write_bytes(content)
        else:
            place.write_text(content.replace("MARKER", str(marker)).replace("HERE", str(folder).lstrip("/")))


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """What each command says on stdout and stderr; the commands run one after another in one process."""
    top = tmp_path_factory.mktemp("strangers")
    marker = top / "PAYLOAD-RAN"
    cases = {name: ({**NOTES, "friend/experiment/x.yaml": GLOBAL + content}, X)
             for name, (content, _) in EXPERIMENTS.items()}  # fmt: skip
    cases |= {name: (files, ("experiment=x",) if any(f == "conf/experiment/x.yaml" for f in files) else X)
              for name, (files, _) in PLACES.items()}  # fmt: skip
    cases |= {name: (files, words) for name, (files, words, _) in {**COMMANDS, **ALLOWED}.items()}
    texts: dict[str, tuple[str, str]] = {}
    shared, alone = [], []
    for name, (files, words) in cases.items():
        (alone if any(file.startswith("conf/") for file in files) else shared).append((name, files, words))
    for group in [shared, *([case] for case in alone)]:
        root = Path(tmp_path_factory.mktemp("project"))
        for part in ("mammo", "conf", "hydra_plugins"):
            shutil.copytree(REPOSITORY / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        commands = []
        for number, (name, files, words) in enumerate(group):
            folder = root / f"case{number}"
            folder.mkdir()
            lay_out(folder, files, root, marker)
            shown = () if "differ" in REFUSED.get(name, "") or "but not for" in REFUSED.get(name, "") else SHOW
            commands.append((str(folder), [word.replace("HERE", str(folder)) for word in (*words, *shown)]))
        done = subprocess.run(
            [sys.executable, "-c", RUN], cwd=root, input=json.dumps(commands), capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(root), "A_PASSWORD": "hunter2"}, timeout=300, check=True,
        )  # fmt: skip
        assert "hunter2" not in done.stdout + done.stderr
        parts = zip(done.stdout.split("=== ")[1:], done.stderr.split("=== ")[1:], strict=True)
        texts |= {name: pair for (name, _, _), pair in zip(group, parts, strict=True)}
    assert not marker.exists()
    return texts


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_a_message(name, answers):
    _, error = answers[name]
    assert "status 2" in error
    assert REFUSED[name] in error
    assert "Traceback" not in error
    assert error.strip().startswith("error: ")


@pytest.mark.parametrize("name", ALLOWED)
def test_it_is_taken(name, answers):
    output, error = answers[name]
    assert error.strip() == ""
    for line in ALLOWED[name][2]:
        assert f"{line}\n" in output


def test_the_example_that_ran_code_is_refused(shared_data, train, tmp_path):
    """As it was found: copied into the folder of the project, with the name of its folder leading back to it."""
    attack = shared_data / "attacks" / "config-dir-escape" / "friend"
    if not attack.is_dir():
        pytest.skip("the attacks are not here")
    marker = tmp_path / "PAYLOAD-RAN"
    shutil.copytree(attack, tmp_path / "friend")
    notes = tmp_path / "friend" / "notes.yaml"
    notes.write_text(notes.read_text().replace("/tmp/mammo-attack-ran", str(marker)))
    for part in ("mammo", "conf", "hydra_plugins"):
        shutil.copytree(REPOSITORY / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    done = train("--config-dir", "friend", "experiment=best_config", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert f"best_config.yaml: its defaults {LEAVES} (/../friend/notes)" in done.stderr
    assert not marker.exists()
