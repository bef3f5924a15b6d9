"""Heat maps: which parts of an image raise a trained network's score for a class, as an estimate.

python -m mammo.explain outputs/NAME
python -m mammo.explain outputs/NAME image=ID method=layercam
python -m mammo.explain --help
"""

from __future__ import annotations

import logging
import sys

from mammo.cli.tool import CommandLine, Tool, run_tool
from mammo.explanation.explain_options import ExplainOptions

# Not __name__, which is __main__ here.
log = logging.getLogger("mammo.explain")

TOOL = Tool(
    program="mammo.explain",
    options=ExplainOptions,
    about="Makes heat maps of what raises a trained network's score for a class: each image beside itself with the map "
    "over it, a page of the most confident right and wrong cases of each class, and a table of them. A map is a coarse "
    "estimate of what the network uses; it does not say why, nor that the network is right.",
    examples=(
        "outputs/NAME",
        "outputs/NAME limit=16 method=gradcam++",
        "outputs/NAME image=0a1b2c3d4e5f target=true",
        "best_model.pth data=vindr data.root=DIR output=maps",
    ),
)


def work(line: CommandLine) -> None:
    """Choose images, make their maps, write the pictures."""
    # The command line has been checked; from here on it may take seconds.
    from mammo.explanation.cases import check_target, explain_images, predictions_of
    from mammo.explanation.choice import most_confident
    from mammo.explanation.writing import Explanations
    from mammo.inference.datasets import NOT_KNOWN, load_shown
    from mammo.inference.find import find_one_checkpoint
    from mammo.inference.trained import load_trained, resolved_hardware
    from mammo.support.progress import start_logging, track

    options: ExplainOptions = line.options
    start_logging("info")
    checkpoint = find_one_checkpoint(options.run)
    trained = load_trained(checkpoint, resolved_hardware(options.device, options.threads))
    check_target(options.target, trained.class_names)
    shown = load_shown(trained, line.data, options.split, options.cache_dir)
    explanations = Explanations(trained, shown, options.output, overwrite=options.overwrite)
    predictions, image_ids = None, list(dict.fromkeys(options.image))
    if not image_ids:
        predictions = predictions_of(trained, shown)
        image_ids = predictions.rows(most_confident(predictions, options.limit)).table["image_id"].tolist()
    explanations.require_free(image_ids)
    if shown.num_trained_on:
        log.warning("%d of the %d images are training images of this run", shown.num_trained_on, len(shown.rows))
    elif shown.num_trained_on is None:
        log.warning("%s", NOT_KNOWN)
    cases = explain_images(
        trained,
        shown,
        image_ids,
        method=options.method,
        layer=options.layer,
        target=options.target,
        predictions=predictions,
    )
    num_right = num_wrong = 0
    for case in track(cases, "Heat maps", len(image_ids)):
        explanations.write(case)
        num_right, num_wrong = num_right + case.is_right, num_wrong + (not case.is_right)
    explanations.finish(with_grid=not options.image)
    grid = "" if options.image else ", grid.png and .pdf"
    log.info("%d right and %d wrong predictions explained: %s", num_right, num_wrong, explanations.folder)
    log.info("  a picture for each image, explanations.csv%s", grid)
    log.info("these pictures show the images themselves: share them as you would share the images")


if __name__ == "__main__":
    run_tool(TOOL, work, sys.argv[1:])
