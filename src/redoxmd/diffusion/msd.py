"""Mean squared displacement and D from its slope."""

from __future__ import annotations

import numpy as np

from redoxmd.diffusion.jumps import Diffusivity
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS

BOOTSTRAPS = 200


def squared_displacements(positions_A: np.ndarray) -> np.ndarray:
    """Time-averaged squared displacement of each ion, (T, m) Å², for lags of 0 … T − 1 frames.

    MSD(k) = ⟨|r(t + k) − r(t)|²⟩_t by the Fourier method (Calandrini et al., 2011): O(T log T).
    """
    frames = len(positions_A)
    squares = (positions_A**2).sum(axis=2)
    spectrum = np.fft.rfft(positions_A, 2 * frames, axis=0)
    correlation = np.fft.irfft((np.abs(spectrum) ** 2).sum(axis=2), 2 * frames, axis=0)[:frames]
    samples = np.arange(frames, 0, -1)[:, None]
    total = 2 * squares.sum(axis=0)
    zero = np.zeros_like(squares[:1])
    lost = np.cumsum(np.concatenate([zero, squares[:-1] + squares[:0:-1]]), axis=0)
    result: np.ndarray = np.maximum((total - lost - 2 * correlation) / samples, 0.0)
    result[0] = 0.0
    return result


def diffusion_from_msd(
    displacements_A2: np.ndarray, time_fs: np.ndarray, window: tuple[float, float], rng: np.random.Generator
) -> Diffusivity:
    """D from the slope of the MSD over a window of lags, ⟨|Δr|²⟩ = 6 D t + c.

    (The paper's eq. 4 prints no t.) The straight line is a least-squares fit over lags between the given fractions
    of the trajectory; its error is the standard deviation over bootstrapped ions, whose displacements are nearly
    independent while neighbouring lags are not. With fewer than three ions there is no error (NaN).

    Args:
        displacements_A2: (T, m) of `squared_displacements`.
        time_fs: (T,) lags.
        window: fractions of the trajectory length.
    """
    frames = len(time_fs)
    first, last = (round(fraction * (frames - 1)) for fraction in window)
    first = max(first, 1)
    if last - first < 2:
        return Diffusivity(float("nan"), float("nan"))
    lags = time_fs[first : last + 1] - time_fs[0]
    # The slope of a least-squares line is linear in the data, so each ion has its own.
    centred = lags - lags.mean()
    slopes = centred @ displacements_A2[first : last + 1] / (centred**2).sum()
    by_ion = slopes / 6 * CM2_PER_S_PER_A2_PER_FS
    ions = len(by_ion)
    if ions < 3:
        return Diffusivity(float(by_ion.mean()) if ions else float("nan"), float("nan"))
    means = by_ion[rng.integers(0, ions, (BOOTSTRAPS, ions))].mean(axis=1)
    return Diffusivity(float(by_ion.mean()), float(means.std(ddof=1) * np.sqrt(ions / (ions - 1))))
