"""Frames inconsistent with the extrapolation from neighbouring frames: outliers of fourth differences in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOW = 5
SHORTEST_STRETCH = WINDOW + 1
LONGEST_WINDOW = 8
# The middle of five frames differs by δ⁴/6 from the cubic through the other four.
MIDDLE = 6.0
# In units of the run's natural residual. Largest of 162 windows of GPAW MD at 1000 K and 2 fs: 1.6 for a frame, 4.6 for
# an atom; of 6300 windows of toy MD at 0.5 to 5 fs, up to 3000 K: 1.9 and 8.2. Detection: docs/silent-errors.md.
FRAME_LIMIT = 3.0
ATOM_LIMIT = 20.0
# Two atoms whose errors vanish when their values are exchanged: smallest rms error of the two, and largest share of it
# that remains after the exchange.
EXCHANGE_LIMIT = 4.0
EXCHANGE_RESIDUAL_SHARE = 1 / 3
# If an atom's values or their second differences are larger than usual for it (a relaxing or colliding atom), δ⁴ is
# large too. A single wrong value e has d/6 = e and a second difference of 2e in its middle, but only e/6 and e at the
# end of a run.
VIOLENCE_SHARE = 0.2


@dataclass(frozen=True)
class Outlier:
    """A frame inconsistent with the extrapolation from its neighbours.

    Attributes:
        error_rms: estimated error, rms over components, in the unit of the values.
        natural_rms: natural residual of the run, rms over atoms.
        worst_atom: atom of the largest error in units of its natural residual.
        pair: two atoms whose values were exchanged, if that explains the error.
    """

    error_rms: float
    natural_rms: float
    worst_atom: int
    pair: tuple[int, int] | None


class _Windows:
    """Fourth differences of every five successive frames among those not yet flagged.

    d_k = Σ_i c_ki f(t_i) with c_ki = 24/Π_{j≠i}(t_i − t_j): (1, −4, 6, −4, 1) for frames one step apart. It vanishes
    for cubics; an error e of frame i adds c_ki·e to each of its five windows.
    """

    def __init__(self, steps: np.ndarray, values: np.ndarray, usable: np.ndarray) -> None:
        starts = range(len(usable) - WINDOW + 1)
        members = np.array([usable[k : k + WINDOW] for k in starts], dtype=int).reshape(-1, WINDOW)
        times = steps[members].astype(float)
        short = times[:, -1] - times[:, 0] <= LONGEST_WINDOW if len(times) else np.zeros(0, dtype=bool)
        self.members, times = members[short], times[short]
        self.stretch = (times[:, -1] - times[:, 0]) / (WINDOW - 1)
        spans = times[:, :, None] - times[:, None, :] + np.eye(WINDOW)
        self.coefficients = 24.0 / spans.prod(axis=2)
        self.differences = np.einsum("ki,kiac->kac", self.coefficients, values[self.members])
        self.size = np.sqrt((self.differences**2).mean(axis=2)) / MIDDLE

    def __len__(self) -> int:
        return len(self.members)

    def error_of(self, frame: int) -> tuple[np.ndarray, float]:
        """Least-squares error (n, 3) of a frame, Σ_k c_k d_k/Σ_k c_k², and Σ_k c_k²: 70 inside a run, 1 at its end."""
        window, position = np.nonzero(self.members == frame)
        c = self.coefficients[window, position]
        weight = float((c**2).sum())
        return np.tensordot(c, self.differences[window], axes=1) / max(weight, 1e-30), weight

    def exchanged(self, frame: int, values: np.ndarray, unit: np.ndarray) -> tuple[int, int] | None:
        """The two atoms whose values were exchanged in a frame, or None; `unit` (n,) is the natural d/6."""
        error, weight = self.error_of(frame)
        if not weight:
            return None
        return _exchanged(error, values[frame], unit * max(1.0, MIDDLE / np.sqrt(weight)))


def outliers(
    steps: np.ndarray,
    values: np.ndarray,
    numbers: np.ndarray,
    floor: float,
    allowance: np.ndarray | None = None,
    size_matters: bool = True,
) -> dict[int, Outlier]:
    """Frames inconsistent with the extrapolation from their neighbours, the worst first.

    After each flagged frame the search is repeated without it. The natural residual of an atom is the median over
    windows of the rms of d/6 over its element, at least `floor`. The residual that violent motion explains is
    subtracted; a window is then an outlier if the rms over atoms of d/6 in units of the natural residual exceeds
    `FRAME_LIMIT`, or that of one atom exceeds `ATOM_LIMIT`. Of its five frames the one whose error explains most of all
    its windows is flagged. Two exchanged atoms are recognised below these limits, because their errors vanish when they
    are exchanged back.

    Args:
        steps: (m,) times of the frames in steps, in order.
        values: (m, n, 3).
        numbers: (n,) atomic numbers.
        floor: smallest natural residual.
        allowance: (m,) residual of a frame's atoms that has another cause.
        size_matters: whether large values indicate violent motion (true of forces, not of positions).

    Returns:
        index → outlier. At most half of the frames; none for runs shorter than six frames.
    """
    usable = np.arange(len(steps))
    extra = np.zeros(len(steps)) if allowance is None else allowance
    flagged: dict[int, Outlier] = {}
    while len(usable) > max(WINDOW, len(steps) // 2):
        windows = _Windows(steps, values, usable)
        if len(windows) < 2:
            break
        natural = _natural_residuals(windows.size, numbers, floor)
        allowed = _violent_motion(values, windows.members, size_matters) + extra[windows.members].max(axis=1)[:, None]
        atoms = np.maximum(0.0, windows.size - allowed) / (natural[None, :] * windows.stretch[:, None])
        excess = np.maximum(np.sqrt((atoms**2).mean(axis=1)) / FRAME_LIMIT, atoms.max(axis=1) / ATOM_LIMIT)
        worst = int(excess.argmax())
        pairs: dict[int, tuple[int, int]] = {}
        if excess[worst] > 1:
            culprit = _culprit(windows, windows.members[worst], natural)
        else:
            candidates = ((int(k), windows.exchanged(int(k), values, natural)) for k in usable)
            pairs = {k: pair for k, pair in candidates if pair}
            if not pairs:
                break
            culprit = next(iter(pairs))
        error, _ = windows.error_of(culprit)
        pair = pairs.get(culprit) or windows.exchanged(culprit, values, natural)
        relative = np.linalg.norm(error, axis=1) / natural
        flagged[culprit] = Outlier(
            float(np.sqrt((error**2).mean())), float(np.sqrt((natural**2).mean())), int(relative.argmax()), pair
        )
        usable = usable[usable != culprit]
    return flagged


def _natural_residuals(sizes: np.ndarray, numbers: np.ndarray, floor: float) -> np.ndarray:
    scale = np.full(len(numbers), floor)
    for element in np.unique(numbers):
        of_element = numbers == element
        scale[of_element] = max(floor, float(np.median(np.sqrt((sizes[:, of_element] ** 2).mean(axis=1)))))
    return scale


def _violent_motion(values: np.ndarray, members: np.ndarray, size_matters: bool) -> np.ndarray:
    """Residual (windows, n) that violent motion explains: shares of |f| and |δ²f| above twice the atom's median."""
    windows = values[members]
    allowed = np.zeros(windows.shape[:1] + windows.shape[2:3])
    second = windows[:, 2:] - 2 * windows[:, 1:-1] + windows[:, :-2]
    for measure in (windows, second) if size_matters else (second,):
        size = np.sqrt((measure**2).mean(axis=3)).max(axis=1)
        allowed += VIOLENCE_SHARE * np.maximum(0.0, size - 2 * np.median(size, axis=0))
    return allowed


