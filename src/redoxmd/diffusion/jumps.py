"""Jumps of the mobile ions by the 3 Å rule of the paper, and D from their number and length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import gammaincinv

from redoxmd.config.sections import Diffusion
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS, FS_PER_PS

# 95 % upper limit on a Poisson mean for a count of zero: −ln 0.05.
ZERO_COUNT_LIMIT = 3.0


@dataclass(frozen=True)
class Jumps:
    """Jumps of a trajectory, ordered by time.

    Attributes:
        ion: (J,) index among the mobile ions.
        time_fs: (J,) first frame at which the ion has left its site.
        start_A, end_A: (J, 3) positions of the sites, unwrapped.
    """

    ion: np.ndarray
    time_fs: np.ndarray
    start_A: np.ndarray
    end_A: np.ndarray

    def __len__(self) -> int:
        return len(self.ion)

    @property
    def distance_A(self) -> np.ndarray:
        """Jump lengths (J,)."""
        length: np.ndarray = np.linalg.norm(self.end_A - self.start_A, axis=1)
        return length


def recorded_jumps(analysis: xr.Dataset) -> Jumps:
    """Jumps recorded in the analysis of a trajectory (`diffusion.analysis.analyse_trajectory`)."""
    columns = (analysis[f"jump_{name}"].to_numpy() for name in ("ion", "time_fs", "start_A", "end_A"))
    ion, time_fs, start_A, end_A = columns
    return Jumps(ion.astype(int), time_fs, start_A.reshape(-1, 3), end_A.reshape(-1, 3))


def without_drift(
    positions_A: np.ndarray, not_framework: np.ndarray, masses_amu: np.ndarray, selected: np.ndarray | None = None
) -> np.ndarray:
    """Positions (T, m, 3) of selected atoms relative to the framework.

    The centre of mass of the framework is held at its position in the first frame.

    Args:
        positions_A: (T, n, 3) all atoms, unwrapped.
        not_framework: (n,) mask of the atoms outside the framework.
        masses_amu: (n,).
        selected: (n,) mask of the selected atoms; None: the atoms outside the framework.
    """
    framework = ~not_framework
    selected = not_framework if selected is None else selected
    if not framework.any() or not len(positions_A):
        return positions_A[:, selected]
    weights = masses_amu[framework] / masses_amu[framework].sum()
    centre = np.einsum("tnd,n->td", positions_A[:, framework], weights)
    relative: np.ndarray = positions_A[:, selected] - (centre - centre[0])[:, None]
    return relative


def frames_to_persist(time_fs: np.ndarray, persistence_fs: float) -> int:
    """Number of frames in `persistence_fs`, rounded up; at least one."""
    interval = float(time_fs[1] - time_fs[0]) if len(time_fs) > 1 else 1.0
    return max(1, int(np.ceil(persistence_fs / interval)))


def find_jumps(positions_A: np.ndarray, time_fs: np.ndarray, settings: Diffusion) -> Jumps:
    """Jumps by the displacement rule of the paper (section 4.2).

    An ion has jumped if it is farther than `jump_distance_A` from its site for `persistence_fs`; its new site is its
    mean position over that time. The first site is the mean position over the first `persistence_fs`. Vibrations and
    shorter excursions are not counted. Positions must be unwrapped; cells of any shape are allowed.

    Args:
        positions_A: (T, m, 3) mobile ions, drift removed.
        time_fs: (T,) equally spaced.
    """
    window = frames_to_persist(time_fs, settings.persistence_fs)
    events: list[tuple[float, int, np.ndarray, np.ndarray]] = []
    for ion in range(positions_A.shape[1]):
        path_A, start = positions_A[:, ion], 0
        site = path_A[:window].mean(axis=0) if len(path_A) else np.zeros(3)
        while True:
            away = np.linalg.norm(path_A[start:] - site, axis=1) > settings.jump_distance_A
            first = _first_run(away, window)
            if first is None:
                break
            departure = start + first
            new_site = path_A[departure : departure + window].mean(axis=0)
            events.append((float(time_fs[departure]), ion, site, new_site))
            site, start = new_site, departure + window
    events.sort(key=lambda event: (event[0], event[1]))
    return Jumps(
        np.array([event[1] for event in events], dtype=int),
        np.array([event[0] for event in events], dtype=float),
        np.array([event[2] for event in events]).reshape(-1, 3),
        np.array([event[3] for event in events]).reshape(-1, 3),
    )


def _first_run(flags: np.ndarray, length: int) -> int | None:
    """First index of the first run of `length` true values; None without such a run."""
    if len(flags) < length:
        return None
    counts = np.concatenate([[0], np.cumsum(flags)])
    full = np.flatnonzero(counts[length:] - counts[:-length] == length)
    return int(full[0]) if len(full) else None


def diffusion_from_jumps(
    jumps: Jumps, n_ions: int, duration_fs: float, jump_distance_A: float
) -> tuple[float, float, float]:
    """D = ⟨d²⟩ Γ / 6 (eq. 2 of the paper), with Γ jumps per ion and time; standard error, 95 % upper limit; cm²/s.

    The error assumes independent jumps (compound Poisson): σ_D/D = √(Σ d⁴)/Σ d², which is 1/√J for equal lengths.
    Without jumps D is 0 and the limit is D of three jumps of the threshold length; with jumps the limit is NaN.
    """
    exposure = n_ions * duration_fs
    if exposure <= 0:
        return float("nan"), float("nan"), float("nan")
    unit = CM2_PER_S_PER_A2_PER_FS / (6 * exposure)
    if len(jumps) == 0:
        return 0.0, 0.0, ZERO_COUNT_LIMIT * jump_distance_A**2 * unit
    squared = jumps.distance_A**2
    return float(squared.sum() * unit), float(np.sqrt((squared**2).sum()) * unit), float("nan")


def diffusion_by_axis(jumps: Jumps, n_ions: int, duration_fs: float) -> tuple[np.ndarray, np.ndarray]:
    """D (3,) cm²/s along x, y and z of the file, ⟨d_x²⟩ Γ / 2, with errors as in `diffusion_from_jumps`.

    The mean of the three is D. The cell vector a lies along x and b in the xy plane (`trajectory.in_standard_form`).
    """
    exposure = n_ions * duration_fs
    unit = CM2_PER_S_PER_A2_PER_FS / (2 * exposure) if exposure > 0 else float("nan")
    squared = (jumps.end_A - jumps.start_A) ** 2
    return squared.sum(axis=0) * unit, np.sqrt((squared**2).sum(axis=0)) * unit


def upper_limit_of_count(count: float) -> float:
    """95 % upper limit on the mean of a Poisson count: χ²₀.₉₅(2n + 2)/2, which is 3 for a count of zero."""
    return float(gammaincinv(count + 1, 0.95))


def close_pairs(ion: np.ndarray, time_fs: np.ndarray, window_fs: float) -> np.ndarray:
    """Index pairs (P, 2) of jumps of different ions within the window, the earlier jump first."""
    order = np.argsort(time_fs, kind="stable")
    times, ions = time_fs[order], ion[order]
    index = np.arange(len(order))
    partners = np.searchsorted(times, times + window_fs, side="right") - index - 1
    first = np.repeat(index, partners)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
    different = ions[first] != ions[second]
    return np.stack([order[first], order[second]], axis=1)[different]


def concerted_count(ion: np.ndarray, time_fs: np.ndarray, window_ps: float) -> int:
    """Number of jumps with a jump of another ion within the window (paper, section 4.1)."""
    return len(np.unique(close_pairs(ion, time_fs, window_ps * FS_PER_PS)))


def concerted_by_chance(
    ion: np.ndarray, frames_fs: np.ndarray, window_ps: float, rng: np.random.Generator, shuffles: int = 200
) -> float:
    """Mean number of concerted jumps if the same jumps occur at random frame times: the chance level.

    Jumps are recorded at frames only; in a window of a few frames, continuous random times would coincide less often.
    """
    if len(ion) < 2:
        return 0.0
    counts = [concerted_count(ion, rng.choice(frames_fs, len(ion)), window_ps) for _ in range(shuffles)]
    return float(np.mean(counts))
