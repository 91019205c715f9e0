"""Units inside the package: eV, Å, fs, K, e, μB; amu for masses. Conversions live here and nowhere else."""

from __future__ import annotations

from typing import Final

from ase import units as _ase

BOLTZMANN_EV_PER_K: Final[float] = _ase.kB
# v² [Å²/fs²] = ACCELERATION · E [eV] / m [amu]
ACCELERATION_A2_AMU_PER_EV_FS2: Final[float] = _ase.fs**2
# ASE counts time in its own unit; velocities go to it as v [Å/fs] / ASE_TIME_PER_FS.
ASE_TIME_PER_FS: Final[float] = _ase.fs
FS_PER_PS: Final[float] = 1000.0
PS_PER_NS: Final[float] = 1000.0
SECONDS_PER_DAY: Final[float] = 86400.0
# 1 Å²/fs = 1e-16 cm² / 1e-15 s
CM2_PER_S_PER_A2_PER_FS: Final[float] = 0.1


def ns_per_day(timestep_fs: float, seconds_per_step: float) -> float:
    """Simulated nanoseconds per day of wall time for one step costing `seconds_per_step`."""
    return timestep_fs * 1e-6 * SECONDS_PER_DAY / seconds_per_step
