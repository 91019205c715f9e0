"""Reference MD for `aimd` and `label`, with every frame saved as soon as it is labelled."""

from __future__ import annotations

import logging
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.aimd.records import Refusal, RunRecord
from redoxmd.density.store import density_key, density_keys, join_densities, write_densities
from redoxmd.electrons.search import StateSearch, guess_order
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines.base import Engine, ReferenceMDSettings, Result
from redoxmd.errors import DataError, DensityRefusal, DensityRefused, LabelRefused
from redoxmd.files.frames import bare, read_frames, write_frames
from redoxmd.files.records import keep_damaged, read_json, write_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.units import ASE_TIME_PER_FS

logger = logging.getLogger("redoxmd")

# Each step writes, and reads back, the file that grows: 1.7 ms a frame of 40 atoms.
FRAMES_PER_FILE = 25
REFUSED_FOLDER = "refused"
JOINED = "densities.h5"
PROVENANCE = "provenance.json"
REMARKS = ("corrections", "changed_settings", "density_corrections", "density_changed_settings")


class ReferenceMD(ABC):
    """A resumable reference MD and its results; `aimd.drivers` has its two drivers.

    It continues from the frames, densities and MD state in its checkpoint.

    Args:
        atoms: starting structure; the MD continues with its momenta if it has any.
        engine: labels the frames.
        settings: of the MD.
        rng: for velocities and thermostat.
        config_id: identity of the run in its frames.
        checkpoint: restart files of this run alone.
        levels: oxidation states that frames are judged by; None: they are neither assigned nor judged.
        tries: starts of the electrons for one frame, see `StateSearch`.

    Attributes:
        frames: accepted frames, in order.
        densities: stores with the kept densities (every k-th frame), in order.
        refused_densities: refusals of densities; the frames are kept.
        refusal: of the frame that ended the run early; None otherwise.
        state: the MD state of the last frame; None before the first.
    """

    def __init__(
        self,
        atoms: Atoms,
        engine: Engine,
        settings: ReferenceMDSettings,
        rng: np.random.Generator,
        config_id: str,
        checkpoint: Checkpoint,
        levels: OxidationLevels | None = None,
        tries: int = 1,
    ) -> None:
        self.atoms, self.geometry = atoms, bare(atoms)
        self.engine, self.settings, self.rng = engine, settings, rng
        self.config_id, self.checkpoint = config_id, checkpoint
        self.md = Langevin(atoms.get_masses(), settings.timestep_fs, settings.temperature_K, settings.friction_per_fs)
        self.frames: list[Atoms] = []
        self.densities: list[Path] = []
        self.refused_densities: list[Refusal] = []
        self.refusal: Refusal | None = None
        self.state: MDState | None = None
        self._density_keys: set[str] = set()
        self._saved = self._file_start = 0
        # Whether the state on disk belongs to a longer run that begins with these frames.
        self._beyond = False
        # Drawn first, so that a resumed run has the same.
        self.search = None if levels is None else StateSearch(levels, tries, int(rng.integers(2**62)))
        self._restore()
        if levels is not None and self.state is None:
            # The engine begins in the state that is asked for, or in a likely one.
            oxidation = guess_order(self.atoms, levels) if self.oxidation is None else self.oxidation
            levels.start_in(self.geometry, oxidation)

    @property
    def oxidation(self) -> np.ndarray | None:
        """Oxidation states (n,) of the last frame, of the start before the first; None if they are unknown."""
        oxidation: np.ndarray | None = (self.frames[-1] if self.frames else self.atoms).arrays.get("oxidation")
        return oxidation

    def _restore(self) -> None:
        record = self.checkpoint.load("state")
        files = sorted(self.checkpoint.folder.glob("frames*.extxyz"))
        if record is None:
            # If the state is damaged, a new run would overwrite frames that took days.
            for path in [*files, *self.checkpoint.folder.glob("density*.h5")]:
                keep_damaged(path)
            return
        n_recorded = int(record["frames"])
        starts = [int(path.stem.removeprefix("frames")) for path in files]
        for start, path in zip(starts, files, strict=True):
            self.frames[start:] = read_frames(path)
        # Frames are written before the state; a frame that the state does not count is calculated again.
        self.frames = self.frames[: min(n_recorded, self.settings.steps)]
        count = len(self.frames)
        if count < min(n_recorded, self.settings.steps):
            raise DataError(
                f"{self.checkpoint.folder}: {count} frames where the state knows {n_recorded}; restore its files, or "
                "rename the folder and run again, which starts from the beginning"
            )
        self.state = MDState.from_record(record)
        for name in ("oxidation", "initial_magmoms"):
            if name in record:
                self.geometry.set_array(name, np.array(record[name]))
        self._beyond = n_recorded > self.settings.steps
        self._saved, self._file_start = count, min(starts[-1], count)
        # The store of the finished run, then those of single frames that are not in it.
        joined = self.checkpoint.path(JOINED)
        for path in [*([joined] if joined.exists() else []), *self._density_files(".h5")]:
            keys = set(density_keys(path))
            if not keys & self._density_keys:
                self.densities.append(path)
                self._density_keys |= keys
        self.refused_densities = [Refusal.from_json(read_json(path)) for path in self._density_files(".json")]

    def _density_file(self, step: int, suffix: str) -> Path:
        return self.checkpoint.path(f"density{step:06d}{suffix}")

    def _density_files(self, suffix: str) -> list[Path]:
        paths = (self._density_file(step, suffix) for step in range(len(self.frames)))
        return [path for path in paths if path.exists()]

    @property
    def finished(self) -> bool:
        """Whether all frames are labelled, or one was refused."""
        return len(self.frames) >= self.settings.steps or self.refusal is not None

    @property
    def position(self) -> str:
        """Number of frames."""
        return f"in {self.config_id}, frame {len(self.frames)} of {self.settings.steps}"

    def run(self, stop: StopRequest) -> Iterator[str]:
        """Do the remaining steps; yields the position after every advance."""
        progress = Progress(self.config_id, self.settings.steps, done=len(self.frames), unit="frames", interval_s=5.0)
        yield self.position
        while not self.finished:
            self.advance(stop)
            if self.frames:
                progress.update(len(self.frames), f"{self.frames[-1].info['temperature_K']:.0f} K")
            yield self.position

    @abstractmethod
    def advance(self, stop: StopRequest) -> None:
        """Label one or several frames, or end the run by a refusal."""

    def save(self) -> None:
        """Write the latest frames and then the state that belongs to them; nothing after a refusal.

        A refused run starts again at its last saved state, for the engine's settings may have changed by then.
        """
        if self.refusal is not None or self.state is None:
            return
        if len(self.frames) > self._saved and self._saved - self._file_start >= FRAMES_PER_FILE:
            self._file_start = self._saved
        write_frames(self.checkpoint.path(_frames_file(self._file_start)), self.frames[self._file_start :])
        self._saved = len(self.frames)
        start = {} if self.search is None else {name: self.geometry.arrays[name] for name in self._asked()}
        self.checkpoint.save("state", {**self.state.record(), "frames": np.asarray(len(self.frames)), **start})

    def _asked(self) -> list[str]:
        """Arrays of the geometry that ask for a state: those that a further start of the electrons changes."""
        return [name for name in ("oxidation", "initial_magmoms") if name in self.geometry.arrays]

    def start_state(self, forces_eV_A: np.ndarray) -> MDState:
        """State at the start, with its own velocities or thermal ones."""
        state = self.md.start(self.atoms.positions, forces_eV_A, self.rng)
        if "momenta" in self.atoms.arrays and np.any(self.atoms.arrays["momenta"]):
            state.velocities_A_fs = self.atoms.get_velocities() * ASE_TIME_PER_FS
        return state

    def append(self, result: Result, positions_A: np.ndarray, velocities_A_fs: np.ndarray) -> None:
        """Add a labelled frame."""
        step = len(self.frames)
        geometry = self.geometry.copy()
        geometry.positions = positions_A
        here = MDState(positions_A, velocities_A_fs, result.forces_eV_A, step, self.rng)
        frame = result.label(
            geometry,
            config_id=self.config_id,
            step=step,
            time_fs=step * self.md.timestep_fs,
            temperature_K=self.md.temperature_of(here),
            engine=self.engine.name,
            settings_hash=self.engine.settings_hash,
            converged=True,
        )
        if result.oxidation is None:
            # The geometry may have the state that was asked for, which is not one that was found.
            frame.arrays.pop("oxidation", None)
        frame.set_velocities(velocities_A_fs / ASE_TIME_PER_FS)
        self.frames.append(frame)

    def wants_density(self, step: int) -> bool:
        """Whether the density of a step is requested (every k-th step)."""
        every = self.settings.density_every
        return bool(every) and step % every == 0 and "density" in self.engine.capabilities

    def keep_density(self, frame: Atoms, result: Result) -> None:
        """Write the density of the last labelled structure, or the reason of its refusal, to a separate file.

        Args:
            frame: the frame of that structure.
            result: of the calculation that gives the density, whose moments and oxidation states are stored with it.
        """
        step = int(frame.info["step"])
        try:
            density = self.engine.density()
            if density is None:
                raise DensityRefused(DensityRefusal.UNREADABLE, "the engine gave none")
        except DensityRefused as refused:
            self.refuse_density(refused, step)
            return
        density = replace(density, moments_muB=result.moments_muB, oxidation=result.oxidation)
        path = self._density_file(step, ".h5")
        write_densities(path, {_key(frame): density})
        self.densities.append(path)
        self._density_keys.add(_key(frame))

    def refuse_density(self, refused: DensityRefused | LabelRefused, step: int) -> None:
        """Record that a frame is kept without its density."""
        record = Refusal(refused.reason, refused.detail, step)
        write_json(self._density_file(step, ".json"), record)
        self.refused_densities.append(record)
        logger.warning("density of frame %d refused, %s", step, refused)

    def refuse_frame(self, refused: LabelRefused) -> None:
        """End the run at a refused frame and copy the files that explain the refusal into the checkpoint."""
        step = len(self.frames)
        self.refusal = Refusal(refused.reason, refused.detail, step)
        logger.warning("%s: frame %d refused, %s", self.config_id, step, refused)
        aside = self.checkpoint.path(REFUSED_FOLDER)
        aside.mkdir(exist_ok=True)
        for path in self.engine.evidence():
            shutil.copy2(path, aside / path.name)
        write_json(aside / "refusal.json", {"config_id": self.config_id, **asdict(self.refusal)})

    def pending_densities(self) -> Sequence[Atoms]:
        """Frames whose density is requested and neither written nor refused."""
        refused = {refusal.step for refusal in self.refused_densities}
        steps = [step for step in range(len(self.frames)) if self.wants_density(step) and step not in refused]
        return [self.frames[step] for step in steps if _key(self.frames[step]) not in self._density_keys]

    def record(self, attempt: str) -> RunRecord:
        """The record of the run, by the hash of the engine settings of this attempt."""
        remarks = [{key: frame.info[key] for key in REMARKS if key in frame.info} for frame in self.frames]
        return RunRecord(
            n_frames=len(self.frames),
            refusal=self.refusal,
            refused_densities=self.refused_densities,
            corrections=[{"step": step} | texts for step, texts in enumerate(remarks) if texts],
            attempt=attempt,
            provenance=self.provenance(),
        )

    def require_frames(self) -> None:
        """Refuse a run without a single accepted frame.

        Raises:
            DataError: names the reason of the first refusal.
        """
        if not self.frames:
            why = f": {self.refusal.reason}, {self.refusal.detail}" if self.refusal else ""
            raise DataError(f"aimd of {self.config_id} gave no frame{why}; change the start or the engine settings")

    def provenance(self) -> dict[str, Any]:
        """Origin of the labels; entries that this start did not produce are those of the previous start."""
        path = self.checkpoint.path(PROVENANCE)
        return (read_json(path) if path.exists() else {}) | {
            key: value for key, value in self.engine.provenance().items() if value
        }

    def write(self, frames: str | Path, densities: str | Path) -> None:
        """Write the frames and the densities, as two files."""
        write_frames(frames, self.frames)
        join_densities(densities, self.densities, {_key(frame) for frame in self.frames})

    def move_side_files(self, refused: Path, retained: Path) -> None:
        """Move the files that explain a refusal, and those that the engine retains, beside the results.

        Each folder is moved whole or not at all, over an older one.
        """
        for source, target in (
            (self.checkpoint.path(REFUSED_FOLDER), refused),
            (self.engine.retained_files(), retained),
        ):
            if source is None or not source.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
                new = Path(temporary) / "new"
                shutil.copytree(source, new)
                if target.exists():
                    target.rename(Path(temporary) / "old")
                new.rename(target)
            shutil.rmtree(source)

    def retain(self, frames: str | Path, densities: str | Path) -> None:
        """Keep the state from which a longer run continues, after the results are written; none after a refusal."""
        if self.refusal is not None:
            self.checkpoint.clear()
        elif not self._beyond:
            write_json(self.checkpoint.path(PROVENANCE), self.provenance())
            self.checkpoint.adopt(densities, JOINED)
            self.checkpoint.adopt(frames, _frames_file(0))
            refused = [self._density_file(refusal.step, ".json").name for refusal in self.refused_densities]
            self.checkpoint.keep(["state.npz", PROVENANCE, JOINED, _frames_file(0), *refused])


def _frames_file(start: int) -> str:
    return f"frames{start:06d}.extxyz"


def _key(frame: Atoms) -> str:
    return density_key(frame.info["config_id"], int(frame.info["step"]))
