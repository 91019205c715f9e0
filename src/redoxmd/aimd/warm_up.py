"""MD with a potential before the reference MD, so that no reference calculation is spent on heating a crystal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from redoxmd.config.sections import Aimd, Electrons, Pretrain, WarmUp
from redoxmd.electrons.states import OxidationLevels, assign_oxidation
from redoxmd.engines.ase import import_calculator, make_calculator
from redoxmd.errors import ConfigError, DataError
from redoxmd.files.frames import bare, read_frames, write_frames
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.jobs.resumable import run_resumable
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import load_ensemble
from redoxmd.units import ASE_TIME_PER_FS

# A structure that is hotter than this many times the thermostat, in the second half, has left the potential's range.
HOTTEST = 3.0
FRAMES = "frames.extxyz"
# A rule reads a part of its section, which has the same name.
SECTION_NAMES = {"WarmUp": "aimd.warm_up", "Pretrain": "pretrain"}


def find_potential(settings: WarmUp | Pretrain, root: Path = Path()) -> Path | type[Calculator]:
    """The potential of a section: the file of an ensemble, relative to `root`, or the class of an ASE calculator.

    Raises:
        ConfigError: the file does not exist, or keywords are given with it.
        EngineMissing: the class cannot be imported.
    """
    section = SECTION_NAMES[type(settings).__name__]
    if settings.potential.endswith(".pt"):
        if settings.keywords:
            raise ConfigError(f"{section}.keywords are those of an ASE calculator; leave them out for an ensemble")
        if not (path := root / settings.potential).is_file():
            raise ConfigError(f"{section}.potential: there is no file {path}")
        return path
    remedy = "install its package (CHGNet: pip install -e '.[chgnet]'), or name the ensemble.pt of an earlier run"
    calculator: type[Calculator] = import_calculator(settings.potential, f"{section}.potential", remedy)
    return calculator


def potential_calculator(settings: WarmUp | Pretrain, electrons: Electrons) -> Calculator:
    """The calculator of a section's potential; electrons of an ensemble with states follow the ions."""
    potential = find_potential(settings)
    if isinstance(potential, Path):
        return EnsembleCalculator(load_ensemble(potential, device="cpu"), electrons)
    calculator: Calculator = make_calculator(potential, settings.keywords)
    return calculator


