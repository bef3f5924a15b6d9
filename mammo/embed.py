"""What a network sees in images, before its head decides: features, pictures of them, and what can be read off them.

python -m mammo.embed run=outputs/NAME
python -m mammo.embed run=outputs/NAME data=vindr data.root=DIR
python -m mammo.embed model=efficientnet_lite0 data=mias data.root=DIR
python -m mammo.embed --help
"""

from __future__ import annotations

import sys
from pathlib import Path

from mammo.cli.tool import CommandLine, Tool, run_tool
from mammo.embedding.embed_options import EmbedOptions
from mammo.inference.command_options import DataChoice
from mammo.support.errors import ConfigError

TOOL = Tool(
    program="mammo.embed",
    options=EmbedOptions,
    about="Writes the features of images (what the head of a network is given), shows them by PCA and t-SNE coloured "
    "by class, and says how well the classes can be read off them: by k-NN and logistic regression in folds of "
    "patients, and by the clusters that they form.",
    examples=(
        "outputs/NAME",
        "run=outputs/NAME split=all umap=true",
        "run=outputs/NAME data=vindr data.root=DIR",
        "model=efficientnet_lite0 data=mias data.root=DIR",
    ),
)
OF_MODEL = ("weights", "image_size")


def check(options: EmbedOptions, choice: DataChoice) -> None:
    """Raises ConfigError for options that do not belong together."""
    if bool(options.run) == (options.model is not None):
        found = "both run and model are given" if options.run else "neither run nor model is given"
        raise ConfigError(found, "one of them", "run=outputs/NAME, or model=efficientnet_lite0 data=mias data.root=DIR")
    if options.run:
        useless = [name for name in OF_MODEL if getattr(options, name) != getattr(EmbedOptions(), name)]
        if useless:
            raise ConfigError(
                f"{', '.join(useless)}: the checkpoint of the run says it", "options of model=NAME", "leave it out"
            )
    elif choice.composed is None:
        raise ConfigError(f"model={options.model} has no data of its own", "data=NAME", "data=mias data.root=DIR")
    elif options.split not in (None, "all"):
        raise ConfigError(f"split={options.split}: nothing was trained, so nothing is divided", to_do="leave it out")


def work(line: CommandLine) -> None:
    """One call of the command."""
    options: EmbedOptions = line.options
    check(options, line.data)
    # A mistake on the command line has been answered before torch and scikit-learn are imported.
    from mammo.embedding.analysis import analyse, closing_lines, outputs_in, require_free, write_results
    from mammo.embedding.features import embedded_images
    from mammo.embedding.projections import require_umap
    from mammo.runs.closing import show
    from mammo.support.progress import start_logging

    if options.umap:
        require_umap()
    if options.output is not None:
        require_free(Path(options.output).expanduser())
        outputs_in(Path(options.output).expanduser(), overwrite=options.overwrite)
    start_logging("info")
    embedded = embedded_images(options, line.data)
    folder = embedded.folder if options.output is None else Path(options.output).expanduser()
    require_free(folder, embedded)
    outputs = outputs_in(folder, embedded.run_folder, overwrite=options.overwrite)
    analysis = analyse(embedded, options.seed, options.umap)
    write_results(outputs, embedded, analysis)
    show(closing_lines(folder, analysis.facts))


if __name__ == "__main__":
    run_tool(TOOL, work, sys.argv[1:])
