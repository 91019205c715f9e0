"""Expected sizes of VASP's files."""

from __future__ import annotations

import math

from redoxmd.config import sections

VOLUME_PER_ATOM_A3 = 12.0
ELECTRONS_PER_ATOM = 7.0
# ħ²/2m in eV Å².
HBAR2_OVER_2M = 3.81
# Spacing of the fine grid (of the density) in units of π/G, with G of the cutoff: 2 × 3/2 G and 2 × 2 G.
GRID_FACTOR = {"Normal": 1 / 3, "Accurate": 1 / 4}
CHGCAR_BYTES_PER_NUMBER = 18
# Share of the size that remains after gzip.
COMPRESSED = {"chgcar": 0.45, "aeccar": 0.45, "vasprun": 0.15}
VASPRUN_BYTES_PER_ATOM = 400
VASPRUN_BYTES_PER_EIGENVALUE = 45


def file_bytes(settings: sections.Vasp, atoms: int, source_atoms: int) -> dict[str, float]:
    """Expected size in bytes of each kind of file of one spin-polarised single point.

    The k-point grid is that of a cell of `source_atoms`.
    """
    volume_A3 = VOLUME_PER_ATOM_A3 * atoms
    reach = math.sqrt(settings.cutoff_eV / HBAR2_OVER_2M)
    plane_waves = volume_A3 * reach**3 / (6 * math.pi**2)
    bands = 0.6 * ELECTRONS_PER_ATOM * atoms
    # k and −k are equivalent, and a supercell has fewer k-points in proportion to its size.
    kpoints = max(1.0, math.prod(settings.kpoints) / 2 * source_atoms / atoms)
    spacing_A = math.pi / reach * GRID_FACTOR[settings.precision]
    points = volume_A3 / spacing_A**3
    density = 2 * points * CHGCAR_BYTES_PER_NUMBER
    eigenvalues = 2 * bands * kpoints
    return {
        "wavecar": plane_waves * eigenvalues * 8,
        "chgcar": density,
        "aeccar": 2 * density if settings.incar.get("LAECHG") else 0.0,
        "vasprun": atoms * VASPRUN_BYTES_PER_ATOM + eigenvalues * VASPRUN_BYTES_PER_EIGENVALUE,
    }


def retained_bytes(settings: sections.Vasp, atoms: int, source_atoms: int) -> float:
    """Expected size in bytes of the files that the policy `engine.vasp.files` retains from one single point."""
    policy = settings.files.model_dump()
    share = {"delete": 0.0, "keep": 1.0}
    return sum(
        size * (COMPRESSED[kind] if policy[kind] == "compress" else share[policy[kind]])
        for kind, size in file_bytes(settings, atoms, source_atoms).items()
    )
