"""The anatomy of a synthetic breast: outline, muscle, glandular tissue, and the picture of them.

The embedded default data needs images that look like mammograms and whose class is a known function of a
known tissue mask. Everything is modelled in millimetres on one canonical image, the left breast with the
chest wall at the left edge of the image; right breasts are mirrored by the caller. Glandular tissue is a
thresholded power-law texture (power spectrum 1/f^beta, beta = 3: Burgess, Med. Phys. 28 (2001) 419), drawn
out towards the nipple; its share of the breast area is set exactly by the threshold.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage
import scipy.spatial
from PIL import Image, ImageDraw, ImageFont

FloatArray = npt.NDArray[np.float32]
Curve = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TEXTURE_BETA = 3.0
SKIN_MM = 1.6
SUBCUTANEOUS_MM = 3.0  # no glandular tissue this close to the skin surface
WHITE = 4095  # 12 bits
COARSE_STEP = 4  # smooth maps are computed on every 4th pixel and enlarged


@dataclasses.dataclass(frozen=True)
class Breast:
    """What one view shows, in millimetres and in 0..1; `seed_path` makes its textures.

    `shared_seed` gives the part of the texture that both breasts of the woman have, `own_seed` the rest.
    """

    view: str
    depth_mm: float  # chest wall to nipple
    half_height_mm: float
    nipple_row_mm: float
    roundness: float  # exponent of the outline: 2 is an ellipse, more is boxier
    droop: float  # 0..1, how far the MLO breast hangs below its own middle
    axilla_mm: float  # width of the breast at the upper image edge, MLO only
    thickness_mm: float  # compressed thickness: width of the darkening rim
    pectoral_width_mm: float
    pectoral_height_mm: float
    tissue_fraction: float  # share of the breast area (without the muscle)
    tissue_spread: float  # 0: tissue gathers behind the nipple, 1: scattered
    strand_level: float  # ligaments and vessels in the fat, not counted as tissue
    shared_seed: tuple[int, ...]
    own_seed: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Exposure:
    """How a vendor's machine and processing turn tissue into grey, independent of the density class."""

    brightness: float
    contrast: float
    curve_steepness: float  # of the sigmoid that ends the processing
    noise: float
    skin: float


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """Full-resolution maps of one canonical view, rows x columns.

    `depth_mm`: distance from the skin surface, negative outside. `muscle`: 0..1. `tissue`: amount of
    glandular tissue 0..1, positive exactly in `tissue_mask`. `fat`: texture of mean 0, standard deviation
    about 1. `breast_mask` is the breast without the muscle.
    """

    depth_mm: FloatArray
    muscle: FloatArray
    tissue: FloatArray
    fat: FloatArray
    strands: FloatArray
    tissue_mask: BoolArray
    breast_mask: BoolArray


def power_law_field(
    noise: FloatArray, spacing_mm: float, beta: float, largest_mm: float, smallest_mm: float = 0.0
) -> FloatArray:
    """White noise filtered to the power spectrum 1/(f^2 + f0^2)^(beta/2), mean 0, standard deviation 1.

    `largest_mm` = 1/f0 is the size above which structures stop growing, `smallest_mm` the one below which
    they are smoothed away. The field is periodic.
    """
    shape = noise.shape
    rows_per_mm = scipy.fft.fftfreq(shape[0], spacing_mm).astype(np.float32)[:, None]
    columns_per_mm = scipy.fft.rfftfreq(shape[1], spacing_mm).astype(np.float32)[None, :]
    squared = rows_per_mm**2 + columns_per_mm**2
    gain = (squared + np.float32(1 / largest_mm**2)) ** np.float32(-beta / 4) * np.exp(-squared * smallest_mm**2)
    gain[0, 0] = 0
    field = scipy.fft.irfft2(scipy.fft.rfft2(noise) * gain, s=shape)
    return (field / field.std()).astype(np.float32)


def paired_noise(shape: tuple[int, int], stream: int, breast: Breast, likeness: float) -> FloatArray:
    """White noise of which the share `likeness` of the variance is common to both breasts."""
    shared = np.random.default_rng([*breast.shared_seed, stream]).standard_normal(shape, dtype=np.float32)
    own = np.random.default_rng([*breast.own_seed, stream]).standard_normal(shape, dtype=np.float32)
    return np.float32(np.sqrt(likeness)) * shared + np.float32(np.sqrt(1 - likeness)) * own


