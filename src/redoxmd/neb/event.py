"""Both ends of a path, and the MD frames between them, from an event of a production trajectory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr
from ase import Atoms
from ase.data import atomic_numbers

from redoxmd.config.sections import Diffusion, NebEvent, NebPath, Structures
from redoxmd.diffusion.mechanism import Event, find_event, no_event_reason
from redoxmd.errors import ConfigError
from redoxmd.files.layout import supercell_of
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.occupation import Occupation
from redoxmd.structures.source import FRAMEWORK, full_cell


def event_of_path(
    path: NebPath, analyses: Sequence[xr.Dataset], read: Callable[[int], Trajectory], settings: Diffusion
) -> Event | None:
    """The event that a path follows; None if `auto` finds none.

    Args:
        path: one of `neb.paths`, with `event`.
        analyses: of the trajectories that may contain it (`layout.event_trajectories`).
        read: reads the trajectory with a number.

    Raises:
        ConfigError: the named trajectory has no site change of that number.
    """
    if not isinstance(path.event, NebEvent):
        return find_event(analyses, read, settings)
    changes = analyses[0].sizes.get("event", 0)
    if path.event.number >= changes:
        raise ConfigError(
            f"neb.paths, {path.name}, event: no site change number {path.event.number} in that trajectory, it has "
            f"{changes}, counted from 0; take one of diffusion/events.csv, or event: auto"
        )
    return find_event(analyses, read, settings, path.event.number)


def frames_of_event(event: Event, structures: Structures) -> list[Atoms]:
    """Frames from before an event to after it, as structures of the run; the first and last are the ends of a path.

    Array `site` names the kind of site of each mobile ion, `oxidation` has the states that the MD recorded. The
    framework does not drift.
    """
    name = str(event.metadata["structure"])
    full = full_cell(structures, supercell_of(name))
    mobile = event.numbers == atomic_numbers[structures.mobile_ion]
    window = slice(event.before, event.after + 1)
    time_fs = event.time_fs[window].tolist()
    states = [None] * len(time_fs) if event.oxidation is None else event.oxidation[window]
    frames = []
    for time, positions, oxidation in zip(time_fs, event.positions_A[window], states, strict=True):
        atoms = Atoms(numbers=event.numbers, positions=positions, cell=event.cell_A, pbc=True)
        atoms.set_array("site", np.where(mobile, structures.mobile_ion, FRAMEWORK))
        frame = Occupation(atoms, full).with_current_sites(atoms)
        if oxidation is not None:
            frame.set_array("oxidation", oxidation)
        frame.info = {"structure": name, "time_fs": time}
        frames.append(frame)
    return frames


def event_record(path: NebPath, event: Event | None, analyses: Sequence[xr.Dataset]) -> dict[str, Any]:
    """JSON-like record of an event; `reason` states why there is none, else it is "".

    `changed_states` lists the atoms whose recorded oxidation states differ between the ends, if the MD has states.

    Args:
        path: the path that follows it.
        event: the event, or None.
        analyses: of the trajectories that were searched.
    """
    if event is None:
        where = "" if path.x is None else f" of x = {path.x:g}"
        return {"path": path.name, "reason": no_event_reason(analyses) + where}
    moves = [
        {
            "ion": move.ion,
            "from": move.from_site,
            "to": move.to_site,
            "left_fs": move.left_fs,
            "arrived_fs": move.arrived_fs,
        }
        for move in event.moves
    ]
    record = {"path": path.name, "reason": "", "kind": event.kind, **event.metadata, "moves": moves}
    if event.oxidation is not None:
        differ = event.oxidation[event.before] != event.oxidation[event.after]
        record["changed_states"] = np.flatnonzero(differ).tolist()
    return record
