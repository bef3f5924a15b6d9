"""The image store: every image decoded and prepared once, kept as grey squares at their final size.

A store belongs to one set of preprocessing parameters and only grows. An image is found in it by the
hash of its file's content and its laterality, so a changed file or parameter never meets stale pixels
and a renamed file is not decoded again. A file is read once: its hash and its pixels come from the same
bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mammo.data.content_hashes import ContentHashes, read_content
from mammo.data.crash_safe_pool import Lost, isolated, num_processes_for
from mammo.data.header_remarks import in_words, remarks_on_file, remember, remembered
from mammo.data.manifest import LeftOut
from mammo.data.parallel import Progress, in_order
from mammo.data.pixels import PixelSettings, pixels_of
from mammo.support.errors import BadFile, DamagedFile, DataError
from mammo.support.files import one_at_a_time
from mammo.support.keyed_rows import KeyedRows
from mammo.support.row_files import LAYOUT_VERSION

log = logging.getLogger(__name__)

# Pixels are forced to disk in groups of this many images: what a crash loses of a process.
IMAGES_PER_FLUSH = 64
# A process takes about a second to start, in which another one decodes about as many files as this.
FILES_PER_PROCESS = 16


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """What the store needs to know of an image."""

    image_id: str
    path: Path
    laterality: str


class Shard(NamedTuple):
    """One of several parts of the files, numbered from 0: every `num_shards`-th of them."""

    number: int
    num_shards: int


@dataclasses.dataclass(frozen=True)
class StoredImages:
    """Read access to some images of a store, in the order they were asked for."""

    pixels: np.ndarray | KeyedRows | _MendedPixels
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [N, size_px, size_px] of the images at `indices`."""
        return self.pixels[self.rows[np.asarray(indices)]]


@dataclasses.dataclass(frozen=True)
class StoreResult:
    """The images that are in the store, which of the given files they are, and the files that are not.

    `num_decoded` is the number of images that were not in the store before; `remarks` are sentences about some of
    the images.
    """

    images: StoredImages
    kept: list[int]
    content_keys: list[str]
    left_out: list[LeftOut]
    num_decoded: int
    remarks: list[str]


class _Content(NamedTuple):
    """What a worker made of a file: the hash of its content and the entry that remembers it (None for a young
    file), and its pixels (None when they were in the store already) with remarks, or stage and reason of a problem.

    A file that cannot be read has no hash.
    """

    digest: str = ""
    entry: dict | None = None
    pixels: np.ndarray | None = None
    remarks: Sequence[str] = ()
    problem: tuple[str, str] | None = None


class _Reader:
    """Reads, hashes and decodes files, mostly in a process of its own, but not what is stored already."""

    def __init__(self, folder: Path, settings: PixelSettings) -> None:
        self.folder, self.settings = folder, settings

    def __call__(self, file: ImageFile) -> _Content:
        try:
            content, digest, entry = read_content(file.path)
        except OSError as error:
            return _Content(problem=("file", f"the file cannot be read ({error.strerror or type(error).__name__})"))
        if self._is_stored(_key_of(digest, file, self.settings)):
            return _Content(digest, entry)
        try:
            pixels = pixels_of(content, file.laterality, self.settings)
            return _Content(digest, entry, pixels, remarks_on_file(content, file.laterality, self.settings.accept))
        except BadFile as error:
            return _Content(digest, entry, problem=("pixels", error.reason))

    @functools.cached_property
    def _rows(self) -> KeyedRows:
        return _open_rows(self.folder, self.settings)

    def _is_stored(self, key: str) -> bool:
        if key not in self._rows:
            self._rows.refresh()
        return key in self._rows