def enlarge(coarse: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """A coarse map at full resolution (bicubic)."""
    picture = Image.fromarray(np.ascontiguousarray(coarse, dtype=np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def outline_mm(breast: Breast, height_mm: float) -> tuple[Curve, Curve]:
    """The skin line as (row, column) positions in mm, from the top of the image to the bottom."""
    rows = np.linspace(-5, height_mm + 5, 2400)
    offset = (rows - breast.nipple_row_mm) / breast.half_height_mm
    if breast.view == "CC":
        columns = _lobe(offset, breast.roundness) * breast.depth_mm - 4.0 * (np.abs(offset) > 1)
    else:
        # The hanging breast: long above the nipple, short below it, and the axilla that reaches the upper edge.
        above, below = 1.35 + 0.4 * breast.droop, 0.9 - 0.2 * breast.droop
        lobe = _lobe(np.where(offset < 0, offset / above, offset / below), breast.roundness - 0.1) * breast.depth_mm
        down = np.clip(rows / breast.nipple_row_mm, 0, 1)
        axilla = breast.axilla_mm * (1 - 0.55 * down) - 25 * (rows > breast.nipple_row_mm)
        fold_row = breast.nipple_row_mm + below * breast.half_height_mm
        abdomen = np.where(rows > fold_row - 8, 1.0 + 0.22 * (rows - fold_row), -6)
        columns = _smooth_maximum(_smooth_maximum(lobe, axilla, 6.0), abdomen, 1.5)
    columns = scipy.ndimage.gaussian_filter1d(columns, 24 if breast.view == "MLO" else 8)
    nipple = 4.5 * np.exp(-(((rows - breast.nipple_row_mm) / 4.2) ** 4))
    return rows, columns + scipy.ndimage.gaussian_filter1d(nipple, 6)


def _lobe(offset: Curve, roundness: float) -> Curve:
    """Half of a superellipse: 1 at offset 0, 0 from offset 1 on."""
    inside = np.clip(1 - np.abs(offset) ** roundness, 0, None)
    return inside ** (1 / roundness)


def _smooth_maximum(first: Curve, second: Curve, width_mm: float) -> Curve:
    return np.logaddexp(first / width_mm, second / width_mm) * width_mm


def signed_depth_mm(breast: Breast, rows: FloatArray, columns: FloatArray, height_mm: float) -> FloatArray:
    """Distance of each point from the skin line in mm, positive inside the breast."""
    line_rows, line_columns = outline_mm(breast, height_mm)
    along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(line_rows), np.diff(line_columns)))])
    even = np.arange(0, along[-1], 0.2)
    points = np.stack([np.interp(even, along, line_rows), np.interp(even, along, line_columns)], axis=1)
    grid = np.stack(np.broadcast_arrays(rows, columns), axis=-1)
    distance, _ = scipy.spatial.cKDTree(points).query(grid)
    is_inside = columns < np.interp(rows, line_rows, line_columns)
    return np.where(is_inside, distance, -distance).astype(np.float32)


