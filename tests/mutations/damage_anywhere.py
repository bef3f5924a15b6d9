"""Damage to any file: each function is one kind, a pure function of content and generator."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Random = np.random.Generator
Damage = Callable[[bytes, Random], bytes]

HUGE_PX = 60000


def flip_a_bit(content: bytes, random: Random) -> bytes:
    """One bit anywhere."""
    damaged = bytearray(content)
    damaged[random.integers(len(content))] ^= 1 << random.integers(8)
    return bytes(damaged)


def burst(content: bytes, random: Random) -> bytes:
    """2 to 64 bytes in a row are others."""
    start, length = random.integers(len(content)), random.integers(2, 65)
    noise = random.integers(0, 256, min(length, len(content) - start)).astype(np.uint8).tobytes()
    return content[:start] + noise + content[start + len(noise) :]


def burst_at_the_start(content: bytes, random: Random) -> bytes:
    """1 to 16 single bytes of the first 3000 are others: headers are there."""
    damaged = np.frombuffer(content, np.uint8).copy()
    where = random.integers(0, min(3000, len(content)), random.integers(1, 17))
    damaged[where] = random.integers(0, 256, len(where))
    return damaged.tobytes()


def truncate(content: bytes, random: Random) -> bytes:
    """The end is missing."""
    return content[: random.integers(len(content))]


def insert(content: bytes, random: Random) -> bytes:
    """1 to 100 bytes more, anywhere."""
    where = random.integers(len(content))
    return content[:where] + random.bytes(int(random.integers(1, 101))) + content[where:]


def lose_the_middle(content: bytes, random: Random) -> bytes:
    """A part is missing, the end is there."""
    start = random.integers(len(content))
    return content[:start] + content[start + random.integers(1, max(2, len(content) // 4)) :]


def empty_a_block(content: bytes, random: Random) -> bytes:
    """512 bytes are 0, as after an incomplete copy."""
    start = random.integers(max(1, len(content) - 512))
    return content[:start] + bytes(min(512, len(content) - start)) + content[start + 512 :]


EVERYWHERE: list[Damage] = [
    flip_a_bit, flip_a_bit, burst, burst_at_the_start, truncate, insert, lose_the_middle, empty_a_block,
]  # fmt: skip
