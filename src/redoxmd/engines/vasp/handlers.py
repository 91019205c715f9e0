"""Which failures custodian mends, and which limits it keeps."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custodian.custodian import ErrorHandler
from custodian.vasp.handlers import (
    FrozenJobErrorHandler,
    UnconvergedErrorHandler,
    VaspErrorHandler,
    WalltimeHandler,
)
from custodian.vasp.io import load_vasprun
from pymatgen.io.vasp.inputs import Incar

from redoxmd.engines.vasp.job import OUT, VaspJob

# Errors of custodian's VaspErrorHandler that may be mended in an MD; `md_errors` says why not the others.
MD_ERRORS = (
    *("brmix", "amin", "coef", "pssyevx", "pdsyevx", "grad_not_orth", "too_few_bands", "nbands_not_sufficient"),
    *("elf_kpar", "dfpt_ncore", "inv_rot_mat", "ibzkpt", "pricel", "pricelv", "posmap", "point_group"),
    *("symprec_noise", "bravais", "ksymm", "hnform", "rhosyg"),
    *("set_core_wf", "read_error", "spin_polarized_harris"),
)


@dataclass(frozen=True)
class Limits:
    """When to stop a run.

    Attributes:
        timeout_s: of the whole, restarts included, also for a job that writes steadily.
        frozen_s: without a new line in vasp.out.
        max_errors: errors custodian may meet; the run is given up at the last of them, so 1 mends nothing.
        molecular_dynamics: an MD, whose geometry, time step and length no correction may touch.
        grace_s: between SIGTERM and SIGKILL.
        wall_time_s: VASP is asked to stop by STOPCAR before so much has passed; None: never.
        poll_s: the longest time between two looks at the job.
    """

    timeout_s: float = 86400.0
    frozen_s: float = 3600.0
    max_errors: int = 5
    molecular_dynamics: bool = False
    grace_s: float = 10.0
    wall_time_s: float | None = None
    poll_s: float = 10.0


def md_errors() -> list[str]:
    """Errors that may be mended in an MD.

    Left out, by what custodian would do:

    - another time step, minimiser or cell: brions, zbrent, fexcf, eddrmm (POTIM, IBRION), zpotrf (POTIM, cell);
    - CONTCAR over POSCAR, so that a run of other length starts elsewhere: edddav, eddrmm, zheev, eddiag, fexcf, zbrent;
    - other axes: triple_product;
    - another energy: tet, dentet, algo_tet (smearing), subspacematrix, rspher, real_optlay, nicht_konv (LREAL, PREC),
      tetirr, incorrect_shift, rot_matrix (k-points);
    - nothing, it is a warning: elf_ncl, auto_nbands.

    What is left changes mixing, ALGO, bands, symmetry or the parallel layout, or gives up at once; `physical` of
    `Custody` has the k-points that brmix and inv_rot_mat may reach in the end.
    """
    return list(MD_ERRORS)


class UnconvergedElectrons(UnconvergedErrorHandler):
    """Mends the electrons alone: a label has no ions to relax, and an MD that stopped early is no failed relaxation."""

    def check(self, directory: str = "./") -> bool:
        """Whether the last self-consistency used up its steps; what cannot be read is for the validators."""
        try:
            return not load_vasprun(str(Path(directory) / self.output_filename)).converged_electronic
        except Exception:
            return False


class FrozenJob(FrozenJobErrorHandler):
    """Tries another ALGO, but never goes on from CONTCAR: that would be another run under the same name."""

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Fast becomes Normal; otherwise the run is given up."""
        incar = Incar.from_file(Path(directory) / "INCAR")
        if str(incar.get("ALGO", "Normal")).lower().startswith("f"):
            return super().correct(directory)
        return {"errors": [f"frozen for {self.timeout:g} s"], "actions": None}


class TotalTime(ErrorHandler):
    """Ends a job that writes steadily but takes too long; custodian knows only frozen ones."""

    is_monitor = True

    def __init__(self, job: VaspJob, timeout_s: float) -> None:
        self.job = job
        self.timeout_s = timeout_s
        self._begun = time.monotonic()

    def check(self, directory: str = "./") -> bool:
        """Whether the job still runs after its time."""
        return self.job.running and time.monotonic() - self._begun > self.timeout_s

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Nothing can be done."""
        return {"errors": [f"not finished after {self.timeout_s:g} s"], "actions": None}


def handlers_for(job: VaspJob, limits: Limits) -> list[ErrorHandler]:
    """Handlers in the order they are asked; those that monitor are asked while the job runs, too."""
    # auto_nbands corrects nothing and reads OUTCAR while it is being written.
    known = [error for error in VaspErrorHandler.error_msgs if error != "auto_nbands"]
    handlers: list[ErrorHandler] = [
        VaspErrorHandler(OUT, md_errors() if limits.molecular_dynamics else known),
        UnconvergedElectrons(),
        FrozenJob(output_filename=OUT, timeout=limits.frozen_s),
        TotalTime(job, limits.timeout_s),
    ]
    if limits.wall_time_s is not None:
        os.environ.pop("CUSTODIAN_WALLTIME_START", None)
        handlers.append(WalltimeHandler(wall_time=limits.wall_time_s))
    return handlers