class _MendedPixels:
    """The pixels of a store by row; what is found damaged is decoded again from its file.

    `origins` has the file and the key of each row. Threads may read at once.
    """

    def __init__(self, rows: KeyedRows, settings: PixelSettings, origins: Mapping[int, tuple[ImageFile, str]]) -> None:
        self._rows, self._settings, self._origins = rows, settings, origins
        self._moved_to: dict[int, int] = {}
        self._lock = threading.Lock()

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [N, size_px, size_px]; raises DamagedFile where a file is not there any more as it was."""
        places = np.array([self._moved_to.get(row, row) for row in rows.tolist()], np.int64)
        pixels, is_damaged = self._rows.read(places)
        for i in np.flatnonzero(is_damaged):
            pixels[i] = self._decoded_again(int(rows[i]))
        return pixels

    def _decoded_again(self, row: int) -> np.ndarray:
        file, key = self._origins[row]
        try:
            content, digest, _ = read_content(file.path)
            if _key_of(digest, file, self._settings) != key:
                raise BadFile("has changed since")
            pixels = pixels_of(content, file.laterality, self._settings)
        except (OSError, BadFile) as error:
            reason = error.reason if isinstance(error, BadFile) else f"cannot be read ({error.strerror})"
            name = f"stores/{self._rows.folder.name}"
            raise DamagedFile(
                f"{name} in the cache folder is damaged, and a file of which it was made {reason}; put that file back, "
                f"or delete {name} and start again"
            ) from error
        with self._lock, suppress(OSError):  # read-only, or full: it is decoded whenever it is needed
            self._rows.append([key], pixels[None])
            self._moved_to[row] = self._rows.row_of(key)
        return pixels


def _open_rows(folder: Path, settings: PixelSettings) -> KeyedRows:
    return KeyedRows(folder, (settings.size_px, settings.size_px), "uint8")


def _key_of(digest: str, file: ImageFile, settings: PixelSettings) -> str:
    # The laterality decides which way an image is turned.
    return f"{digest}{file.laterality}" if settings.orient else digest


class ImageStore:
    """The store of one set of settings in `<folder>/<key of the settings>-<version of its files>`."""

    def __init__(self, folder: Path, settings: PixelSettings) -> None:
        self.settings = settings
        self.root = folder
        self.folder = folder / f"{settings.key()}-{LAYOUT_VERSION}"
        self._rows = _open_rows(self.folder, settings)

    def fill(
        self,
        files: Sequence[ImageFile],
        num_workers: int,
        progress: Progress | None = None,
        *,
        shard: Shard | None = None,
        timeout_seconds: float = 60,
    ) -> StoreResult:
        """Put all files, or those of a shard, into the store that are not there yet.

        Files that cannot be used are returned as left out with their reason. Decoding is done by up to
        `num_workers` processes, where neither a crash nor a file that takes longer than `timeout_seconds` costs
        more than that file; with 0 workers by this one, unprotected. The result is the same. Several processes may
        fill a store at once: whole fills wait for each other, shards work side by side.
        """
        wanted = range(len(files)) if shard is None else range(shard.number, len(files), shard.num_shards)
        hashes = ContentHashes(self.root)
        keys = self._known_keys(files, wanted, hashes, num_workers)
        left_out: list[LeftOut] = []
        num_decoded = 0
        # Nothing is written, not even a lock, where everything is stored already: the folder may be read-only.
        if not all(keys.get(i, "") in self._rows for i in wanted):
            # Before the lock is taken, for which a process that must not go on would wait.
            num_processes = num_processes_for(len(wanted), FILES_PER_PROCESS, num_workers)
            name = "fill" if shard is None else f"fill_{shard.number}_of_{shard.num_shards}"
            with one_at_a_time(self.folder / f"{name}.lock", "another process is filling the image store"):
                self._rows.refresh()
                to_read = [i for i in wanted if keys.get(i, "") not in self._rows]
                _require_room(self.folder, len(to_read) * self._rows.row_bytes)
                reader, wanted_files = _Reader(self.folder, self.settings), (files[i] for i in to_read)
                # Closed at once after an error, too: the processes end before it is reported.
                with closing(isolated(reader, wanted_files, num_processes, timeout_seconds)) as contents:
                    left_out, num_decoded = self._take_in(files, to_read, contents, keys, hashes, progress)
        # What another process has stored meanwhile is not read again here, but must be found.
        self._rows.refresh()
        kept = [i for i in wanted if keys.get(i, "") in self._rows]
        kept_keys = [keys[i] for i in kept]
        rows = np.array([self._rows.row_of(key) for key in kept_keys], dtype=np.int64)
        origins = {row: (files[i], key) for row, i, key in zip(rows.tolist(), kept, kept_keys, strict=True)}
        pixels = _MendedPixels(self._rows, self.settings, origins)
        known_remarks = remembered(self.folder)
        remarks = in_words(remark for key in kept_keys for remark in known_remarks.get(key, ()))
        return StoreResult(StoredImages(pixels, rows), kept, kept_keys, left_out, num_decoded, remarks)

    def _known_keys(
        self, files: Sequence[ImageFile], wanted: range, hashes: ContentHashes, num_workers: int
    ) -> dict[int, str]:
        """Keys of the files that need not be read for it."""
        known = in_order(lambda i: hashes.known_hash(files[i].path), wanted, num_workers)
        digests = zip(wanted, known, strict=True)
        return {i: _key_of(digest, files[i], self.settings) for i, digest in digests if digest is not None}

    def _take_in(
        self,
        files: Sequence[ImageFile],
        to_read: list[int],
        contents: Iterator[_Content | Lost],
        keys: dict[int, str],
        hashes: ContentHashes,
        progress: Progress | None,
    ) -> tuple[list[LeftOut], int]:
        """Append the pixels of files that have been read; fills `keys`.

        Returns what cannot be used and the number of images that are new.
        """
        left_out: list[LeftOut] = []
        num_decoded = 0
        pixels: dict[str, np.ndarray] = {}
        remarks: dict[str, Sequence[str]] = {}
        entries: list[dict] = []
        for done, (i, content) in enumerate(zip(to_read, contents, strict=True), start=1):
            if isinstance(content, Lost):
                content = _Content(problem=("pixels", content.reason))
            if content.problem is not None:
                left_out.append(LeftOut(files[i].image_id, *content.problem))
            keys.pop(i, None)
            if content.digest:
                key = keys[i] = _key_of(content.digest, files[i], self.settings)
                if content.pixels is not None and key not in self._rows and key not in pixels:
                    pixels[key], remarks[key] = content.pixels, content.remarks
                    num_decoded += 1
            if content.entry is not None:
                entries.append(content.entry)
            if len(pixels) >= IMAGES_PER_FLUSH or done == len(to_read):
                remember(self.folder, remarks)  # before the pixels, with which all of a file is done
                if pixels:
                    self._rows.append(list(pixels), np.stack(list(pixels.values())))
                hashes.remember(entries)
                remarks.clear()
                pixels.clear()
                entries.clear()
            if progress is not None:
                progress(done, len(to_read))
        return left_out, num_decoded


def _require_room(folder: Path, num_bytes: int) -> None:
    """Raises DataError when the disk of a folder has less room than that."""
    free_bytes = shutil.disk_usage(folder).free
    if num_bytes > free_bytes:
        raise DataError(
            f"the prepared images need {num_bytes / 1e9:.2f} GB, and {free_bytes / 1e9:.2f} GB are free",
            to_do="free some space, choose cache_dir=DIR on another disk, or a smaller data.image_size",
        )
