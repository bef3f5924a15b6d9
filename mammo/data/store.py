"""The image store: every image decoded and prepared once, kept as one grey memmap at its final size.

A store belongs to one set of preprocessing parameters and only grows. An image is found in it by the
hash of its file's content and its laterality, so a changed file or parameter never meets stale pixels
and a renamed file is not decoded again. Pixels are on disk before the index names them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from mammo.data.images import read_image
from mammo.data.manifest import LeftOut
from mammo.data.parallel import in_order
from mammo.data.preprocess import PREPROCESS_VERSION, prepare
from mammo.errors import BadFile
from mammo.files import file_sha256

log = logging.getLogger(__name__)

# Pixels are forced to disk in groups of this many images, then the index names them.
IMAGES_PER_FLUSH = 64
# A file this young may change again without its time stamp changing: its hash is not remembered.
YOUNG_FILE_SECONDS = 2.0

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class PixelSettings:
    """Everything that decides what the stored pixels of a file are."""

    size_px: int
    crop: bool
    orient: bool
    accept: tuple[str, ...] = ()

    def key(self) -> str:
        """Hash of the settings and of the version of the preprocessing."""
        text = json.dumps({**dataclasses.asdict(self), "version": PREPROCESS_VERSION}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """What the store needs to know of an image."""

    image_id: str
    path: Path
    laterality: str


@dataclasses.dataclass(frozen=True)
class StoredImages:
    """Read access to some images of a store, in the order they were asked for."""

    pixels: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """uint8 [N, size_px, size_px] of the images at `indices`."""
        return self.pixels[self.rows[np.asarray(indices)]]


@dataclasses.dataclass(frozen=True)
class StoreResult:
    """The images that are in the store, which of the given files they are, and the files that are not."""

    images: StoredImages
    kept: list[int]
    content_keys: list[str]
    left_out: list[LeftOut]


class ContentHashes:
    """SHA-256 of files, remembered while size, times and inode of a file stay what they were."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "content_hashes.jsonl"
        self._known: dict[str, list] = {}
        for entry in _read_lines(self._file):
            self._known[entry["file"]] = entry["hash"]

    def hash_of(self, path: Path) -> tuple[str, dict | None]:
        """The hash, and the entry to remember when it had to be computed; raises OSError."""
        stat = path.stat()
        name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()
        # The time of the last change of the inode cannot be set by a program, unlike the modification time.
        signature = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        known = self._known.get(name)
        if known is not None and known[:4] == signature:
            return known[4], None
        digest = file_sha256(path)
        is_young = time.time() - max(stat.st_mtime, stat.st_ctime) < YOUNG_FILE_SECONDS
        return digest, None if is_young else {"file": name, "hash": [*signature, digest]}

    def remember(self, entries: Sequence[dict]) -> None:
        """Append entries of `hash_of` to the file."""
        _append_lines(self._file, entries)


