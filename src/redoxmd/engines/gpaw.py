"""GPAW in plane waves with spin and +U, the DFT engine without a licence."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.config import sections
from redoxmd.config.sections import common_kpoints
from redoxmd.density.grid import Density, accept_density
from redoxmd.electrons.orbitals import occupation_columns
from redoxmd.engines.base import (
    Engine,
    Inspection,
    Result,
    check_result,
    method_hash,
    package_version,
    supercell_kpoints,
)
from redoxmd.engines.verdict import judge_moments
from redoxmd.errors import EngineMissing, LabelRefusal, LabelRefused, reason_of
from redoxmd.files.records import atomic_path

logger = logging.getLogger("redoxmd")

METHOD_VERSION = 1
# Loose criteria of the first SCF, which determines the spin state.
FIRST_STAGE = {"energy": 5e-4, "density": 1e-3, "eigenstates": 1e-4}


def physical_settings(settings: sections.EngineSettings) -> dict[str, Any]:
    """The settings that change energies and forces.

    METHOD_VERSION 1 began with GPAW's default grid (Monkhorst-Pack). A Γ-centred grid differs from it only for an even
    number of divisions, so other settings keep their hash.
    """
    chosen = settings.gpaw
    centre = {} if all(k % 2 for k in chosen.kpoints) else {"kpoints_centre": "gamma"}
    return {
        "mode": "pw",
        "cutoff_eV": chosen.cutoff_eV,
        "xc": chosen.xc,
        "hubbard": {element: [u.orbital, u.U_eV] for element, u in sorted(chosen.hubbard.items())},
        "kpoints": list(chosen.kpoints),
        **centre,
        "fermi_width_eV": chosen.fermi_width_eV,
        "convergence": chosen.convergence.model_dump(),
        **({"fixed_moment": True} if chosen.fixed_moment else {}),
    }


def available(settings: sections.EngineSettings) -> tuple[bool, str]:
    """Whether GPAW can be imported."""
    if importlib.util.find_spec("gpaw") is None:
        return False, "gpaw is not installed: run `make env`, or pip install 'redoxmd[gpaw]'"
    return True, "gpaw found"


def inspect(
    settings: sections.EngineSettings, cells_A: Mapping[str, Sequence[float]], elements: Sequence[str]
) -> Inspection:
    """Problems of the functional, and of elements without a PAW dataset, before a run.

    Args:
        settings: section `engine`.
        cells_A: name → lengths a, b, c of the source cell; not used.
        elements: of the structures.
    """
    if not available(settings)[0]:
        return Inspection()
    from gpaw.setup_data import search_for_file
    from gpaw.xc import XC

    try:
        functional = XC(settings.gpaw.xc).get_setup_name()
    except Exception as error:
        return Inspection([f"engine.gpaw.xc: {settings.gpaw.xc} is not available in GPAW ({reason_of(error)})"])
    missing = []
    for element in elements:
        try:
            search_for_file(f"{element}.{functional}")
        except (FileNotFoundError, RuntimeError):
            missing.append(element)
    if not missing:
        return Inspection()
    return Inspection(
        [
            f"engine gpaw: no PAW dataset of {', '.join(missing)} for {functional}; install one in a folder of "
            "GPAW_SETUP_PATH, or take another engine"
        ]
    )


def create(settings: sections.EngineSettings, repeats: Sequence[int], workdir: Path | None) -> GpawEngine:
    """See `redoxmd.engines.get_engine`.

    Raises:
        EngineMissing: GPAW is not installed.
    """
    is_installed, message = available(settings)
    if not is_installed:
        raise EngineMissing(message)
    return GpawEngine(settings, repeats, workdir)


def _criteria(convergence: sections.GpawConvergence) -> dict[str, float]:
    """SCF criteria as GPAW takes them."""
    return {"energy": convergence.energy_eV, "density": convergence.density, "eigenstates": convergence.eigenstates}


def _mixer(settings: sections.GpawMixer) -> Any:
    """The mixer as GPAW takes it."""
    from gpaw import MixerDif, MixerFull

    method = {"difference": MixerDif, "full": MixerFull}[settings.method]
    return method(settings.beta, settings.history, settings.weight)


def _orbital_occupations(calc: Any, n_atoms: int) -> np.ndarray | None:
    """Occupation matrices of the orbitals with +U, as GPAW's +U has them (`Result`); None without +U."""
    from gpaw.hubbard import aoom
    from gpaw.utilities import unpack_density

    corrected = [setup.hubbard_u.l[0] for setup in calc.setups if setup.hubbard_u is not None]
    if not corrected:
        return None
    matrices = {}
    # Each process has the atoms of its domain.
    for atom, D_sp in calc.density.D_asp.items():
        setup = calc.setups[atom]
        if setup.hubbard_u is not None:
            shell = (setup.hubbard_u.l[0], setup.l_j, setup.n_j, setup.N0_q, setup.hubbard_u.scale[0])
            spins = np.array([aoom(D_ii, *shell)[0] for D_ii in unpack_density(D_sp)])
            # Without spin, each spin has half of the one matrix.
            matrices[atom] = spins if len(spins) == 2 else np.repeat(spins / 2, 2, axis=0)
    table = occupation_columns(matrices, n_atoms, 2 * max(corrected) + 1)
    calc.density.D_asp.partition.comm.sum(table)
    return table


