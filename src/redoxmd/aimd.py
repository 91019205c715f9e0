"""Reference molecular dynamics: what the training set is made of, in `aimd` and in `label`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from redoxmd.checkpoint import Checkpoint
from redoxmd.density.store import density_key, write_densities
from redoxmd.engines.base import Engine, Result
from redoxmd.errors import DataError, DensityRefused, LabelRefused
from redoxmd.frames import bare, labelled, read_frames, write_frames
from redoxmd.interrupt import stop_on_sigterm
from redoxmd.md import Langevin, MDState
from redoxmd.progress import Progress
from redoxmd.records import read_json, write_json
from redoxmd.units import ASE_TIME_PER_FS

logger = logging.getLogger("redoxmd")


class ReferenceMDSettings(Protocol):
    """What `aimd` and `label` have in common."""

    steps: int
    timestep_fs: float
    temperature_K: float
    friction_per_fs: float
    density_every: int


@dataclass
class ReferenceRun:
    """Outcome of one reference MD.

    Attributes:
        frames: accepted frames, in order.
        densities: one file per kept density, in order (every k-th frame); `densities.join_densities` makes one.
        refused_densities: {"reason", "detail", "step"} of each density left out; its frame is kept.
        refusal: {"reason", "detail", "step"} of the frame that ended the run early; None when it ran to its end.
    """

    frames: list[Atoms]
    densities: list[Path] = field(default_factory=list)
    refused_densities: list[dict[str, Any]] = field(default_factory=list)
    refusal: dict[str, Any] | None = None


def run_reference_md(
    atoms: Atoms,
    engine: Engine,
    settings: ReferenceMDSettings,
    rng: np.random.Generator,
    config_id: str,
    checkpoint: Checkpoint,
) -> ReferenceRun:
    """Langevin MD by the reference engine (paper, section 2.2), each frame kept as it comes.

    `settings.steps` frames are labelled, the starting geometry first. Velocities continue from `atoms` when it has
    momenta and are drawn at the set temperature otherwise. After an interruption the next call goes on behind the
    last finished frame; a DFT engine then starts its next SCF from scratch, so the continuation agrees to its SCF
    tolerance, and exactly for engines without memory.

    A refused frame ends the run: what was accepted before it is kept, with the refusal beside it.
    """
    md = Langevin(atoms.get_masses(), settings.timestep_fs, settings.temperature_K, settings.friction_per_fs)
    run, state = _resume(checkpoint)
    progress = Progress(config_id, settings.steps, done=len(run.frames), unit="frames", interval_s=5.0)
    geometry = bare(atoms)
    latest: list[Result] = []

    def force(positions: np.ndarray) -> np.ndarray:
        geometry.positions = positions
        latest[:] = [engine.calculate(geometry)]
        return latest[0].forces_eV_A

    with stop_on_sigterm() as stop:
        while len(run.frames) < settings.steps and run.refusal is None:
            try:
                if state is None:
                    state = _first_state(md, atoms, force, rng)
                else:
                    md.step(state, force)
            except LabelRefused as refused:
                run.refusal = {"reason": refused.reason, "detail": refused.detail, "step": len(run.frames)}
                logger.warning("%s: frame %d refused, %s", config_id, len(run.frames), refused)
                break
            run.frames.append(_frame(geometry, latest[0], state, md, engine, config_id, len(run.frames)))
            _keep_density(run, engine, settings.density_every, checkpoint)
            _save(run, state, checkpoint)
            progress.update(len(run.frames), f"{md.temperature_of(state):.0f} K")
            stop.check(f"in {config_id}, frame {len(run.frames)} of {settings.steps}")
    return run


def require_frames(run: ReferenceRun, config_id: str) -> None:
    """Refuse a run without a single accepted frame.

    Raises:
        DataError: names the reason of the first refusal.
    """
    if not run.frames:
        refusal = run.refusal or {}
        raise DataError(
            f"aimd of {config_id} gave no frame: {refusal.get('reason')}, {refusal.get('detail')}; "
            "change the start or the engine settings"
        )


def _first_state(md: Langevin, atoms: Atoms, force: Any, rng: np.random.Generator) -> MDState:
    state = md.start(atoms.positions, force(atoms.positions), rng)
    if "momenta" in atoms.arrays and np.any(atoms.arrays["momenta"]):
        state.velocities_A_fs = atoms.get_velocities() * ASE_TIME_PER_FS
    return state


def _frame(
    geometry: Atoms, result: Result, state: MDState, md: Langevin, engine: Engine, config_id: str, step: int
) -> Atoms:
    frame = labelled(
        geometry,
        result.energy_eV,
        result.forces_eV_A,
        result.stress_eV_A3,
        result.moments_muB,
        config_id=config_id,
        step=step,
        time_fs=step * md.timestep_fs,
        temperature_K=md.temperature_of(state),
        engine=engine.name,
        settings_hash=engine.settings_hash,
        converged=True,
    )
    frame.set_velocities(state.velocities_A_fs / ASE_TIME_PER_FS)
    return frame


def _keep_density(run: ReferenceRun, engine: Engine, every: int, checkpoint: Checkpoint) -> None:
    """Write the density of the last frame when it is one of every k, in a file of its own."""
    step = len(run.frames) - 1
    if not every or step % every or "density" not in engine.capabilities:
        return
    try:
        density = engine.density()
    except DensityRefused as refused:
        record = {"reason": refused.reason, "detail": refused.detail, "step": step}
        write_json(checkpoint.path(f"density{step:06d}.json"), record)
        run.refused_densities.append(record)
        logger.warning("density of frame %d refused, %s", step, refused)
        return
    if density is None:
        return
    path = checkpoint.path(f"density{step:06d}.h5")
    write_densities(path, {density_key(run.frames[-1].info["config_id"], step): density})
    run.densities.append(path)


def _save(run: ReferenceRun, state: MDState, checkpoint: Checkpoint) -> None:
    write_frames(checkpoint.path("frames.extxyz"), run.frames)
    checkpoint.save("state", {**state.record(), "frames": np.asarray(len(run.frames))})


def _resume(checkpoint: Checkpoint) -> tuple[ReferenceRun, MDState | None]:
    record = checkpoint.load("state")
    if record is None:
        return ReferenceRun([]), None
    # Frames are written before the state: one more than the state knows is the frame to be done again.
    frames = read_frames(checkpoint.path("frames.extxyz"))[: int(record["frames"])]
    densities = [checkpoint.path(f"density{step:06d}.h5") for step in range(len(frames))]
    refused = [read_json(path) for path in (path.with_suffix(".json") for path in densities) if path.exists()]
    run = ReferenceRun(frames, [path for path in densities if path.exists()], refused)
    return run, MDState.from_record(record)
