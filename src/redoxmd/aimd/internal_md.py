"""Reference MD that the engine drives itself, in pieces, each whole or done again."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from redoxmd.aimd.reference_run import (
    ReferenceRun,
    keep_density,
    make_frame,
    pending_densities,
    refuse_density,
    refuse_frame,
    resume_run,
    save_run,
)
from redoxmd.engines.base import MDEngine, MDSegment, ReferenceMDSettings
from redoxmd.errors import LabelRefused
from redoxmd.files.frames import bare
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import stop_on_sigterm
from redoxmd.jobs.progress import Progress
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.seeds import derive_seed
from redoxmd.units import ASE_TIME_PER_FS


def run_internal_md(
    atoms: Atoms,
    engine: MDEngine,
    settings: ReferenceMDSettings,
    rng: np.random.Generator,
    config_id: str,
    checkpoint: Checkpoint,
) -> ReferenceRun:
    """Langevin MD by the engine's own integrator; see `aimd.run_reference_md` for what a run leaves.

    It runs in pieces of `engine.chunk_steps`. A piece starts from positions, velocities and a random seed that are
    written down, so one that was killed is done again to the same end: the trajectory does not depend on where it was
    interrupted (to the SCF tolerance, for wave functions are then found anew). Densities are those of static runs on
    the kept frames. A frame's velocities are central differences of positions; those of a
    piece's first frame are the engine's own.
    """
    md = Langevin(atoms.get_masses(), settings.timestep_fs, settings.temperature_K, settings.friction_per_fs)
    run, record = resume_run(checkpoint, settings.steps)
    geometry = bare(atoms)
    # Drawn first, so that a resumed run has the same.
    base_seed = int(rng.integers(2**62))
    state = _start(atoms, md, rng) if record is None else MDState.from_record(record)
    progress = Progress(config_id, settings.steps, done=len(run.frames), unit="frames", interval_s=5.0)
    with stop_on_sigterm() as stop:
        while True:
            if _add_densities(run, engine, settings.density_every, checkpoint):
                save_run(run, state.record(), checkpoint)
            if len(run.frames) >= settings.steps or run.refusal is not None:
                return run
            steps = min(engine.chunk_steps, settings.steps - len(run.frames))
            geometry.positions = state.positions_A
            geometry.set_velocities(state.velocities_A_fs / ASE_TIME_PER_FS)
            segment = engine.run_segment(geometry, settings, steps, derive_seed(base_seed, "md", len(run.frames)))
            if segment.refusal is not None:
                # A signal to the job reaches the engine's processes as well: what they leave then is no verdict.
                stop.check(f"in {config_id}, frame {len(run.frames)} of {settings.steps}", further=False)
            _append(run, segment, state, md, geometry, engine, config_id)
            if segment.refusal is not None:
                refuse_frame(run, segment.refusal, engine, config_id, checkpoint)
            else:
                assert segment.end_positions_A is not None and segment.end_velocities_A_fs is not None
                state.positions_A, state.velocities_A_fs = segment.end_positions_A, segment.end_velocities_A_fs
                state.step += steps
                save_run(run, state.record(), checkpoint)
            progress.update(len(run.frames), f"{run.frames[-1].info['temperature_K']:.0f} K" if run.frames else "")
            stop.check(f"in {config_id}, frame {len(run.frames)} of {settings.steps}")


def _start(atoms: Atoms, md: Langevin, rng: np.random.Generator) -> MDState:
    state = md.start(atoms.positions, np.zeros((len(atoms), 3)), rng)
    if "momenta" in atoms.arrays and np.any(atoms.arrays["momenta"]):
        state.velocities_A_fs = atoms.get_velocities() * ASE_TIME_PER_FS
    return state


def _append(
    run: ReferenceRun,
    segment: MDSegment,
    state: MDState,
    md: Langevin,
    geometry: Atoms,
    engine: MDEngine,
    config_id: str,
) -> None:
    """Frames of a segment, velocities from the positions before and after each."""
    path = list(segment.positions_A)
    ahead = [*path[1:], segment.end_positions_A]
    for index, (result, positions) in enumerate(zip(segment.results, path, strict=True)):
        after = ahead[index]
        velocities = state.velocities_A_fs
        if index and after is not None:
            velocities = (after - path[index - 1]) / (2 * md.timestep_fs)
        elif index:
            velocities = (positions - path[index - 1]) / md.timestep_fs
        frame = bare(geometry)
        frame.positions = positions
        step = len(run.frames)
        here = MDState(positions, velocities, result.forces_eV_A, step, state.rng)
        run.frames.append(
            make_frame(
                frame,
                result,
                velocities,
                engine,
                config_id=config_id,
                step=step,
                time_fs=step * md.timestep_fs,
                temperature_K=md.temperature_of(here),
            )
        )


def _add_densities(run: ReferenceRun, engine: MDEngine, every: int, checkpoint: Checkpoint) -> bool:
    """Densities that are wanted and not there yet; whether there were any. Its frame tells what was mended for one."""
    pending = pending_densities(run, engine, every)
    for frame in pending:
        try:
            remarks = engine.static(bare(frame)).remarks
        except LabelRefused as refused:
            refuse_density(run, refused, int(frame.info["step"]), checkpoint)
            continue
        frame.info.update({f"density_{key}": text for key, text in remarks.items()})
        keep_density(run, frame, engine, checkpoint)
    return bool(pending)
