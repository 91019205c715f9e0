"""INCAR, KPOINTS, POSCAR and POTCAR of a run, from the config and a structure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.config import sections
from redoxmd.engines.base import ReferenceMDSettings
from redoxmd.engines.calculation import Level
from redoxmd.engines.vasp.level import level_of
from redoxmd.engines.vasp.potcars import Potcar
from redoxmd.files.records import atomic_path, content_hash, write_text
from redoxmd.units import ASE_TIME_PER_FS

ORBITALS = "spdf"
FUNCTIONAL_TAGS: dict[str, dict[str, Any]] = {
    "PBE": {"GGA": "PE"},
    "PBEsol": {"GGA": "PS"},
    "LDA": {},
    "SCAN": {"METAGGA": "SCAN"},
    "R2SCAN": {"METAGGA": "R2SCAN"},
}
# The first of VASP's three integers; the others count the numbers drawn before.
LARGEST_SEED = 900_000_000


@dataclass(frozen=True)
class Inputs:
    """Inputs of a VASP run.

    Attributes:
        atoms: in the original order.
        order: (n,) indices into `atoms`, in VASP's order, which groups the atoms of an element.
        incar: tags and values.
        kpoints: divisions of a Γ-centred grid.
        token: value of SYSTEM, by which the output of another run is recognised.
    """

    atoms: Atoms
    order: np.ndarray
    incar: dict[str, Any]
    kpoints: tuple[int, int, int]
    token: str

    def in_original_order(self, per_atom: np.ndarray) -> np.ndarray:
        """Values (n, …), given in VASP's order of atoms, in the original order."""
        values = np.empty_like(per_atom)
        values[self.order] = per_atom
        return values

    @property
    def initial_moments_muB(self) -> np.ndarray:
        """Requested spin state, (n,) in VASP's order; MAGMOM may instead hold the moments of the previous frame."""
        moments: np.ndarray = self.atoms.get_initial_magnetic_moments()[self.order]
        return moments

    def valence_e(self, potcars: Mapping[str, Potcar]) -> float:
        """Electrons of the neutral cell."""
        return sum(potcars[symbol].valence_e for symbol in self.atoms.symbols)

    @property
    def sorted_atoms(self) -> Atoms:
        """The atoms in VASP's order."""
        return self.atoms[self.order]


def vasp_order(numbers: np.ndarray) -> np.ndarray:
    """Indices (n,) that group atoms by element: elements by first appearance, atoms in their original order."""
    elements = list(dict.fromkeys(numbers.tolist()))
    return np.array(sorted(range(len(numbers)), key=lambda atom: elements.index(numbers[atom])), dtype=int)


def electronic_tags(settings: sections.Vasp, symbols: Sequence[str], moments_muB: np.ndarray | None) -> dict[str, Any]:
    """Tags of the electronic problem: method, spin, +U (Dudarev), convergence. Atoms and moments in VASP's order."""
    types = list(dict.fromkeys(symbols))
    tags: dict[str, Any] = {
        "PREC": settings.precision,
        "ENCUT": settings.cutoff_eV,
        **FUNCTIONAL_TAGS[settings.functional],
        "ISMEAR": 0,
        "SIGMA": settings.smearing_eV,
        "EDIFF": settings.energy_tolerance_eV,
        "NELM": settings.max_iterations,
        "NELMIN": 4,
        "ALGO": "Normal",
        "LASPH": True,
        "LREAL": False,
        "ISYM": 0,
        "ISPIN": 1,
    }
    if moments_muB is not None:
        # Converged local moments are smaller than the starting ones; VASP often lowers moments and seldom raises them.
        tags |= {"ISPIN": 2, "MAGMOM": [round(float(moment), 3) for moment in moments_muB], "LORBIT": 10}
    corrected = [settings.hubbard.get(element) for element in types]
    if any(corrected):
        tags |= {
            "LDAU": True,
            "LDAUTYPE": 2,
            "LDAUL": [ORBITALS.index(u.orbital) if u else -1 for u in corrected],
            "LDAUU": [u.U_eV if u else 0.0 for u in corrected],
            "LDAUJ": [0.0 for _ in corrected],
            "LMAXMIX": 2 * max(ORBITALS.index(u.orbital) for u in corrected if u),
            # The occupation matrices enter the OUTCAR.
            "LDAUPRINT": 1,
        }
    return tags


def single_point(
    settings: sections.Vasp,
    atoms: Atoms,
    moments_muB: np.ndarray | None,
    kpoints: tuple[int, int, int],
    *,
    restart: bool,
) -> Inputs:
    """Energy, forces, moments and density of one geometry; `restart` starts from the existing WAVECAR."""
    tags = {"NSW": 0, "IBRION": -1, "LCHARG": True}
    return _inputs(settings, atoms, moments_muB, kpoints, tags, restart)


