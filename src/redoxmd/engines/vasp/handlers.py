"""Failures that custodian corrects, and the limits of a run."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custodian.custodian import ErrorHandler
from custodian.vasp.handlers import FrozenJobErrorHandler, UnconvergedErrorHandler, VaspErrorHandler
from custodian.vasp.io import load_vasprun
from pymatgen.io.vasp.inputs import Incar

from redoxmd.engines.vasp.job import OUT, VaspJob

# Errors of custodian's VaspErrorHandler that may be corrected in an MD: the corrections change mixing, ALGO, bands,
# symmetry or the parallel layout, or abandon the run at once. The last corrections of brmix and inv_rot_mat may change
# k-points, which `CustodianOutcome.physical` lists.
MD_ERRORS = (
    *("brmix", "amin", "coef", "pssyevx", "pdsyevx", "grad_not_orth", "too_few_bands", "nbands_not_sufficient"),
    *("elf_kpar", "dfpt_ncore", "inv_rot_mat", "ibzkpt", "pricel", "pricelv", "posmap", "point_group"),
    *("symprec_noise", "bravais", "ksymm", "hnform", "rhosyg"),
    *("set_core_wf", "read_error", "spin_polarized_harris"),
)
# The others, by the correction that custodian would make.
NOT_IN_MD = {
    "another time step, minimiser or cell": ("brions", "zbrent", "fexcf", "eddrmm", "zpotrf"),
    "CONTCAR over POSCAR, so that a run of another length starts from other positions": ("edddav", "zheev", "eddiag"),
    "other axes": ("triple_product",),
    "another energy, by smearing": ("tet", "dentet", "algo_tet"),
    "another energy, by LREAL or PREC": ("subspacematrix", "rspher", "real_optlay", "nicht_konv"),
    "another energy, by k-points": ("tetirr", "incorrect_shift", "rot_matrix"),
    "nothing, it is a warning": ("elf_ncl", "auto_nbands"),
}


@dataclass(frozen=True)
class Limits:
    """Limits of a run.

    Attributes:
        timeout_s: longest total time, restarts included, even if the job writes steadily.
        frozen_s: longest time without a new line in vasp.out.
        max_errors: number of errors at which the run is abandoned; with 1, no error is corrected.
        molecular_dynamics: an MD, whose geometry, time step and length no correction may change.
        grace_s: time between SIGTERM and SIGKILL.
    """

    timeout_s: float = 86400.0
    frozen_s: float = 3600.0
    max_errors: int = 5
    molecular_dynamics: bool = False
    grace_s: float = 10.0


class UnconvergedElectrons(UnconvergedErrorHandler):
    """Corrects electronic convergence only: neither a label nor an MD is a relaxation that can fail."""

    def check(self, directory: str = "./") -> bool:
        """Whether the last electronic loop did not converge; False for unreadable files (see the validators)."""
        try:
            return not load_vasprun(str(Path(directory) / self.output_filename)).converged_electronic
        except Exception:
            return False


class FrozenJob(FrozenJobErrorHandler):
    """Tries another ALGO but never continues from CONTCAR, which would make another run of the same name."""

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Replace ALGO = Fast by Normal; abandon a run with any other ALGO."""
        incar = Incar.from_file(Path(directory) / "INCAR")
        if str(incar.get("ALGO", "Normal")).lower().startswith("f"):
            return super().correct(directory)
        return {"errors": [f"frozen for {self.timeout:g} s"], "actions": None}


class TotalTime(ErrorHandler):
    """Ends a job that writes steadily but takes too long; custodian itself detects frozen jobs only."""

    is_monitor = True

    def __init__(self, job: VaspJob, timeout_s: float) -> None:
        self.job = job
        self.timeout_s = timeout_s
        self._begun = time.monotonic()

    def check(self, directory: str = "./") -> bool:
        """Whether the job still runs after its time limit."""
        return self.job.running and time.monotonic() - self._begun > self.timeout_s

    def correct(self, directory: str = "./") -> dict[str, Any]:
        """Abandon the run."""
        return {"errors": [f"not finished after {self.timeout_s:g} s"], "actions": None}


def handlers_for(job: VaspJob, limits: Limits) -> list[ErrorHandler]:
    """Handlers in the order in which custodian calls them; monitors are called while the job runs, too."""
    # auto_nbands corrects nothing and reads OUTCAR while it is being written.
    static_errors = [error for error in VaspErrorHandler.error_msgs if error != "auto_nbands"]
    return [
        VaspErrorHandler(OUT, list(MD_ERRORS) if limits.molecular_dynamics else static_errors),
        UnconvergedElectrons(),
        FrozenJob(output_filename=OUT, timeout=limits.frozen_s),
        TotalTime(job, limits.timeout_s),
    ]
