"""How many changed copies of films are noticed, and how many pairs of different women are taken for copies.

    python -m benchmarks.near_copies --mias FOLDER [--women 200] [--sizes 512 256 224 64] [--every 1]

Prints the table of docs/bad-input.md. Each film of mini-MIAS, at 512 pixels, is changed, written as PNG and prepared
as a file of a dataset is; women of the phantom are compared with one another.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mammo.data.data_options import DataOptions
from mammo.data.dataset import load_dataset
from mammo.data.image_fingerprints import ImageFingerprints, look_at
from mammo.data.keypoints import Keypoints
from mammo.data.phantom import generate_phantom
from mammo.data.pixels import PixelSettings, negative_pixels_of, pixels_of
from mammo.data.store import StoredImages
from mammo.support.progress import counting

FILM_PX = 512
Change = Callable[[Image.Image], Image.Image]


def shifted(down: int, right: int) -> Change:
    """Moved within its frame, black where nothing was."""
    return lambda film: film.transform(film.size, Image.Transform.AFFINE, (1, 0, -right, 0, 1, -down))


def cropped(left: float, top: float, right: float, bottom: float) -> Change:
    """Without these fractions of its sides."""

    def change(film: Image.Image) -> Image.Image:
        width, height = film.size
        return film.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))

    return change


def turned(degrees: float) -> Change:
    """Turned about its centre in the same frame."""
    return lambda film: film.rotate(degrees, Image.Resampling.BILINEAR)


def transposed(how: Image.Transpose) -> Change:
    """Mirrored or turned by quarters."""
    return lambda film: film.transpose(how)


def noisy(spread: float) -> Change:
    """With Gaussian noise of this many grey levels."""

    def change(film: Image.Image) -> Image.Image:
        grey = np.asarray(film, dtype=np.float64)
        grey = grey + np.random.default_rng(int(grey.sum())).normal(0, spread, grey.shape)
        return Image.fromarray(grey.round().clip(0, 255).astype(np.uint8))

    return change


def compressed(quality: int) -> Change:
    """As a JPEG of this quality."""

    def change(film: Image.Image) -> Image.Image:
        content = io.BytesIO()
        film.save(content, "JPEG", quality=quality)
        return Image.open(content)

    return change


def levels(curve: Callable[[float], float]) -> Change:
    """With other grey levels, 0..1 to 0..1."""
    return lambda film: film.point([min(255, max(0, round(255 * curve(level / 255)))) for level in range(256)])


def resized(factor: float) -> Change:
    """Of another size."""
    return lambda film: film.resize((round(film.width * factor), round(film.height * factor)))


def labelled(film: Image.Image) -> Image.Image:
    """With a white label in two corners."""
    film = film.copy()
    for left in (film.width // 12, film.width * 3 // 4):
        film.paste(255, (left, film.height // 20, left + film.width // 6, film.height // 9))
    return film


def each(*changes: Change) -> Change:
    """One change after another."""

    def change(film: Image.Image) -> Image.Image:
        for step in changes:
            film = step(film)
        return film

    return change


FLIP = Image.Transpose
CHANGES: dict[str, list[Change]] = {
    "shift of 8 px": [shifted(*by) for by in itertools.product((-8, 0, 8), repeat=2) if any(by)],
    "shift of 12 px": [shifted(-12, 12), shifted(12, -12)],
    "crop of 2%, one side or all": [
        cropped(0.02, 0, 0, 0), cropped(0, 0.02, 0, 0), cropped(0, 0, 0.02, 0), cropped(0, 0, 0, 0.02),
        cropped(0.02, 0.02, 0.02, 0.02),
    ],
    "crop of 5% on all sides": [cropped(0.05, 0.05, 0.05, 0.05)],
    "crop of 10% on all sides": [cropped(0.1, 0.1, 0.1, 0.1)],
    "flip, either way or both": [
        transposed(FLIP.FLIP_LEFT_RIGHT), transposed(FLIP.FLIP_TOP_BOTTOM), transposed(FLIP.ROTATE_180),
    ],
    "quarter turn": [transposed(FLIP.ROTATE_90), transposed(FLIP.TRANSPOSE)],
    "rotation of 2 degrees": [turned(2), turned(-2)],
    "rotation of 3 and 5 degrees": [turned(3), turned(-5)],
    "noise of 8 grey levels": [noisy(8)],
    "noise of 16 grey levels": [noisy(16)],
    "negative": [ImageOps.invert],
    "negative, shifted or turned": [each(shifted(8, 8), ImageOps.invert), each(turned(2), ImageOps.invert)],
    "JPEG of quality 30": [compressed(30)],
    "brightness x 1.2, gamma 0.7 and 1.4": [
        levels(lambda x: 1.2 * x), levels(lambda x: x**0.7), levels(lambda x: x**1.4),
    ],
    "window that clips 15% and 25%": [levels(lambda x: (x - 0.15) / 0.6)],
    "half the size": [resized(0.5)],
    "labels": [labelled],
    "white border": [lambda film: ImageOps.expand(film, 15, 255)],
    "shift, rotation and noise": [each(shifted(8, -8), turned(2), noisy(8))],
    "flip, rotation and other levels": [each(transposed(FLIP.FLIP_TOP_BOTTOM), turned(-2), levels(lambda x: x**0.8))],
}  # fmt: skip


def looks_of(films: list[Image.Image], sides: list[str], size_px: int) -> ImageFingerprints:
    """The looks of films as those of files of a dataset."""
    settings = PixelSettings(size_px, crop=True, orient=True)
    contents = []
    for film in films:
        content = io.BytesIO()
        film.save(content, "PNG", compress_level=1)
        contents.append(content.getvalue())
    squares = np.stack([pixels_of(content, side, settings) for content, side in zip(contents, sides, strict=True)])
    images = StoredImages(squares, np.arange(len(squares)))
    return look_at(images, 2, lambda rows: [negative_pixels_of(contents[row], sides[row], settings) for row in rows])


def together(one: ImageFingerprints, other: ImageFingerprints) -> ImageFingerprints:
    """ImageFingerprints of the images of both."""
    points = np.concatenate([looks.keypoints.read(np.arange(looks.keypoints.num_images)) for looks in (one, other)])
    return ImageFingerprints(
        one.digests + other.digests,
        np.concatenate([one.contrast, other.contrast]),
        np.concatenate([one.bright_frame, other.bright_frame]),
        np.concatenate([one.aspect, other.aspect]),
        Keypoints(len(points), lambda rows: points[rows]),
    )


def main() -> None:
    """See the top of the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mias", type=Path, required=True)
    parser.add_argument("--women", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 256, 224, 64])
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--every", type=int, default=1, help="change every Nth film only")
    arguments = parser.parse_args()
    rows = list(csv.DictReader((arguments.mias / "labels.csv").open()))
    films, sides = [], [row["laterality"] for row in rows]
    for row in rows:
        with Image.open(arguments.mias / "images" / row["image"]) as film:
            films.append(film.convert("L").resize((FILM_PX, FILM_PX), Image.Resampling.BOX))
    for size_px in arguments.sizes:
        originals = looks_of(films, sides, size_px)
        report_different(f"mini-MIAS at {size_px} px", originals, [row["patient_id"] for row in rows])
        chosen = list(range(0, len(films), arguments.every))
        for name in arguments.only:
            report_copies(name, originals, films, sides, size_px, chosen)
        report_phantom(arguments.women, size_px)


