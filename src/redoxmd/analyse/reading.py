"""Read trajectories of other codes: pymatgen reads LAMMPS dumps, MDAnalysis files with a topology, ASE all others."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import cellpar_to_cell

from redoxmd.analyse.unwrapping import constant_cell, continuous_paths
from redoxmd.errors import ConfigError, DataError, LabelRefused, RedoxmdError, reason_of
from redoxmd.files.trajectory import Trajectory, in_standard_form, read_trajectory
from redoxmd.units import FS_PER_PS

# Columns of LAMMPS dumps with positions: Cartesian or fractional, wrapped or unwrapped.
DUMP_COLUMNS = {"xu": (False, True), "xsu": (True, True), "x": (False, False), "xs": (True, False)}
# Relative difference of two frame intervals that is rounding.
ROUNDING = 1e-3


@dataclass(frozen=True)
class ReadOptions:
    """Information that a file may lack.

    Attributes:
        frame_fs: time between frames; None: the times of the file.
        temperature_K: of the thermostat; None: that of the file.
        elements: type or name of atoms → element ("1" → "Na").
        topology: file with the atoms of a trajectory that has positions only; MDAnalysis then reads the trajectory.
        unwrapped: whether positions are unwrapped although the file does not say so.
        skip_ps: time at the beginning that is left out, such as equilibration.
    """

    frame_fs: float | None = None
    temperature_K: float | None = None
    elements: Mapping[str, str] | None = None
    topology: Path | None = None
    unwrapped: bool = False
    skip_ps: float = 0.0


@dataclass(frozen=True)
class RawFrames:
    """Frames as a library read them.

    Attributes:
        numbers: (n,) atomic numbers.
        fractional: (T, n, 3) in the cell of each frame.
        cells_A: (T, 3, 3).
        time_fs: (T,); None if the file has no times.
        steps: (T,) MD steps; None if the file has none.
        temperature_K: of the thermostat; None if the file does not state it.
        unwrapped: whether the file states that positions are unwrapped.
        note: a limitation of the data in words, or "".
    """

    numbers: np.ndarray
    fractional: np.ndarray
    cells_A: np.ndarray
    time_fs: np.ndarray | None = None
    steps: np.ndarray | None = None
    temperature_K: float | None = None
    unwrapped: bool = False
    note: str = ""


def read_md(path: str | Path, **options: Any) -> Trajectory:
    """A trajectory of any code with unwrapped positions, constant cell (standard form), times and temperature.

    A cell that varies (NPT) is replaced by its mean; positions keep their fractional coordinates, so that displacements
    do not contain the strain of the cell. A trajectory of redoxmd keeps its metadata.

    Args:
        path: file that redoxmd, ASE, pymatgen or MDAnalysis reads.
        options: fields of `ReadOptions`.

    Raises:
        DataError: the file is not readable, lacks elements, cell, times or temperature, or its frames are too far
            apart to unwrap; the message names the option that supplies the missing information.
    """
    path, settings = Path(path), ReadOptions(**options)
    if not path.is_file():
        raise DataError(f"{path}: no such file; give the trajectory file of a run")
    if _is_own(path):
        trajectory = read_trajectory(path)
        _check_interval(path, trajectory.time_fs, settings.frame_fs)
        own_K = trajectory.metadata.get("temperature_K")
        trajectory.metadata |= {"temperature_K": _temperature_K(path, own_K, settings.temperature_K), "note": ""}
        return _after(trajectory, settings.skip_ps)
    try:
        raw = _read_raw(path, settings)
    except RedoxmdError:
        raise
    except Exception as error:
        raise DataError(
            f"{path}: not readable ({type(error).__name__}: {reason_of(error)}); give a file of ASE (extended XYZ, "
            "XDATCAR, vasprun.xml, .traj …), a LAMMPS dump, or with --topology FILE one of MDAnalysis"
        ) from error
    if len(raw.fractional) < 2:
        raise DataError(
            f"{path}: {len(raw.fractional)} frame; an analysis needs several, so join single frames into one file"
        )
    temperature_K = _temperature_K(path, raw.temperature_K, settings.temperature_K)
    time_fs = _times_fs(path, raw, settings.frame_fs)
    cell_A, is_constant = constant_cell(raw.cells_A, str(path))
    fractional = continuous_paths(raw.fractional, cell_A, raw.numbers, raw.unwrapped or settings.unwrapped, str(path))
    unknown = np.full(len(time_fs), np.nan)
    volumes_A3 = np.abs(np.linalg.det(raw.cells_A))
    note = raw.note
    if not is_constant:
        spread = f"volume {volumes_A3.mean():.1f} ± {volumes_A3.std():.1f} Å³: fractional coordinates in the mean cell"
        note = "; ".join(filter(None, [note, spread]))
    trajectory = Trajectory(
        numbers=raw.numbers,
        positions_A=fractional @ cell_A,
        cell_A=cell_A,
        steps=np.arange(len(time_fs)) if raw.steps is None else raw.steps,
        time_fs=time_fs,
        temperature_K=unknown,
        energy_eV=unknown,
        spread_eV_A=unknown,
        metadata={"temperature_K": temperature_K, "note": note, "image_flags": raw.unwrapped},
        source=str(path),
    )
    return _after(in_standard_form(trajectory), settings.skip_ps)


def _after(trajectory: Trajectory, skip_ps: float) -> Trajectory:
    """The trajectory without the first `skip_ps`."""
    chosen = trajectory.time_fs - trajectory.time_fs[:1] >= skip_ps * FS_PER_PS
    if chosen.sum() < 2:
        length_ps = np.ptp(trajectory.time_fs) / FS_PER_PS if len(chosen) else 0.0
        raise DataError(f"{trajectory.source}: {length_ps:g} ps long, of which --skip-ps {skip_ps:g} leaves nothing")
    names = ["positions_A", "steps", "time_fs", "temperature_K", "energy_eV", "spread_eV_A"]
    names += [] if trajectory.oxidation is None else ["oxidation"]
    return replace(trajectory, **{name: getattr(trajectory, name)[chosen] for name in names})


def _is_own(path: Path) -> bool:
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path, "r") as file:
        return "redoxmd" in file.attrs


def _read_raw(path: Path, options: ReadOptions) -> RawFrames:
    from ase.io import iread
    from ase.io.formats import filetype

    if options.topology is not None or h5py.is_hdf5(path):
        return _read_mdanalysis(path, options)
    form = filetype(str(path))
    if form == "lammps-dump-text":
        return _read_lammps(path, options.elements)
    if form == "vasp-xml":
        return _read_vasprun(path)
    try:
        return _collect(path, iread(str(path), ":"))
    except ValueError:
        if form != "vasp-xdatcar":
            raise
        return _collect(path, _labelled_xdatcar(path))


def _labelled_xdatcar(path: Path) -> Iterator[Atoms]:
    """Frames of an XDATCAR with elements behind the coordinates, as pymatgen and other programs write it."""
    from pymatgen.io.vasp.outputs import Xdatcar

    for structure in Xdatcar(str(path)).structures:
        yield Atoms(
            structure.atomic_numbers, scaled_positions=structure.frac_coords, cell=structure.lattice.matrix, pbc=True
        )


def _collect(path: Path, frames: Iterable[Atoms]) -> RawFrames:
    """Frames of ASE; time_fs, step and temperature_K are those of `info`."""
    fractional, cells_A, info = [], [], []
    numbers = np.zeros(0, dtype=int)
    for index, atoms in enumerate(frames):
        numbers = atoms.numbers if index == 0 else numbers
        if not np.array_equal(atoms.numbers, numbers):
            raise DataError(f"{path}: frame {index} has other atoms than frame 0, or another order; split the file")
        if atoms.cell.rank < 3:
            raise DataError(f"{path}: frame {index} has no cell; write extended XYZ with Lattice, or another format")
        if not atoms.pbc.all():
            raise DataError(f"{path}: frame {index} is not periodic along all cell vectors; only crystals are analysed")
        fractional.append(atoms.cell.scaled_positions(atoms.positions))
        cells_A.append(atoms.cell.array)
        info.append(atoms.info)
    shared = {
        key: [float(frame[key]) for frame in info if key in frame] for key in ("time_fs", "step", "temperature_K")
    }
    incomplete = [key for key, values in shared.items() if 0 < len(values) < len(info)]
    if incomplete:
        raise DataError(f"{path}: {incomplete[0]} is missing in a frame; correct it or remove it from all frames")
    kelvins = set(shared["temperature_K"])
    return RawFrames(
        numbers,
        np.array(fractional),
        np.array(cells_A),
        np.array(shared["time_fs"]) if shared["time_fs"] else None,
        np.array(shared["step"], dtype=int) if shared["step"] else None,
        kelvins.pop() if len(kelvins) == 1 else None,
    )


def _read_vasprun(path: Path) -> RawFrames:
    """Frames of a vasprun.xml; interval POTIM, temperature TEBEG where TEEND does not differ."""
    from redoxmd.engines.vasp.vasprun import is_md, read_vasprun

    calculation, note = read_vasprun(path), ""
    frames: list[Atoms] = []
    settings = calculation.settings
    if not is_md(settings):
        raise DataError(f"{path}: IBRION = {settings['IBRION']} is no MD; give the vasprun.xml of an MD run")
    try:
        frames.extend(frame.atoms for frame in calculation.frames)
    except LabelRefused as refusal:
        if len(frames) < 2:
            raise
        note = f"the file ends early ({refusal.detail}); the {len(frames)} frames before are read"
    raw = _collect(path, frames)
    start_K, end_K = (float(settings.get(tag, np.nan)) for tag in ("TEBEG", "TEEND"))
    return replace(
        raw,
        time_fs=float(settings["POTIM"]) * np.arange(len(frames)),
        temperature_K=start_K if start_K > 0 and not 0 < end_K != start_K else None,
        note=note,
    )


def _read_lammps(path: Path, elements: Mapping[str, str] | None) -> RawFrames:
    """Frames of a LAMMPS dump in units metal or real; unwrapped by xu, xsu or the image flags ix, iy, iz."""
    from monty.io import zopen
    from pymatgen.io.lammps.outputs import parse_lammps_dumps

    with zopen(path, "rt", encoding="utf-8") as stream:
        head = [str(line) for line in itertools.islice(stream, 5)]
    if not head[0].startswith("ITEM: TIMESTEP"):
        raise DataError(f"{path}: begins with {head[0].strip()}; write it without `dump_modify units` and `time`")
    box = head[-1].removeprefix("ITEM: BOX BOUNDS").split()
    if "abc" in box or any(re.fullmatch("[pfsm]{2}", word) and word != "pp" for word in box):
        raise DataError(
            f"{path}: a box {' '.join(box)}; only boxes that are periodic along all vectors, orthogonal or in the "
            "restricted triclinic form (xy xz yz), are read"
        )
    fractional, cells_A = [], []
    steps: list[int] = []
    numbers, unwrapped = np.zeros(0, dtype=int), False
    for dump in parse_lammps_dumps(str(path)):
        table = dump.data.sort_values("id", kind="stable") if "id" in dump.data else dump.data
        column = next((name for name in DUMP_COLUMNS if name in table), None)
        if column is None or "id" not in table:
            raise DataError(f"{path}: no columns id and x y z (or xu, xs, xsu); write them with `dump custom`")
        if len(table) != dump.natoms:
            raise DataError(f"{path}: step {dump.timestep} ends after {len(table)} of {dump.natoms} atoms; remove it")
        scaled, unwrapped = DUMP_COLUMNS[column]
        values = table[[f"{axis}{column[1:]}" for axis in "xyz"]].to_numpy(dtype=float)
        cell_A = np.array(dump.box.to_lattice().matrix)
        if not scaled:
            values = (values - np.array(dump.box.bounds)[:, 0]) @ np.linalg.inv(cell_A)
        if not unwrapped and {"ix", "iy", "iz"} <= set(table):
            values, unwrapped = values + table[["ix", "iy", "iz"]].to_numpy(), True
        names = table["element" if "element" in table else "type"].astype(str).tolist()
        frame_numbers = _numbers_of(path, names, elements, "element" in table)
        numbers = frame_numbers if not steps else numbers
        if not np.array_equal(frame_numbers, numbers):
            raise DataError(f"{path}: step {dump.timestep} has other atoms than the first; split the file")
        fractional.append(values)
        cells_A.append(cell_A)
        steps.append(dump.timestep)
    return RawFrames(numbers, np.array(fractional), np.array(cells_A), steps=np.array(steps), unwrapped=unwrapped)


def _read_mdanalysis(path: Path, options: ReadOptions) -> RawFrames:
    """Frames that MDAnalysis reads; elements from the topology, which ASE or MDAnalysis reads."""
    try:
        import MDAnalysis
    except ImportError as error:
        raise DataError(f"{path}: this format is read by MDAnalysis; install it with pip install MDAnalysis") from error
    if options.topology is None:
        raise DataError(f"{path}: no trajectory of redoxmd and without elements; give --topology FILE with its atoms")
    form = {"format": "H5MD"} if h5py.is_hdf5(path) else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        numbers, universe = _with_topology(path, options, MDAnalysis, form)
        fractional, cells_A, times_ps = [], [], []
        for index, frame in enumerate(universe.trajectory):
            if frame.dimensions is None or not frame.dimensions[:3].all():
                raise DataError(f"{path}: frame {index} has no cell; write the file with its box")
            cells_A.append(cellpar_to_cell(frame.dimensions))
            fractional.append(frame.positions.astype(float) @ np.linalg.inv(cells_A[-1]))
            times_ps.append(frame.time)
    without_times = any("dt information" in str(item.message) for item in caught)
    time_fs = None if without_times else np.array(times_ps) * FS_PER_PS
    return RawFrames(numbers, np.array(fractional), np.array(cells_A), time_fs)


def _with_topology(path: Path, options: ReadOptions, library: Any, form: Mapping[str, str]) -> tuple[np.ndarray, Any]:
    """Atomic numbers of the topology, and the universe of MDAnalysis with the trajectory."""
    from ase.io import read

    topology = str(options.topology)
    try:
        universe = library.Universe(topology, str(path), **form)
    except ValueError:
        # A structure file that only ASE reads, such as a POSCAR.
        numbers: np.ndarray = read(topology).numbers
        universe = library.Universe.empty(len(numbers), trajectory=True)
        universe.load_new(str(path), **form)
        return numbers, universe
    stated = hasattr(universe.atoms, "elements") and all(universe.atoms.elements)
    names = universe.atoms.elements if stated else getattr(universe.atoms, "names", universe.atoms.types)
    return _numbers_of(options.topology, list(names), options.elements, stated), universe


def _numbers_of(path: Any, names: list[str], elements: Mapping[str, str] | None, stated: bool) -> np.ndarray:
    """Atomic numbers of atoms by element, or by type or name through `elements`."""
    symbol_of = {name: (elements or {}).get(name, name.capitalize() if stated else "") for name in set(names)}
    unknown = sorted(name for name, symbol in symbol_of.items() if symbol not in atomic_numbers)
    if unknown:
        example = ",".join(f"{name}=…" for name in unknown)
        raise DataError(f"{path}: element of {', '.join(unknown)} unknown; give --elements {example}")
    return np.array([atomic_numbers[symbol_of[name]] for name in names])


def parse_elements(text: str) -> dict[str, str]:
    """Parse `1=Na,2=V`.

    Raises:
        ConfigError: an entry of another form or an unknown element.
    """
    pairs = [entry.strip().partition("=") for entry in text.split(",") if entry.strip()]
    for name, _, symbol in pairs:
        if not name or symbol not in atomic_numbers:
            raise ConfigError(f"--elements {text}: {name}={symbol} is not of the form 1=Na (type or name, element)")
    return {name: symbol for name, _, symbol in pairs}


def _temperature_K(path: Path, recorded_K: float | None, option_K: float | None) -> float:
    """The temperature of the file or of the option; a contradiction is refused."""
    if recorded_K is not None and option_K is not None and abs(recorded_K - option_K) > ROUNDING * option_K:
        raise DataError(f"{path}: {recorded_K:g} K by the file, {option_K:g} K by --temperature; omit the option")
    kelvin = option_K if recorded_K is None else recorded_K
    if kelvin is None or not kelvin > 0:
        raise DataError(f"{path}: states no temperature; give --temperature K, one for all files or one for each")
    return float(kelvin)


def _times_fs(path: Path, raw: RawFrames, frame_fs: float | None) -> np.ndarray:
    """Times (T,) of the frames; intervals must be equal in steps and in time."""
    if raw.steps is not None:
        intervals = np.diff(raw.steps)
        odd = np.flatnonzero((intervals <= 0) | (intervals != np.median(intervals)))
        if len(odd):
            first, second = raw.steps[odd[0] : odd[0] + 2]
            raise DataError(
                f"{path}: step {second} follows {first}, other frames are {np.median(intervals):g} steps apart; remove "
                "repeated frames, or give each stretch as a file of its own"
            )
    if raw.time_fs is not None:
        _check_interval(path, raw.time_fs, frame_fs)
        return raw.time_fs
    if frame_fs is None:
        raise DataError(
            f"{path}: states no times; give --frame-fs, the time between two frames (XDATCAR: POTIM·NBLOCK; LAMMPS: "
            "timestep × steps between frames)"
        )
    return float(frame_fs) * np.arange(len(raw.fractional))


def _check_interval(path: Path, time_fs: np.ndarray, frame_fs: float | None) -> None:
    if frame_fs is not None and len(time_fs) > 1 and not np.allclose(np.diff(time_fs), frame_fs, rtol=ROUNDING):
        raise DataError(
            f"{path}: frames are {time_fs[1] - time_fs[0]:g} fs apart by the file, {frame_fs:g} fs by --frame-fs; omit "
            "the option"
        )
