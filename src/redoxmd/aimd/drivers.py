"""Both ways to advance a reference MD: step by step with the engine's forces, or by the engine's own integrator."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.aimd.reference_md import ReferenceMD
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines.base import Engine, ReferenceMDSettings, Result
from redoxmd.errors import LabelRefused
from redoxmd.files.frames import bare
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.resumable import run_resumable
from redoxmd.seeds import derive_seed
from redoxmd.units import ASE_TIME_PER_FS


def run_reference_md(
    atoms: Atoms,
    engine: Engine,
    settings: ReferenceMDSettings,
    rng: np.random.Generator,
    config_id: str,
    checkpoint: Checkpoint,
    levels: OxidationLevels | None = None,
    tries: int = 1,
) -> ReferenceMD:
    """Langevin MD by the reference engine (paper, section 2.2), each frame saved as it comes.

    `settings.steps` frames are labelled, the starting geometry first. Velocities continue from `atoms` when it has
    momenta and are drawn at the set temperature otherwise. A refused frame ends the run: the frames accepted before it
    are kept, with the refusal beside them. With `levels`, frames get their oxidation states, and one in a wrong
    electronic state is refused after `tries` starts of its electrons. An engine with an MD of its own (capability "md")
    drives it.

    Raises:
        Interrupted: SIGTERM; the state is saved.
    """
    driver = InternalMD if "md" in engine.capabilities else StepwiseMD
    md = driver(atoms, engine, settings, rng, config_id, checkpoint, levels, tries)
    run_resumable(md.run, md.save, save_every_s=0)
    return md


class StepwiseMD(ReferenceMD):
    """Reference MD by `redoxmd.md.langevin.Langevin`, one calculation for each step.

    After an interruption a DFT engine starts its next SCF from scratch, so the continuation agrees to its SCF
    tolerance, and exactly for engines without memory.
    """

    def advance(self, stop: StopRequest) -> None:
        """One step."""
        results: list[Result] = []

        def force(positions_A: np.ndarray) -> np.ndarray:
            self.geometry.positions = positions_A
            if self.search is None:
                results.append(self.engine.calculate(self.geometry))
            else:
                results.append(self.search.label(self.engine, self.geometry, len(self.frames), self.oxidation))
            return results[-1].forces_eV_A

        try:
            if self.state is None:
                self.state = self.start_state(force(self.atoms.positions))
            else:
                self.md.step(self.state, force)
        except LabelRefused as refused:
            # A signal to the job reaches the engine's processes as well: what they leave then is no verdict.
            stop.check(self.position, further=False)
            self.refuse_frame(refused)
            return
        self.append(results[-1], self.geometry.positions, self.state.velocities_A_fs)
        if self.wants_density(len(self.frames) - 1):
            self.keep_density(self.frames[-1], results[-1])


class InternalMD(ReferenceMD):
    """Reference MD by the engine's own integrator, in segments of `engine.chunk_steps`.

    A segment starts from positions, velocities and a random seed that are written down, so one that was killed is done
    again to the same end: the trajectory does not depend on where it was interrupted (to the SCF tolerance, for wave
    functions are then computed again). Densities are those of static runs on the kept frames. A frame's velocities are
    central differences of positions; those of a segment's first frame are the engine's own.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Drawn first, so that a resumed run has the same.
        self._base_seed = int(self.rng.integers(2**62))
        if self.state is None:
            self.state = self.start_state(np.zeros((len(self.atoms), 3)))

    @property
    def finished(self) -> bool:
        """Whether frames and their densities are there."""
        return super().finished and not self.pending_densities()

    @property
    def position(self) -> str:
        """Number of frames, and of densities that are still to be calculated for them."""
        pending = len(self.pending_densities())
        return super().position + (f", {pending} densities to calculate" if pending else "")

    def advance(self, stop: StopRequest) -> None:
        """One static run for a density, or one segment."""
        pending = self.pending_densities()
        if not pending:
            self._run_segment(stop)
            return
        frame = pending[0]
        try:
            result = self.engine.static(bare(frame))
            if self.search is not None:
                result = self.search.judge(result, frame)
        except LabelRefused as refused:
            stop.check(self.position, further=False)
            self.refuse_density(refused, int(frame.info["step"]))
            return
        # The frame names the corrections of this calculation too.
        frame.info.update({f"density_{key}": text for key, text in result.remarks.items()})
        self.keep_density(frame, result)

    def _run_segment(self, stop: StopRequest) -> None:
        assert self.state is not None
        steps = min(self.engine.chunk_steps, self.settings.steps - len(self.frames))
        self.geometry.positions = self.state.positions_A
        self.geometry.set_velocities(self.state.velocities_A_fs / ASE_TIME_PER_FS)
        seed = derive_seed(self._base_seed, "md", len(self.frames))
        segment = self.engine.run_segment(self.geometry, self.settings, steps, seed)
        if segment.refusal is not None:
            stop.check(self.position, further=False)
        path = list(segment.positions_A)
        ahead = [*path[1:], segment.end_positions_A]
        for index, (result, positions) in enumerate(zip(segment.results, path, strict=True)):
            if self.search is not None:
                try:
                    result = self.search.judge(result, self.geometry)
                except LabelRefused as refused:
                    segment.refusal = refused
                    break
            after, velocities = ahead[index], self.state.velocities_A_fs
            if index and after is not None:
                velocities = (after - path[index - 1]) / (2 * self.md.timestep_fs)
            elif index:
                velocities = (positions - path[index - 1]) / self.md.timestep_fs
            self.append(result, positions, velocities)
        if segment.refusal is not None:
            self.refuse_frame(segment.refusal)
        else:
            assert segment.end_positions_A is not None and segment.end_velocities_A_fs is not None
            self.state.positions_A, self.state.velocities_A_fs = segment.end_positions_A, segment.end_velocities_A_fs
            self.state.step += steps
