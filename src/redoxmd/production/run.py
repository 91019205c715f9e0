"""Production MD of one trajectory with the converged ensemble, in restartable segments."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from redoxmd.config.sections import Electrons, Production
from redoxmd.errors import COMPLETED, FrameRefusal
from redoxmd.files.frames import read_frames
from redoxmd.files.records import file_sha256
from redoxmd.files.trajectory import HOP_COLUMNS, Trajectory, join_segments, write_segment
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.jobs.resumable import run_resumable
from redoxmd.md.ensemble import StepResult, TrajectoryMD, ensemble_md
from redoxmd.md.forces import ForceEvaluator
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.seeds import derive_rng
from redoxmd.structures.request import parse_name
from redoxmd.units import FS_PER_PS, ns_per_day

SEGMENT_FRAMES = 2000


class ProductionSummary(NamedTuple):
    """How a trajectory ended, its recorded length and its speed."""

    end_reason: str
    length_ps: float
    ns_per_day: float


@dataclass(frozen=True)
class TrajectorySpec:
    """Everything that defines one production trajectory.

    Attributes:
        atoms: starting structure.
        settings: section production, with the length of this trajectory.
        temperature_K: thermostat temperature.
        rng: random stream of velocities and thermostat.
        checkpoint: restart files of this trajectory.
        output: the H5MD file.
        metadata: written into the H5MD file.
        electrons: section electrons, for a potential that distinguishes oxidation states.
    """

    atoms: Atoms
    settings: Production
    temperature_K: float
    rng: np.random.Generator
    checkpoint: Checkpoint
    output: str | Path
    metadata: dict[str, Any]
    electrons: Electrons | None = None

    @property
    def skip(self) -> int:
        """Steps of equilibration."""
        return round(self.settings.equilibration_ps * FS_PER_PS / self.settings.timestep_fs)

    @property
    def total(self) -> int:
        """All steps."""
        return self.skip + round(self.settings.length_ps * FS_PER_PS / self.settings.timestep_fs)

    @property
    def langevin(self) -> Langevin:
        """Its integrator."""
        masses = self.atoms.get_masses()
        return Langevin(masses, self.settings.timestep_fs, self.temperature_K, self.settings.friction_per_fs)

    @property
    def gate(self) -> GateSettings:
        """Frames are judged, not collected: only the upper threshold matters here."""
        return GateSettings(low_eV_A=self.settings.stop_above_eV_A, high_eV_A=self.settings.stop_above_eV_A)


def trajectory_spec(
    settings: Production,
    declared: Mapping[str, Any],
    structure: str,
    temperature: str,
    start: str | Path,
    state: str | Path,
    output: str | Path,
    model: str,
    seed: int,
    mobile_ion: str,
    version: int = 1,
    electrons: Electrons | None = None,
) -> TrajectorySpec:
    """Specification of one trajectory of a run, for a job of its own or in a batch: both share its restart files.

    Args:
        settings: section production, with the settings of this trajectory.
        declared: those that its results depend on (`redoxmd.files.layout.trajectory_settings`).
        structure: name of the structure.
        temperature: thermostat temperature in K, as in file names.
        start: file of the starting structure.
        state: folder of its restart files.
        output: the H5MD file.
        model: identity of the ensemble.
        seed: of the run.
        mobile_ion: recorded in the trajectory.
        version: of the stage.
        electrons: section electrons.
    """
    # The length is left out: a finished trajectory is extended or cut, not run again.
    lasting = {key: value for key, value in declared.items() if key != "length_ps"}
    (atoms,) = read_frames(start)
    return TrajectorySpec(
        atoms,
        settings,
        float(temperature),
        derive_rng(seed, "production", structure, temperature),
        Checkpoint(state, [file_sha256(start), model, lasting, temperature, seed, version]),
        output,
        {"structure": structure, "mobile_ion": mobile_ion, "model": model},
        electrons,
    )


def produce(spec: TrajectorySpec, evaluator: ForceEvaluator) -> ProductionSummary:
    """Run equilibration and production MD and write one H5MD trajectory (paper, section 4.1).

    The trajectory ends early, with the reason in its metadata, when the spread exceeds `stop_above_eV_A` or a guard
    trips; the frames recorded until then are kept. Restart files and finished segments are kept in `checkpoint`; the
    same run, stopped and continued, gives the same numbers on a CPU. They stay when it is done: with a larger
    `length_ps` the next call runs the added part only, with a smaller one it cuts.
    """
    md = ensemble_md(evaluator, spec.atoms, spec.langevin, spec.gate, spec.electrons)
    run = ProductionRun(spec, md)

    def advance(stop: StopRequest) -> Iterator[str]:
        yield run.position
        while not run.ended:
            run.advance()
            yield run.position

    run_resumable(advance, run.save, spec.settings.checkpoint_every_s)
    return run.finish()


class ProductionRun:
    """A trajectory being computed: its MD, the frames not yet written and the written segments."""

    def __init__(self, spec: TrajectorySpec, md: TrajectoryMD) -> None:
        self.spec, self.md = spec, md
        self.settings, self.checkpoint = spec.settings, spec.checkpoint
        self.skip, self.total = spec.skip, spec.total
        self.every = max(1, round(self.settings.save_every_fs / self.settings.timestep_fs))
        self.frames: list[tuple[int, np.ndarray, StepResult]] = []
        self.oxidation: list[np.ndarray] = []
        self.segments: list[Path] = []
        self._stopped: FrameRefusal | None = None
        self._spent_s = 0.0
        self._started = time.monotonic()
        record = self.checkpoint.load("state")
        if record is None:
            self._take(self.md.start(spec.rng))
        else:
            self.md.restore(record)
            self._stopped = FrameRefusal(str(record["stopped"])) if str(record["stopped"]) else None
            self._spent_s = float(record["spent_s"])
            self.segments = [self.checkpoint.path(name) for name in json.loads(str(record["segments"]))]
        name = f"{spec.atoms.get_chemical_formula(empirical=False)} at {spec.temperature_K:g} K"
        self.progress = Progress(name, self.total, done=self.steps_done, timestep_fs=self.settings.timestep_fs)

    @property
    def steps_done(self) -> int:
        """MD steps so far, equilibration included."""
        return self.md.state.step

    @property
    def time_ps(self) -> float:
        """Recorded time within the requested length."""
        return max(min(self.steps_done, self.total) - self.skip, 0) * self.settings.timestep_fs / FS_PER_PS

    @property
    def ended(self) -> bool:
        """Whether the trajectory is complete or was ended by the gate or a guard."""
        return self._stopped is not None or self.steps_done >= self.total

    @property
    def position(self) -> str:
        """Recorded time and MD step, for messages."""
        return f"at {self.time_ps:.3g} ps (step {self.steps_done})"

    def advance(self) -> None:
        """One step; notes the frame when one is due and why the run ends when it does."""
        result = self.md.step()
        if result.outcome is GateOutcome.STOP:
            self._stopped = result.reason
            return
        self._take(result)
        self.progress.update(self.steps_done, f"spread {result.spread_eV_A:.2f} eV/Å, {result.temperature_K:.0f} K")
        if len(self.frames) >= SEGMENT_FRAMES:
            self.save()

    def _take(self, result: StepResult) -> None:
        step = self.steps_done - self.skip
        if step >= 0 and step % self.every == 0 and result.outcome is not GateOutcome.STOP:
            self.frames.append((step, self.md.state.positions_A.copy(), result))
            if self.md.electrons is not None:
                self.oxidation.append(self.md.electrons.oxidation.copy())

    def save(self, last: bool = False) -> None:
        """Write the frames as a segment, then the state that continues behind it."""
        if self.frames or (last and not self.segments):
            atoms = self.md.atoms
            steps = np.array([step for step, _, _ in self.frames], dtype=np.int64)
            positions = [positions for _, positions, _ in self.frames]
            results = [result for _, _, result in self.frames]
            trajectory = Trajectory(
                numbers=atoms.numbers,
                positions_A=np.array(positions).reshape(-1, len(atoms), 3),
                cell_A=np.asarray(atoms.cell),
                steps=steps,
                time_fs=steps * self.settings.timestep_fs,
                temperature_K=np.array([result.temperature_K for result in results]),
                energy_eV=np.array([result.energy_eV for result in results]),
                spread_eV_A=np.array([result.spread_eV_A for result in results]),
                oxidation=self._oxidation(),
            )
            path = self.checkpoint.path(f"segment{len(self.segments):06d}.h5")
            write_segment(path, trajectory)
            self.segments.append(path)
            self.frames, self.oxidation = [], []
        self._save_state()

    def _oxidation(self) -> np.ndarray | None:
        """Oxidation states (T, n) of the frames that are not written yet."""
        if self.md.electrons is None:
            return None
        return np.array(self.oxidation, dtype=np.int8).reshape(-1, len(self.md.atoms))

    def _hops(self) -> np.ndarray | None:
        """Electron hops within the recorded time, columns `redoxmd.files.trajectory.HOP_COLUMNS`."""
        if self.md.electrons is None:
            return None
        hops = np.array(self.md.electrons.hops, dtype=float).reshape(-1, len(HOP_COLUMNS))
        hops = hops[(hops[:, 0] >= self.skip) & (hops[:, 0] < self.total)]
        hops[:, 0] = (hops[:, 0] - self.skip) * self.settings.timestep_fs
        return hops

    def finish(self) -> ProductionSummary:
        """Write the trajectory and the state from which a longer one continues, in the place of the segments."""
        self.save(last=True)
        speed = ns_per_day(self.settings.timestep_fs, self._wall_time_s() / max(self.steps_done, 1))
        end_reason = self._stopped if self._stopped and self.steps_done <= self.total else COMPLETED
        request = parse_name(self.spec.metadata["structure"])
        metadata = {
            **self.spec.metadata,
            "x": request.x,
            "temperature_K": self.spec.temperature_K,
            "replica": request.seed,
            "timestep_fs": self.settings.timestep_fs,
            "equilibration_ps": self.settings.equilibration_ps,
            "end_reason": end_reason,
            "ns_per_day": speed,
            "evaluation": self.md.batch.description,
        }
        if self.md.electrons is not None:
            shortlist = self.md.electrons.shortlist
            metadata |= {"swaps_checked": shortlist.checked, "swaps_missed": shortlist.missed}
        join_segments(self.segments, self.spec.output, metadata, last_step=self.total - self.skip, hops=self._hops())
        summary = ProductionSummary(end_reason, self.time_ps, speed)
        # A cut trajectory resumes from its segments, which are longer.
        if self.steps_done <= self.total:
            # Named by its end: until the state says otherwise, the segments it was joined from still count.
            whole = f"whole{self.steps_done:012d}.h5"
            self.checkpoint.adopt(self.spec.output, whole)
            self.segments = [self.checkpoint.path(whole)]
            self._save_state()
            self.checkpoint.keep(["state.npz", whole])
        return summary

    def _save_state(self) -> None:
        more = {"segments": json.dumps([path.name for path in self.segments]), "stopped": self._stopped or ""}
        self.checkpoint.save("state", {**self.md.state_record(), **more, "spent_s": self._wall_time_s()})

    def _wall_time_s(self) -> float:
        """Wall time so far, over all starts."""
        return self._spent_s + time.monotonic() - self._started
