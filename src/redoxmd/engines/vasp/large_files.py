"""VASP's large files: their expected sizes, and copies made before the next run overwrites them."""

from __future__ import annotations

import gzip
import math
import shutil
from pathlib import Path

from redoxmd.config import sections
from redoxmd.files.records import atomic_path

NAMES = {
    "wavecar": ("WAVECAR",),
    "chgcar": ("CHGCAR",),
    "aeccar": ("AECCAR0", "AECCAR1", "AECCAR2"),
    "vasprun": ("vasprun.xml",),
}
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


class RetainedFiles:
    """A folder of the files that `engine.vasp.files` retains, numbered by run.

    Args:
        folder: created with its first file.
        policy: delete, keep or compress, for each kind of file.
    """

    def __init__(self, folder: Path, policy: sections.VaspFiles) -> None:
        self.folder = folder
        self._policy = policy.model_dump()
        self._runs = max((int(path.name.split(".")[0][-6:]) for path in folder.glob("*")), default=0)

    def add(self, run: Path) -> None:
        """Copy the files of a finished run that the policy retains."""
        self._runs += 1
        for kind, names in NAMES.items():
            for name in names:
                if self._policy[kind] != "delete" and (run / name).is_file():
                    compress = self._policy[kind] == "compress"
                    target = self.folder / f"{run.name}{self._runs:06d}.{name}{'.gz' if compress else ''}"
                    with (
                        atomic_path(target) as temporary,
                        (run / name).open("rb") as content,
                        gzip.open(temporary, "wb") if compress else temporary.open("wb") as stream,
                    ):
                        shutil.copyfileobj(content, stream)