def internal_md(
    settings: sections.Vasp,
    atoms: Atoms,
    moments_muB: np.ndarray | None,
    kpoints: tuple[int, int, int],
    md: ReferenceMDSettings,
    *,
    steps: int,
    seed: int,
    restart: bool,
) -> Inputs:
    """A segment of VASP's internal MD at constant temperature, starting with the velocities of `atoms`."""
    tags: dict[str, Any] = {
        "NSW": steps,
        "IBRION": 0,
        "POTIM": md.timestep_fs,
        "TEBEG": md.temperature_K,
        "TEEND": md.temperature_K,
        "RANDOM_SEED": [seed % LARGEST_SEED, 0, 0],
        "LCHARG": False,
        "NWRITE": 1,
    }
    if settings.thermostat == "nose":
        tags |= {"MDALGO": 2, "SMASS": settings.nose_mass}
    else:
        # Friction in 1/ps, one value for each element.
        tags |= {"MDALGO": 3, "LANGEVIN_GAMMA": [round(1000 * md.friction_per_fs, 6)] * len(set(atoms.numbers))}
    return _inputs(settings, atoms, moments_muB, kpoints, tags, restart)


def _inputs(
    settings: sections.Vasp,
    atoms: Atoms,
    moments_muB: np.ndarray | None,
    kpoints: tuple[int, int, int],
    run_tags: Mapping[str, Any],
    restart: bool,
) -> Inputs:
    order = vasp_order(atoms.numbers)
    incar = electronic_tags(settings, list(atoms.symbols[order]), None if moments_muB is None else moments_muB[order])
    incar |= {"ISIF": 2, "ISTART": int(restart), "ICHARG": 1 if restart else 2, "LWAVE": True, **run_tags}
    incar |= {tag.upper(): value for tag, value in settings.incar.items()}
    identity = [incar, kpoints, atoms.positions, atoms.numbers, np.asarray(atoms.cell)]
    token = f"redoxmd {content_hash(identity)}"
    return Inputs(atoms, order, {"SYSTEM": token, **incar}, kpoints, token)


def requested_level(inputs: Inputs, potcars: Mapping[str, Potcar], include: Callable[[str], bool]) -> Level:
    """The level of theory of a run, from the tags of its INCAR that `include` selects."""
    symbols = inputs.sorted_atoms.get_chemical_symbols()
    incar = {tag: value for tag, value in inputs.incar.items() if include(tag)}
    titles = {element: potcar.title for element, potcar in potcars.items() if element in symbols}
    valence_e, cell = inputs.valence_e(potcars), np.asarray(inputs.atoms.cell)
    return level_of(incar, incar, symbols, titles, cell, inputs.kpoints, valence_e=valence_e, atoms=len(symbols))


def write_inputs(folder: Path, inputs: Inputs, potcars: Mapping[str, Potcar]) -> None:
    """Write INCAR, KPOINTS, POSCAR and POTCAR."""
    from pymatgen.io.vasp.inputs import Incar, Kpoints

    folder.mkdir(parents=True, exist_ok=True)
    types = list(dict.fromkeys(inputs.sorted_atoms.get_chemical_symbols()))
    write_text(folder / "INCAR", str(Incar(inputs.incar)) + "\n")
    write_text(folder / "KPOINTS", str(Kpoints.gamma_automatic(inputs.kpoints)))
    write_text(folder / "POSCAR", poscar_text(inputs.sorted_atoms, inputs.token))
    with atomic_path(folder / "POTCAR") as temporary:
        temporary.write_text("".join(potcars[element].text for element in types))


def poscar_text(atoms: Atoms, comment: str) -> str:
    """A POSCAR with Cartesian positions (Å) and, where there are momenta, velocities (Å/fs); atoms in VASP's order."""
    symbols = atoms.get_chemical_symbols()
    types = list(dict.fromkeys(symbols))
    vectors = [[*atoms.cell.array], [*atoms.positions]]
    if "momenta" in atoms.arrays:
        vectors.append([*(atoms.get_velocities() * ASE_TIME_PER_FS)])
    cell, positions, *velocities = (
        [" ".join(f"{value:20.14f}" for value in vector) for vector in block] for block in vectors
    )
    lines = [comment, "1.0", *cell, " ".join(types), " ".join(str(symbols.count(element)) for element in types)]
    lines += ["Cartesian", *positions]
    for block in velocities:
        lines += ["", *block]
    return "\n".join(lines) + "\n"


def read_end_state(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions (n, 3) in Å and velocities (n, 3) in Å/fs of a CONTCAR, in its order.

    Raises:
        ValueError: the file is empty or cut, or has no velocities.
    """
    from pymatgen.io.vasp.inputs import Poscar

    try:
        poscar = Poscar.from_file(path, check_for_potcar=False)
    except IndexError as error:
        raise ValueError("it is cut") from error
    positions = np.asarray(poscar.structure.cart_coords)
    velocities = np.asarray(poscar.velocities if poscar.velocities is not None else [], dtype=float)
    if velocities.shape != positions.shape:
        raise ValueError(f"{len(positions)} positions and {len(velocities)} velocities")
    return positions, velocities
