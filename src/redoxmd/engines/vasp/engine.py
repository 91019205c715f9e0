"""VASP as a reference engine: every run under custodian, every result checked as read from its files."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.config import sections
from redoxmd.density.grid import Density
from redoxmd.engines.base import Engine, MDSegment, ReferenceMDSettings, Result, supercell_kpoints
from redoxmd.engines.calculation import Calculation, ReadFrame
from redoxmd.engines.vasp.custodian_run import CustodianOutcome, run_under_custodian
from redoxmd.engines.vasp.handlers import Limits
from redoxmd.engines.vasp.inputs import (
    Inputs,
    internal_md,
    read_end_state,
    requested_level,
    single_point,
    write_inputs,
)
from redoxmd.engines.vasp.large_files import RetainedFiles
from redoxmd.engines.vasp.level import differences
from redoxmd.engines.vasp.outcar import SpinStep, read_spins
from redoxmd.engines.vasp.potcars import Potcar, load_potcars
from redoxmd.engines.vasp.tags import TABULATED
from redoxmd.engines.vasp.vasprun import read_vasprun
from redoxmd.engines.verdict import judge_electrons, judge_frame
from redoxmd.errors import LabelRefusal, LabelRefused, system_errno
from redoxmd.files.records import read_json, write_json
from redoxmd.structures.periodic_cell import PeriodicCell

RESTART_FILES = ("WAVECAR", "CHGCAR")
# Files that explain a refusal and are small enough to be copied.
EVIDENCE = ("INCAR", "KPOINTS", "POSCAR", "OSZICAR", "vasp.out", "vasp.err", "custodian.json", "OUTCAR", "vasprun.xml")


@dataclass(frozen=True)
class VaspRun:
    """A finished run: inputs, outcome under custodian, calculation and spins as read."""

    inputs: Inputs
    outcome: CustodianOutcome
    calculation: Calculation
    spins: list[SpinStep]


class VaspEngine(Engine):
    """Labels by VASP with PBE+U or another functional of the config.

    Folder `run` holds the frames of an MD, folder `static` the densities of internal MD. A run starts from the wave
    functions of the previous run if that was accepted, else from the moments of the last accepted frame.
    """

    name = "vasp"

    def __init__(
        self, settings: sections.EngineSettings, repeats: Sequence[int], workdir: Path, settings_hash: str
    ) -> None:
        self.settings = settings
        self.settings_hash = settings_hash
        self.kpoints = supercell_kpoints(settings.vasp.kpoints, repeats)
        self.chunk_steps = settings.vasp.md_chunk_steps
        optional = {"md"} if settings.vasp.md == "internal" else set()
        self.capabilities = frozenset({"energy", "forces", "stress", "moments", "density"} | optional)
        self._workdir = workdir
        self._folder = workdir / "run"
        self._potcars: dict[str, Potcar] = {}
        self._labelled: Inputs | None = None
        self._program = ""
        self._retained = RetainedFiles(workdir / "files", settings.vasp.files)

    def calculate(self, atoms: Atoms) -> Result:
        """Label a structure by a single point; see `Engine` for refusals."""
        return self._single_point(atoms, self._folder)

    def static(self, atoms: Atoms) -> Result:
        """Label a structure of an MD by a single point, for its density."""
        return self._single_point(atoms, self._workdir / "static")

    def _single_point(self, atoms: Atoms, folder: Path) -> Result:
        self._labelled, self._folder = None, folder
        restart = _can_restart(folder)
        inputs = single_point(self.settings.vasp, atoms, self._moments(atoms, folder), self.kpoints, restart=restart)
        run = self._run(inputs, folder)
        results = [result for _, result in islice(self._frames(run, atoms), 1)]
        _require_steps(run, len(results), 1)
        self._accept(folder, results[0].moments_muB)
        self._labelled = inputs
        return results[0]

    def run_segment(self, atoms: Atoms, settings: ReferenceMDSettings, steps: int, seed: int) -> MDSegment:
        """A segment of VASP's internal MD from the positions and velocities of `atoms`, up to the first refused frame.

        The end state is None if a frame was refused.
        """
        folder = self._folder = self._workdir / "run"
        moments, restart = self._moments(atoms, folder), _can_restart(folder)
        inputs = internal_md(
            self.settings.vasp, atoms, moments, self.kpoints, settings, steps=steps, seed=seed, restart=restart
        )
        segment, cell, before = MDSegment(), PeriodicCell(atoms.cell.array), atoms.positions
        try:
            run = self._run(inputs, folder)
            for frame, result in self._frames(run, atoms):
                before = cell.nearest_image(inputs.in_original_order(frame.atoms.positions), before)
                segment.results.append(result)
                segment.positions_A.append(before)
            _require_steps(run, len(segment.results), steps)
        except LabelRefused as refused:
            segment.refusal = refused
            return segment
        try:
            positions, velocities = read_end_state(folder / "CONTCAR")
        except (OSError, ValueError, IndexError) as error:
            if system_errno(error) not in (None, errno.ENOENT):
                raise
            segment.refusal = LabelRefused(
                LabelRefusal.CORRUPTED, f"{folder.name}/CONTCAR gives no state to continue from ({error})"
            )
            return segment
        segment.end_positions_A = cell.nearest_image(inputs.in_original_order(positions), before)
        segment.end_velocities_A_fs = inputs.in_original_order(velocities)
        self._accept(folder, segment.results[-1].moments_muB)
        return segment

    def forget(self, without_hubbard: bool | None = None) -> None:
        """See `Engine`."""
        (self._workdir / "run" / "accepted").unlink(missing_ok=True)

    def density(self) -> Density | None:
        """Valence density of the structure labelled last, from its CHGCAR.

        Raises:
            DensityRefused: see `read_chgcar`.
        """
        if self._labelled is None:
            return None
        from redoxmd.density.exchange.chgcar import read_chgcar

        inputs = self._labelled
        valence = {element: potcar.valence_e for element, potcar in self._potcars.items()}
        density = read_chgcar(self._folder / "CHGCAR", valence, spin_optional=inputs.incar["ISPIN"] == 1)
        return replace(
            density,
            positions_A=inputs.atoms.positions.copy(),
            numbers=inputs.atoms.numbers.copy(),
            valence_e=inputs.in_original_order(density.valence_e),
            source=f"vasp {self.settings_hash}",
        )

    def evidence(self) -> list[Path]:
        """Files of the last run that explain its result."""
        return [path for name in EVIDENCE if (path := self._folder / name).is_file()]

    def provenance(self) -> dict[str, Any]:
        """Title and SHA-256 of each POTCAR, and VASP's name and version as printed."""
        potcars = {element: {"title": p.title, "sha256": p.sha256} for element, p in sorted(self._potcars.items())}
        return {"potcars": potcars, "program": self._program}

    def retained_files(self) -> Path | None:
        """Folder of the files that `engine.vasp.files` retains; None if there are none."""
        return self._retained.folder if self._retained.folder.exists() else None

    def _run(self, inputs: Inputs, folder: Path) -> VaspRun:
        types = set(inputs.atoms.get_chemical_symbols())
        if not types <= set(self._potcars):
            self._potcars |= load_potcars(sorted(types), self.settings.vasp)
        (folder / "accepted").unlink(missing_ok=True)
        if inputs.incar["ISTART"] == 0:
            for name in RESTART_FILES:
                (folder / name).unlink(missing_ok=True)
        write_inputs(folder, inputs, self._potcars)
        chosen = self.settings.vasp
        limits = Limits(
            timeout_s=chosen.timeout_s,
            frozen_s=chosen.frozen_s,
            max_errors=chosen.max_corrections + 1,
            molecular_dynamics=inputs.incar["IBRION"] == 0,
        )
        outcome = run_under_custodian(folder, chosen.command, limits)
        if outcome.failure is not None:
            raise LabelRefused(*outcome.failure)
        if outcome.physical and chosen.refuse_changed:
            raise LabelRefused(
                LabelRefusal.WRONG_SETTINGS,
                f"custodian changed settings that alter energies: {_changes_text(outcome.physical)}; "
                "engine.vasp.refuse_changed: false accepts such results and marks them",
            )
        calculation = read_vasprun(folder / "vasprun.xml")
        self._program = str(calculation.settings.get("program", ""))
        spins = list(read_spins(folder / "OUTCAR")) if inputs.incar["ISPIN"] == 2 else []
        self._retained.add(folder)
        return VaspRun(inputs, outcome, calculation, spins)

    def _frames(self, run: VaspRun, start: Atoms) -> Iterator[tuple[ReadFrame, Result]]:
        """Frames with their labels in the original order of atoms; the first geometry must be `start`."""
        inputs, calculation = run.inputs, run.calculation
        system = str(calculation.settings.get("SYSTEM", "")).strip()
        if system != inputs.token:
            detail = f"{calculation.path.name} is of {system or 'no'} run, not of this one"
            raise LabelRefused(LabelRefusal.STALE_OUTPUT, detail)
        self._check_level(run)
        requested_e = float(inputs.incar.get("NELECT", inputs.valence_e(self._potcars)))
        judge_electrons(calculation.settings.get("NELECT"), requested_e)
        remarks = {}
        if corrections := run.outcome.corrections:
            texts = (f"{item['handler']}: {', '.join(map(str, item['errors']))}" for item in corrections)
            remarks["corrections"] = "; ".join(texts)
        if run.outcome.physical:
            remarks["changed_settings"] = _changes_text(run.outcome.physical)
        for index, frame in enumerate(calculation.frames):
            spins = run.spins[index] if index < len(run.spins) else SpinStep()
            frame = replace(
                frame,
                moments_muB=spins.moments_muB,
                total_moment_muB=spins.total_moment_muB,
                orbital_occupations=spins.occupation_columns(len(frame.atoms)),
            )
            reference = None if index else start[inputs.order]
            result = judge_frame(frame, self.settings.force_ceiling_eV_A, reference, inputs.initial_moments_muB)
            if frame.atoms.numbers.tolist() != inputs.sorted_atoms.numbers.tolist():
                raise LabelRefused(LabelRefusal.WRONG_STRUCTURE, f"step {index} has other atoms than the POSCAR")
            moments, occupations = result.moments_muB, result.orbital_occupations
            yield (
                frame,
                replace(
                    result,
                    forces_eV_A=inputs.in_original_order(result.forces_eV_A),
                    moments_muB=None if moments is None else inputs.in_original_order(moments),
                    orbital_occupations=None if occupations is None else inputs.in_original_order(occupations),
                    remarks=remarks,
                ),
            )

    def _check_level(self, run: VaspRun) -> None:
        """Refuse another level of theory than requested, unless custodian's changes are recorded already."""
        inputs, level, reported = run.inputs, run.calculation.level, run.calculation.settings
        # Of the tags in no table, VASP before 6 does not repeat all that were set, and later versions may list others.
        # The INCAR itself was compared after the run under custodian.
        requested = requested_level(inputs, self._potcars, lambda tag: tag in TABULATED or tag in reported)
        details = {tag: value for tag, value in level.details.items() if tag in TABULATED or tag in inputs.incar}
        unlike = differences(replace(level, details=details), requested)
        if unlike and not run.outcome.physical:
            raise LabelRefused(LabelRefusal.WRONG_SETTINGS, f"VASP ran with {'; '.join(unlike)}")

    def _moments(self, atoms: Atoms, folder: Path) -> np.ndarray | None:
        """Starting moments (n,): those of the last accepted frame, else the initial moments; None without spin."""
        if not atoms.has("initial_magmoms"):
            return None
        initial: np.ndarray = atoms.get_initial_magnetic_moments()
        record = next((path for path in (folder / "accepted", folder / "moments.json") if path.exists()), None)
        last_muB = read_json(record)["moments_muB"] if record else None
        return initial if last_muB is None or len(last_muB) != len(initial) else np.asarray(last_muB, dtype=float)

    @staticmethod
    def _accept(folder: Path, moments_muB: np.ndarray | None) -> None:
        """Mark the run in a folder as accepted, so that the next run starts from it."""
        for name in ("moments.json", "accepted"):
            write_json(folder / name, {"moments_muB": moments_muB})


def _can_restart(folder: Path) -> bool:
    """Whether the last run in a folder was accepted and left its wave functions."""
    return (folder / "accepted").exists() and (folder / "WAVECAR").exists()


def _require_steps(run: VaspRun, steps: int, requested: int) -> None:
    if steps < requested:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{steps} of {requested} steps in {run.calculation.path.name}")


def _changes_text(changes: dict[str, tuple[Any, Any]]) -> str:
    return ", ".join(f"{tag} {before} → {after}" for tag, (before, after) in sorted(changes.items()))
