"""The least ambiguous jump event of the mobile ions: exchange, pair or single jump, with its frames (paper, Fig. 5)."""

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

# In order of preference: exchange via the preferred site, two neighbouring jumps, one jump.
KINDS = ("exchange", "pair", "single")
# Time shown before the first ion leaves and after the last ion arrives.
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
class EventChoice:
    """Site changes that form one event.

    Attributes:
        trajectory: index among the analyses.
        kind: one of `KINDS`.
        jumps: indices of the site changes in the trajectory, one or two.
    """

    trajectory: int
    kind: str
    jumps: tuple[int, ...]


@dataclass(frozen=True)
class Move:
    """Move of one ion in an event.

    Attributes:
        ion: index of the atom.
        from_site, to_site: names of the sites (Na1:0).
        start_A, end_A: (3,) positions of the sites, in the images that the ion leaves and enters.
        left_fs: last frame within the radius of the old site.
        arrived_fs: first frame at the new site.
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
        metadata: structure, x, temperature_K, replica of the trajectory.
        numbers: (n,).
        cell_A: (3, 3).
        time_fs: (F,).
        positions_A: (F, n, 3), unwrapped, framework at rest.
        moves: moves of the ions of the event, in order of leaving.
        before, after: frames in which these ions are nearest to their old and new sites.
        oxidation: (F, n) oxidation states recorded by the MD; None if it has none.
    """

    kind: str
    metadata: dict[str, object]
    numbers: np.ndarray
    cell_A: np.ndarray
    time_fs: np.ndarray
    positions_A: np.ndarray
    moves: tuple[Move, ...]
    before: int
    after: int
    oxidation: np.ndarray | None = None

    @property
    def delay_fs(self) -> float:
        """Time between the departures of the first and the second ion; NaN for a single jump."""
        return self.moves[1].left_fs - self.moves[0].left_fs if len(self.moves) > 1 else float("nan")

    def distances_A(self) -> np.ndarray:
        """Distances (moves, 2, F) of each ion from the site it leaves and from the site it enters."""
        return np.array(
            [
                [np.linalg.norm(self.positions_A[:, move.ion] - end, axis=1) for end in (move.start_A, move.end_A)]
                for move in self.moves
            ]
        )

    def halfway(self) -> list[int]:
        """Frame of each move in which the ion is equally far from the old and the new site."""
        frames = []
        for move, (old, new) in zip(self.moves, self.distances_A(), strict=True):
            in_transit = np.flatnonzero((self.time_fs >= move.left_fs) & (self.time_fs <= move.arrived_fs))
            frames.append(int(in_transit[np.abs(old - new)[in_transit].argmin()]))
        return frames


def choose_event(analyses: Sequence[xr.Dataset], window_fs: float) -> EventChoice | None:
    """Event of the best kind (`KINDS`) with fewest other jumps in the window, then shortest delay; None without one.

    Args:
        analyses: datasets of the trajectories (`diffusion.analysis`).
    """
    choices = [choice for number, analysis in enumerate(analyses) for choice in _events_of(analysis, number)]
    best = min((KINDS.index(choice.kind) for choice in choices), default=0)
    clearest = [choice for choice in choices if choice.kind == KINDS[best]]

    def rank(choice: EventChoice) -> tuple[int, float, int, tuple[int, ...]]:
        time_fs, jumps = analyses[choice.trajectory]["event_time_fs"].to_numpy(), choice.jumps
        lag = np.abs(time_fs[:, None] - time_fs[list(jumps)]).min(axis=1)
        others = int((lag <= window_fs).sum()) - len(jumps)
        return others, float(np.ptp(time_fs[list(jumps)])), choice.trajectory, jumps

    return min(clearest, key=rank, default=None)


def event_with_jump(analysis: xr.Dataset, jump: int, trajectory: int = 0) -> EventChoice:
    """Exchange or pair that contains a site change, by its index; otherwise the site change alone."""
    choices = [choice for choice in _events_of(analysis, trajectory) if jump in choice.jumps]
    return min(choices, key=lambda choice: KINDS.index(choice.kind), default=EventChoice(trajectory, "single", (jump,)))


def _events_of(analysis: xr.Dataset, trajectory: int) -> list[EventChoice]:
    """Exchanges, other pairs and single jumps; returned moves (rattling) are excluded."""
    if "event" not in analysis.dims:
        return []
    exchange, partner = analysis["event_exchange"].to_numpy(), analysis["event_partner"].to_numpy()
    not_returned = np.flatnonzero(~analysis["event_returned"].to_numpy().astype(bool))
    jumps_by_kind: dict[str, list[list[int]]] = {
        "exchange": [
            np.flatnonzero(exchange == number).tolist() for number in range(int(exchange.max(initial=NONE)) + 1)
        ],
        "pair": [sorted([int(jump), int(partner[jump])]) for jump in np.flatnonzero(partner != NONE)],
        "single": [[int(jump)] for jump in not_returned],
    }
    return [EventChoice(trajectory, kind, tuple(jumps)) for kind in KINDS for jumps in jumps_by_kind[kind]]