class ImageStore:
    """The store of one set of settings in `<folder>/<key of the settings>`."""

    def __init__(self, folder: Path, settings: PixelSettings) -> None:
        self.settings = settings
        self.root = folder
        self.folder = folder / settings.key()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._pixels_file = self.folder / "pixels.u8"
        self._index_file = self.folder / "index.jsonl"
        self._lock = FileLock(self.folder / "lock")

    def fill(self, files: Sequence[ImageFile], num_workers: int, progress: Progress | None = None) -> StoreResult:
        """Put all files into the store that are not there yet; several processes may ask at once.

        Files that cannot be used are returned as left out with their reason. The result does not
        depend on the number of workers.
        """
        hashes = ContentHashes(self.root)
        keys, new_hashes, unreadable = self._keys(files, hashes, num_workers)
        with self._locked():
            hashes.remember(new_hashes)
            index = {entry["key"]: entry["row"] for entry in _read_lines(self._index_file)}
            missing: dict[str, int] = {}
            for i, key in enumerate(keys):
                if key is not None and key not in index:
                    missing.setdefault(key, i)
            refused = self._add(files, missing, index, num_workers, progress)
        kept = [i for i, key in enumerate(keys) if key in index]
        left_out = [unreadable[i] for i in sorted(unreadable)] + [
            LeftOut(files[i].image_id, "pixels", refused[key]) for i, key in enumerate(keys) if key in refused
        ]
        kept_keys = [key for key in (keys[i] for i in kept) if key is not None]
        rows = np.array([index[key] for key in kept_keys], dtype=np.int64)
        return StoreResult(StoredImages(self._memmap(), rows), kept, kept_keys, left_out)

    def _keys(
        self, files: Sequence[ImageFile], hashes: ContentHashes, num_workers: int
    ) -> tuple[list[str | None], list[dict], dict[int, LeftOut]]:
        keys: list[str | None] = []
        new_hashes: list[dict] = []
        unreadable: dict[int, LeftOut] = {}

        def hash_one(file: ImageFile) -> tuple[str, dict | None] | str:
            try:
                return hashes.hash_of(file.path)
            except OSError as error:
                return f"the file cannot be read ({error.strerror or type(error).__name__})"

        for i, result in enumerate(in_order(hash_one, files, num_workers)):
            if isinstance(result, str):
                keys.append(None)
                unreadable[i] = LeftOut(files[i].image_id, "file", result)
                continue
            digest, entry = result
            # The laterality decides which way an image is turned.
            keys.append(f"{digest}{files[i].laterality}" if self.settings.orient else digest)
            if entry is not None:
                new_hashes.append(entry)
        return keys, new_hashes, unreadable

    def _add(
        self,
        files: Sequence[ImageFile],
        missing: dict[str, int],
        index: dict[str, int],
        num_workers: int,
        progress: Progress | None,
    ) -> dict[str, str]:
        """Decode and append; fills `index` and returns the reasons of what was refused."""
        refused: dict[str, str] = {}
        if not missing:
            return refused
        pending: list[dict] = []
        next_row = max(index.values(), default=-1) + 1
        self._pixels_file.touch()
        with self._pixels_file.open("r+b") as pixels_file:
            decoded = in_order(self._decode, [files[i] for i in missing.values()], num_workers)
            for done, (key, result) in enumerate(zip(missing, decoded, strict=True), start=1):
                if isinstance(result, str):
                    refused[key] = result
                else:
                    pixels_file.seek(next_row * self.settings.size_px**2)
                    pixels_file.write(result.tobytes())
                    pending.append({"key": key, "row": next_row})
                    index[key] = next_row
                    next_row += 1
                if len(pending) >= IMAGES_PER_FLUSH or done == len(missing):
                    pixels_file.flush()
                    os.fsync(pixels_file.fileno())
                    _append_lines(self._index_file, pending)
                    pending = []
                if progress is not None:
                    progress(done, len(missing))
        return refused

    def _decode(self, file: ImageFile) -> np.ndarray | str:
        """The prepared pixels, or the reason why there are none."""
        settings = self.settings
        try:
            image, header = read_image(file.path, settings.accept)
            laterality = file.laterality or (header.laterality if header is not None else "")
            return prepare(image, laterality, settings.size_px, settings.crop, settings.orient)
        except BadFile as error:
            return error.reason
        except OSError as error:
            return f"the file cannot be read ({error.strerror or type(error).__name__})"

    def _memmap(self) -> np.ndarray:
        size_px = self.settings.size_px
        count = self._pixels_file.stat().st_size // size_px**2 if self._pixels_file.exists() else 0
        if count == 0:
            return np.empty((0, size_px, size_px), dtype=np.uint8)
        return np.memmap(self._pixels_file, dtype=np.uint8, mode="r", shape=(count, size_px, size_px))

    def _locked(self) -> FileLock:
        """The lock of the store, with a word in the log when another process holds it."""
        try:
            self._lock.acquire(timeout=0)
            self._lock.release()
        except Timeout:
            log.info("another process is filling the image store; waiting for it")
        return self._lock


def _read_lines(file: Path) -> Iterator[dict]:
    """The entries of a file of JSON lines; a last line that was cut off by a crash is left out."""
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def _append_lines(file: Path, entries: Sequence[dict]) -> None:
    if not entries:
        return
    with file.open("a+b") as stream:
        # A line that a crash has cut off must not swallow the first new one.
        if stream.tell() and not _ends_with_newline(file):
            stream.write(b"\n")
        stream.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
        stream.flush()
        os.fsync(stream.fileno())


def _ends_with_newline(file: Path) -> bool:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
