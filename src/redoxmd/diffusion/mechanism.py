"""One event of the mobile ions, the clearest there is: who leaves, who comes, and in which order (paper, Fig. 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_masses, atomic_numbers

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.framework import moving_atoms
from redoxmd.diffusion.jumps import without_drift
from redoxmd.diffusion.sites import NONE
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.occupation import site_labels
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.units import FS_PER_PS

# The clearest first: an exchange through the preferred site, two neighbouring jumps, a jump alone.
KINDS = ("exchange", "pair", "single")
# Frames before the first ion leaves and after the last has arrived.
MARGIN_FS = 300.0
COLUMNS = (
    "ion",
    "from_site",
    "to_site",
    "left_fs",
    "arrived_fs",
    "time_fs",
    "from_distance_A",
    "to_distance_A",
    "x_A",
    "y_A",
    "z_A",
)


@dataclass(frozen=True)
class Choice:
    """Changes of site that make one event.

    Attributes:
        trajectory: number among the analyses.
        kind: one of `KINDS`.
        jumps: numbers of the changes of site in the trajectory, one or two.
    """

    trajectory: int
    kind: str
    jumps: tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """What one ion does in an event.

    Attributes:
        ion: index of the atom.
        from_site, to_site: names of the sites (Na1:0).
        start_A, end_A: (3,) the sites, as the images that the ion passes from and to.
        left_fs: last frame within the radius of the old site.
        arrived_fs: first frame at the new one.
    """

    ion: int
    from_site: str
    to_site: str
    start_A: np.ndarray
    end_A: np.ndarray
    left_fs: float
    arrived_fs: float


@dataclass(frozen=True)
class Event:
    """Frames of a trajectory through an event.

    Attributes:
        kind: one of `KINDS`.
        about: structure, x, temperature_K, replica of the trajectory.
        numbers: (n,).
        cell_A: (3, 3).
        time_fs: (F,).
        positions_A: (F, n, 3), unwrapped, framework at rest.
        moves: of the ions that take part, the first to leave first.
        before, after: frames in which these ions are nearest to their sites, old and new.
    """

    kind: str
    about: dict[str, object]
    numbers: np.ndarray
    cell_A: np.ndarray
    time_fs: np.ndarray
    positions_A: np.ndarray
    moves: tuple[Move, ...]
    before: int
    after: int

    @property
    def delay_fs(self) -> float:
        """From the first ion's leaving to the second's; NaN for one alone."""
        return self.moves[1].left_fs - self.moves[0].left_fs if len(self.moves) > 1 else float("nan")

    def distances_A(self) -> np.ndarray:
        """(moves, 2, F) distance of each ion from the site it leaves, and from the one it goes to."""
        return np.array(
            [
                [np.linalg.norm(self.positions_A[:, move.ion] - end, axis=1) for end in (move.start_A, move.end_A)]
                for move in self.moves
            ]
        )

    def halfway(self) -> list[int]:
        """For each move the frame in which its ion is as far from the old site as from the new one."""
        found = []
        for move, (old, new) in zip(self.moves, self.distances_A(), strict=True):
            on_its_way = np.flatnonzero((self.time_fs >= move.left_fs) & (self.time_fs <= move.arrived_fs))
            found.append(int(on_its_way[np.abs(old - new)[on_its_way].argmin()]))
        return found


def choose_event(analyses: Sequence[xr.Dataset], window_fs: float) -> Choice | None:
    """The clearest event: by `KINDS`, then fewest other jumps within the window, then least delay; None without any.

    Args:
        analyses: of each trajectory (`diffusion.analysis`).
        window_fs: within which jumps are concerted.
    """
    found = [choice for number, analysis in enumerate(analyses) for choice in _events_of(analysis, number)]
    best = min((KINDS.index(choice.kind) for choice in found), default=0)
    of_its_kind = [choice for choice in found if choice.kind == KINDS[best]]

    def rank(choice: Choice) -> tuple[int, float, int, tuple[int, ...]]:
        unclear = _unclear(analyses[choice.trajectory], choice.jumps, window_fs)
        return (*unclear, choice.trajectory, choice.jumps)

    return min(of_its_kind, key=rank, default=None)


def event_with_jump(analysis: xr.Dataset, jump: int, trajectory: int = 0) -> Choice:
    """The exchange or pair that a change of site, by its number, is part of; else it alone."""
    parts = [choice for choice in _events_of(analysis, trajectory) if jump in choice.jumps]
    return min(parts, key=lambda choice: KINDS.index(choice.kind), default=Choice(trajectory, "single", (jump,)))


def _events_of(analysis: xr.Dataset, trajectory: int) -> list[Choice]:
    """Exchanges, other pairs, and every jump by itself; rattling is none."""
    if "event" not in analysis.dims:
        return []
    exchange, partner = analysis["event_exchange"].to_numpy(), analysis["event_partner"].to_numpy()
    standing = np.flatnonzero(~analysis["event_returned"].to_numpy().astype(bool))
    sets: dict[str, list[list[int]]] = {
        "exchange": [
            np.flatnonzero(exchange == number).tolist() for number in range(int(exchange.max(initial=NONE)) + 1)
        ],
        "pair": [sorted([int(one), int(partner[one])]) for one in np.flatnonzero(partner != NONE)],
        "single": [[int(jump)] for jump in standing],
    }
    return [Choice(trajectory, kind, tuple(jumps)) for kind in KINDS for jumps in sets[kind]]


def _unclear(analysis: xr.Dataset, jumps: tuple[int, ...], window_fs: float) -> tuple[int, float]:
    """Other changes of site within the window of these, and the time between these."""
    time_fs = analysis["event_time_fs"].to_numpy()
    lag = np.abs(time_fs[:, None] - time_fs[list(jumps)]).min(axis=1)
    return int((lag <= window_fs).sum()) - len(jumps), float(np.ptp(time_fs[list(jumps)]))


def find_event(
    analyses: Sequence[xr.Dataset], read: Callable[[int], Trajectory], settings: Diffusion, jump: int | None = None
) -> Event | None:
    """The clearest event of some trajectories with its frames; None where no ion changed its site.

    Args:
        analyses: of each trajectory.
        read: gives the trajectory of a number.
        settings: section `diffusion`.
        jump: the event with this change of site of the first trajectory instead.
    """
    window_fs = settings.concerted_window_ps * FS_PER_PS
    choice = choose_event(analyses, window_fs) if jump is None else event_with_jump(analyses[0], jump)
    if choice is None:
        return None
    return describe_event(choice, analyses[choice.trajectory], read(choice.trajectory), settings)


def why_none(analyses: Sequence[xr.Dataset]) -> str:
    """Why trajectories have no event, in words."""
    blind = [str(analysis.attrs.get("no_sites", "")) for analysis in analyses if "event" not in analysis.dims]
    if blind and len(blind) == len(analyses):
        return f"no sites are known in any trajectory: {blind[0]}"
    return f"no ion changed its site in {len(analyses)} trajector{'y' if len(analyses) == 1 else 'ies'}"


def describe_event(choice: Choice, analysis: xr.Dataset, trajectory: Trajectory, settings: Diffusion) -> Event:
    """Frames from `MARGIN_FS` before an event to as long after it, and what each ion does in them."""
    about, time_fs = trajectory.metadata, trajectory.time_fs
    mobile = trajectory.numbers == atomic_numbers[str(about["mobile_ion"])]
    arrivals = analysis["event_time_fs"].to_numpy()[list(choice.jumps)]
    window_fs = settings.concerted_window_ps * FS_PER_PS + MARGIN_FS
    wide = np.flatnonzero((time_fs >= arrivals.min() - window_fs) & (time_fs <= arrivals.max() + MARGIN_FS))
    everything = np.ones(len(mobile), dtype=bool)
    # The first frame is where the drift counts from, for the sites too.
    frames = trajectory.positions_A[[0, *wide]]
    moving = moving_atoms(trajectory, analysis)
    positions = without_drift(frames, moving, atomic_masses[trajectory.numbers], of=everything)[1:]
    ions = np.flatnonzero(mobile)
    moves = [
        _move(analysis, jump, ions, time_fs[wide], positions, trajectory.cell_A, settings) for jump in choice.jumps
    ]
    moves.sort(key=lambda move: (move.left_fs, move.arrived_fs))
    kept = time_fs[wide] >= moves[0].left_fs - MARGIN_FS
    event = Event(
        choice.kind,
        {key: about[key] for key in ("structure", "x", "temperature_K", "replica") if key in about},
        trajectory.numbers,
        np.asarray(trajectory.cell_A),
        time_fs[wide][kept],
        positions[kept],
        tuple(moves),
        0,
        0,
    )
    return _with_ends(event)


def _move(
    analysis: xr.Dataset,
    jump: int,
    ions: np.ndarray,
    time_fs: np.ndarray,
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    settings: Diffusion,
) -> Move:
    ion = int(ions[int(analysis["event_ion"][jump])])
    labels, places = site_labels(analysis["site_kind"].to_numpy().tolist()), analysis["site_fractional"].to_numpy()
    old, new = int(analysis["event_from_site"][jump]), int(analysis["event_to_site"][jump])
    periodic, path = PeriodicCell(cell_A), positions_A[:, ion]
    away = [periodic.minimum_image(path - places[site] @ periodic.cell_A) for site in (old, new)]
    arrived = int(np.searchsorted(time_fs, float(analysis["event_time_fs"][jump])))
    there = np.flatnonzero(np.linalg.norm(away[0][:arrived], axis=1) <= settings.site_radius_A)
    left = int(there[-1]) if len(there) else max(arrived - 1, 0)
    start, end = path[left] - away[0][left], path[arrived] - away[1][arrived]
    return Move(ion, labels[old], labels[new], start, end, float(time_fs[left]), float(time_fs[arrived]))


def _with_ends(event: Event) -> Event:
    distance = event.distances_A().sum(axis=0)
    early = np.flatnonzero(event.time_fs <= event.moves[0].left_fs)
    late = np.flatnonzero(event.time_fs >= max(move.arrived_fs for move in event.moves))
    before, after = int(early[distance[0, early].argmin()]), int(late[distance[1, late].argmin()])
    return replace(event, before=before, after=after)


def event_frames(event: Event | None) -> pd.DataFrame:
    """Sites, times and positions of the ions that take part, a row for each frame and ion; columns `COLUMNS`."""
    tables = [pd.DataFrame(columns=list(COLUMNS))]
    if event is not None:
        tables = [
            pd.DataFrame(
                {
                    **{name: getattr(move, name) for name in COLUMNS[:5]},
                    "time_fs": event.time_fs,
                    **dict(zip(COLUMNS[6:8], distances, strict=True)),
                    **dict(zip(COLUMNS[8:], event.positions_A[:, move.ion].T, strict=True)),
                }
            )
            for move, distances in zip(event.moves, event.distances_A(), strict=True)
        ]
    return pd.concat(tables, ignore_index=True)
