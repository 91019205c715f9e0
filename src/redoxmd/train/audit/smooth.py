"""What moves smoothly in time foretells itself: a frame that its neighbours do not foretell is wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

WINDOW = 5
SHORTEST_COURSE = WINDOW + 1
LONGEST_WINDOW = 8
# What the middle of five frames differs by from the cubic through the other four is δ⁴/6.
MIDDLE = 6.0
# In units of the run's own residual. Largest of 162 windows of GPAW MD at 1000 K and 2 fs: 1.6 a frame, 4.6 an atom;
# of 6300 windows of toy MD at 0.5 to 5 fs, up to 3000 K: 1.9 and 8.2. What they find: docs/silent-errors.md.
FRAME_LIMIT = 3.0
ATOM_LIMIT = 20.0
# Two atoms whose errors vanish when their values are exchanged: rms of the two before, share that may be left.
EXCHANGE_LIMIT = 4.0
EXCHANGE_LEFT = 1 / 3
# Where an atom's values are large or bend more than usual for it (atoms fall into place, hit a wall), δ⁴ is large too.
# A lone wrong value e has d/6 = e and a bend of 2e in its middle, but only e/6 and e at the end of a run.
VIOLENCE_SHARE = 0.2


@dataclass(frozen=True)
class Outlier:
    """A frame that its neighbours do not foretell.

    Attributes:
        error_rms: estimated error, rms over components, in the unit of the values.
        natural_rms: the same of an ordinary frame of this run.
        worst_atom: atom of the largest error in units of its own yardstick.
        pair: two atoms whose values were exchanged, if that explains it.
    """

    error_rms: float
    natural_rms: float
    worst_atom: int
    pair: tuple[int, int] | None


class _Windows:
    """Fourth differences of every five frames in a row, of the frames still trusted.

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
        window, place = np.nonzero(self.members == frame)
        c = self.coefficients[window, place]
        weight = float((c**2).sum())
        return np.tensordot(c, self.differences[window], axes=1) / max(weight, 1e-30), weight

    def exchanged(self, frame: int, values: np.ndarray, unit: np.ndarray) -> tuple[int, int] | None:
        """The two atoms whose values were exchanged in a frame; `unit` (n,) is the natural d/6."""
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
    """Frames that their neighbours do not foretell, the worst first, each judged without those before it.

    The yardstick of an atom is the median over windows of the rms of d/6 over its element, at least `floor`. A window
    is an outlier when the rms of d/6 over yardsticks exceeds `FRAME_LIMIT`, or that of one atom `ATOM_LIMIT`, after
    what violent motion explains; the frame at fault is that of the five whose error explains most of all its windows.
    Two exchanged atoms are found below these limits: their errors go when they are exchanged back.

    Args:
        steps: (m,) times of the frames in steps, in order.
        values: (m, n, 3).
        numbers: (n,) atomic numbers.
        floor: smallest natural residual.
        allowance: (m,) residual of a frame's atoms that has another reason.

        size_matters: large values are a sign of violent motion (forces are, places are not).

    Returns:
        index → what was seen. At most half of the frames; nothing of runs shorter than six frames.
    """
    usable = np.arange(len(steps))
    extra = np.zeros(len(steps)) if allowance is None else allowance
    found: dict[int, Outlier] = {}
    while len(usable) > max(WINDOW, len(steps) // 2):
        windows = _Windows(steps, values, usable)
        if len(windows) < 2:
            break
        natural = _yardstick(windows.size, numbers, floor)
        allowed = _violence(values, windows.members, size_matters) + extra[windows.members].max(axis=1)[:, None]
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
        found[culprit] = Outlier(
            float(np.sqrt((error**2).mean())), float(np.sqrt((natural**2).mean())), int(relative.argmax()), pair
        )
        usable = usable[usable != culprit]
    return found


def _yardstick(sizes: np.ndarray, numbers: np.ndarray, floor: float) -> np.ndarray:
    scale = np.full(len(numbers), floor)
    for element in np.unique(numbers):
        own = numbers == element
        scale[own] = max(floor, float(np.median(np.sqrt((sizes[:, own] ** 2).mean(axis=1)))))
    return scale


def _violence(values: np.ndarray, members: np.ndarray, size_matters: bool) -> np.ndarray:
    """Residual (windows, n) that violent motion explains: shares of |f| and |δ²f| beyond twice the atom's usual."""
    five = values[members]
    allowed = np.zeros(five.shape[:1] + five.shape[2:3])
    bend = five[:, 2:] - 2 * five[:, 1:-1] + five[:, :-2]
    for what in (five, bend) if size_matters else (bend,):
        size = np.sqrt((what**2).mean(axis=3)).max(axis=1)
        allowed += VIOLENCE_SHARE * np.maximum(0.0, size - 2 * np.median(size, axis=0))
    return allowed


def _culprit(windows: _Windows, candidates: np.ndarray, natural: np.ndarray) -> int:
    explained = []
    for frame in candidates:
        error, weight = windows.error_of(int(frame))
        explained.append(weight * float(((error / natural[:, None]) ** 2).sum()))
    return int(candidates[int(np.argmax(explained))])


def _exchanged(error: np.ndarray, values: np.ndarray, unit: np.ndarray) -> tuple[int, int] | None:
    """The two atoms whose errors (n, 3) go when their values (n, 3) are exchanged, if there are any."""
    size = np.linalg.norm(error, axis=1) / unit / np.sqrt(3)
    large = np.flatnonzero(size > EXCHANGE_LIMIT / 2)
    if len(large) < 2:
        return None
    guess = (values - error)[large]
    left = np.linalg.norm(values[large][None, :] - guess[:, None], axis=2) / unit[large][:, None] / np.sqrt(3)
    before = np.hypot(size[large][:, None], size[large][None, :])
    after = np.hypot(left, left.T)
    fits = np.triu((before > EXCHANGE_LIMIT * np.sqrt(2)) & (after < EXCHANGE_LEFT * before), k=1)
    if not fits.any():
        return None
    i, j = np.unravel_index(int(np.where(fits, before - after, 0.0).argmax()), fits.shape)
    return int(large[i]), int(large[j])
