"""Reference molecular dynamics: what the training set is made of, in `aimd` and in `label`."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.aimd.internal_md import run_internal_md
from redoxmd.aimd.reference_run import (
    ReferenceRun,
    keep_density,
    make_frame,
    refuse_frame,
    resume_run,
    save_run,
    wants_density,
)
from redoxmd.engines.base import Engine, MDEngine, ReferenceMDSettings, Result
from redoxmd.errors import LabelRefused
from redoxmd.files.frames import bare
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import stop_on_sigterm
from redoxmd.jobs.progress import Progress
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.units import ASE_TIME_PER_FS


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

    An engine that drives its own MD (capability "md") does so; see `internal_md.run_internal_md`.

    A refused frame ends the run: what was accepted before it is kept, with the refusal beside it.
    """
    if "md" in engine.capabilities and isinstance(engine, MDEngine):
        return run_internal_md(atoms, engine, settings, rng, config_id, checkpoint)
    md = Langevin(atoms.get_masses(), settings.timestep_fs, settings.temperature_K, settings.friction_per_fs)
    run, record = resume_run(checkpoint, settings.steps)
    state = None if record is None else MDState.from_record(record)
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
                # A signal to the job reaches the engine's processes as well: what they leave then is no verdict.
                stop.check(f"in {config_id}, frame {len(run.frames)} of {settings.steps}", further=False)
                refuse_frame(run, refused, engine, config_id, checkpoint)
                break
            _append(run, geometry, latest[0], state, md, engine, config_id)
            if wants_density(engine, len(run.frames) - 1, settings.density_every):
                keep_density(run, run.frames[-1], engine, checkpoint)
            save_run(run, state.record(), checkpoint)
            progress.update(len(run.frames), f"{md.temperature_of(state):.0f} K")
            stop.check(f"in {config_id}, frame {len(run.frames)} of {settings.steps}")
    return run


def _append(
    run: ReferenceRun, geometry: Atoms, result: Result, state: MDState, md: Langevin, engine: Engine, config_id: str
) -> None:
    step = len(run.frames)
    run.frames.append(
        make_frame(
            geometry,
            result,
            state.velocities_A_fs,
            engine,
            config_id=config_id,
            step=step,
            time_fs=step * md.timestep_fs,
            temperature_K=md.temperature_of(state),
        )
    )


def _first_state(md: Langevin, atoms: Atoms, force: Any, rng: np.random.Generator) -> MDState:
    state = md.start(atoms.positions, force(atoms.positions), rng)
    if "momenta" in atoms.arrays and np.any(atoms.arrays["momenta"]):
        state.velocities_A_fs = atoms.get_velocities() * ASE_TIME_PER_FS
    return state
