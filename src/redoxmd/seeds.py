"""Independent random streams for every job from the seed of the config, the same on every machine."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive_seed(root: int, *names: str | int | float) -> int:
    """A 63-bit seed that depends only on the root seed and on the names of the job.

    The names are hashed (SHA-256), so adding a job never changes the stream of another one.
    """
    text = "/".join([str(root), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_rng(root: int, *names: str | int | float) -> np.random.Generator:
    """A generator seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(root, *names))


def rng_text(rng: np.random.Generator) -> str:
    """The state of a generator for a restart file."""
    return json.dumps(rng.bit_generator.state)


def rng_from_text(text: str) -> np.random.Generator:
    """The generator that continues from `rng_text`."""
    rng = np.random.default_rng()
    rng.bit_generator.state = json.loads(text)
    return rng
