"""What a reference MD leaves, kept as it comes: frames, densities, refusals; shared by both ways to drive one."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.density.store import density_key, density_keys, join_densities, write_densities
from redoxmd.engines.base import Engine, Result
from redoxmd.errors import DataError, DensityRefused, LabelRefused
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import keep_damaged, read_json, write_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.units import ASE_TIME_PER_FS

logger = logging.getLogger("redoxmd")

# Each step writes, and reads back, the file that grows: 1.7 ms a frame of 40 atoms.
FRAMES_PER_FILE = 25
REFUSED_FOLDER = "refused"
JOINED = "densities.h5"
PROVENANCE = "provenance.json"


@dataclass
class ReferenceRun:
    """Outcome of one reference MD.

    Attributes:
        frames: accepted frames, in order.
        densities: stores with the kept densities (every k-th frame), in order; `join_densities` makes one of them.
        refused_densities: {"reason", "detail", "step"} of each density left out; its frame is kept.
        refusal: {"reason", "detail", "step"} of the frame that ended the run early; None when it ran to its end.
        beyond: whether the state on disk is of a longer run, of which these are the first frames.
        saved: number of frames in restart files; `file_start` is the first of the file that grows.
    """

    frames: list[Atoms]
    densities: list[Path] = field(default_factory=list)
    refused_densities: list[dict[str, Any]] = field(default_factory=list)
    refusal: dict[str, Any] | None = None
    beyond: bool = False
    saved: int = 0
    file_start: int = 0

    @property
    def corrections(self) -> list[dict[str, Any]]:
        """What was mended on the way: {"step", and the remarks of that frame}."""
        return [
            {"step": frame.info["step"], **{key: frame.info[key] for key in REMARKS if key in frame.info}}
            for frame in self.frames
            if any(key in frame.info for key in REMARKS)
        ]


REMARKS = ("corrections", "changed_settings", "density_corrections", "density_changed_settings")


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


def make_frame(
    geometry: Atoms,
    result: Result,
    velocities_A_fs: np.ndarray,
    engine: Engine,
    *,
    config_id: str,
    step: int,
    time_fs: float,
    temperature_K: float,
) -> Atoms:
    """A labelled frame of an MD."""
    frame = result.label(
        geometry,
        config_id=config_id,
        step=step,
        time_fs=time_fs,
        temperature_K=temperature_K,
        engine=engine.name,
        settings_hash=engine.settings_hash,
        converged=True,
    )
    frame.set_velocities(velocities_A_fs / ASE_TIME_PER_FS)
    return frame


def wants_density(engine: Engine, step: int, every: int) -> bool:
    """Whether the density of a step is one of every k-th that are kept."""
    return bool(every) and step % every == 0 and "density" in engine.capabilities


def keep_density(run: ReferenceRun, frame: Atoms, engine: Engine, checkpoint: Checkpoint) -> None:
    """Write the density of the structure labelled last, in a file of its own, or why it was refused."""
    step = int(frame.info["step"])
    path = checkpoint.path(f"density{step:06d}.h5")
    try:
        density = engine.density()
    except DensityRefused as refused:
        refuse_density(run, refused, step, checkpoint)
        return
    if density is None:
        return
    write_densities(path, {density_key(frame.info["config_id"], step): density})
    run.densities.append(path)


def refuse_density(
    run: ReferenceRun, refused: DensityRefused | LabelRefused, step: int, checkpoint: Checkpoint
) -> None:
    """Record that a frame is kept without its density."""
    record = {"reason": refused.reason, "detail": refused.detail, "step": step}
    write_json(checkpoint.path(f"density{step:06d}.json"), record)
    run.refused_densities.append(record)
    logger.warning("density of frame %d refused, %s", step, refused)


def refuse_frame(
    run: ReferenceRun, refused: LabelRefused, engine: Engine, config_id: str, checkpoint: Checkpoint
) -> None:
    """End a run at a refused frame; what explains it is put aside."""
    run.refusal = {"reason": refused.reason, "detail": refused.detail, "step": len(run.frames)}
    logger.warning("%s: frame %d refused, %s", config_id, len(run.frames), refused)
    aside = checkpoint.path(REFUSED_FOLDER)
    aside.mkdir(exist_ok=True)
    for path in engine.evidence():
        shutil.copy2(path, aside / path.name)
    write_json(aside / "refusal.json", {"config_id": config_id, **run.refusal})


def set_aside(checkpoint: Checkpoint, folder: Path) -> None:
    """Move what explains a refusal out of the job's own folder, whole or not at all; an older one gives way."""
    _move(checkpoint.path(REFUSED_FOLDER), folder)


def keep_files(engine: Engine, folder: Path) -> None:
    """Move the files that an engine retains by its settings beside the results."""
    retained = getattr(engine, "retained_files", lambda: None)()
    if retained is not None:
        _move(retained, folder)