def report_different(name: str, looks: ImageFingerprints, patients: list[str]) -> None:
    """Pairs of different women that are taken for copies."""
    everyone, women, start = np.arange(len(patients)), np.array(patients), time.process_time()
    found = looks.near_copies(everyone, everyone)
    false = {tuple(sorted(pair)) for pair in found if women[pair[0]] != women[pair[1]]}
    pairs = int((women[:, None] != women[None]).sum()) // 2
    print(
        f"{name}: {len(false)} of {pairs} pairs; {time.process_time() - start:.1f} s; {sorted(false)[:5]}", flush=True
    )


def report_copies(
    name: str, originals: ImageFingerprints, films: list[Image.Image], sides: list[str], size_px: int, chosen: list[int]
) -> None:
    """The share of changed copies that are noticed among all films, and how many are said to be negatives."""
    noticed, wrong, negative = 0, 0, 0
    for change in CHANGES[name]:
        copies = looks_of([change(films[row]) for row in chosen], [sides[row] for row in chosen], size_px)
        pairs = together(originals, copies).near_copies(np.arange(len(films)), len(films) + np.arange(len(chosen)))
        for i, row in enumerate(chosen):
            noticed += (row, len(films) + i) in pairs or originals.digests[row] == copies.digests[i]
        # The films 2 n and 2 n + 1 are of one woman.
        wrong += sum(row // 2 != chosen[copy - len(films)] // 2 for row, copy in pairs)
        negative += int(copies.has_bright_background.sum())
    total = len(CHANGES[name]) * len(chosen)
    print(f"| {name} | {size_px} | {noticed} of {total} ({noticed / total:.2%}) | {wrong} | {negative} |", flush=True)


def report_phantom(women: int, size_px: int) -> None:
    """Generated women that are taken for one another."""
    with tempfile.TemporaryDirectory() as folder:
        generate_phantom(Path(folder) / "exams", women, seed=0)
        options = DataOptions(format="archive", root=f"{folder}/exams", image_size=size_px)
        dataset = load_dataset(options, Path(folder) / "cache", 2, counting)
        looks = look_at(dataset.images, 2)
        report_different(f"phantom at {size_px} px", looks, dataset.table["patient_id"].tolist())
        print(f"  said to be negatives: {int(looks.has_bright_background.sum())}", flush=True)


if __name__ == "__main__":
    main()