def _culprit(windows: _Windows, candidates: np.ndarray, natural: np.ndarray) -> int:
    """The frame of a window whose error explains most of the fourth differences of all its windows."""
    explained = []
    for frame in candidates:
        error, weight = windows.error_of(int(frame))
        explained.append(weight * float(((error / natural[:, None]) ** 2).sum()))
    return int(candidates[int(np.argmax(explained))])


def _exchanged(error: np.ndarray, values: np.ndarray, unit: np.ndarray) -> tuple[int, int] | None:
    """The two atoms whose errors (n, 3) vanish when their values (n, 3) are exchanged; None if there are none."""
    size = np.linalg.norm(error, axis=1) / unit / np.sqrt(3)
    large = np.flatnonzero(size > EXCHANGE_LIMIT / 2)
    if len(large) < 2:
        return None
    corrected = (values - error)[large]
    residual = np.linalg.norm(values[large][None, :] - corrected[:, None], axis=2) / unit[large][:, None] / np.sqrt(3)
    before = np.hypot(size[large][:, None], size[large][None, :])
    after = np.hypot(residual, residual.T)
    fits = np.triu((before > EXCHANGE_LIMIT * np.sqrt(2)) & (after < EXCHANGE_RESIDUAL_SHARE * before), k=1)
    if not fits.any():
        return None
    i, j = np.unravel_index(int(np.where(fits, before - after, 0.0).argmax()), fits.shape)
    return int(large[i]), int(large[j])