def _move(source: Path, target: Path) -> None:
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        shutil.copytree(source, new)
        if target.exists():
            target.rename(old)
        new.rename(target)
    shutil.rmtree(source)


def write_run(run: ReferenceRun, frames: str | Path, densities: str | Path) -> None:
    """Write the frames and the densities of a run, as two files."""
    write_frames(frames, run.frames)
    join_densities(densities, run.densities, {_key(frame) for frame in run.frames})


def provenance_of(engine: Engine, checkpoint: Checkpoint) -> dict[str, Any]:
    """Where the labels of a run come from; what this start did not use, for it had nothing to do, as kept before."""
    kept = checkpoint.path(PROVENANCE)
    return (read_json(kept) if kept.exists() else {}) | {
        key: value for key, value in engine.provenance().items() if value
    }


def keep_run(
    run: ReferenceRun, engine: Engine, checkpoint: Checkpoint, frames: str | Path, densities: str | Path
) -> None:
    """Keep what a longer run would go on from, once all is written; nothing of one that a refusal ended."""
    if run.refusal is not None:
        checkpoint.clear()
    elif not run.beyond:
        write_json(checkpoint.path(PROVENANCE), provenance_of(engine, checkpoint))
        checkpoint.adopt(densities, JOINED)
        checkpoint.adopt(frames, _frames_file(0))
        refused = [f"density{record['step']:06d}.json" for record in run.refused_densities]
        checkpoint.keep(["state.npz", PROVENANCE, JOINED, _frames_file(0), *refused])


def save_run(run: ReferenceRun, state: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Write the latest frames and then the state that belongs to them."""
    if run.saved - run.file_start >= FRAMES_PER_FILE:
        run.file_start = run.saved
    write_frames(checkpoint.path(_frames_file(run.file_start)), run.frames[run.file_start :])
    run.saved = len(run.frames)
    checkpoint.save("state", {**state, "frames": np.asarray(len(run.frames))})


def _frames_file(start: int) -> str:
    return f"frames{start:06d}.extxyz"


def resume_run(checkpoint: Checkpoint, steps: int) -> tuple[ReferenceRun, dict[str, Any] | None]:
    """The run as far as it had come, at most so many steps, and the state to go on from; None for a new one."""
    record = checkpoint.load("state")
    if record is None:
        # A run that starts anew, its state being damaged, would write over frames that cost days.
        for path in [*checkpoint.folder.glob("frames*.extxyz"), *checkpoint.folder.glob("density*.h5")]:
            keep_damaged(path)
        return ReferenceRun([]), None
    known = int(record["frames"])
    frames: list[Atoms] = []
    starts = [int(path.stem.removeprefix("frames")) for path in sorted(checkpoint.folder.glob("frames*.extxyz"))]
    for start in starts:
        frames[start:] = read_frames(checkpoint.path(_frames_file(start)))
    # Frames are written before the state: one more than the state knows is the frame to be done again.
    frames = frames[: min(known, steps)]
    if len(frames) < min(known, steps):
        raise DataError(
            f"{checkpoint.folder}: {len(frames)} frames where the state knows {known}; restore its files, or rename "
            "the folder and run again, which starts anew"
        )
    return ReferenceRun(
        frames,
        _stores(frames, checkpoint),
        [read_json(path) for path in _density_files(len(frames), checkpoint, ".json")],
        beyond=known > steps,
        saved=len(frames),
        file_start=min(starts[-1], len(frames)),
    ), record


def _stores(frames: Sequence[Atoms], checkpoint: Checkpoint) -> list[Path]:
    """Stores with the densities of frames: the one of the finished run, then those of single frames it lacks."""
    joined = checkpoint.path(JOINED)
    there = set(density_keys(joined)) if joined.exists() else set()
    single = [path for path in _density_files(len(frames), checkpoint, ".h5") if not there & set(density_keys(path))]
    return [joined, *single] if joined.exists() else single


def _density_files(count: int, checkpoint: Checkpoint, suffix: str) -> list[Path]:
    paths = (checkpoint.path(f"density{step:06d}{suffix}") for step in range(count))
    return [path for path in paths if path.exists()]


def _key(frame: Atoms) -> str:
    return density_key(frame.info["config_id"], int(frame.info["step"]))


def pending_densities(run: ReferenceRun, engine: Engine, every: int) -> Sequence[Atoms]:
    """Frames whose density is wanted and neither there nor refused."""
    done = {key for path in run.densities for key in density_keys(path)}
    refused = {int(record["step"]) for record in run.refused_densities}
    wanted = [frame for frame in run.frames if wants_density(engine, int(frame.info["step"]), every)]
    return [frame for frame in wanted if _key(frame) not in done and int(frame.info["step"]) not in refused]
