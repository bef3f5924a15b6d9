"""The generated exams in the cache folder: made once, and made again where they are not what was written."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from mammo.data.phantom import VERSION, generate_phantom, partial_prefix
from mammo.support.errors import DataError
from mammo.support.files import file_sha256, one_at_a_time, write_text

log = logging.getLogger(__name__)

SUMS_SUFFIX = ".sha256"


def phantom_folder(
    cache_dir: Path,
    num_patients: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    known_hash: Callable[[Path], str | None] = lambda path: None,
) -> Path:
    """The folder of the phantom below `cache_dir`, generated on the first call; what is damaged in it is replaced.

    `known_hash` may tell the SHA-256 of a file that need not be read for it. Processes that ask at the same time wait
    for the one that generates. Raises DataError for files that do not belong there.
    """
    folder = cache_dir / f"phantom-v{VERSION}-n{num_patients}-s{seed}"
    sums = sums_file(folder)
    if folder.is_dir() and not sums.exists():  # of an earlier version, or the sums are lost
        with suppress(OSError):  # may only be read
            _write_sums(folder, _files_in(folder))
        return folder
    if folder.is_dir() and not differing(folder, known_hash):
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(cache_dir / f".{folder.name}.lock", "another process is generating these exams"):
        for killed in cache_dir.glob(f"{partial_prefix(folder)}*"):
            shutil.rmtree(killed)
        if not folder.is_dir():
            sums.unlink(missing_ok=True)
            generate_phantom(folder, num_patients, seed, progress)
            _write_sums(folder, _files_in(folder))
        elif damaged := differing(folder, known_hash):
            _mend(folder, damaged, num_patients, seed, progress)
    return folder


def sums_file(folder: Path) -> Path:
    """Where the SHA-256 of the files of a phantom are, as `sha256sum` writes them."""
    return folder.with_name(f"{folder.name}{SUMS_SUFFIX}")


def _files_in(folder: Path) -> dict[str, Path]:
    files = (path for path in sorted(folder.rglob("*")) if not path.is_dir() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path for path in files}


def _write_sums(folder: Path, files: Mapping[str, Path]) -> None:
    write_text(sums_file(folder), "".join(f"{file_sha256(path)}  {name}\n" for name, path in files.items()))


def differing(folder: Path, known_hash: Callable[[Path], str | None]) -> set[str]:
    """Names of files of a phantom that are missing, too many, or not as they were written; raises OSError."""
    lines = sums_file(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {name: known_hash(path) or file_sha256(path) for name, path in _files_in(folder).items()}
    return {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}


def _mend(
    folder: Path, damaged: set[str], num_patients: int, seed: int, progress: Callable[[int, int], None] | None
) -> None:
    """Generate all files again, and put those that differ in the place of the damaged ones."""
    what = f"{len(damaged)} of the generated files in {folder.name} in the cache folder are damaged"
    log.warning("%s: they are generated again", what)
    parent = Path(tempfile.mkdtemp(prefix=partial_prefix(folder), dir=folder.parent))
    try:
        again = parent / folder.name
        generate_phantom(again, num_patients, seed, progress)
        files = _files_in(again)
        strange = _files_in(folder).keys() - files.keys()
        if strange:
            raise DataError(
                f"{len(strange)} files in {folder.name} in the cache folder are not generated ones",
                to_do=f"remove {folder.name} and {sums_file(folder).name} there: they are generated again",
            )
        _write_sums(folder, files)
        for name in damaged & files.keys():
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(files[name], folder / name)
    finally:
        shutil.rmtree(parent, ignore_errors=True)
