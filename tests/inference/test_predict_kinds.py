"""Which new images a network is shown: of the kinds that it has seen, each network of an ensemble for itself."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mammo.inference.new_files import COLOURED
from mammo.predict import TOOL
from tests.data.dicom_files import RAMP, build, save
from tests.inference.conftest import run_of
from tests.inference.test_predict import CLASSES, predictions
from tests.pictures import save_turned

CR_STORAGE, MG_STORAGE = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.2"
OTHER_PARTS = [
    {"Modality": "CR"},
    {"Modality": "DX", "ViewPosition": "PA"},
    {"Modality": "RG", "ViewPosition": "RL"},  # right lateral, of a chest
]
BREASTS = [{}, {"Modality": "CR", "ViewPosition": "MLO"}, {"Modality": "DX", "ViewPosition": "XCCL"}]


def test_radiographs_of_unknown_parts_of_the_body_are_refused_unless_forced(sweep, command, tmp_path):
    content = torch.load(run_of(sweep) / "checkpoints" / "best_model.pth", weights_only=True)
    content["config"]["data"]["views"] = None
    torch.save(content, tmp_path / "all_views.pth")
    folder = tmp_path / "new"
    folder.mkdir()
    for number, changes in enumerate([*BREASTS, *OTHER_PARTS]):
        save(build(RAMP, **changes), folder / f"{number}-{changes.get('Modality', 'MG')}")
    words = (f"input={folder}", "pseudonymize=false")
    command(TOOL, "all_views.pth", *words, "output=p.csv")
    assert predictions(tmp_path / "p.csv")["image_id"].tolist() == ["0-MG", "1-CR", "2-DX"]
    left_out = pd.read_csv(tmp_path / "p_quarantine.csv").set_index("image_id")["reason"].to_dict()
    reason = "modality {} without a mammographic view may be no mammogram (force=true takes it)"
    assert left_out == {name: reason.format(name[2:]) for name in ("3-CR", "4-DX", "5-RG")}
    command(TOOL, "all_views.pth", *words, "output=forced.csv", "force=true")
    assert len(predictions(tmp_path / "forced.csv")) == 6


def test_files_that_do_not_say_their_modality(sweep, command, tmp_path):
    """A network is shown them where they are mammograms by class or view, or where its own images did not say it."""
    content = torch.load(run_of(sweep) / "checkpoints" / "best_model.pth", weights_only=True)
    content["config"]["data"]["modality"] = "MG"
    torch.save(content, tmp_path / "of_rsna.pth")
    folder = tmp_path / "new"
    folder.mkdir()
    fuji = {"Modality": "CR", "AcquisitionDeviceProcessingDescription": "MAMMO,R CC"}
    for name, changes in {
        "class": {"SOPClassUID": MG_STORAGE}, "view": {"SOPClassUID": None, "ViewPosition": "LCC"},
        "nothing": {"SOPClassUID": None}, "other-view": {"SOPClassUID": None, "ViewPosition": "RML"},
        "ct": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "fuji": fuji | {"SOPClassUID": CR_STORAGE},
        "two-sides": {"Modality": "MG", "ViewPosition": "RCC", "ImageLaterality": "L"},
    }.items():  # fmt: skip
        save(build(RAMP, **{"Modality": None, **changes}), folder / name)
    words = (f"input={folder}", "pseudonymize=false", "output=p.csv")
    out = " ".join(command(TOOL, run_of(sweep), *words).split())
    found = predictions(tmp_path / "p.csv").set_index("image_id")
    sides = found["laterality"].to_dict()
    assert sides == {"class": "", "fuji": "R", "two-sides": "", "view": "L"}
    assert found["view"].to_dict() == {"class": "", "fuji": "CC", "two-sides": "CC", "view": "CC"}
    remark = "no Modality in the header, taken for a mammogram by SOP class or view"
    assert f"2 predicted, with a remark in the table: {remark}" in out
    assert "1 predicted, with a remark in the table: two sides named in the header" in out
    reasons = pd.read_csv(tmp_path / "p_quarantine.csv").set_index("image_id")["reason"]
    assert sorted(reasons.index) == ["ct", "nothing", "other-view"]
    assert reasons["ct"] == reasons["nothing"] == "modality none is no projection X-ray (expected MG, CR, DX, RG)"
    assert reasons["other-view"] == "view ML is none of those that the network has seen (CC, MLO)"
    out = command(TOOL, "of_rsna.pth", *words, "overwrite=true")
    assert sorted(predictions(tmp_path / "p.csv")["image_id"]) == ["class", "fuji", "nothing", "two-sides", "view"]
    assert "no Modality" not in out


def test_a_network_is_shown_several_frames_as_it_was_in_training(sweep, command, tmp_path):
    content = torch.load(run_of(sweep) / "checkpoints" / "best_model.pth", weights_only=True)
    folder = tmp_path / "new"
    folder.mkdir()
    stack = np.stack([RAMP, RAMP[::-1], RAMP // 2])
    save(build(stack.reshape(-1, 64), NumberOfFrames=3, Rows=64), folder / "stack")
    save(build(RAMP[::-1]), folder / "middle")
    found = {}
    for frames in ("refuse", "middle", "mean"):
        content["config"]["data"]["frames"] = frames
        torch.save(content, tmp_path / f"{frames}.pth")
        command(TOOL, f"{frames}.pth", f"input={folder}", "pseudonymize=false", f"output={frames}.csv")
        found[frames] = predictions(tmp_path / f"{frames}.csv").set_index("image_id")[CLASSES]
    assert list(found["refuse"].index) == ["middle"]
    np.testing.assert_array_equal(found["middle"].loc["stack"], found["middle"].loc["middle"])
    assert (found["mean"].loc["stack"] - found["mean"].loc["middle"]).abs().max() > 1e-6
    command(TOOL, "mean.pth", f"input={folder}", "pseudonymize=false", "output=forced.csv", "force=true")
    np.testing.assert_array_equal(
        predictions(tmp_path / "forced.csv").set_index("image_id").loc["stack", CLASSES].astype(float),
        found["mean"].loc["stack"],
    )


@pytest.fixture
def networks_of_views(sweep, tmp_path):
    """Copies of a checkpoint that know one view each, the second no implants; the scores weight the first alone."""
    files = []
    for view, implants, score in (("CC", "include", 0.5), ("MLO", "exclude", 0.0)):
        content = torch.load(run_of(sweep) / "checkpoints" / "best_model.pth", weights_only=True)
        content["config"]["data"] |= {"format": "archive", "views": [view], "implants": implants}
        content["best_metrics"]["bal_acc_adj"] = score
        if view == "MLO":  # other probabilities
            (bias,) = (value for value in content["model_state_dict"].values() if value.shape == (len(CLASSES),))
            bias += torch.tensor([1.0, 0.0, 0.0, 0.0])
        files.append(tmp_path / f"{view}.pth")
        torch.save(content, files[-1])
    return files


def test_a_network_of_an_ensemble_has_no_say_in_what_it_has_not_seen(
    networks_of_views, command, class_folders, tmp_path
):
    folder = tmp_path / "new"
    folder.mkdir()
    for view in ("CC", "MLO", "ML"):
        save(build(RAMP, ViewPosition=view), folder / view)
        save(build(RAMP, ViewPosition=view, BreastImplantPresent="YES"), folder / f"{view}-implant")
    shutil.copy(class_folders / "A" / "A0.png", folder / "unknown.png")
    words = (f"input={folder}", "pseudonymize=false")
    alone = {}
    for file in networks_of_views:
        command(TOOL, file, *words, f"output={file.stem}.csv", "force=true")
        alone[file.stem] = predictions(tmp_path / f"{file.stem}.csv").set_index("image_id")[CLASSES]
    assert (alone["CC"] - alone["MLO"]).abs().to_numpy().max() > 0.01
    out = command(TOOL, *networks_of_views, *words, "output=both.csv")
    found = predictions(tmp_path / "both.csv").set_index("image_id")
    assert found["num_networks"].to_dict() == {"CC": 1, "CC-implant": 1, "MLO": 1, "unknown.png": 2}
    assert "3  by fewer than 2 networks" in out
    mean = (alone["CC"] + alone["MLO"]) / 2
    for image_id, expected in {
        "CC": alone["CC"], "CC-implant": alone["CC"], "MLO": alone["MLO"], "unknown.png": mean
    }.items():  # fmt: skip
        np.testing.assert_allclose(found.loc[image_id, CLASSES].astype(float), expected.loc[image_id], atol=1e-6)
    left_out = pd.read_csv(tmp_path / "both_quarantine.csv").set_index("image_id")["reason"]
    view, implant = "view {} is none of those that the network has seen ({})", "a breast implant: the network has"
    assert sorted(left_out.index) == ["ML", "ML-implant", "MLO-implant"]
    assert left_out["ML"] == f"{view.format('ML', 'CC')}; {view.format('ML', 'MLO')}"
    assert left_out["MLO-implant"].startswith(f"{view.format('MLO', 'CC')}; {implant}")


def test_what_only_networks_without_weight_have_seen_is_listed(networks_of_views, command, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for view in ("CC", "MLO"):
        save(build(RAMP, ViewPosition=view), folder / view)
    command(TOOL, *networks_of_views, f"input={folder}", "weights=validation", "pseudonymize=false", "output=p.csv")
    assert predictions(tmp_path / "p.csv")["image_id"].tolist() == ["CC"]
    assert pd.read_csv(tmp_path / "p_quarantine.csv")["image_id"].tolist() == ["MLO"]


def test_a_turned_picture_is_predicted_as_it_is_seen(sweep, command, class_folders, tmp_path):
    with Image.open(class_folders / "C" / "C1.png") as picture:
        values = np.asarray(picture)
    for orientation in range(1, 9):
        save_turned(values, tmp_path / "new" / f"{orientation}.png", orientation)
    command(TOOL, run_of(sweep), f"input={tmp_path / 'new'}", "output=p.csv", "pseudonymize=false")
    found = predictions(tmp_path / "p.csv")
    assert len(found) == 8
    np.testing.assert_allclose(found[CLASSES], np.tile(found[CLASSES].iloc[:1], (8, 1)), atol=1e-12)


def write_screenshots(folder, class_folders):
    """Pictures of grey levels in all forms that hold colours, and coloured ones: a whole one, and a viewer's window."""
    with Image.open(class_folders / "C" / "C1.png") as picture:
        grey = picture.convert("RGB").resize((480, 640))
    grey.save(folder / "grey.png")
    grey.save(folder / "grey.jpg", quality=40)
    grey.convert("P").save(folder / "palette.png")
    window = grey.copy()
    for place, colour in ((10, (0, 120, 215)), (40, (200, 40, 40)), (70, (40, 180, 60))):
        window.paste(colour, (place, 4, place + 20, 24))
    window.save(folder / "screenshot.png")
    window.save(folder / "screenshot.jpg", quality=85)
    Image.merge("RGB", (grey.getchannel(0), grey.getchannel(0).point(lambda v: v // 2), grey.getchannel(0))).save(
        folder / "photograph.png"
    )
    colours = np.stack([RAMP // 16] * 3, axis=-1).astype(np.uint8)
    save(
        build(colours, 8, SamplesPerPixel=3, PlanarConfiguration=0, PhotometricInterpretation="RGB"),
        folder / "colour.dcm",
    )


def test_a_coloured_picture_is_refused_or_has_a_remark(sweep, command, class_folders, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    write_screenshots(folder, class_folders)
    words = (run_of(sweep), f"input={folder}", "pseudonymize=false")
    command(TOOL, *words, "output=p.csv")
    found = predictions(tmp_path / "p.csv")
    assert found["image_id"].tolist() == ["grey.jpg", "grey.png", "palette.png"]
    assert "remark" not in found.columns
    reasons = pd.read_csv(tmp_path / "p_quarantine.csv").set_index("image_id")["reason"]
    assert sorted(reasons.index) == ["colour.dcm", "photograph.png", "screenshot.jpg", "screenshot.png"]
    assert reasons["screenshot.png"] == f"{COLOURED} (force=true takes it)"
    assert reasons["photograph.png"].startswith("coloured picture")
    out = command(TOOL, *words, "output=forced.csv", "force=true")
    remarks = predictions(tmp_path / "forced.csv").set_index("image_id")["remark"]
    expected = {**dict.fromkeys(reasons.index, COLOURED), "colour.dcm": "colour image (RGB)"}
    assert remarks[remarks != ""].to_dict() == expected
    assert f"3 predicted, with a remark in the table: {COLOURED}" in " ".join(out.split())
    command(TOOL, *words, "output=forced.jsonl", "force=true")
    lines = [json.loads(line) for line in (tmp_path / "forced.jsonl").read_text().splitlines()]
    assert {line["image_id"]: line["remark"] for line in lines} == remarks.to_dict()
