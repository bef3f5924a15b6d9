"""What the header of a DICOM image says of its pixels, checked before memory is taken for them."""

from __future__ import annotations

import dataclasses

import pydicom

from mammo.data.dicom_elements import integer_of, shown_code, text_of
from mammo.support.errors import BadFile

# The largest mammograms are films of 30 million pixels, and a 100-slice tomosynthesis stack of 2457 x 1996 pixels
# has 490 million values. Beyond this an image is a lie of its header, and a file of a few kB can claim billions.
MAX_FRAME_VALUES = 80_000_000
MAX_VALUES = 600_000_000

_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_THREE_SAMPLES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the header says of the pixels (PS3.3 C.7.6.3); sizes in pixels and bits."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str
    padding: tuple[int, int] | None = None

    @property
    def frame_shape(self) -> tuple[int, ...]:
        plane = (self.rows, self.columns)
        return plane if self.samples == 1 else (*plane, self.samples)

    @property
    def frame_values(self) -> int:
        return self.rows * self.columns * self.samples

    @property
    def value_range(self) -> tuple[int, int]:
        """Lowest and highest value that the stored bits can hold."""
        return _range_of(self.bits_stored, self.signed)


def stored_range(dataset: pydicom.Dataset) -> tuple[int, int]:
    """Lowest and highest value that the stored bits can hold."""
    bits = integer_of(dataset, "BitsStored", integer_of(dataset, "BitsAllocated"))
    return _range_of(bits, integer_of(dataset, "PixelRepresentation", 0) == 1)


def _range_of(bits: int, is_signed: bool) -> tuple[int, int]:
    lowest = -(2 ** (bits - 1)) if is_signed else 0
    return lowest, lowest + 2**bits - 1


def padding_range(dataset: pydicom.Dataset) -> tuple[int, int] | None:
    """Lowest and highest stored value that mean "no image here" (PS3.3 C.7.5.1.1.2); `BadFile` if malformed."""
    if dataset.get("PixelPaddingValue") in (None, ""):
        return None
    ends = [integer_of(dataset, "PixelPaddingValue")]
    ends.append(integer_of(dataset, "PixelPaddingRangeLimit", ends[0]))
    # The sign of these two is often that of the wrong value representation (US for SS).
    bits = integer_of(dataset, "BitsAllocated")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if stored_range(dataset)[0] < 0 else (0, 2**bits)
    ends = [end - 2**bits if end >= high else end + 2**bits if end < low else end for end in ends]
    return min(ends), max(ends)


def layout_of(dataset: pydicom.Dataset, frame: int | None) -> Layout:
    """The layout of an image with pixels; `BadFile` if it cannot be true, or has no such frame (from 0)."""
    if "PixelData" not in dataset:
        raise BadFile("the object holds no pixel data")
    layout = _read_layout(dataset)
    if frame is not None and not 0 <= frame < layout.frames:
        raise BadFile(f"there is no frame {frame}, the image has {layout.frames}")
    # Colour has no padding.
    is_grey = layout.photometric in ("MONOCHROME1", "MONOCHROME2")
    return dataclasses.replace(layout, padding=padding_range(dataset)) if is_grey else layout


def _read_layout(dataset: pydicom.Dataset) -> Layout:
    bits_allocated = integer_of(dataset, "BitsAllocated")
    bits_stored = integer_of(dataset, "BitsStored")
    representation = integer_of(dataset, "PixelRepresentation")
    if representation not in (0, 1):
        raise BadFile(f"PixelRepresentation is {representation}, expected 0 or 1")
    layout = Layout(
        rows=integer_of(dataset, "Rows"),
        columns=integer_of(dataset, "Columns"),
        frames=integer_of(dataset, "NumberOfFrames", 1),
        samples=integer_of(dataset, "SamplesPerPixel"),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=integer_of(dataset, "HighBit", bits_stored - 1),
        signed=representation == 1,
        planar=integer_of(dataset, "PlanarConfiguration", 0) == 1,
        photometric=text_of(dataset, "PhotometricInterpretation").upper(),
    )
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1 or layout.samples not in (1, 3):
        raise BadFile(
            f"impossible image size: {layout.frames} frames of {layout.rows} x {layout.columns} pixels "
            f"with {layout.samples} samples"
        )
    if layout.frame_values > MAX_FRAME_VALUES or layout.frame_values * layout.frames > MAX_VALUES:
        most = f"{MAX_FRAME_VALUES} values" if layout.frame_values > MAX_FRAME_VALUES else f"{MAX_VALUES} values in all"
        raise BadFile(
            f"the header claims {layout.frames} frames of {layout.rows} x {layout.columns} pixels, more than {most}"
        )
    if not layout.photometric:
        raise BadFile("PhotometricInterpretation is missing: the image may be a negative")
    if layout.photometric not in (*_ONE_SAMPLE, *_THREE_SAMPLES):
        raise BadFile(f"unknown PhotometricInterpretation {shown_code(layout.photometric)}")
    expected_samples = 1 if layout.photometric in _ONE_SAMPLE else 3
    if layout.samples != expected_samples:
        raise BadFile(f"{layout.samples} samples in a pixel that is {shown_code(layout.photometric)}")
    if bits_allocated not in (8, 16, 32):
        raise BadFile(f"{bits_allocated} bits allocated to a pixel, expected 8, 16 or 32")
    if not 1 <= bits_stored <= layout.high_bit + 1 <= bits_allocated:
        raise BadFile(f"impossible pixel: {bits_stored} bits up to bit {layout.high_bit} in {bits_allocated}")
    return layout
