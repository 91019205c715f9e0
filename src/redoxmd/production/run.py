"""Long MD by the converged ensemble: one trajectory, in restartable segments."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from redoxmd.config.sections import Production
from redoxmd.files.trajectory import Trajectory, join_segments, write_segment
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import stop_on_sigterm
from redoxmd.jobs.progress import Progress
from redoxmd.md.batched.batch import DeviceMD, Where, ensemble_md
from redoxmd.md.ensemble import EnsembleMD, Observation
from redoxmd.md.frame_gate import GateSettings, Passage
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from redoxmd.structures.request import parse_name
from redoxmd.units import FS_PER_PS, ns_per_day

SEGMENT_FRAMES = 2000


class ProductionSummary(NamedTuple):
    """How a trajectory ended, its recorded length and its speed."""

    end_reason: str
    length_ps: float
    ns_per_day: float


@dataclass(frozen=True)
class Planned:
    """A trajectory to be made, or to be made longer.

    Attributes:
        atoms: its start.
        settings: of production, with its own length.
        temperature_K: of the thermostat.
        rng: for velocities and thermostat.
        checkpoint: of this trajectory alone.
        output: the H5MD file; None leaves the complete state for another job to write it out.
        metadata: written into it.
    """

    atoms: Atoms
    settings: Production
    temperature_K: float
    rng: np.random.Generator
    checkpoint: Checkpoint
    output: str | Path | None
    metadata: dict[str, Any]

    @property
    def skip(self) -> int:
        """Steps of equilibration."""
        return round(self.settings.equilibration_ps * FS_PER_PS / self.settings.timestep_fs)

    @property
    def total(self) -> int:
        """All steps."""
        return self.skip + round(self.settings.length_ps * FS_PER_PS / self.settings.timestep_fs)

    @property
    def complete(self) -> bool:
        """Whether its state has come to its end, of whatever kind."""
        record = self.checkpoint.load("state")
        return record is not None and (bool(str(record["stopped"])) or int(record["step"]) >= self.total)

    @property
    def langevin(self) -> Langevin:
        """Its integrator."""
        masses = self.atoms.get_masses()
        return Langevin(masses, self.settings.timestep_fs, self.temperature_K, self.settings.friction_per_fs)

    @property
    def gate(self) -> GateSettings:
        """Frames are judged, not collected: only the upper threshold matters here."""
        return GateSettings(low_eV_A=self.settings.stop_above_eV_A, high_eV_A=self.settings.stop_above_eV_A)


def produce(
    atoms: Atoms,
    ensemble: Ensemble,
    settings: Production,
    temperature_K: float,
    rng: np.random.Generator,
    checkpoint: Checkpoint,
    output: str | Path,
    metadata: dict[str, Any],
    where: Where = "host",
) -> ProductionSummary:
    """Run equilibration and production MD and write one H5MD trajectory (paper, section 4.1).

    The trajectory ends early, with the reason in its metadata, when the spread exceeds `stop_above_eV_A` or a guard
    trips; what was recorded until then stays. Restart files and finished segments are kept in `checkpoint`; the
    same run, stopped and continued, gives the same numbers on a CPU. They stay when it is done: with a larger
    `length_ps` the next call runs the added part only, with a smaller one it cuts. `where` as in `ensemble_md`.
    """
    planned = Planned(atoms, settings, temperature_K, rng, checkpoint, output, metadata)
    run = ProductionRun(planned, ensemble_md(ensemble, atoms, planned.langevin, planned.gate, where))
    with stop_on_sigterm() as stop:
        while not run.ended:
            run.advance()
            if stop.asked or run.due:
                run.save()
                stop.check(f"at {run.time_ps:.3g} ps")
    return run.finish()


class ProductionRun:
    """One trajectory in the making: the MD, frames not yet written, segments already written."""

    def __init__(self, planned: Planned, md: EnsembleMD | DeviceMD) -> None:
        self.planned, self.md = planned, md
        self.settings, self.checkpoint = planned.settings, planned.checkpoint
        settings = self.settings
        self.skip, self.total = planned.skip, planned.total
        self.every = max(1, round(settings.save_every_fs / settings.timestep_fs))
        self.frames: list[tuple[int, np.ndarray, Observation]] = []
        self.segments: list[Path] = []
        self._stopped = ""
        self._spent_s = 0.0
        self._started = time.monotonic()
        record = self.checkpoint.load("state")
        if record is None:
            self._take(self.md.start(planned.rng))
        else:
            self.md.restore(record)
            self._stopped = str(record["stopped"])
            self._spent_s = float(record["spent_s"])
            self.segments = [self.checkpoint.path(name) for name in json.loads(str(record["segments"]))]
        name = metadata_name(planned.atoms, planned.temperature_K)
        self.progress = Progress(name, self.total, done=self.steps_done, timestep_fs=settings.timestep_fs)
        self.saved_at = time.monotonic()

    @property
    def steps_done(self) -> int:
        """MD steps so far, equilibration included."""
        return self.md.state.step

    @property
    def time_ps(self) -> float:
        """Recorded time, as far as it was asked for."""
        return max(min(self.steps_done, self.total) - self.skip, 0) * self.settings.timestep_fs / FS_PER_PS

    @property
    def spent_s(self) -> float:
        """Wall time so far, over all starts."""
        return self._spent_s + time.monotonic() - self._started

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return bool(self._stopped) or self.steps_done >= self.total

    @property
    def due(self) -> bool:
        """Whether restart files are to be written again."""
        return time.monotonic() - self.saved_at > self.settings.checkpoint_every_s

    @property
    def end_reason(self) -> str:
        """What ended it: completed, or the gate's or a guard's word if that came before the length asked for."""
        return self._stopped if self._stopped and self.steps_done <= self.total else "completed"

    def advance(self) -> None:
        """One step; notes the frame when one is due and why the run ends when it does."""
        seen = self.md.step()
        if seen.passage is Passage.STOP:
            self._stopped = seen.reason
            return
        self._take(seen)
        self.progress.update(self.steps_done, f"spread {seen.spread_eV_A:.2f} eV/Å, {seen.temperature_K:.0f} K")
        if len(self.frames) >= SEGMENT_FRAMES:
            self.save()

    def _take(self, seen: Observation) -> None:
        step = self.steps_done - self.skip
        if step >= 0 and step % self.every == 0 and seen.passage is not Passage.STOP:
            self.frames.append((step, self.md.state.positions_A.copy(), seen))

    def save(self, last: bool = False) -> None:
        """Write the frames as a segment, then the state that continues behind it."""
        if self.frames or (last and not self.segments):
            path = self.checkpoint.path(f"segment{len(self.segments):06d}.h5")
            write_segment(path, self._trajectory())
            self.segments.append(path)
            self.frames = []
        self._save_state()

    def finish(self) -> ProductionSummary:
        """Write the trajectory and what a longer one goes on from."""
        self.save(last=True)
        speed = ns_per_day(self.settings.timestep_fs, self.spent_s / max(self.steps_done, 1))
        summary = ProductionSummary(self.end_reason, self.time_ps, speed)
        if self.planned.output is None:
            return summary
        request = parse_name(self.planned.metadata["structure"])
        about = {
            **self.planned.metadata,
            "x": request.x,
            "temperature_K": self.planned.temperature_K,
            "replica": request.seed,
            "timestep_fs": self.settings.timestep_fs,
            "equilibration_ps": self.settings.equilibration_ps,
            "end_reason": self.end_reason,
            "ns_per_day": speed,
            "evaluation": self.md.path,
        }
        join_segments(self.segments, self.planned.output, about, last_step=self.total - self.skip)
        self.keep(self.planned.output)
        return summary

    def keep(self, output: str | Path) -> None:
        """Put the finished trajectory in the place of its segments, for a longer one to go on from."""
        if self.steps_done > self.total:
            return
        # Named by its end: until the state says otherwise, the segments it was joined from still count.
        whole = f"whole{self.steps_done:012d}.h5"
        self.checkpoint.adopt(output, whole)
        self.segments = [self.checkpoint.path(whole)]
        self._save_state()
        self.checkpoint.keep(["state.npz", whole])

    def _save_state(self) -> None:
        more = {"segments": json.dumps([path.name for path in self.segments]), "stopped": self._stopped}
        self.checkpoint.save("state", {**self.md.state_record(), **more, "spent_s": self.spent_s})
        self.saved_at = time.monotonic()

    def _trajectory(self) -> Trajectory:
        atoms = self.md.atoms
        steps = np.array([step for step, _, _ in self.frames], dtype=np.int64)
        positions = [positions for _, positions, _ in self.frames]
        return Trajectory(
            numbers=atoms.numbers,
            positions_A=np.array(positions).reshape(-1, len(atoms), 3),
            cell_A=np.asarray(atoms.cell),
            steps=steps,
            time_fs=steps * self.settings.timestep_fs,
            temperature_K=np.array([seen.temperature_K for _, _, seen in self.frames]),
            energy_eV=np.array([seen.energy_eV for _, _, seen in self.frames]),
            spread_eV_A=np.array([seen.spread_eV_A for _, _, seen in self.frames]),
            metadata={},
        )


def metadata_name(atoms: Atoms, temperature_K: float) -> str:
    """What a trajectory is called in the log."""
    return f"{atoms.get_chemical_formula(empirical=False)} at {temperature_K:g} K"