def find_event(
    analyses: Sequence[xr.Dataset], read: Callable[[int], Trajectory], settings: Diffusion, jump: int | None = None
) -> Event | None:
    """Least ambiguous event of the trajectories, with its frames from `MARGIN_FS` before to `MARGIN_FS` after it.

    None if no ion changed its site.

    Args:
        analyses: datasets of the trajectories.
        read: returns the trajectory of an index.
        jump: index of a site change of the first trajectory; its event is returned instead.
    """
    window_fs = settings.concerted_window_ps * FS_PER_PS
    choice = choose_event(analyses, window_fs) if jump is None else event_with_jump(analyses[0], jump)
    if choice is None:
        return None
    analysis, trajectory = analyses[choice.trajectory], read(choice.trajectory)
    metadata, time_fs = trajectory.metadata, trajectory.time_fs
    mobile = trajectory.numbers == atomic_numbers[str(metadata["mobile_ion"])]
    arrivals = analysis["event_time_fs"].to_numpy()[list(choice.jumps)]
    near_event = np.flatnonzero(
        (time_fs >= arrivals.min() - (window_fs + MARGIN_FS)) & (time_fs <= arrivals.max() + MARGIN_FS)
    )
    all_atoms = np.ones(len(mobile), dtype=bool)
    # Drift is measured from the first frame, as for the sites.
    frames = trajectory.positions_A[[0, *near_event]]
    not_framework = moving_atoms(trajectory, analysis)
    positions = without_drift(frames, not_framework, atomic_masses[trajectory.numbers], selected=all_atoms)[1:]
    ions, near_fs, periodic = np.flatnonzero(mobile), time_fs[near_event], PeriodicCell(trajectory.cell_A)
    labels, fractional = site_labels(analysis["site_kind"].to_numpy().tolist()), analysis["site_fractional"].to_numpy()
    moves = []
    for change in choice.jumps:
        ion = int(ions[int(analysis["event_ion"][change])])
        old, new = int(analysis["event_from_site"][change]), int(analysis["event_to_site"][change])
        path = positions[:, ion]
        offsets = [periodic.minimum_image(path - fractional[site] @ periodic.cell_A) for site in (old, new)]
        arrived = int(np.searchsorted(near_fs, float(analysis["event_time_fs"][change])))
        at_old_site = np.flatnonzero(np.linalg.norm(offsets[0][:arrived], axis=1) <= settings.site_radius_A)
        departed = int(at_old_site[-1]) if len(at_old_site) else max(arrived - 1, 0)
        start, end = path[departed] - offsets[0][departed], path[arrived] - offsets[1][arrived]
        times_fs = (float(near_fs[departed]), float(near_fs[arrived]))
        moves.append(Move(ion, labels[old], labels[new], start, end, *times_fs))
    moves.sort(key=lambda move: (move.left_fs, move.arrived_fs))
    shown = near_fs >= moves[0].left_fs - MARGIN_FS
    event = Event(
        choice.kind,
        {key: metadata[key] for key in ("structure", "x", "temperature_K", "replica") if key in metadata},
        trajectory.numbers,
        np.asarray(trajectory.cell_A),
        near_fs[shown],
        positions[shown],
        tuple(moves),
        0,
        0,
        None if trajectory.oxidation is None else trajectory.oxidation[near_event][shown],
    )
    distance = event.distances_A().sum(axis=0)
    early = np.flatnonzero(event.time_fs <= moves[0].left_fs)
    late = np.flatnonzero(event.time_fs >= max(move.arrived_fs for move in moves))
    before, after = int(early[distance[0, early].argmin()]), int(late[distance[1, late].argmin()])
    return replace(event, before=before, after=after)


def no_event_reason(analyses: Sequence[xr.Dataset]) -> str:
    """Reason why the trajectories have no event."""
    without_sites = [str(analysis.attrs.get("no_sites", "")) for analysis in analyses if "event" not in analysis.dims]
    if without_sites and len(without_sites) == len(analyses):
        return f"no sites are known in any trajectory: {without_sites[0]}"
    return f"no ion changed its site in {len(analyses)} trajector{'y' if len(analyses) == 1 else 'ies'}"


def event_frames(event: Event | None) -> pd.DataFrame:
    """Sites, times and positions of the moving ions, one row per frame and ion; columns `COLUMNS`."""
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
