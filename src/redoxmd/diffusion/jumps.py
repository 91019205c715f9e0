"""Jumps of the mobile ions by the paper's 3 Å rule, and D from counting them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import gammaincinv

from redoxmd.config.sections import Diffusion
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS, FS_PER_PS

# 95 % upper limit on a Poisson mean when nothing was counted: −ln 0.05.
NONE_SEEN_LIMIT = 3.0


@dataclass(frozen=True)
class Jumps:
    """Jumps of a trajectory, in order of time.

    Attributes:
        ion: (J,) index among the mobile ions.
        time_fs: (J,) when the ion had left its site.
        start_A, end_A: (J, 3) the sites, unwrapped.
    """

    ion: np.ndarray
    time_fs: np.ndarray
    start_A: np.ndarray
    end_A: np.ndarray

    def __len__(self) -> int:
        return len(self.ion)

    @property
    def distance_A(self) -> np.ndarray:
        """(J,) jump lengths."""
        length: np.ndarray = np.linalg.norm(self.end_A - self.start_A, axis=1)
        return length


def jumps_of(analysis: xr.Dataset) -> Jumps:
    """The jumps that an analysis of a trajectory recorded (`diffusion.analysis.analyse_trajectory`)."""
    parts = (analysis[f"jump_{name}"].to_numpy() for name in ("ion", "time_fs", "start_A", "end_A"))
    ion, time_fs, start_A, end_A = parts
    return Jumps(ion.astype(int), time_fs, start_A.reshape(-1, 3), end_A.reshape(-1, 3))


def frame_times_fs(analysis: xr.Dataset) -> np.ndarray:
    """(T,) times of the frames of the trajectory behind an analysis."""
    frames: np.ndarray = float(analysis["start_fs"]) + float(analysis["frame_interval_fs"]) * np.arange(
        int(analysis["n_frames"])
    )
    return frames


def without_drift(
    positions_A: np.ndarray, moving: np.ndarray, masses_amu: np.ndarray, of: np.ndarray | None = None
) -> np.ndarray:
    """Positions (T, m, 3) of the moving atoms, or of some atoms, relative to the framework.

    The framework's centre of mass stays where it is in the first frame.

    Args:
        positions_A: (T, n, 3) all atoms, unwrapped.
        moving: (n,) which atoms are no framework.
        masses_amu: (n,).
        of: (n,) the atoms wanted, if not the moving ones.
    """
    frame, wanted = ~moving, moving if of is None else of
    if not frame.any() or not len(positions_A):
        return positions_A[:, wanted]
    weights = masses_amu[frame] / masses_amu[frame].sum()
    centre = np.einsum("tnd,n->td", positions_A[:, frame], weights)
    relative: np.ndarray = positions_A[:, wanted] - (centre - centre[0])[:, None]
    return relative


def frames_to_persist(time_fs: np.ndarray, persistence_fs: float) -> int:
    """Frames that `persistence_fs` takes; one at least."""
    interval = float(time_fs[1] - time_fs[0]) if len(time_fs) > 1 else 1.0
    return max(1, int(np.ceil(persistence_fs / interval)))


def find_jumps(positions_A: np.ndarray, time_fs: np.ndarray, settings: Diffusion) -> Jumps:
    """Jumps by the rule of the paper (section 4.2), one ion after the other.

    An ion has jumped when it is farther than `jump_distance_A` from its site for `persistence_fs`; its new site is
    its mean position over that time. The first site is the mean over the first such span. Vibrations and excursions
    that return sooner do not count. Positions must be unwrapped; the cell plays no part, so any shape of it will do.

    Args:
        positions_A: (T, m, 3) mobile ions, drift removed.
        time_fs: (T,) equally spaced.
    """
    window = frames_to_persist(time_fs, settings.persistence_fs)
    events: list[tuple[float, int, np.ndarray, np.ndarray]] = []
    for ion in range(positions_A.shape[1]):
        events += _jumps_of(ion, positions_A[:, ion], time_fs, window, settings.jump_distance_A)
    events.sort(key=lambda event: (event[0], event[1]))
    return Jumps(
        np.array([event[1] for event in events], dtype=int),
        np.array([event[0] for event in events], dtype=float),
        np.array([event[2] for event in events]).reshape(-1, 3),
        np.array([event[3] for event in events]).reshape(-1, 3),
    )


def _jumps_of(
    ion: int, path_A: np.ndarray, time_fs: np.ndarray, window: int, distance_A: float
) -> list[tuple[float, int, np.ndarray, np.ndarray]]:
    events: list[tuple[float, int, np.ndarray, np.ndarray]] = []
    site = path_A[:window].mean(axis=0) if len(path_A) else np.zeros(3)
    start = 0
    while True:
        away = np.linalg.norm(path_A[start:] - site, axis=1) > distance_A
        first = _first_run(away, window)
        if first is None:
            return events
        begin = start + first
        new_site = path_A[begin : begin + window].mean(axis=0)
        events.append((float(time_fs[begin]), ion, site, new_site))
        site, start = new_site, begin + window


def _first_run(flags: np.ndarray, length: int) -> int | None:
    """Index where `length` consecutive true values first begin; None where they never do."""
    if len(flags) < length:
        return None
    counts = np.concatenate([[0], np.cumsum(flags)])
    full = np.flatnonzero(counts[length:] - counts[:-length] == length)
    return int(full[0]) if len(full) else None


@dataclass(frozen=True)
class Diffusivity:
    """A diffusion coefficient with one standard error; `limit_cm2_s` is the 95 % upper limit where nothing moved."""

    value_cm2_s: float
    error_cm2_s: float
    limit_cm2_s: float = float("nan")


def diffusion_from_jumps(jumps: Jumps, n_ions: int, duration_fs: float, jump_distance_A: float) -> Diffusivity:
    """D = ⟨d²⟩ Γ / 6 (eq. 2 of the paper), Γ jumps per ion and time.

    The error is that of the sum of d² of independent jumps (compound Poisson): σ_D/D = √(Σ d⁴)/Σ d², which is 1/√J
    for equal lengths. Without jumps D is 0 and the limit is that of three jumps of the threshold length.
    """
    exposure = n_ions * duration_fs
    if exposure <= 0:
        return Diffusivity(float("nan"), float("nan"))
    unit = CM2_PER_S_PER_A2_PER_FS / (6 * exposure)
    limit = NONE_SEEN_LIMIT * jump_distance_A**2 * unit
    if len(jumps) == 0:
        return Diffusivity(0.0, 0.0, limit)
    squared = jumps.distance_A**2
    return Diffusivity(float(squared.sum() * unit), float(np.sqrt((squared**2).sum()) * unit))


def diffusion_by_axis(jumps: Jumps, n_ions: int, duration_fs: float) -> tuple[np.ndarray, np.ndarray]:
    """D (3,) cm²/s along x, y and z of the file, ⟨d_x²⟩ Γ / 2, and errors as those of `diffusion_from_jumps`.

    Their mean is D; a is along x and b in the xy plane (`trajectory.in_standard_form`).
    """
    exposure = n_ions * duration_fs
    unit = CM2_PER_S_PER_A2_PER_FS / (2 * exposure) if exposure > 0 else float("nan")
    squared = (jumps.end_A - jumps.start_A) ** 2
    return squared.sum(axis=0) * unit, np.sqrt((squared**2).sum(axis=0)) * unit


def upper_limit_of_count(count: float) -> float:
    """95 % upper limit on the mean of a Poisson count: χ²₀.₉₅(2n + 2)/2, which is 3 for none."""
    return float(gammaincinv(count + 1, 0.95))


def concerted_count(ion: np.ndarray, time_fs: np.ndarray, window_ps: float) -> int:
    """Jumps with another ion's jump within the window (paper, section 4.1)."""
    order = np.argsort(time_fs, kind="stable")
    who, when = ion[order], time_fs[order]
    nearest = np.minimum(_since_another(who, when), _since_another(who[::-1], -when[::-1])[::-1])
    return int((nearest <= window_ps * FS_PER_PS).sum())


def _since_another(ion: np.ndarray, time_fs: np.ndarray) -> np.ndarray:
    """Time since the last jump of another ion, for jumps in order of time; infinite where there was none."""
    index = np.arange(len(ion))
    changed = np.concatenate([[False], ion[1:] != ion[:-1]])[: len(ion)]
    first_of_its_row = np.maximum.accumulate(np.where(changed, index, 0))
    since: np.ndarray = np.where(first_of_its_row > 0, time_fs - time_fs[first_of_its_row - 1], np.inf)
    return since


def concerted_by_chance(
    ion: np.ndarray, frames_fs: np.ndarray, window_ps: float, rng: np.random.Generator, shuffles: int = 200
) -> float:
    """Mean number of concerted jumps when the same ions jump as often, each at the time of a random frame.

    Jumps are seen at frames only: in a window of a few frames, random times between them would meet less often.
    """
    if len(ion) < 2:
        return 0.0
    counts = [concerted_count(ion, rng.choice(frames_fs, len(ion)), window_ps) for _ in range(shuffles)]
    return float(np.mean(counts))
