"""A trained network for other programs: ONNX, TorchScript or safetensors, checked against the network it is made of.

python -m mammo.export run=outputs/NAME
python -m mammo.export run=outputs/NAME format=safetensors output=density.safetensors
python -m mammo.export --help
"""

from __future__ import annotations

import sys

from mammo.cli.tool import CommandLine, Tool, run_tool
from mammo.exporting.export_options import ExportOptions

TOOL = Tool(
    program="mammo.export",
    options=ExportOptions,
    about="Writes a trained network for other programs, with classes, preprocessing, origin and scores inside the "
    "file, and compares what the file says of real images with what the network says. A file that differs is removed "
    "and the exit status is 1.",
    examples=(
        "outputs/NAME",
        "run=outputs/NAME format=torchscript",
        "run=best_model.pth format=safetensors output=density.safetensors data=mias data.root=DIR",
    ),
)


def work(line: CommandLine) -> None:
    """One call of the command."""
    # A mistake on the command line has been answered before torch is imported.
    from mammo.exporting.check import check_images
    from mammo.exporting.files import (
        NotTheSame,
        check_output,
        closing_lines,
        content_of,
        outputs_at,
        target_of,
        write_checked,
    )
    from mammo.exporting.formats import require_onnx
    from mammo.inference.find import find_one_checkpoint
    from mammo.inference.trained import load_trained, resolved_hardware
    from mammo.runs.closing import show
    from mammo.support.progress import start_logging

    options: ExportOptions = line.options
    check_output(options.output, options.format)
    if options.format == "onnx":
        require_onnx()
    start_logging("info")
    trained = load_trained(find_one_checkpoint(options.run), resolved_hardware(options.device, options.threads))
    path = target_of(options.output, options.format, trained)
    outputs_at(path, trained, overwrite=options.overwrite)
    images = check_images(trained, line.data, options.cache_dir)
    try:
        content = content_of(trained, options.format)
        facts = write_checked(content, path, options.format, trained, images, overwrite=options.overwrite)
    except NotTheSame as error:
        print(f"failed: {error}", file=sys.stderr)
        sys.exit(1)
    show(closing_lines(path, facts))


if __name__ == "__main__":
    run_tool(TOOL, work, sys.argv[1:])
