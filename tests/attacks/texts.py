"""Studies, configurations and label tables of strangers."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import yaml

from tests.attacks.sources import IDENTIFIERS
from tests.attacks.values import RAW, Random, changed_tree, chosen, damaged_text, hostile_value, shown

_COLUMNS = {
    "trials": ("number", "study_id", "state", "datetime_start", "datetime_complete"),
    "trial_params": ("param_name", "param_value", "distribution_json"),
    "trial_values": ("value", "objective"),
    "trial_user_attributes": ("key", "value_json"),
    "trial_system_attributes": ("key", "value_json"),
    "study_user_attributes": ("key", "value_json"),
    "study_directions": ("direction", "objective"),
    "studies": ("study_name",),
    "version_info": ("schema_version", "library_version"),
    "alembic_version": ("version_num",),
}


def attack_study(file: Path, random: Random, marker: str) -> str:
    """Change rows of a study, put hostile parameters into an unfinished trial, or damage the file."""
    kind = random.integers(10)
    if kind == 0:
        content, what = damaged_text(file.read_bytes(), random)
        file.write_bytes(content)
        return f"{file.name} is {what}"
    with sqlite3.connect(file) as study:
        if kind < 4:
            what = _begin_a_trial(study, random, marker)
        elif kind == 4:
            table = chosen(random, list(_COLUMNS))
            study.execute(chosen(random, [f"drop table {table}", f"delete from {table}"]))
            what = f"{table} is lost"
        else:
            table = chosen(random, list(_COLUMNS))
            column = chosen(random, _COLUMNS[table])
            value = _cell(random, marker)
            try:
                study.execute(f"update {table} set {column} = ?", (value,))
            except sqlite3.Error as error:
                return f"nothing: {type(error).__name__}"
            what = f"{table}.{column} is {shown(value)!r}"
    study.close()
    return what


def _cell(random: Random, marker: str) -> object:
    value = hostile_value(random, marker)
    if isinstance(value, str):
        return value.replace(RAW, "").encode("utf-8", "replace").decode()
    if isinstance(value, int) and abs(value) >= 2**63:
        return 1e300
    if isinstance(value, list | dict):
        return json.dumps(value).replace(f'"{RAW}', "").replace("\\ud800", "?")
    return value


def _begin_a_trial(study: sqlite3.Connection, random: Random, marker: str) -> str:
    (number,) = study.execute("select max(number) + 1 from trials").fetchone()
    (trial,) = study.execute("select max(trial_id) + 1 from trials").fetchone()
    state = chosen(random, ["RUNNING", "WAITING", "RUNNING", "COMPLETE"])
    study.execute(
        "insert into trials (trial_id, number, study_id, state, datetime_start) values (?, ?, 1, ?, ?)",
        (trial, number, state, "2026-11-30 01:00:00"),
    )
    logging = f"{{version: 1, handlers: {{x: {{\\(\\): os.mkdir, path: {marker}}}}}, root: {{handlers: [x]}}}}"
    name = chosen(random, [
        "++hydra.job_logging", "+hydra.callbacks.x", "hydra/launcher", "optimizer.lr", "+x", "~data", "data.root",
        "cache_dir",
        "loss.label_smoothing", "sampler.alpha", "", "a b", "optimizer.lr=1 +y", "model@hydra.x", "run.name",
        "hydra.run.dir",
    ])  # fmt: skip
    choice = chosen(random, [
        logging, f"{{_target_: os.mkdir, path: {marker}}}", "${oc.env:CANARY_SECRET}", marker, "1e-3", "a,b",
        "1 +x=2", "'", "}",
        "glob(*)", "interval(0,1)", "[" * 3000, "\n", None, 1, True, 1e308,
    ])  # fmt: skip
    distribution = chosen(random, [
        {"name": "CategoricalDistribution", "attributes": {"choices": [choice]}},
        {"name": "LogUniformDistribution", "attributes": {"low": 1e-4, "high": 1e-2}},
        {"name": "UniformDistribution", "attributes": {"low": 5, "high": 1}}, {"name": "os.mkdir", "attributes": {}},
        {"name": "CategoricalDistribution", "attributes": {}}, [], "x",
    ])  # fmt: skip
    value = chosen(random, [0, 0, 0, 99, -1, 0.5, 1e308, None, "x"])
    study.execute(
        "insert into trial_params (trial_id, param_name, param_value, distribution_json) values (?, ?, ?, ?)",
        (trial, name, value, json.dumps(distribution)),
    )
    return f"a trial that is {state} with {name}={shown(choice)}, value {shown(value)}"


def attack_configuration(folder: Path, honest: dict[str, object], random: Random, marker: str) -> str:
    """An experiment `x` that somebody sends, below `folder`."""
    file = folder / "experiment" / "x.yaml"
    file.parent.mkdir(parents=True)
    kind = random.integers(10)
    if kind < 5:
        line = _hostile_line(random, marker)
        head = chosen(
            random, ["# @package _global_\n"] * 4 + ["", "# @package hydra\n", "# @package hydra.callbacks\n"]
        )
        file.write_text(f"{head}{line}\n", encoding="utf-8", errors="replace")
        what = line[:80]
    elif kind < 9:
        tree, what = changed_tree(honest, random, marker, int(random.integers(1, 3)))
        text = yaml.dump(tree, sort_keys=False, allow_unicode=True).replace(RAW, "")
        file.write_text(f"# @package _global_\n{text}", encoding="utf-8", errors="replace")
    else:
        content, what = damaged_text(b"# @package _global_\ntrain: {epochs: 3}\n", random)
        file.write_bytes(content)
    if random.random() < 0.3:
        notes = chosen(random, [
            f"# @package _global_\nhydra: {{callbacks: {{x: {{_target_: os.mkdir, path: {marker}}}}}}}\n",
            "train: {epochs: 4}\n",
            f"# @package hydra.callbacks.x\n_target_: os.mkdir\npath: {marker}\n",
        ])  # fmt: skip
        (folder / "notes.yaml").write_text(notes)
    return f"experiment: {what}"


def _hostile_line(random: Random, marker: str) -> str:
    call = f"{{_target_: os.mkdir, path: {marker}}}"
    handlers = (
        f"{{version: 1, handlers: {{f: {{class: logging.FileHandler, filename: {marker}}}}}, root: {{handlers: [f]}}}}"
    )
    return chosen(random, [
        f"hydra: {{callbacks: {{x: {call}}}}}", f"hydra: {{job_logging: {handlers}}}",
        f"hydra: {{hydra_logging: {handlers}}}",
        f"hydra: {{launcher: {call}}}", f"hydra: {{run: {{dir: {marker}}}}}", f"hydra: {{sweep: {{dir: {marker}}}}}",
        f"hydra: {{searchpath: [file://{marker}]}}", "hydra: {job: {env_copy: [CANARY_SECRET]}}",
        f'defaults: ["/../{Path(marker).parent.parent.name}/notes"]', 'defaults: ["/../friend/notes"]',
        'defaults: ["../notes"]',
        'defaults: ["../../friend/notes"]', 'defaults: ["/../../../../../../etc/passwd"]', 'defaults: ["/notes"]',
        'defaults: ["/notes@hydra.callbacks.x"]', "defaults: [{override /hydra/launcher: joblib}]",
        "defaults: [{override /hydra/job_logging: none}]", "defaults: [{model@hydra.callbacks.x: resnet50}]",
        "defaults: [{override /model: ../../friend/notes}]", "defaults: [{/../friend/notes@_global_: x}]",
        "defaults: [optional /../friend/notes]", "defaults: ['${oc.env:CANARY_SECRET}']",
        "defaults: [{override /model: '${x}'}]",
        f"model: {call}", f"data: {{views: [{call}]}}", f"tracker: {call}", f"x: {call}",
        "run: {name: '${oc.env:CANARY_SECRET}'}",
        "run: {name: '${${x}:CANARY_SECRET}'}", "run: {name: '${oc.decode:${oc.env:CANARY_SECRET}}'}",
        "run: {name: '${seed}'}",
        f"a: !!python/object/apply:os.mkdir [{marker}]", "a: !!python/name:os.system", "a: &a [*a]",
        "a: " + "[" * 30_000,
        f"cache_dir: {marker}", f"data: {{root: {marker}}}", f"hpo: {{storage: 'sqlite:///{marker}'}}",
        "data: {pseudonymize: false}",
        "data: {allow_outside_root: true}", f"tracker: {{name: mlflow, uri: 'file://{marker}'}}",
        f"model: {{weights: {marker}}}",
        "sweep: {published: [{where: 1}]}", "train: {epochs: '${train.epochs}'}", "seed: ${run_name:}",
        "data: {root: ../../..}",
        "<<: {hydra: 1}", "? [a]\n: b", "1: 2", "? {a: b}\n: c", "null: 1", "a.b: 1", "train.epochs: 3", "'': 1",
        "data: []",
    ])  # fmt: skip


# How each dataset is labelled: file, header, a line for (path, letter, digit, patient, side).
TABLES = {
    "table": ("labels.csv", "path,label,patient_id,laterality,view", "{path},{letter},{patient},{side},CC"),
    "archive": ("labels.csv", "image,density,patient_id", "{path},{digit},{patient}"),
    "patches": ("featureS.txt", "# names and classes", "{stem}\n{digit0}"),
    "mamografias": ("featureS.txt", "# names and classes", "{stem}\n{digit0}"),
    "mias": ("Info.txt", "MIAS", "mdb{number:03d} {fgd} NORM"),
    "inbreast": ("INbreast.csv", "File Name;ACR;Laterality;View", "{number:08d};{digit};{side};CC"),
    "vindr": ("breast-level_annotations.csv", "study_id,image_id,laterality,view_position,breast_density,split",
              "{patient},{stem},{side},CC,DENSITY {letter},training"),
    "rsna": ("train.csv", "patient_id,image_id,laterality,view,density", "{patient},{stem},{side},CC,{letter}"),
    "cbis_ddsm": ("mass_case_description_train_set.csv",
                  "patient_id,breast_density,left or right breast,image view,abnormality id,image file path",
                  "{patient},{digit},LEFT,CC,1,{path}"),
    "auto": ("labels.csv", "path,label,patient_id,laterality,view", "{path},{letter},{patient},{side},CC"),
}  # fmt: skip


def write_labels(root: Path, name: str) -> Path:
    """A small dataset of pictures that nobody looks at, and its label file."""
    file, header, line = TABLES[name]
    root.mkdir(parents=True)
    lines = [header]
    for number in range(12):
        stem, letter = f"{IDENTIFIERS[2]}_{number}", "ABCD"[number % 4]
        for path in (f"{stem}.png", f"mdb{number:03d}.png", f"{number:08d}_{IDENTIFIERS[2]}_MG_L_CC_ANON.dcm"):
            (root / path).write_bytes(b"a picture")
        lines.append(line.format(
            path=f"{stem}.png", stem=stem, letter=letter, digit=number % 4 + 1, digit0=number % 4,
            fgd="FGD"[number % 3],
            patient=f"{IDENTIFIERS[0]}{number // 2}", side="LR"[number % 2], number=number,
        ))  # fmt: skip
    (root / file).write_text("\n".join([*lines, ""]))
    return root / file


def attack_labels(file: Path, random: Random, marker: str) -> str:
    """A label table with strange cells, lines, columns or bytes."""
    content = file.read_bytes()
    if random.random() < 0.3:
        new, what = damaged_text(content, random)
    else:
        text, said = content.decode(), []
        delimiter = ";" if ";" in text else "," if "," in text else " "
        lines = [line.split(delimiter) for line in text.splitlines()]
        for _ in range(int(random.integers(1, 4))):
            row = int(random.integers(len(lines))) if random.random() < 0.8 else 0
            column = int(random.integers(max(1, len(lines[row]))))
            value = str(_cell(random, marker))
            value = chosen(
                random, [value, value, *IDENTIFIERS, f"{IDENTIFIERS[0]} {IDENTIFIERS[1]}", f'"{value}', "E", "5"]
            )
            if lines[row]:
                lines[row][column] = value
            said.append(f"row {row} column {column} is {value[:40]!r}")
        new = "\n".join(delimiter.join(line) for line in lines).encode("utf-8", "replace")
        what = "; ".join(said)
    if random.random() < 0.1:
        new = new.partition(b"\n")[2]
        what += "; no header"
    file.write_bytes(new)
    return f"{file.name}: {what}"
