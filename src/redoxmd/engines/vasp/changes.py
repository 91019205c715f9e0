"""Changes that custodian made to the inputs of a run, and whether they alter energies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar
from pymatgen.util.coord import pbc_diff

from redoxmd.engines.vasp.tags import is_numerical

# A rewritten POSCAR has rounded numbers.
SAME_FRACTION = 1e-7
SAME_VELOCITY_A_FS = 1e-9
# VASP's defaults, for comparison with tags that are set.
DEFAULT_SYMPREC = 1e-5
DEFAULT_EDIFF_EV = 1e-4


@dataclass(frozen=True)
class InputFiles:
    """INCAR, KPOINTS and POSCAR of a folder as read; KPOINTS is None if the file is missing."""

    incar: dict[str, Any]
    kpoints: Kpoints | None
    poscar: Poscar


def read_inputs(folder: Path) -> InputFiles:
    """Read the input files that custodian may change."""
    kpoints = folder / "KPOINTS"
    return InputFiles(
        dict(Incar.from_file(folder / "INCAR")),
        Kpoints.from_file(kpoints) if kpoints.exists() else None,
        Poscar.from_file(folder / "POSCAR", check_for_potcar=False),
    )


def changed_inputs(intended: InputFiles, final: InputFiles) -> dict[str, tuple[Any, Any]]:
    """INCAR tag, KPOINTS or POSCAR → (intended, final), for those that differ; None for a missing tag."""
    tags = sorted(set(intended.incar) | set(final.incar))
    pairs = {tag: (intended.incar.get(tag), final.incar.get(tag)) for tag in tags}
    changed = {tag: pair for tag, pair in pairs.items() if pair[0] != pair[1]}
    meshes = (_mesh(intended.kpoints), _mesh(final.kpoints))
    if meshes[0] != meshes[1]:
        changed["KPOINTS"] = meshes
    if not _same_structure(intended.poscar, final.poscar):
        changed["POSCAR"] = ("as written", "another structure, cell or velocities")
    return changed


def alters_energies(name: str, intended: Any, final: Any) -> bool:
    """Whether a change alters converged energies or forces.

    In addition to `tags.is_numerical`: less symmetry and a tighter tolerance are harmless, more symmetry and a looser
    tolerance are not; a run with ICHARG from 10 on is not self-consistent; another ALGO or mixing may end in another
    magnetic state, which the check of the moments detects.
    """
    if name == "ISYM":
        return final not in (0, -1)
    if name == "SYMPREC":
        return float(final or DEFAULT_SYMPREC) > float(intended or DEFAULT_SYMPREC)
    if name == "EDIFF":
        return float(final or DEFAULT_EDIFF_EV) > float(intended or DEFAULT_EDIFF_EV)
    if name == "ICHARG":
        return final is not None and int(final) >= 10
    if name == "NBANDS":
        return intended is not None and (final is None or int(final) < int(intended))
    return not is_numerical(name)


def _mesh(kpoints: Kpoints | None) -> str | None:
    """Divisions and shift of a regular mesh, equal for both names of the same mesh; else the text of the file."""
    if kpoints is None:
        return None
    style = kpoints.style
    if style not in (Kpoints.supported_modes.Gamma, Kpoints.supported_modes.Monkhorst) or kpoints.num_kpts > 0:
        return str(kpoints)
    divisions = [int(n) for n in kpoints.kpts[0]]
    # A Monkhorst–Pack mesh with even divisions is shifted by half a step from Γ.
    monkhorst = style == Kpoints.supported_modes.Monkhorst
    shifts = [
        (shift + 0.5 * (monkhorst and n % 2 == 0)) % 1 for n, shift in zip(divisions, kpoints.kpts_shift, strict=True)
    ]
    return f"{'×'.join(map(str, divisions))} shifted by {' '.join(f'{shift:g}' for shift in shifts)}"


def _same_structure(a: Poscar, b: Poscar) -> bool:
    if [site.species_string for site in a.structure] != [site.species_string for site in b.structure]:
        return False
    apart = pbc_diff(a.structure.frac_coords, b.structure.frac_coords)
    same_cell = np.allclose(a.structure.lattice.matrix, b.structure.lattice.matrix, rtol=SAME_FRACTION, atol=0)
    return bool(same_cell and np.abs(apart).max() < SAME_FRACTION and _same_velocities(a.velocities, b.velocities))


def _same_velocities(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is None and b is None
    return bool(np.abs(np.asarray(a) - np.asarray(b)).max() < SAME_VELOCITY_A_FS)