@contextlib.contextmanager
def _no_hubbard(calc: Any) -> Iterator[None]:
    """U = 0 in the corrections of an initialised calculator, whose results are not valid afterwards."""
    # Atoms of one element share their setup.
    corrections = [(correction, correction.U) for correction in {setup.hubbard_u for setup in calc.setups} - {None}]
    try:
        for correction, values in corrections:
            correction.U = [0.0] * len(values)
        yield
    finally:
        for correction, values in corrections:
            correction.U = values
        # As `GPAW.set` does for a change of the convergence.
        calc.results, calc.scf, calc.initialized = {}, None, False
        calc.wfs.set_eigensolver(None)


class GpawEngine(Engine):
    """PBE+U in plane waves, ferromagnetic start.

    For a hot frame an unconstrained SCF from atomic moments often ends in a wrong spin state (a total moment of 2
    instead of 8, 0.6 eV too high). The first frame is therefore converged loosely with the total moment fixed at the
    sum of the initial moments, and then without constraint (unless `fixed_moment`) and with `final_mixer` if it is set;
    the final moment is checked. The first of these SCFs is without +U if `start_without_hubbard` or `forget` asks for
    it. Later frames of an MD start from the previous density.
    """

    name = "gpaw"
    capabilities = frozenset({"energy", "forces", "moments", "density"})

    def __init__(self, settings: sections.EngineSettings, repeats: Sequence[int], workdir: Path | None) -> None:
        self.settings = settings
        self.kpoints = supercell_kpoints(settings.gpaw.kpoints, repeats)
        # Labels that sample the same k-points of the source cell have the same method.
        sampled = settings.gpaw.model_copy(update={"kpoints": common_kpoints(settings.gpaw.kpoints, [repeats])})
        sampled_settings = physical_settings(settings.model_copy(update={"gpaw": sampled}))
        self.settings_hash = method_hash(self.name, METHOD_VERSION, sampled_settings)
        self._log = str(workdir / "gpaw.txt") if workdir else None
        # Density of the last accepted structure, from which a run that was killed resumes in the same electronic state.
        self._electrons = workdir / f"electrons_{self.settings_hash}.gpw" if workdir else None
        self._atoms: Atoms | None = None
        self._expected_moment: float | None = None
        self.can_start_without_hubbard = bool(settings.gpaw.hubbard)
        self._without_hubbard = self.starts_without_hubbard = settings.gpaw.start_without_hubbard
        # SCF steps of this structure before its last SCF.
        self._first_steps = 0

    def calculate(self, atoms: Atoms) -> Result:
        """Label of a structure; see the class for the SCF and `Engine` for refusals."""
        from gpaw import KohnShamConvergenceError

        self._first_steps = 0
        with contextlib.redirect_stdout(None):
            if self._atoms is not None and self._electrons is not None:
                # The label before was accepted, because the electrons of a refused one are forgotten.
                with atomic_path(self._electrons) as temporary:
                    self._atoms.calc.write(str(temporary))
            try:
                if self._atoms is None and not self._continue(atoms):
                    self._start(atoms)
                assert self._atoms is not None
                self._atoms.positions = atoms.positions
                result = Result(
                    energy_eV=float(self._atoms.get_potential_energy()),
                    forces_eV_A=np.array(self._atoms.get_forces()),
                    moments_muB=np.array(self._atoms.get_magnetic_moments()),
                    total_moment_muB=float(np.sum(self._atoms.calc.get_magnetic_moment())),
                    scf_steps=self._first_steps + int(self._atoms.calc.get_number_of_iterations()),
                    orbital_occupations=_orbital_occupations(self._atoms.calc, len(atoms)),
                )
            except KohnShamConvergenceError as error:
                raise LabelRefused(
                    LabelRefusal.UNCONVERGED, f"SCF not converged in {self.settings.gpaw.max_iterations} steps"
                ) from error
        self._check_moment(float(np.sum(self._atoms.calc.get_magnetic_moment())))
        return check_result(result, atoms, self.settings.force_ceiling_eV_A)

    @property
    def calculator(self) -> Any:
        """GPAW's calculator with the electrons of the last structure; None before the first and after `forget`."""
        return None if self._atoms is None else self._atoms.calc

    def _start(self, atoms: Atoms) -> None:
        from gpaw import GPAW, KohnShamConvergenceError

        from redoxmd.engines.gpaw_waves import PairedPW

        chosen = self.settings.gpaw
        moments = atoms.get_initial_magnetic_moments()
        # Spin-polarised also with zero moments: low-spin ions have moments at other x, and all labels share one method.
        polarised = atoms.has("initial_magmoms")
        self._expected_moment = float(moments.sum()) if polarised else None
        keywords: dict[str, Any] = {
            "mode": PairedPW(chosen.cutoff_eV),
            "xc": chosen.xc,
            "setups": {
                element: f":{u.orbital},{u.U_eV}" for element, u in chosen.hubbard.items() if element in atoms.symbols
            },
            # GPAW's default grid of an even number of divisions excludes Γ; a supercell would sample other points.
            "kpts": {"size": self.kpoints, "gamma": True},
            # Time-reversal symmetry, which holds also for collinear spins, halves the k-points.
            "symmetry": {"point_group": False},
            "maxiter": chosen.max_iterations,
            "txt": self._log,
        }
        final = _criteria(chosen.convergence)
        occupations = {"name": "fermi-dirac", "width": chosen.fermi_width_eV, "fixmagmom": chosen.fixed_moment}
        working = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
        if not polarised:
            working.calc = GPAW(**keywords, occupations=occupations | {"fixmagmom": False}, convergence=final)
            self._atoms = working
            return
        working.set_initial_magnetic_moments(moments)
        working.calc = GPAW(
            **keywords,
            spinpol=True,
            mixer=_mixer(chosen.mixer),
            occupations=occupations | {"fixmagmom": True},
            convergence=FIRST_STAGE,
        )
        how = ", without +U" if self._without_hubbard else ""
        logger.info("first SCF, total moment held at %.1f μB%s", self._expected_moment, how)
        working.calc.initialize(working)
        with _no_hubbard(working.calc) if self._without_hubbard else contextlib.nullcontext():
            working.get_potential_energy()
            self._count(working)
        self._without_hubbard = self.starts_without_hubbard
        logger.info("spin state found at a fixed moment of %.1f μB", self._expected_moment)
        criteria = _criteria(chosen.start_convergence or chosen.convergence)
        further: dict[str, Any] = {"occupations": occupations, "convergence": criteria}
        if chosen.final_mixer is not None:
            # GPAW allows a change of mixer, which keeps density and wave functions, only by this flag.
            further |= {"_set_ok": True, "mixer": _mixer(chosen.final_mixer)}
        working.calc.set(**further)
        if chosen.start_convergence is not None:
            try:
                working.get_potential_energy()
            except KohnShamConvergenceError:
                logger.warning("the first frame misses engine.gpaw.start_convergence in the steps allowed")
            self._count(working)
            working.calc.set(convergence=final)
        self._atoms = working

    def _continue(self, atoms: Atoms) -> bool:
        """Take the electrons of an earlier process from its file, if it has the same atoms in the same cell."""
        from gpaw import GPAW, KohnShamConvergenceError

        from redoxmd.engines.gpaw_waves import PairedWaveFunctions

        if self._electrons is None or not self._electrons.is_file():
            return False
        chosen = self.settings.gpaw
        try:
            calc = GPAW(str(self._electrons), txt=self._log)
        except (OSError, KeyError, ValueError, AttributeError) as error:
            logger.warning("%s is not readable (%s); the electrons start again", self._electrons.name, error)
            return False
        before = calc.atoms
        if not np.array_equal(before.numbers, atoms.numbers) or not np.allclose(before.cell, atoms.cell):
            return False
        calc.wfs.__class__ = PairedWaveFunctions
        further: dict[str, Any] = {"maxiter": chosen.max_iterations, "convergence": _criteria(chosen.convergence)}
        if atoms.has("initial_magmoms"):
            further["mixer"] = _mixer(chosen.final_mixer or chosen.mixer)
            self._expected_moment = float(atoms.get_initial_magnetic_moments().sum())
        calc.set(_set_ok=True, **further)
        self._atoms = Atoms(atoms.numbers, before.positions, cell=atoms.cell, pbc=True, calculator=calc)
        self._atoms.set_initial_magnetic_moments(before.get_initial_magnetic_moments())
        logger.info("resuming from the electrons of the structure before the interruption")
        # Wave functions are not in the file. With the density of the file they converge in the same state.
        try:
            self._atoms.get_potential_energy()
        except KohnShamConvergenceError:
            logger.warning("the electrons of the previous structure do not converge again; they start from atoms")
            self._atoms = None
            return False
        self._count(self._atoms)
        return True

    def _count(self, atoms: Atoms) -> None:
        self._first_steps += int(atoms.calc.get_number_of_iterations())

    def _check_moment(self, moment_muB: float) -> None:
        expected = self._expected_moment
        judge_moments(moment_muB, None, None if expected is None else np.array([expected]))

    def forget(self, without_hubbard: bool | None = None) -> None:
        """See `Engine`."""
        self._atoms = None
        self._without_hubbard = self.starts_without_hubbard if without_hubbard is None else without_hubbard
        if self._electrons is not None:
            self._electrons.unlink(missing_ok=True)

    def evidence(self) -> list[Path]:
        """GPAW's own log."""
        return [Path(self._log)] if self._log and Path(self._log).is_file() else []

    def provenance(self) -> dict[str, Any]:
        """Versions of GPAW and of its setups."""
        return package_version("gpaw") | package_version("gpaw-data")

    def density(self) -> Density | None:
        """All-electron valence density of the last frame, normalised; the pseudo-density does not hold all charge.

        Raises:
            DensityRefused: see `accept_density`.
        """
        if self._atoms is None:
            return None
        atoms, refinement = self._atoms, self.settings.gpaw.density_refinement
        # Without spin polarisation, a spin channel would be half of the density.
        spins = (0, 1) if self._expected_moment is not None else (None,)
        with contextlib.redirect_stdout(None):
            channels = [
                atoms.calc.get_all_electron_density(spin=s, gridrefinement=refinement, skip_core=True) for s in spins
            ]
            electrons = float(atoms.calc.get_number_of_electrons())
            valence = np.array([setup.Nv for setup in atoms.calc.setups], dtype=float)
        total = channels[0] + channels[1] if len(channels) == 2 else channels[0]
        spin = channels[0] - channels[1] if len(channels) == 2 else np.zeros_like(total)
        source = f"gpaw {self.settings_hash}"
        return accept_density(total, spin, atoms.cell, atoms.positions, atoms.numbers, valence, electrons, source)
