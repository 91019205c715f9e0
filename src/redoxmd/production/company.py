"""A production job that moves trajectories of later jobs along with its own: one GPU, the same job graph."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from redoxmd.config import with_settings
from redoxmd.config.sections import Config
from redoxmd.errors import DataError
from redoxmd.files.frames import read_frames
from redoxmd.files.layout import trajectory_lengths_ps, trajectory_settings
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import stop_on_sigterm
from redoxmd.model.ensemble import Ensemble
from redoxmd.production.run import Planned, ProductionSummary, produce
from redoxmd.production.together import produce_together
from redoxmd.seeds import derive_rng

logger = logging.getLogger("redoxmd")

ASK_AGAIN_S = 5.0


@dataclass(frozen=True)
class ProductionJob:
    """What the job of one trajectory knows, and thereby of every other trajectory of the run.

    Attributes:
        config: of the run.
        structure, temperature: its name, as in file names.
        start, state, output: its files; those of the others stand beside them.
        model: identity of the ensemble.
        version: of the stage.
    """

    config: Config
    structure: str
    temperature: str
    start: Path
    state: Path
    output: Path
    model: str
    version: int

    def planned(self) -> Planned:
        """Its own trajectory."""
        return self._planned(Checkpoint(self.state, self._fingerprint()), self.output)

    def others(self) -> Iterator[ProductionJob]:
        """Jobs of the run's other trajectories, those after it first."""
        names = list(trajectory_lengths_ps(self.config.production))
        own = names.index((self.structure, self.temperature))
        for structure, temperature in names[own + 1 :] + names[:own]:
            yield ProductionJob(
                self.config,
                structure,
                temperature,
                self.start.with_name(f"{structure}.extxyz"),
                self.state.with_name(f"{structure}_T{temperature}K"),
                self.output.with_name(f"{structure}_T{temperature}K.h5"),
                self.model,
                self.version,
            )

    def to_take_along(self) -> Planned | None:
        """Its trajectory without the output; None if it has no start, is complete or has a state of other settings."""
        if not self.start.exists() or (self.state.exists() and not Checkpoint.fits(self.state, self._fingerprint())):
            return None
        planned = self._planned(Checkpoint(self.state, self._fingerprint()), None)
        return None if planned.complete else planned

    @property
    def settings(self) -> dict[str, object]:
        """What it is run with, as its rule says it."""
        lengths = trajectory_lengths_ps(self.config.production)
        return trajectory_settings(self.config.production, lengths[self.structure, self.temperature])

    def _fingerprint(self) -> list[object]:
        # Without the length: a finished trajectory is made longer or cut, not run again.
        given = {key: value for key, value in self.settings.items() if key != "length_ps"}
        return [file_sha256(self.start), self.model, given, self.temperature, self.config.seed, self.version]

    def _planned(self, checkpoint: Checkpoint, output: Path | None) -> Planned:
        (atoms,) = read_frames(self.start)
        return Planned(
            atoms,
            with_settings(self.config.production, self.settings),
            float(self.temperature),
            derive_rng(self.config.seed, "production", self.structure, self.temperature),
            checkpoint,
            output,
            {"structure": self.structure, "mobile_ion": self.config.structures.mobile_ion, "model": self.model},
        )


def make(job: ProductionJob, ensemble: Ensemble) -> ProductionSummary:
    """Make the trajectory of a job; with `compute.batch` on the device, in company of others of the run.

    Trajectories that no other job moves and that are not complete are moved along until all have ended. Their restart
    states are then complete, and their own jobs, when they come, only write them out. A job whose trajectory another
    job is moving takes others first, and then waits for it. Who moves a trajectory holds a lock beside its state.

    Raises:
        Interrupted: asked to stop; every state is written.
    """
    compute = job.config.compute
    if compute.md == "host" or compute.batch == 1:
        return _alone(job, ensemble)
    with ExitStack() as held:
        mine = held.enter_context(_lock(job.state))
        company = [job.planned()] if mine else []
        if mine and company[0].complete:
            return _alone(job, ensemble)
        for other in job.others():
            if len(company) == compute.batch:
                break
            with ExitStack() as unsure:
                if unsure.enter_context(_lock(other.state)) and (planned := other.to_take_along()) is not None:
                    company.append(planned)
                    held.push(unsure.pop_all())
        logger.info("%d trajectories side by side", len(company))
        summaries = produce_together(company, ensemble, compute.batch)
        if mine:
            return summaries[0]
    with stop_on_sigterm() as stop:
        while True:
            with _lock(job.state) as free:
                if free:
                    return _alone(job, ensemble)
            stop.check("while another job moves this trajectory")
            time.sleep(ASK_AGAIN_S)


def _alone(job: ProductionJob, ensemble: Ensemble) -> ProductionSummary:
    own = job.planned()
    arguments = (own.settings, own.temperature_K, own.rng, own.checkpoint, job.output, own.metadata)
    return produce(own.atoms, ensemble, *arguments, job.config.compute.md)


@contextmanager
def _lock(state: Path) -> Iterator[bool]:
    """Whether the lock beside a state folder was free; held for the duration, and no longer than the process lives."""
    path = state.with_name(f"{state.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except BlockingIOError:
        free = False
    except OSError as error:
        os.close(file)
        raise DataError(f"{path}: this file system has no locks ({error}); set compute.batch: 1") from error
    try:
        yield free
    finally:
        os.close(file)
