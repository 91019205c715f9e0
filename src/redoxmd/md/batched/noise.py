"""Normal deviates that depend only on trajectory, step and atom.

Philox4x32-10 (Salmon et al., SC 2011) in tensor operations.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

from redoxmd.seeds import rng_text

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
WORD = 0xFFFFFFFF


def noise_key(rng: np.random.Generator) -> tuple[int, int]:
    """Two 32-bit words from the state of a generator, which does not advance: the same key at every restart."""
    digest = hashlib.sha256(rng_text(rng).encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")


def philox(counter: Tensor, key: Tensor) -> Tensor:
    """Four random words for each counter.

    Args:
        counter: (…, 4) words of 32 bits in int64.
        key: (…, 2) likewise, broadcast against the counters.

    Returns:
        (…, 4) words of 32 bits in int64.
    """
    a, b, c, d = counter.unbind(dim=-1)
    first, second = key.unbind(dim=-1)
    for _ in range(ROUNDS):
        # Products overflow at 64 bits; after the shift and the mask their upper words are still correct.
        product_a, product_c = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        high_a, high_c = product_a >> 32 & WORD, product_c >> 32 & WORD
        a, b, c, d = high_c ^ b ^ first, product_c & WORD, high_a ^ d ^ second, product_a & WORD
        first, second = (first + WEYL[0]) & WORD, (second + WEYL[1]) & WORD
    return torch.stack([a, b, c, d], dim=-1)


def normals(key: Tensor, step: Tensor, n_atoms: int) -> Tensor:
    """Standard normal deviates by the Box–Muller transform; the largest magnitude is 6.8.

    Args:
        key: (B, 2) of each trajectory.
        step: (B,) its MD step.
        n_atoms: A; the deviates of an atom do not depend on it.

    Returns:
        (B, A, 3) in double precision.
    """
    atom = torch.arange(n_atoms, device=key.device).expand(len(key), -1)
    low, high = (word[:, None].expand_as(atom) for word in (step & WORD, step >> 32))
    words = philox(torch.stack([atom, low, high, torch.zeros_like(atom)], dim=-1), key[:, None])
    uniform = (words.double() + 0.5) / 2**32
    radius = torch.sqrt(-2.0 * torch.log(uniform[..., :2]))
    angle = 2.0 * math.pi * uniform[..., 2:]
    wave = radius * torch.cos(angle)
    return torch.cat([wave, radius[..., :1] * torch.sin(angle[..., :1])], dim=-1)
