"""Named random streams: every draw of a run comes from (seed, names), never from a global generator.

Two streams with different names are independent, so drawing more from one (another dropout mask, another layer) moves
no other. A stream is known by its 63-bit seed; each library makes its own generator from it. Torch's on the CPU reads
the lower 32 bits only: two of its streams are the same with probability 2^-32.
"""

from __future__ import annotations

import hashlib
import random

SEED_BITS = 63


def stream_seed(seed: int, *names: str | int) -> int:
    """The seed of the stream `names` under `seed`, e.g. `stream_seed(3, "data", epoch)`."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> (64 - SEED_BITS)


def stream(seed: int, *names: str | int) -> random.Random:
    """The stream as a generator of Python's own."""
    return random.Random(stream_seed(seed, *names))  # noqa: S311 - experiments, not secrets
