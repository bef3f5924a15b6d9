"""Is everything in order: the environment, a dataset, a run, a sweep?

    python -m mammo.doctor
    python -m mammo.doctor data=archive data.root=DIR data.csv=classificacao.csv
    python -m mammo.doctor outputs/NAME multirun/NAME
    python -m mammo.doctor cache
    python -m mammo.doctor --help

Nothing it looks at is changed; images of a dataset are decoded into the store, as by a run. It has to work
where the environment is broken: what is installed is imported when it is needed, and not before.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mammo.support.errors import UserError, mistake_of
from mammo.support.interruption import INTERRUPTED_STATUS

if TYPE_CHECKING:
    from mammo.checks.report import Section

PROBLEM_STATUS, MISUSE_STATUS = 1, 2
AS_JSON = "json=true"
HELP = """\
usage: python -m mammo.doctor [json=true]
       python -m mammo.doctor KEY=VALUE ... [json=true]
       python -m mammo.doctor DIR ... [json=true]
       python -m mammo.doctor cache [cache_dir=DIR] [json=true]

Says what is in order and what is not, and what to do about it.

Without arguments: the environment. Versions of Python and packages, processor,
memory, GPU; the cache folder: room, file locks, who can read it; pretrained
weights, here or within reach; git.

With options of mammo.train: the dataset that a run with these options would
use, for example data=archive data.root=DIR. What is used, what is left out and
why, classes by image and by patient, views, vendors, duplicates, patients in
more than one part of the split.

With folders:
  a run (outputs/NAME)      all files are there and whole, checkpoints are as
                            written, metrics follow from val_predictions.csv, no
                            patient is both in training and validation
  a sweep (multirun/NAME)   the same for each run, and the sweep as a whole
  any other folder          the dataset in it: data=auto data.root=DIR;
                            more options may follow

With the word cache: every checksum in the user's cache folder, or in cache_dir,
is compared: image stores, feature banks, generated exams, the key and tables of
the pseudonyms. A folder of that name is ./cache.

  json=true    the findings as one JSON object, for scripts

Exit status: 0 all is well (notes are no problems), 1 problems, 2 misuse.
Options of mammo.train: python -m mammo.train --help
"""


def main(arguments: Sequence[str]) -> None:
    """Look at what the command line names, show what was found, and exit with the status that `HELP` states."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return
    if "--json" in arguments:
        print("note: --json is now written json=true", file=sys.stderr)
    as_json = bool({"--json", AS_JSON} & set(arguments))
    words = [word for word in arguments if word not in ("--json", AS_JSON)]
    try:
        sections = _look(words)
    except UserError as error:
        _end(f"error: {error}", MISUSE_STATUS)
    except OSError as error:
        if (mistake := mistake_of(error)) is None:
            raise
        _end(f"error: {mistake}", MISUSE_STATUS)
    except ImportError as error:
        to_do = "python -m mammo.doctor (without arguments) looks at the environment"
        _end(f"error: {error.name or 'a package'} cannot be imported: {error}\n  to do:    {to_do}", MISUSE_STATUS)
    except KeyboardInterrupt:
        _end("interrupted", INTERRUPTED_STATUS)
    _show(sections, as_json=as_json)
    sys.exit(PROBLEM_STATUS if any(section.has_problem for section in sections) else 0)


def _look(words: Sequence[str]) -> list[Section]:
    """What is found for the words of a command line; raises UserError for what makes no sense."""
    if not words:
        from mammo.checks.environment import check_environment

        if sys.stderr.isatty():
            print("Importing every package once ...", file=sys.stderr)
        return check_environment()
    if words[0] == "cache":
        return _look_at_cache(words[1:])
    has_flags = any(word.startswith("--") for word in words)  # of Hydra: what follows one is no folder
    is_folder = [os.path.exists(word) or not (has_flags or _is_option(word)) for word in words]
    folders = [Path(word) for word, it_is in zip(words, is_folder, strict=True) if it_is]
    options = [word for word, it_is in zip(words, is_folder, strict=True) if not it_is]
    if folders:
        from mammo.checks.result_folders import check_results, holds_results

        if all(holds_results(folder) for folder in folders) and not options:
            return [section for folder in folders for section in check_results(folder)]
        if len(folders) > 1 or holds_results(folders[0]):
            raise UserError(
                "these arguments do not belong together",
                "folders of runs and sweeps, or one folder with data, which options may follow",
                "python -m mammo.doctor --help shows the ways to call it",
            )
    from mammo.cli.composed import check_composed, options_for_folder

    return check_composed(options_for_folder(folders[0], options) if folders else options)


def _look_at_cache(options: Sequence[str]) -> list[Section]:
    """The cache folder; raises UserError for any option but `cache_dir=DIR`."""
    from mammo.support.cache import user_cache_folder

    name, _, folder = options[0].partition("=") if options else ("cache_dir", "", "")
    if name != "cache_dir" or len(options) > 1 or (options and not folder):
        raise UserError(
            "these arguments do not belong together",
            "cache alone, or cache cache_dir=DIR",
            "a folder called cache is ./cache; python -m mammo.doctor --help shows the ways to call it",
        )
    from mammo.checks.cache import check_cache
    from mammo.support.progress import counting

    return check_cache(user_cache_folder(folder or None), counting)


def _is_option(word: str) -> bool:
    return "=" in word or word.startswith(("-", "~", "+"))


def _show(sections: Sequence[Section], *, as_json: bool) -> None:
    from mammo.checks.report import sections_as_json, text_lines

    if as_json:
        print(json.dumps(sections_as_json(sections), indent=2))
    else:
        print("\n".join(text_lines(sections)))


def _end(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
