"""What is done to a file of each kind; here the damage to pictures and label files."""

from __future__ import annotations

import struct
import zlib

from tests.mutations.damage_anywhere import EVERYWHERE, HUGE_PX, Damage, Random, flip_a_bit
from tests.mutations.damage_to_dicom import OF_DICOM, deflate_a_bomb, huge_stream, with_a_thumbnail

# Damage to pictures that keeps their form.


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, position = [], 8
    while position + 8 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        chunks.append((content[position + 4 : position + 8], content[position + 8 : position + 8 + length]))
        position += 12 + length
    return chunks


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def change_a_chunk(content: bytes, random: Random) -> bytes:
    """A chunk says something else, is missing or repeated, and every check sum is right."""
    chunks = _chunks(content)
    which = int(random.integers(len(chunks)))
    name, data = chunks[which]
    what = random.integers(4)
    if what == 0 and data:
        chunks[which] = (name, flip_a_bit(data, random))
    elif what == 1:
        del chunks[which]
    elif what == 2:
        chunks.insert(which, chunks[which])
    else:
        width, height = random.choice([0, 1, 71, 73, 95, 97, 9000, HUGE_PX, 2**31 - 1], 2).tolist()
        rest = bytes([random.choice([1, 2, 8, 16]), random.choice([0, 2, 3, 4, 6]), 0, 0, random.integers(2)])
        header = struct.pack(">II", width, height) + (rest if random.integers(2) else chunks[0][1][8:])
        chunks[0] = (b"IHDR", header)
    return _png(chunks)


def inflate_a_bomb(content: bytes, random: Random) -> bytes:
    """Compressed text or a profile of hundreds of megabytes, or as much behind the last row."""
    chunks = _chunks(content)
    bomb = zlib.compress(bytes(300_000_000), 9) if random.integers(2) else zlib.compress(bytes(60_000_000), 9)
    kind = random.integers(4)
    if kind == 0:
        chunks.insert(1, (b"zTXt", b"Comment\0\0" + bomb))
    elif kind == 1:
        chunks.insert(1, (b"iCCP", b"profile\0\0" + bomb))
    elif kind == 2:
        chunks.insert(1, (b"iTXt", b"Comment\0\1\0\0\0" + bomb))
    else:
        chunks = [(name, bomb if name == b"IDAT" else data) for name, data in chunks]
    return _png(chunks)


def claim_a_huge_jpeg(content: bytes, random: Random) -> bytes:
    """A JPEG of 60000 x 60000 pixels, or of slightly more or fewer rows than there are."""
    if random.integers(2):
        return huge_stream(content)
    for marker in (0xC0, 0xC2):
        start = content.find(bytes([0xFF, marker]))
        if start >= 0:
            rows, columns = random.choice([0, 1, 64, 95, 97, 120, 9000], 2).tolist()
            return content[: start + 5] + struct.pack(">HH", rows, columns) + content[start + 9 :]
    return content


def end_the_jpeg_early(content: bytes, random: Random) -> bytes:
    """The stream ends early, with a proper end marker."""
    return content[: random.integers(len(content) // 2, len(content))] + b"\xff\xd9"


def append(content: bytes, random: Random) -> bytes:
    """Something behind the end of the file: anything, or another picture."""
    return content + (random.bytes(int(random.integers(1, 9000))) if random.integers(2) else content)


def change_a_tag(content: bytes, random: Random) -> bytes:
    """A tag of a TIFF directory has another type, count or value."""
    (directory,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, directory)
    place = directory + 2 + 12 * int(random.integers(count))
    field = random.integers(3)
    values = (0, 1, 2, 3, 8, 32, HUGE_PX, 2**31 - 1, 2**32 - 1)
    if field == 0:
        return content[: place + 2] + struct.pack("<H", random.integers(0, 20)) + content[place + 4 :]
    offset = place + (4 if field == 1 else 8)
    return content[:offset] + struct.pack("<I", values[random.integers(len(values))]) + content[offset + 4 :]


# Damage to label tables.


def change_the_encoding(content: bytes, random: Random) -> bytes:
    """Another encoding than a reader would think of."""
    name = ("utf-16", "utf-16-be", "utf-32", "cp1252", "utf-8-sig", "utf-7")[random.integers(6)]
    return content.decode("utf-8").replace("p0", "p\xe9").encode(name, "replace")


def spoil_cells(content: bytes, random: Random) -> bytes:
    """Cells hold what has no place there: NULs, quotes, formulas, paths that leave the folder, a huge text."""
    text = content.decode("utf-8")
    spoilt = (
        "\0", '"', '"unclosed', "=cmd|' /C calc'!A0", "../../etc/passwd", "/etc/passwd", "C:\\x", "x" * 200_000,
        "\n", "\r", ",,,,,,", "\u202e", "-1", "5", "0", "nan", "\x1a", "''", "A;B",
    )  # fmt: skip
    for _ in range(random.integers(1, 4)):
        where = int(random.integers(len(text)))
        text = text[:where] + spoilt[random.integers(len(spoilt))] + text[where:]
    return text.encode("utf-8", "replace")


def shuffle_lines(content: bytes, random: Random) -> bytes:
    """Lines are missing, doubled or in another order; perhaps the header, too."""
    lines = content.splitlines(keepends=True)
    what = random.integers(4)
    if what == 0:
        del lines[random.integers(len(lines))]
    elif what == 1:
        lines.insert(int(random.integers(len(lines))), lines[random.integers(len(lines))])
    elif what == 2:
        lines = [lines[i] for i in random.permutation(len(lines))]
    else:
        lines = [line for line in lines if random.integers(3)]
    return b"".join(lines)


def double_a_column(content: bytes, random: Random) -> bytes:
    """Two columns of one name, or a column without a name."""
    header, _, rest = content.partition(b"\n")
    delimiter = b";" if b";" in header else b","
    names = header.rstrip(b"\r").split(delimiter)
    names[random.integers(len(names))] = b"" if random.integers(3) == 0 else names[random.integers(len(names))]
    return delimiter.join(names) + b"\n" + rest


OF_KIND: dict[str, list[Damage]] = {
    "dicom": [*EVERYWHERE, *OF_DICOM],
    "png": [*EVERYWHERE, *[change_a_chunk] * 6],
    "jpeg": [*EVERYWHERE, *[claim_a_huge_jpeg] * 2, *[end_the_jpeg_early] * 2, with_a_thumbnail, append],
    "tiff": [*EVERYWHERE, *[change_a_tag] * 6],
    "csv": [*EVERYWHERE, change_the_encoding, *[spoil_cells] * 4, *[shuffle_lines] * 2, *[double_a_column] * 2],
    "features": [*EVERYWHERE, change_the_encoding, *[spoil_cells] * 4, *[shuffle_lines] * 2],
}
# Each takes seconds to make or to read: a few of them are enough.
BOMBS: dict[str, Damage] = {"dicom": deflate_a_bomb, "png": inflate_a_bomb}
