"""Ensemble MD under the uncertainty gate: survived time and candidates."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from redoxmd.config.sections import Electrons, Explore
from redoxmd.errors import SURVIVED, DataError, FrameRefusal
from redoxmd.gate import ExploreRecord
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.jobs.resumable import run_resumable
from redoxmd.md.electrons import Hop
from redoxmd.md.ensemble import StepResult, TrajectoryMD, ensemble_md
from redoxmd.md.forces import ForceEvaluator
from redoxmd.md.frame_gate import GateOutcome, GateSettings, conformal_factor
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from redoxmd.units import FS_PER_PS

logger = logging.getLogger("redoxmd")

# Guards that can end a run while the spread is small.
GUARDS_BESIDE_SPREAD = (FrameRefusal.CLOSE_CONTACT, FrameRefusal.TEMPERATURE_RUNAWAY)


@dataclass
class ExploreRun:
    """Outcome of one run.

    Attributes:
        structure: name of the start.
        end_reason: `redoxmd.errors.SURVIVED`, or why it ended.
        survived_ps, target_ps: time reached and asked for.
        candidates: frames to label, `info` structure, step, time_fs, spread_eV_A; of a precursor `ended`, the guard.
        trace: columns time_fs, spread_eV_A, temperature_K, candidate.
        steps_per_s: speed.
    """

    structure: str
    end_reason: str
    survived_ps: float
    target_ps: float
    candidates: list[Atoms]
    trace: pd.DataFrame
    steps_per_s: float

    def record(self) -> ExploreRecord:
        """The record that the gate reads."""
        spread_eV_A = float(self.trace["spread_eV_A"].max())
        times = self.survived_ps, self.target_ps
        return ExploreRecord(
            self.structure, self.end_reason, *times, len(self.candidates), self.steps_per_s, spread_eV_A
        )


def bound_factor(ensemble: Ensemble, settings: Explore) -> float:
    """Factor from the spread of a frame to the quantity of the gate: 1, or that of the bound of its force error.

    The bound covers the share `gate_coverage` of frames drawn like the validation frames (`conformal_factor`).

    Raises:
        DataError: the ensemble has no calibration, or too few validation frames for the coverage.
    """
    if settings.gate_on == "raw":
        return 1.0
    calibration, coverage = ensemble.calibration or {}, settings.gate_coverage
    if "ratios" not in calibration:
        raise DataError(
            "the ensemble has no calibration of the gate, because an earlier version made it; make it again (snakemake "
            "--forcerun ensemble), or set explore.gate_on: raw"
        )
    ratios = calibration["ratios"].get(settings.statistic, [])
    factor = conformal_factor(ratios, coverage)
    if not math.isfinite(factor):
        raise DataError(
            f"the gate cannot cover {coverage:g} of the errors with {len(ratios)} validation frames; it needs "
            f"{math.ceil(coverage / (1 - coverage) - 1e-9)}. Lower explore.gate_coverage, name more "
            "train.validation_configurations, or set explore.gate_on: raw"
        )
    logger.info("gate on the force error: %.2f times the spread covers %g of the frames", factor, coverage)
    return factor


def explore(
    atoms: Atoms,
    evaluator: ForceEvaluator,
    settings: Explore,
    length_ps: float,
    rng: np.random.Generator,
    structure: str,
    checkpoint: Checkpoint,
    electrons: Electrons | None = None,
    factor: float = 1.0,
) -> ExploreRun:
    """Run NVT MD until `length_ps` or until gate or guards end it (paper, section 2.6).

    A frame beyond the high threshold, not finite, with a close contact or run away is never collected; between the
    thresholds at most one frame per `candidate_every_fs` is. Where a guard ends a run that the spread let pass, the
    ensemble was surely wrong: the last sound frame on the way there, at most `candidate_every_fs` earlier, is a
    candidate too, whatever its spread (its `info["ended"]` names the guard). `atoms` is the start; velocities are
    drawn from `rng`. With a potential that distinguishes oxidation states, electrons move as `electrons` says, and
    candidates have their states; a hop of which the members' energies spread by more than `electrons.hop_spread_eV`
    gives two candidates of one geometry, before and after it, at most once per `candidate_every_fs`. The thresholds
    are for `factor` times the spread (`bound_factor`), and so are the spreads of trace and candidates.

    The state is in `checkpoint`, also at the end: on a CPU a run that was stopped and continued, or extended, gives the
    same numbers as an uninterrupted one.
    """
    md = ensemble_md(
        evaluator,
        atoms,
        Langevin(atoms.get_masses(), settings.timestep_fs, settings.temperature_K, settings.friction_per_fs),
        GateSettings(
            settings.low_eV_A / factor,
            settings.high_eV_A / factor,
            settings.statistic,
            settings.min_distance_fraction,
            settings.max_temperature_factor,
        ),
        electrons,
    )
    steps = round(length_ps * FS_PER_PS / settings.timestep_fs)
    hop_spread_eV = electrons.hop_spread_eV if electrons is not None else np.inf
    recorder = _Recorder(settings, structure, hop_spread_eV, factor)
    record = checkpoint.load("state")
    spent_s, started = 0.0, time.monotonic()
    if record is None or int(record["step"]) > steps:
        result = md.start(rng)
        recorder.take(result, md)
    else:
        md.restore(record)
        seen = json.loads(str(record["seen"]))
        # Earlier versions wrote `passage`.
        outcome = seen.pop("passage", None) or seen.pop("outcome")
        reason = seen.pop("reason")
        result = StepResult(GateOutcome(outcome), FrameRefusal(reason) if reason else None, **seen)
        recorder.restore(record, atoms)
        spent_s = float(record["spent_s"])
    progress = Progress(f"explore {structure}", steps, done=md.state.step, timestep_fs=settings.timestep_fs)

    def advance(stop: StopRequest) -> Iterator[str]:
        nonlocal result
        yield f"at step {md.state.step} of {steps}"
        while result.outcome is not GateOutcome.STOP and md.state.step < steps:
            result = md.step()
            recorder.take(result, md)
            progress.update(
                md.state.step, f"spread {factor * result.spread_eV_A:.2f} eV/Å, {result.temperature_K:.0f} K"
            )
            yield f"at step {md.state.step} of {steps}"

    def save() -> None:
        last = {**asdict(result), "outcome": result.outcome.value, "reason": result.reason or ""}
        more = {"seen": json.dumps(last), "spent_s": spent_s + time.monotonic() - started}
        checkpoint.save("state", {**md.state_record(), **recorder.record(), **more})

    run_resumable(advance, save)
    # A run that ends at its start makes no step, and `run_resumable` does not save its state.
    save()
    spent_s += time.monotonic() - started
    recorder.finish(result)
    time_ps = md.state.step * settings.timestep_fs / FS_PER_PS
    return ExploreRun(
        structure,
        result.reason or SURVIVED,
        time_ps,
        length_ps,
        recorder.candidates,
        pd.DataFrame(recorder.rows, columns=["time_fs", "spread_eV_A", "temperature_K", "candidate"]),
        md.state.step / max(spent_s, 1e-9),
    )


class _Recorder:
    """Keeps the trace and the candidates of a run."""

    def __init__(self, settings: Explore, structure: str, hop_spread_eV: float, factor: float = 1.0) -> None:
        self.settings = settings
        self.structure = structure
        self.hop_spread_eV = hop_spread_eV
        self.factor = factor
        self.rows: list[tuple[float, float, float, bool]] = []
        self.candidates: list[Atoms] = []
        self._next_trace_fs = 0.0
        self._next_candidate_fs = 0.0
        self._sound: Atoms | None = None
        self._next_sound_fs = 0.0

    def record(self) -> dict[str, Any]:
        """Plain arrays and text for a restart file."""
        frames = [*self.candidates, *([] if self._sound is None else [self._sound])]
        due = [self._next_trace_fs, self._next_candidate_fs, self._next_sound_fs]
        return {
            "rows": np.array(self.rows, dtype=float).reshape(-1, 4),
            "due_fs": np.array(due),
            "frame_positions_A": np.array([frame.positions for frame in frames]),
            "frame_momenta": np.array([frame.arrays["momenta"] for frame in frames]),
            "frame_infos": json.dumps([frame.info for frame in frames]),
            "frame_oxidation": np.array([frame.arrays["oxidation"] for frame in frames if "oxidation" in frame.arrays]),
            "candidates": np.asarray(len(self.candidates)),
        }

    def restore(self, record: dict[str, Any], atoms: Atoms) -> None:
        """Continue from `record`; `atoms` is the start."""
        self.rows = [(*row[:3], bool(row[3])) for row in record["rows"].tolist()]
        self._next_trace_fs, self._next_candidate_fs, self._next_sound_fs = record["due_fs"].tolist()
        frames = []
        for number, info in enumerate(json.loads(str(record["frame_infos"]))):
            frame = atoms.copy()
            frame.positions = record["frame_positions_A"][number]
            if len(record.get("frame_oxidation", ())):
                frame.set_array("oxidation", record["frame_oxidation"][number])
            frame.set_array("momenta", record["frame_momenta"][number])
            frame.info = info
            frames.append(frame)
        count = int(record["candidates"])
        self.candidates, rest = frames[:count], frames[count:]
        self._sound = rest[0] if rest else None

    def take(self, result: StepResult, md: TrajectoryMD) -> None:
        """Record the step if a trace row, a candidate or a precursor is due."""
        time_fs = md.state.step * self.settings.timestep_fs
        hop = self._uncertain_hop(md)
        uncertain = result.outcome is GateOutcome.CANDIDATE or (hop is not None and not result.reason)
        collect = uncertain and time_fs >= self._next_candidate_fs
        if collect:
            self._next_candidate_fs = time_fs + self.settings.candidate_every_fs
            frame = self._frame(result, md)
            self.candidates += (
                [frame]
                if hop is None or md.electrons is None
                else _before_and_after(frame, md.electrons.hops_at(md.state.step - 1), hop)
            )
        if result.outcome is not GateOutcome.STOP and time_fs >= self._next_sound_fs:
            self._next_sound_fs = time_fs + self.settings.candidate_every_fs
            self._sound = self._frame(result, md)
        if collect or result.outcome is GateOutcome.STOP or time_fs >= self._next_trace_fs:
            self._next_trace_fs = time_fs + self.settings.trace_every_fs
            self.rows.append((time_fs, self.factor * result.spread_eV_A, result.temperature_K, collect))

    def finish(self, result: StepResult) -> None:
        """Add the last frame before an end by a guard while the spread was below the high threshold."""
        if result.reason not in GUARDS_BESIDE_SPREAD or self._sound is None:
            return
        self._sound.info["ended"] = result.reason
        # A hop gives two candidates of one step, in different states.
        others = []
        for frame in self.candidates:
            if _same_frame(frame, self._sound):
                self._sound.info = {**frame.info, **self._sound.info}
            else:
                others.append(frame)
        self.candidates = [*others, self._sound]

    def _uncertain_hop(self, md: TrajectoryMD) -> Hop | None:
        """The hop with the largest spread at the beginning of the last step, if it exceeds the limit."""
        hops = [] if md.electrons is None else md.electrons.hops_at(md.state.step - 1)
        widest = max(hops, key=lambda hop: hop.spread_eV, default=None)
        return widest if widest is not None and widest.spread_eV > self.hop_spread_eV else None

    def _frame(self, result: StepResult, md: TrajectoryMD) -> Atoms:
        frame = md.frame()
        frame.info = {
            "structure": self.structure,
            "step": md.state.step,
            "time_fs": md.state.step * self.settings.timestep_fs,
            "spread_eV_A": self.factor * result.spread_eV_A,
            "temperature_K": result.temperature_K,
        }
        return frame


def _same_frame(frame: Atoms, other: Atoms) -> bool:
    """Whether two frames of a run are of one step and in the same oxidation states."""
    states = [tuple(item.arrays.get("oxidation", ())) for item in (frame, other)]
    return frame.info["step"] == other.info["step"] and states[0] == states[1]


def _before_and_after(frame: Atoms, hops: Sequence[Hop], hop: Hop) -> list[Atoms]:
    """The frame in the states after and before one of the hops of a step; `hops` has the last one first."""
    frames = [frame, frame.copy()]
    # A step can have several hops, also one that reverses another.
    for later in hops[: hops.index(hop)]:
        for member in frames:
            _reverse(member, later)
    _reverse(frames[1], hop)
    for member in frames:
        member.info["hop_spread_eV"] = hop.spread_eV
    return frames


def _reverse(frame: Atoms, hop: Hop) -> None:
    state = frame.arrays["oxidation"]
    state[[hop.donor, hop.acceptor]] = state[[hop.acceptor, hop.donor]]
