"""Is everything in the cache folder as it was written? Every checksum is compared, and nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mammo.checks.report import Finding, Section, counted, note, ok, problem
from mammo.data.content_hashes import read_entries
from mammo.data.image_list import STORES, Counting
from mammo.data.phantom_cache import SUMS_SUFFIX, differing
from mammo.data.pseudonyms import CHECK_FILE, KEY_FILE, TABLES, read_key, state_of_key, tables_of
from mammo.models.feature_bank import BANKS
from mammo.support.errors import DataError, UserError
from mammo.support.row_files import KEYS_FILE, OLD_KEYS_FILE, ROWS_FILE, survey


def check_cache(folder: Path, counting: Counting) -> list[Section]:
    """Sections about rows, generated exams and pseudonyms in a cache folder; raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder", "a cache folder", "cache_dir=DIR names another one")
    return [
        Section(f"Cache folder {folder}", [*_row_findings(folder, counting), *_hash_findings(folder)]),
        Section("Generated exams", [*_phantom_findings(folder)]),
        Section("Pseudonyms", [*_pseudonym_findings(folder)]),
    ]


def _row_findings(cache: Path, counting: Counting) -> Iterator[Finding]:
    """Image stores, what was seen of their images, and feature banks."""
    names = (KEYS_FILE, ROWS_FILE, OLD_KEYS_FILE)
    below = (f"{room}/{depth}/{name}" for room in (STORES, BANKS) for depth in ("*", "*/*") for name in names)
    for folder in sorted({file.parent for pattern in below for file in cache.glob(pattern)}):
        name = folder.relative_to(cache).as_posix()
        if (folder / OLD_KEYS_FILE).exists() and not (folder / KEYS_FILE).exists():
            yield note(name, "of an earlier version, without checksums: not used any more", f"remove {name}")
        else:
            yield _rows_finding(folder, name, counting)


def _rows_finding(folder: Path, name: str, counting: Counting) -> Finding:
    num_sound = num_damaged = num_lost = 0
    to_do = f"the next run that needs it computes it anew; or remove the folder {name}"
    try:
        total = (folder / KEYS_FILE).stat().st_size
        with counting(f"Comparing {name}") as count:
            for done, part in enumerate(survey(folder), start=1):
                num_sound, num_damaged = num_sound + part.num_sound, num_damaged + part.num_damaged
                num_lost += part.num_lost
                count(min(total, done * part.num_bytes), total)
    except (OSError, ValueError) as error:
        return problem(name, f"cannot be read: {getattr(error, 'strerror', error)}", to_do)
    if num_damaged or num_lost:
        what = f"{counted(num_damaged, 'row')} damaged, {counted(num_lost, 'key')} damaged or without a row"
        return problem(name, f"{what}, {num_sound:,} as written", to_do)
    return ok(name, f"{counted(num_sound, 'row')}, all as written")


def _hash_findings(cache: Path) -> Iterator[Finding]:
    """Lines whose checksum does not match are passed over by runs; those of earlier versions have none."""
    name = f"{STORES}/content_hashes.jsonl"
    is_sound = [sound for _, _, sound in read_entries(cache / name)]
    if False in is_sound:
        text = f"{counted(is_sound.count(False), 'line')} damaged: their files are read again, which changes no result"
        yield problem(name, text, f"remove {name}")
    elif is_sound:
        yield ok(name, f"{counted(is_sound.count(True), 'line')}, all as written")


def _phantom_findings(cache: Path) -> Iterator[Finding]:
    for sums in sorted(cache.glob(f"phantom-*{SUMS_SUFFIX}")):
        folder = sums.with_name(sums.name.removesuffix(SUMS_SUFFIX))
        try:
            damaged = differing(folder, lambda path: None)
        except OSError as error:
            yield problem(folder.name, f"cannot be read ({error.strerror})", f"remove {folder.name} and {sums.name}")
            continue
        if damaged:
            text = f"{counted(len(damaged), 'file')} damaged, missing or too many"
            yield problem(folder.name, text, "the next run that needs it generates it again")
        else:
            yield ok(folder.name, "all files as written")


def _pseudonym_findings(cache: Path) -> Iterator[Finding]:
    tables = cache / TABLES
    if not (cache / KEY_FILE).exists():
        if (cache / CHECK_FILE).exists() or (tables.is_dir() and any(tables.iterdir())):
            yield problem(KEY_FILE, "is gone", "put it back from a copy: a run says what else can be done")
        return
    try:
        key = read_key(cache / KEY_FILE)
    except DataError as error:
        yield problem(KEY_FILE, error.found, error.to_do)
        return
    state = state_of_key(cache, key)
    if state == "same":
        yield ok(KEY_FILE, "is the one of all earlier runs")
    elif state == "other":
        yield problem(KEY_FILE, "is another one than before", "put the earlier one back from a copy")
    else:
        yield note(KEY_FILE, f"has no whole check value ({CHECK_FILE}): the next run writes one")
    for table in tables_of(cache, key):
        name, again = f"{TABLES}/{table.name}", "a run on its data, or the same mammo.predict, writes it again"
        if table.is_whole is False:
            yield problem(name, "damaged", again)
        elif table.is_of_key is False:
            yield note(name, "of another key than that in the cache folder")
        elif table.is_whole is None:
            yield note(name, "has no checksum: of an earlier version, or its end was cut off", again)
        else:
            yield ok(name, "as written")