def build_anatomy(breast: Breast, shape: tuple[int, int], spacing_mm: float) -> Anatomy:
    """All maps of one canonical view; `shape` in pixels must be divisible by `COARSE_STEP`."""
    coarse_shape = (shape[0] // COARSE_STEP, shape[1] // COARSE_STEP)
    step_mm = spacing_mm * COARSE_STEP
    rows = ((np.arange(coarse_shape[0], dtype=np.float32) + 0.5) * step_mm)[:, None]
    columns = ((np.arange(coarse_shape[1], dtype=np.float32) + 0.5) * step_mm)[None, :]
    depth = signed_depth_mm(breast, rows, columns, shape[0] * spacing_mm)
    inward = _muscle_depth_mm(breast, rows, columns)
    towards_tissue = _tissue_prior(breast, rows, columns, depth, inward)

    depth_full, inward_full = enlarge(depth, shape), enlarge(inward, shape)
    in_muscle = (inward_full > 0) & (depth_full > 0)
    breast_mask = (depth_full > 0) & ~in_muscle

    radial = _radial_sampler(breast, shape, spacing_mm)
    gland = radial(power_law_field(paired_noise(shape, 0, breast, 0.6), spacing_mm, TEXTURE_BETA, 60.0, 0.7))
    webs = radial(power_law_field(paired_noise(shape, 1, breast, 0.4), spacing_mm, 4.0, 30.0, 0.8))
    fat = power_law_field(paired_noise(shape, 2, breast, 0.2), spacing_mm, TEXTURE_BETA, 20.0, 0.3)

    strands = np.exp(-np.square(webs / np.float32(0.09)))
    strands = scipy.ndimage.gaussian_filter(strands, 0.25 / spacing_mm)
    score = enlarge(towards_tissue, shape) + gland + np.float32(0.4) * strands
    candidates = breast_mask & (depth_full > SUBCUTANEOUS_MM)
    tissue_mask, tissue = threshold_to_fraction(score, candidates, breast_mask, breast.tissue_fraction)
    muscle = np.clip(inward_full / 2.5 + 0.5, 0, 1) * (depth_full > 0)
    strands *= np.float32(breast.strand_level) * np.clip(0.7 + 0.5 * gland, 0.15, 1) * np.clip(depth_full / 4, 0, 1)
    return Anatomy(depth_full, muscle.astype(np.float32), tissue, fat, strands, tissue_mask, breast_mask)


def threshold_to_fraction(
    score: FloatArray, candidates: BoolArray, breast_mask: BoolArray, fraction: float
) -> tuple[BoolArray, FloatArray]:
    """The highest-scoring candidates that make up `fraction` of the breast area, and their amount 0..1."""
    wanted = min(round(fraction * int(breast_mask.sum())), int(candidates.sum()) - 1)
    scores = score[candidates]
    threshold = np.partition(scores, len(scores) - 1 - wanted)[len(scores) - 1 - wanted]
    mask = candidates & (score > threshold)
    above = np.where(mask, score - threshold, 0)
    # Measured against its own mean, or more tissue would also be brighter tissue and the contrast alone tell the class.
    scale = 0.25 + 0.8 * above.sum() / max(wanted, 1)
    amount = np.where(mask, 0.08 + 0.92 * (1 - np.exp(-above / scale)), 0)
    return mask, amount.astype(np.float32)


def _muscle_depth_mm(breast: Breast, rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Signed distance into the pectoral muscle: a slightly bulging triangle in the upper corner (MLO)."""
    if breast.view == "CC":
        return np.full(np.broadcast_shapes(rows.shape, columns.shape), -100, np.float32)
    along = np.clip(rows / breast.pectoral_height_mm, 0, 1.2)
    border = breast.pectoral_width_mm * (1 - along + 0.28 * along * (1 - along))
    steepness = np.hypot(1, breast.pectoral_width_mm / breast.pectoral_height_mm)
    return ((border - columns) / steepness).astype(np.float32)


def _tissue_prior(
    breast: Breast, rows: FloatArray, columns: FloatArray, depth: FloatArray, inward: FloatArray
) -> FloatArray:
    """Where glandular tissue tends to be: a cone behind the nipple, not under the skin, not on the muscle."""
    is_mlo = breast.view == "MLO"
    centre_row = breast.nipple_row_mm - (0.22 if is_mlo else 0.10) * breast.half_height_mm
    centre_column = 0.58 * breast.depth_mm
    away = ((rows - centre_row) / (0.75 * breast.half_height_mm)) ** 2
    away = away + ((columns - centre_column) / (0.55 * breast.depth_mm)) ** 2
    pull = 1.9 - 1.2 * breast.tissue_spread
    prior = -pull * away - 2.2 * np.exp(-np.square(np.clip(depth, 0, None) / 8))
    prior = prior - 1.2 * np.exp(-columns / 8) - 1.5 * np.exp(np.clip(inward, None, 0) / 9)
    return prior.astype(np.float32)


def _radial_sampler(breast: Breast, shape: tuple[int, int], spacing_mm: float) -> Callable[[FloatArray], FloatArray]:
    """A function that bends a texture so that it runs towards the nipple, drawn out along the ducts."""
    rows = ((np.arange(shape[0], dtype=np.float32) + 0.5) * spacing_mm)[:, None] - np.float32(breast.nipple_row_mm)
    columns = np.float32(breast.depth_mm + 12) - ((np.arange(shape[1], dtype=np.float32) + 0.5) * spacing_mm)[None, :]
    distance = np.hypot(rows, columns)
    angle = np.arctan2(rows, columns)
    across = angle * np.float32(0.55 * breast.depth_mm / spacing_mm) * np.sqrt(distance / np.float32(40) + 0.1)
    coordinates = np.stack([across, distance * np.float32(0.4 / spacing_mm)])

    def sample(field: FloatArray) -> FloatArray:
        return scipy.ndimage.map_coordinates(field, coordinates, order=1, mode="grid-wrap", output=np.float32)

    return sample


def expose(anatomy: Anatomy, exposure: Exposure, thickness_mm: float, noise_seed: Sequence[int]) -> FloatArray:
    """The processed picture, 0..1, bright where much is absorbed; exactly 0 outside the breast.

    The compressed breast is `thickness_mm` thick and round at the edge, so it darkens towards the skin line
    (the processing of a digital system takes most of that back). The level is set on the breast itself, as
    automatic exposure does, which is why the mean grey says little about the density.
    """
    depth = np.clip(anatomy.depth_mm, 0, None)
    relative = np.clip(depth / (0.5 * thickness_mm), 0, 1)
    roll_off = np.sqrt(np.clip(1 - np.square(1 - relative), 0, 1))
    haze = _blurred(anatomy.tissue, 16)
    soft = 0.45 * anatomy.tissue + 0.55 * _blurred(anatomy.tissue, 5)
    inside = 0.026 * anatomy.fat + soft * (0.44 + 0.03 * anatomy.fat) + 0.16 * haze
    inside = inside + anatomy.strands * (0.16 - 0.08 * soft)
    measured = inside[anatomy.breast_mask & (anatomy.depth_mm > 8)]
    level = 0.8 * measured.mean() + 0.2 * 0.2
    rows, columns = np.ogrid[: inside.shape[0], : inside.shape[1]]
    towards_corner = 1 - (rows + columns) / inside.shape[0]
    muscle_level = 0.20 + 0.16 * towards_corner + 0.022 * anatomy.fat + 0.05 * anatomy.strands
    signal = inside * (1 - anatomy.muscle) + anatomy.muscle * muscle_level
    signal = exposure.brightness + exposure.contrast * (signal - level)
    signal = signal * (0.35 + 0.65 * roll_off)
    signal = signal + exposure.skin * np.exp(-np.square((depth - 0.5 * SKIN_MM) / (0.5 * SKIN_MM)))
    noise = np.random.default_rng(list(noise_seed)).standard_normal(signal.shape, dtype=np.float32)
    signal = signal + exposure.noise * np.sqrt(0.5 + np.clip(signal, 0, 1)) * noise
    steep = exposure.curve_steepness
    low, high = 1 / (1 + np.exp(steep * 0.45)), 1 / (1 + np.exp(-steep * 0.55))
    curve = (1 / (1 + np.exp(-steep * (signal - 0.45))) - low) / (high - low)
    coverage = np.clip(anatomy.depth_mm / 0.3, 0, 1)
    return (np.clip(0.04 + 0.94 * curve, 0.02, 1) * coverage).astype(np.float32)


def burn_marker(image: npt.NDArray[np.uint16], free: BoolArray, text: str, at_right: bool) -> None:
    """Write the view marker, framed, into the image, on the side away from the chest wall.

    `image`: uint16 0..4095, changed in place. `free`: where there is no breast; of the upper and the lower
    corner the freer one is taken.
    """
    font = ImageFont.load_default_imagefont()  # a bitmap: the same on every machine
    left, top, right, bottom = font.getbbox(text)
    label = Image.new("L", (int(right - left) + 8, int(bottom - top) + 6))
    draw = ImageDraw.Draw(label)
    draw.text((4, 3), text, fill=255, font=font)
    draw.rectangle((0, 0, label.width - 1, label.height - 1), outline=150)
    scale = image.shape[0] // 480
    enlarged = label.resize((label.width * scale, label.height * scale), Image.Resampling.BICUBIC)
    stamp = np.round(np.asarray(enlarged) * (WHITE / 255)).astype(np.uint16)
    margin = image.shape[0] // 28
    first = image.shape[1] - margin - stamp.shape[1] if at_right else margin
    columns = slice(first, first + stamp.shape[1])
    tops = (margin, image.shape[0] - margin - stamp.shape[0])
    row = max(tops, key=lambda top_row: free[top_row : top_row + stamp.shape[0], columns].mean())
    image[row : row + stamp.shape[0], columns] = np.maximum(image[row : row + stamp.shape[0], columns], stamp)


def _blurred(values: FloatArray, sigma_px: float) -> FloatArray:
    """A wide Gaussian blur, computed on a reduced copy."""
    rows, columns = values.shape
    reduced = values.reshape(rows // COARSE_STEP, COARSE_STEP, columns // COARSE_STEP, COARSE_STEP).mean(axis=(1, 3))
    return enlarge(scipy.ndimage.gaussian_filter(reduced, sigma_px / COARSE_STEP), values.shape)
