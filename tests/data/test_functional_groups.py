"""Tomosynthesis and synthesised 2D objects: window, rescaling, side and view in functional groups; several frames."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from mammo.data.dicom import open_dicom, read_header
from mammo.data.dicom_header import accepted_kinds
from mammo.support.errors import BadFile
from tests.data.dicom_files import RAMP, STREAMS, build, code_item, dicom_file, lut_item, quiet_pydicom, save
from tests.data.reading import read_dicom

pytestmark = quiet_pydicom

TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"


def item(**elements: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def window(centre: Any, width: Any, **more: Any) -> Dataset:
    return item(FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth=width, **more)])


def rescaled(slope: float, intercept: float) -> Dataset:
    return item(
        PixelValueTransformationSequence=[item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")]
    )


def joined(*groups: Dataset) -> Dataset:
    dataset = Dataset()
    for group in groups:
        dataset.update(group)
    return dataset


def tomosynthesis(
    frames: np.ndarray = RAMP[None], shared: Any = None, per_frame: Any = None, **changes: Any
) -> Dataset:
    """An object of frames [N, 64, 64] with functional groups."""
    changes = {"SOPClassUID": TOMOSYNTHESIS, "NumberOfFrames": len(frames), "Rows": frames.shape[1]} | changes
    dataset = build(frames.reshape(-1, frames.shape[2]), **changes)
    if shared is not None:
        dataset.SharedFunctionalGroupsSequence = [shared]
    if per_frame is not None:
        dataset.PerFrameFunctionalGroupsSequence = per_frame
    return dataset


def linear(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


WIDE = linear(RAMP, 2800, 2000)
TABLE = [value // 16 for value in range(4096)]


@pytest.mark.parametrize(
    ("shared", "per_frame", "top", "expected"),
    [
        (window(2800, 2000), None, {}, WIDE),
        (None, [window(2800, 2000)], {}, WIDE),
        (window(100, 200), [window(2800, 2000)], {}, WIDE),
        (window(2800, 2000), [Dataset()], {}, WIDE),
        (window(2800, 2000), [item(FrameVOILUTSequence=[])], {}, WIDE),
        (window(2800, 2000), [window("", "")], {}, WIDE),
        (window(2800, 2000), [rescaled(1, 0)], {}, WIDE),
        (window(2800, 2000), None, {"WindowCenter": 100, "WindowWidth": 200}, WIDE),
        (window(2800, 2000), None, {"VOILUTSequence": [lut_item([0, 255], 0, 8)]}, WIDE),
        (window(2800, 2000), None, {"WindowCenter": 1, "WindowWidth": 2, "VOILUTFunction": "SIGMOID"}, WIDE),
        (window([2800, 1], [2000, 2]), None, {}, WIDE),
        (None, [rescaled(-1, 4095)], {"WindowCenter": 2800, "WindowWidth": 2000}, linear(4095.0 - RAMP, 2800, 2000)),
        (joined(rescaled(2, 100), window(4000, 3000)), None, {}, linear(2.0 * RAMP + 100, 4000, 3000)),
        (rescaled(2, 100), [window(4000, 3000)], {"RescaleSlope": 7}, linear(2.0 * RAMP + 100, 4000, 3000)),
        (window(2800, 2000, VOILUTFunction="LINEAR_EXACT"), None, {}, np.clip(RAMP / 2000 - 0.9, 0, 1)),
        (item(FrameVOILUTSequence=[item(VOILUTSequence=[lut_item(TABLE, 0, 8)])]), None, {}, RAMP // 16 / 255),
        (None, None, {"WindowCenter": 2800, "WindowWidth": 2000}, WIDE),
    ],
)  # fmt: skip
def test_grey_levels_of_one_frame(tmp_path: Path, shared: Any, per_frame: Any, top: dict, expected: np.ndarray) -> None:
    image, _ = read_dicom(save(tomosynthesis(RAMP[None], shared, per_frame, **top), tmp_path / "image"))
    np.testing.assert_allclose(image, expected, atol=1e-6)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_groups_in_every_native_syntax(syntax: str) -> None:
    groups = {"SharedFunctionalGroupsSequence": [window(2800, 2000)], "NumberOfFrames": 1}
    image, _ = read_dicom(dicom_file(RAMP, syntax, **groups))
    np.testing.assert_allclose(image, WIDE, atol=1e-6)


@pytest.mark.parametrize(
    ("shared", "per_frame", "top", "expected"),
    [
        (item(FrameAnatomySequence=[item(FrameLaterality="R")]), None, {}, ("", "R", False)),
        (None, [item(FrameAnatomySequence=[item(FrameLaterality="L")])], {}, ("", "L", False)),
        (item(FrameAnatomySequence=[item(FrameLaterality="R")]), None, {"ImageLaterality": "R"}, ("", "R", False)),
        (item(FrameAnatomySequence=[item(FrameLaterality="R")]), None, {"ImageLaterality": "L"}, ("", "", True)),
        (item(FrameAnatomySequence=[item(FrameLaterality="R")]), None, {"ViewPosition": "RCC"}, ("CC", "R", False)),
        (item(ViewCodeSequence=[code_item("R-10226")]), None, {}, ("MLO", "", False)),
        (None, [item(ViewCodeSequence=[code_item("399162004")])], {"ViewPosition": "MLO"}, ("CC", "", False)),
        (item(FrameAnatomySequence=[item(ViewCodeSequence=[code_item("Y-X1771")])]), None, {}, ("XCCM", "", False)),
        (item(UnassignedSharedConvertedAttributesSequence=[item(ViewPosition="MLO", ImageLaterality="L")]), None, {},
         ("MLO", "L", False)),
    ],
)  # fmt: skip
def test_side_and_view(tmp_path: Path, shared: Any, per_frame: Any, top: dict, expected: tuple) -> None:
    header = read_header(save(tomosynthesis(RAMP[None], shared, per_frame, **top), tmp_path / "image"))
    assert (header.view, header.laterality, header.two_sides) == expected


STACK = np.stack([RAMP // 4, RAMP // 2, RAMP])
OF_EACH = [window(500, 1000), window(1000, 2000), window(2800, 2000)]
SHOWN = np.stack([linear(RAMP // 4, 500, 1000), linear(RAMP // 2, 1000, 2000), WIDE])


@pytest.mark.parametrize(
    ("accept", "frames", "expected"),
    [(["multiframe"], "refuse", SHOWN[1]), ([], "middle", SHOWN[1]), ([], "mean", SHOWN.mean(0)),
     ([], "max", SHOWN.max(0)), (["multiframe"], "mean", SHOWN.mean(0))],
)  # fmt: skip
def test_several_frames_on_purpose(accept: list[str], frames: str, expected: np.ndarray) -> None:
    native = dicom_file(STACK.reshape(-1, 64), NumberOfFrames=3, Rows=64, PerFrameFunctionalGroupsSequence=OF_EACH)
    dataset = tomosynthesis(STACK, None, OF_EACH)
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.PixelData = encapsulate([STREAMS[JPEG2000Lossless](frame) for frame in STACK])
    dataset["PixelData"].VR = "OB"
    compressed = save_to_bytes(dataset)
    kinds = accepted_kinds(accept, None, frames)
    for content in (native, compressed):
        np.testing.assert_allclose(read_dicom(content, kinds)[0], expected, atol=1e-6)
    reduced = open_dicom(compressed, kinds).grey(32)
    assert (reduced.reduction, reduced.shape, reduced.whole_shape) == (1, (32, 32), (64, 64))
    assert abs(float(reduced.levels().mean()) - expected.mean()) < 0.05


def save_to_bytes(dataset: Dataset) -> bytes:
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def test_several_frames_are_refused_unless_asked_for(tmp_path: Path) -> None:
    path = save(tomosynthesis(STACK, None, OF_EACH), tmp_path / "image")
    for kinds in ((), accepted_kinds([], "MG", "refuse")):
        with pytest.raises(BadFile, match="multi-frame image \\(3 frames\\)"):
            read_dicom(path, kinds)


def test_empty_frames_at_the_ends_of_a_stack_do_not_count(tmp_path: Path) -> None:
    frames = np.stack([np.zeros_like(RAMP), RAMP, np.zeros_like(RAMP)])
    path = save(tomosynthesis(frames, window(2800, 2000)), tmp_path / "image")
    np.testing.assert_allclose(read_dicom(path, ["frames_mean"])[0], WIDE, atol=1e-6)
    path = save(tomosynthesis(np.zeros_like(frames), window(2800, 2000)), tmp_path / "image")
    with pytest.raises(BadFile, match="constant image"):
        read_dicom(path, ["frames_mean"])


@pytest.mark.parametrize("groups", [[], [Dataset()], [window(2800, 2000), window(1, 2)]])
def test_fewer_or_more_groups_than_frames(tmp_path: Path, groups: list[Dataset]) -> None:
    dataset = tomosynthesis(RAMP[None], window(2800, 2000), groups)
    np.testing.assert_allclose(read_dicom(save(dataset, tmp_path / "image"))[0], WIDE, atol=1e-6)


def test_a_window_of_no_number_in_a_group_is_refused(tmp_path: Path) -> None:
    path = save(tomosynthesis(RAMP[None], window(2800, 1234)), tmp_path / "image")
    path.write_bytes(path.read_bytes().replace(b"1234", b"Jane"))
    with pytest.raises(BadFile, match="malformed") as caught:
        read_dicom(path)
    assert "Jane" not in caught.value.reason
