"""Walkers whose diffusion coefficient is known."""

import numpy as np

INTERVAL_FS = 20.0
SITE_A = 4.0


def brownian(D_A2_fs, ions, frames, seed):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, np.sqrt(2 * D_A2_fs * INTERVAL_FS), (frames, ions, 3)), axis=0)


def hoppers(rate_per_fs, ions, frames, seed, rattle_A=0.25):
    """A lattice gas: independent jumps by 4 Å along an axis, and rattling; D = 16·rate/6 Å²/fs."""
    rng = np.random.default_rng(seed)
    jumps = rng.random((frames, ions)) < rate_per_fs * INTERVAL_FS
    moves = SITE_A * rng.choice([-1, 1], jumps.shape) * jumps
    steps = moves[..., None] * (rng.integers(0, 3, jumps.shape)[..., None] == np.arange(3))
    return steps.cumsum(axis=0) + rattle_A * rng.standard_normal((frames, ions, 3))


def rattlers(ions, frames, seed, rattle_A=0.3, memory=0.95):
    """A crystal without jumps: each ion in a harmonic cage, with a memory of many frames."""
    rng = np.random.default_rng(seed)
    noise = rattle_A * np.sqrt(1 - memory**2) * rng.standard_normal((frames, ions, 3))
    places = np.empty_like(noise)
    places[0] = rattle_A * rng.standard_normal((ions, 3))
    for frame in range(1, frames):
        places[frame] = memory * places[frame - 1] + noise[frame]
    return places


def times(positions):
    return INTERVAL_FS * np.arange(len(positions))
