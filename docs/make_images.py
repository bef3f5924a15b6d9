"""Makes the pictures of README.md and of these pages, so that they can be made again when the figures change.

    python -m mammo.train model=efficientnet_lite0 optimizer.lr=1e-3
    python -m mammo.explain outputs/<that run>
    python -m mammo.train -m data=mias data.root=DIR model=efficientnet_lite0 optimizer.lr=1e-3 train.epochs=10 \
        data.image_size=224 seed=42,43,44 sweep.name=mias
    python -m mammo.report multirun/mias
    python docs/make_images.py outputs/<that run> multirun/mias

writes into docs/images: phantom.png (a woman of each class, four views), run.png (the figures of the run), heatmaps.png
(its most confident right and wrong cases) and report.png (the top of the report; Chromium takes it). With the sweep
alone, only that.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mammo.data.phantom import density_class, density_fraction, render_view

FOLDER = Path(__file__).resolve().parent / "images"
# As a radiologist hangs them: the right breast on the left, chest walls together.
HANGING = (("R", "CC"), ("L", "CC"), ("R", "MLO"), ("L", "MLO"))
VIEW_SIZE_PX = (128, 159)
GAP_PX, TITLE_PX, SEAM_PX = 12, 26, 1
RUN_HEIGHT_PX = 560
HEAT_MAPS_WIDTH_PX = 700
REPORT_SIZE_PX = (1100, 1130)


def first_woman_of_each_class() -> dict[str, list[Image.Image]]:
    """Class -> the four views of the first generated woman of that class, in the order of HANGING."""
    women: dict[str, list[Image.Image]] = {}
    number = 0
    while len(women) < 4:
        views = [render_view(0, number, *which) for which in HANGING]
        fractions = [density_fraction(view.tissue_mask, view.breast_mask) for view in views]
        pictures = [Image.fromarray((view.image >> 4).astype(np.uint8)).resize(VIEW_SIZE_PX) for view in views]
        women.setdefault(density_class(float(np.mean(fractions))), pictures)
        number += 1
    return women


def contact_sheet() -> Image.Image:
    """Four blocks of two by two views, A to D from left to right."""
    width, height = VIEW_SIZE_PX
    block_width = 2 * width + SEAM_PX
    sheet = Image.new("L", (4 * (block_width + GAP_PX) - GAP_PX, TITLE_PX + 2 * height + SEAM_PX), 255)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=18)
    for block, (name, pictures) in enumerate(sorted(first_woman_of_each_class().items())):
        left = block * (block_width + GAP_PX)
        draw.text((left + width, TITLE_PX / 2), name, fill=0, font=font, anchor="mm")
        for index, picture in enumerate(pictures):
            row, column = divmod(index, 2)
            sheet.paste(picture, (left + column * (width + SEAM_PX), TITLE_PX + row * (height + SEAM_PX)))
    return sheet


def run_figure(run: Path) -> Image.Image:
    """`history.png` and `confusion_matrix.png` of a run side by side, at one height."""
    pictures = []
    for name in ("history", "confusion_matrix"):
        with Image.open(run / "metrics" / f"{name}.png") as picture:
            width = round(picture.width * RUN_HEIGHT_PX / picture.height)
            pictures.append(picture.convert("RGB").resize((width, RUN_HEIGHT_PX), Image.Resampling.LANCZOS))
    figure = Image.new("RGB", (sum(picture.width for picture in pictures) + GAP_PX, RUN_HEIGHT_PX), "white")
    figure.paste(pictures[0], (0, 0))
    figure.paste(pictures[1], (pictures[0].width + GAP_PX, 0))
    return figure


def heat_maps(run: Path) -> Image.Image:
    """`grid.png` of a run, smaller."""
    with Image.open(run / "explanations" / "grid.png") as picture:
        height = round(picture.height * HEAT_MAPS_WIDTH_PX / picture.width)
        return picture.convert("RGB").resize((HEAT_MAPS_WIDTH_PX, height), Image.Resampling.LANCZOS)


def report(sweep: Path) -> Image.Image:
    """The top of `report.html` of a sweep, as a browser shows it."""
    with tempfile.TemporaryDirectory() as folder:
        picture, size = Path(folder) / "report.png", ",".join(map(str, REPORT_SIZE_PX))
        words = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={size}", f"--screenshot={picture}"]
        page = (sweep / "report" / "report.html").resolve().as_uri()
        subprocess.run(["chromium", *words, f"--user-data-dir={folder}", page], check=True, capture_output=True)
        with Image.open(picture) as image:
            return image.convert("RGB")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python docs/make_images.py [RUN_DIRECTORY] SWEEP_DIRECTORY")
    FOLDER.mkdir(exist_ok=True)
    *runs, sweep = map(Path, sys.argv[1:])
    for run in runs:
        contact_sheet().save(FOLDER / "phantom.png", optimize=True)
        run_figure(run).quantize(128).save(FOLDER / "run.png", optimize=True)
        heat_maps(run).quantize(256).save(FOLDER / "heatmaps.png", optimize=True)
    report(sweep).quantize(128).save(FOLDER / "report.png", optimize=True)
