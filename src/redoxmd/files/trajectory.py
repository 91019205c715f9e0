"""Trajectories as H5MD, readable by MDAnalysis and VMD; segments that join into one file.

The cell of a file is in standard form, a along x and b in the xy plane, because programs that keep lengths and angles
of a cell put it there; positions are turned with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms

from redoxmd.errors import DataError
from redoxmd.files.hdf5 import NewFile, hdf5_file, read_hdf5

# Scalars per frame and their units as MDAnalysis spells them.
OBSERVABLES = {
    "temperature_K": ("temperature", "K"),
    "energy_eV": ("potential_energy", "eV"),
    "spread_eV_A": ("spread", "eV Angstrom-1"),
}
# Time of a hop, atom that is oxidised, atom that is reduced, energy after minus before, its spread between members.
HOP_COLUMNS = ("time_fs", "donor", "acceptor", "energy_eV", "spread_eV")
CHUNK_FRAMES = 256
BLOCK_FRAMES = 2000
REMEDY = "delete it and run production again"


@dataclass
class Trajectory:
    """Frames of one MD run of n atoms.

    Attributes:
        numbers: (n,) atomic numbers.
        positions_A: (T, n, 3) unwrapped.
        cell_A: (3, 3), constant.
        steps: (T,) MD step of each frame, strictly increasing.
        time_fs: (T,).
        temperature_K, energy_eV, spread_eV_A: (T,); the spread is the frame's, as the gate sees it.
        metadata: plain data: x, temperature_K, replica, mobile_ion, timestep_fs, end_reason, checksums, …
        rotation: (3, 3) R that turned the vectors v of the simulation into those of the file, v @ R; a reflection too
            where the cell of the simulation is left-handed.
        source: the file it was read from, for messages.
        oxidation: (T, n) oxidation states, 0 except for redox atoms; None if the potential does not distinguish them.
        hops: (k, 5) electron hops, columns `HOP_COLUMNS`; None as above.
    """

    numbers: np.ndarray
    positions_A: np.ndarray
    cell_A: np.ndarray
    steps: np.ndarray
    time_fs: np.ndarray
    temperature_K: np.ndarray
    energy_eV: np.ndarray
    spread_eV_A: np.ndarray
    metadata: dict[str, Any] = field(default_factory=dict)
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    source: str = ""
    oxidation: np.ndarray | None = None
    hops: np.ndarray | None = None

    def frame(self, number: int) -> Atoms:
        """The structure of a frame, fully periodic, with the array `oxidation` if the trajectory has states."""
        atoms = Atoms(self.numbers, self.positions_A[number], cell=self.cell_A, pbc=True)
        if self.oxidation is not None:
            atoms.set_array("oxidation", self.oxidation[number])
        return atoms


def in_standard_form(trajectory: Trajectory) -> Trajectory:
    """The trajectory with a along x, b in the xy plane and c above it; unchanged, bit for bit, where it is so.

    All interatomic distances, of images too, stay. A left-handed cell is mirrored, for lengths and angles say nothing
    of its hand.
    """
    cell = trajectory.cell_A
    if not np.triu(cell, 1).any() and (np.diag(cell) > 0).all():
        return trajectory
    axes, lower = np.linalg.qr(cell.T)
    rotation = axes * np.sign(np.diag(lower))
    return replace(
        trajectory,
        cell_A=np.tril(cell @ rotation),
        positions_A=trajectory.positions_A @ rotation,
        rotation=trajectory.rotation @ rotation,
    )


def write_segment(path: str | Path, trajectory: Trajectory) -> None:
    """Write a whole H5MD file, atomically, its cell in standard form; positions in single precision."""
    turned = in_standard_form(trajectory)
    with hdf5_file(path) as file:
        _create(file, turned, turned.metadata)
        _append(file, turned)


def _create(file: h5py.File, trajectory: Trajectory, metadata: dict[str, Any]) -> None:
    h5md = file.create_group("h5md")
    h5md.attrs["version"] = np.array([1, 1])
    h5md.create_group("author").attrs["name"] = "redoxmd"
    creator = h5md.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "redoxmd", "1"
    file.attrs["redoxmd"] = json.dumps(metadata, sort_keys=True)
    n = len(trajectory.numbers)
    atoms = file.create_group("particles/atoms")
    atoms["species"] = trajectory.numbers
    box = atoms.create_group("box")
    box.attrs["dimension"], box.attrs["boundary"] = 3, ["periodic"] * 3
    _series(box, "edges", (3, 3), np.float64, "Angstrom")
    _series(atoms, "position", (n, 3), np.float32, "Angstrom")
    if trajectory.oxidation is not None:
        _series(atoms, "oxidation", (n,), np.int8, "e")
    for name, unit in OBSERVABLES.values():
        _series(file.require_group("observables"), name, (), np.float64, unit)
    file["cell_A"], file["rotation"] = trajectory.cell_A, trajectory.rotation


def _series(parent: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any, unit: str) -> None:
    group = parent.create_group(name)
    chunk = max(1, min(CHUNK_FRAMES, 1_000_000 // max(int(np.prod(shape)), 1)))
    value = group.create_dataset("value", (0, *shape), dtype, maxshape=(None, *shape), chunks=(chunk, *shape))
    value.attrs["unit"] = unit
    group.create_dataset("step", (0,), np.int64, maxshape=(None,), chunks=(4096,))
    group.create_dataset("time", (0,), np.float64, maxshape=(None,), chunks=(4096,)).attrs["unit"] = "fs"


def _append(file: NewFile, trajectory: Trajectory) -> None:
    count = len(trajectory.steps)
    cells = np.broadcast_to(trajectory.cell_A, (count, 3, 3))
    values = {"particles/atoms/position": trajectory.positions_A, "particles/atoms/box/edges": cells}
    values |= {f"observables/{name}": getattr(trajectory, key) for key, (name, _) in OBSERVABLES.items()}
    if trajectory.oxidation is not None:
        values["particles/atoms/oxidation"] = trajectory.oxidation
    for place, value in values.items():
        for part, data in (("value", value), ("step", trajectory.steps), ("time", trajectory.time_fs)):
            stored = file[f"{place}/{part}"]
            stored.resize(stored.shape[0] + count, axis=0)
            if count:
                stored[-count:] = data
        file.check()


def join_segments(
    segments: Sequence[Path],
    path: str | Path,
    metadata: dict[str, Any],
    last_step: int | None = None,
    hops: np.ndarray | None = None,
) -> None:
    """Join consecutive segments into one trajectory, up to a step if one is given, some frames in memory at a time.

    `hops` (k, 5) is the table of the electron hops of the whole trajectory, if electrons move.

    Raises:
        DataError: a segment is damaged, or its steps do not follow those before it at the same interval.
    """
    if not segments:
        raise DataError(f"{path}: no segments to join")
    last: list[int] = []
    recorded = 0.0
    with hdf5_file(path) as file:
        for segment, part in _blocks(segments):
            if "h5md" not in file:
                _create(file, part, {})
            joined = np.array([*last, *part.steps[:2]])
            if len(set(np.diff(joined))) > 1 or (len(joined) > 1 and joined[-1] <= joined[0]):
                raise DataError(
                    f"{segment}: steps {part.steps[:2].tolist()} do not follow {last}; delete the state and run again"
                )
            last = [*last, *part.steps.tolist()][-2:]
            if last_step is not None:
                count = int(np.searchsorted(part.steps, last_step, side="right"))
                oxidation = () if part.oxidation is None else ("oxidation",)
                names = ("positions_A", "steps", "time_fs", *OBSERVABLES, *oxidation)
                part = replace(part, **{name: getattr(part, name)[:count] for name in names})
            recorded = float(part.time_fs[-1]) if len(part.time_fs) else recorded
            _append(file, part)
        if hops is not None:
            file["hops"] = hops
            file["hops"].attrs["columns"] = list(HOP_COLUMNS)
        file.attrs["redoxmd"] = json.dumps({**metadata, "recorded_ps": recorded / 1000}, sort_keys=True)


def _blocks(segments: Sequence[Path]) -> Iterator[tuple[Path, Trajectory]]:
    """Frames of segments, at most BLOCK_FRAMES at a time; of an empty one a block without frames."""
    for segment in segments:
        start = 0
        while True:
            part = in_standard_form(_read(segment, slice(start, start + BLOCK_FRAMES)))
            if len(part.steps) or start == 0:
                yield segment, part
            start += BLOCK_FRAMES
            if len(part.steps) < BLOCK_FRAMES:
                break


def read_trajectory(path: str | Path, stride: int = 1) -> Trajectory:
    """Read a trajectory, every `stride`-th frame.

    Raises:
        DataError: the file is missing, truncated, no trajectory of redoxmd, its steps do not increase, or a position is
            not finite.
    """
    return _read(path, slice(None, None, stride))


def _read(path: str | Path, frames: slice) -> Trajectory:
    with read_hdf5(path, "trajectory", REMEDY) as file:
        _refuse_foreign(path, file)
        series = {key: file[f"observables/{name}/value"][frames] for key, (name, _) in OBSERVABLES.items()}
        atoms = file["particles/atoms"]
        position = atoms["position"]
        trajectory = Trajectory(
            numbers=atoms["species"][()],
            positions_A=position["value"][frames].astype(float),
            cell_A=file["cell_A"][()],
            steps=position["step"][frames],
            time_fs=position["time"][frames],
            metadata=json.loads(file.attrs["redoxmd"]),
            rotation=file["rotation"][()] if "rotation" in file else np.eye(3),
            source=str(path),
            oxidation=atoms["oxidation/value"][frames].astype(np.int64) if "oxidation" in atoms else None,
            hops=file["hops"][()] if "hops" in file else None,
            **series,
        )
    lengths = {len(trajectory.steps), len(trajectory.positions_A), *(len(values) for values in series.values())}
    if len(lengths) > 1 or np.any(np.diff(trajectory.steps) <= 0):
        raise DataError(f"{path}: steps do not increase or parts differ in length; {REMEDY}")
    refuse_not_finite(trajectory)
    return trajectory


def refuse_not_finite(trajectory: Trajectory) -> None:
    """Raise a DataError that names the first frame and atom whose position is NaN or infinite."""
    bad = np.argwhere(~np.isfinite(trajectory.positions_A).all(axis=2))
    if len(bad):
        frame, atom = bad[0].tolist()
        raise DataError(
            f"{trajectory.source or 'trajectory'}: the position of atom {atom} in frame {frame} (step "
            f"{trajectory.steps[frame]}) is not finite; write the file again from the run that made it, or leave out "
            "what follows that frame"
        )


def _refuse_foreign(path: str | Path, file: h5py.File) -> None:
    if "redoxmd" not in file.attrs:
        raise DataError(
            f"{path}: no trajectory of redoxmd (it has no attribute redoxmd); convert it to extended XYZ with time_fs "
            "and step in the comment lines"
        )


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata of a trajectory, without its frames."""
    with read_hdf5(path, "trajectory", REMEDY) as file:
        _refuse_foreign(path, file)
        metadata: dict[str, Any] = json.loads(file.attrs["redoxmd"])
    return metadata