class PotentialMD:
    """Resumable Langevin MD with an ASE calculator: `steps` at each of several temperatures in turn.

    Velocities are drawn at the start of each temperature. On a CPU an MD that was stopped and continued gives the same
    frames as an uninterrupted one, if the results of the calculator depend on the structure alone.

    Args:
        atoms: the start; copied.
        calculator: of the potential.
        thermostats: one for each temperature.
        steps: number of steps at each temperature.
        rng: of velocities and noise.
        checkpoint: restart files of this MD alone.
        name: of the MD in progress and errors.
        remedy: end of the error message.
        visit: called with the MD at the first state of all and after each step; it may add to `frames`.

    Attributes:
        working: the present geometry, with the calculator, whose results are those of this geometry.
        frames: that `visit` has added.
        state: present state; None before the first.
        stage: number of the present temperature.
    """

    def __init__(
        self,
        atoms: Atoms,
        calculator: Calculator,
        thermostats: Sequence[Langevin],
        steps: int,
        rng: np.random.Generator,
        checkpoint: Checkpoint,
        name: str,
        remedy: str,
        visit: Callable[[PotentialMD], None] = lambda md: None,
    ) -> None:
        self.working, self.calculator, self.thermostats, self.steps = bare(atoms), calculator, thermostats, steps
        self.working.calc = calculator
        self.rng, self.checkpoint, self.name, self.remedy, self.visit = rng, checkpoint, name, remedy, visit
        self.frames: list[Atoms] = []
        self.state: MDState | None = None
        self.stage = 0
        record = checkpoint.load("state")
        if record is not None:
            # Frames are written before the state; one that the state does not count is made again.
            self.frames = self._stored_frames(int(record["frames"]))
            self.state, self.stage = MDState.from_record(record), int(record["stage"])
            self.rng = self.state.rng
            self.working.positions = self.state.positions_A
            if isinstance(calculator, EnsembleCalculator):
                calculator.restore(record, self.working)

    def _stored_frames(self, count: int) -> list[Atoms]:
        """The frames of the state.

        Raises:
            DataError: there are fewer, or they are damaged.
        """
        path = self.checkpoint.path(FRAMES)
        try:
            frames = read_frames(path) if path.exists() else []
        except DataError:
            frames = []
        if len(frames) < count:
            raise DataError(
                f"{path}: {len(frames)} readable frames where the state knows {count}; restore the file, or remove the "
                f"folder {path.parent} and run again, which starts from the beginning"
            )
        return frames[:count]

    @property
    def step(self) -> int:
        """Steps done, at all temperatures."""
        return 0 if self.state is None else self.stage * self.steps + self.state.step

    def run(self, stop: StopRequest) -> Iterator[str]:
        """Make the remaining steps; yields the position after each."""
        total = self.steps * len(self.thermostats)
        progress = Progress(self.name, total, self.step, timestep_fs=self.thermostats[0].timestep_fs)
        yield f"{self.name}, before step {self.step + 1} of {total}"
        if self.state is None:
            self._start()
            self.visit(self)
            yield f"{self.name}, at step 0 of {total}"
        while self.step < total:
            assert self.state is not None
            if self.state.step == self.steps:
                self.stage += 1
                self._start()
            md = self.thermostats[self.stage]
            md.step(self.state, self._forces)
            self._check(md)
            self.visit(self)
            progress.update(self.step, f"{md.temperature_of(self.state):.0f} K")
            yield f"{self.name}, at step {self.step} of {total}"

    def save(self) -> None:
        """Write the frames, then the state."""
        assert self.state is not None
        electrons = self.calculator.record() if isinstance(self.calculator, EnsembleCalculator) else {}
        write_frames(self.checkpoint.path(FRAMES), self.frames)
        counts = {"stage": np.asarray(self.stage), "frames": np.asarray(len(self.frames))}
        self.checkpoint.save("state", {**self.state.record(), **counts, **electrons})

    def _start(self) -> None:
        md = self.thermostats[self.stage]
        forces_eV_A = self._forces(self.working.positions) if self.state is None else self.state.forces_eV_A
        self.state = md.start(self.working.positions, forces_eV_A, self.rng)
        self._check(md)

    def _forces(self, positions_A: np.ndarray) -> np.ndarray:
        self.working.positions = positions_A
        forces: np.ndarray = self.working.get_forces()
        return forces

    def _check(self, md: Langevin) -> None:
        """Refuse an MD that has left the range of the potential.

        Raises:
            DataError: forces are no numbers, or the structure is far hotter than the thermostat.
        """
        assert self.state is not None
        kelvin = md.temperature_of(self.state)
        too_hot = 2 * (self.state.step - 1) > self.steps and kelvin > HOTTEST * md.temperature_K
        if too_hot or not np.isfinite(self.state.forces_eV_A).all():
            raise DataError(f"{self.name} fails at step {self.state.step} ({kelvin:.0f} K); {self.remedy}")


def warm_up(
    atoms: Atoms,
    calculator: Calculator,
    settings: Aimd,
    rng: np.random.Generator,
    electrons: Electrons,
    checkpoint: Checkpoint,
) -> Atoms:
    """The structure at the end of a Langevin MD of `warm_up.steps` at the temperature and friction of the section.

    Returns:
        The structure with its momenta, and its states if the calculator gives them (`set_states`).

    Raises:
        DataError: the MD leaves the range of the potential.
        Interrupted: SIGTERM; the state is saved.
    """
    name, chosen = atoms.info.get("config_id", atoms.get_chemical_formula()), settings.warm_up
    thermostat = Langevin(atoms.get_masses(), chosen.timestep_fs, settings.temperature_K, settings.friction_per_fs)
    md = PotentialMD(
        *(atoms, calculator, [thermostat], chosen.steps, rng, checkpoint),
        name=f"warm-up of {name}: the potential {chosen.potential}",
        remedy="take another potential, or warm_up.steps: 0",
    )
    run_resumable(md.run, md.save)
    assert md.state is not None
    warm = atoms.copy()
    warm.positions = md.state.positions_A
    warm.set_velocities(md.state.velocities_A_fs / ASE_TIME_PER_FS)
    # A finished MD that was continued has no results yet.
    md.working.get_forces()
    set_states(warm, calculator.results, OxidationLevels.of(electrons))
    return warm


def set_states(atoms: Atoms, results: dict[str, Any], levels: OxidationLevels | None) -> None:
    """Set the array `oxidation` from the results of a potential: its states, or its moments if there are levels."""
    if "oxidation" in results:
        atoms.set_array("oxidation", np.array(results["oxidation"]))
    elif levels is not None and "magmoms" in results:
        moments_muB = np.asarray(results["magmoms"])
        atoms.set_array("oxidation", assign_oxidation(list(atoms.symbols), moments_muB, levels).oxidation)
