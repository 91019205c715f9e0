"""The calculation of one path: ends, band and tables; in a generation also as a source of training data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from ase import Atoms

from redoxmd.config.sections import Neb, NebPath, Structures
from redoxmd.errors import PathEnd
from redoxmd.files.layout import supercell_of
from redoxmd.gate import PathRecord
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.neb.band import MakeCalculator, NoPath, find_path
from redoxmd.neb.ends import path_ends
from redoxmd.neb.profile import PROFILE, barrier_record, candidate_frames, image_frames, profile_table
from redoxmd.structures.occupation import Occupation
from redoxmd.structures.source import full_cell


@dataclass(frozen=True)
class PathTask:
    """Input of the search for one path.

    Attributes:
        frames: the structure that the path starts from; for an event all frames from before it to after it.
        calculator: makes a calculator for an image.
    """

    frames: Sequence[Atoms]
    path: NebPath
    structures: Structures
    calculator: MakeCalculator
    settings: Neb
    gate: GateSettings
    checkpoint: Checkpoint

    @property
    def metadata(self) -> dict[str, Any]:
        """Name of the path and of its structure."""
        return {"path": self.path.name, "structure": self.frames[0].info["structure"]}

    def images(self) -> list[Atoms]:
        """Images of the path.

        Raises:
            NoPath: see `find_path`.
            Interrupted: SIGTERM; the state is written.
        """
        start, md_positions_A = self.frames[0], None
        full = full_cell(self.structures, supercell_of(start.info["structure"]))
        if self.path.event:
            ends = start, self.frames[-1]
            md_positions_A = np.array([frame.positions for frame in self.frames[1:-1]]).reshape(-1, len(start), 3)
        else:
            ends = path_ends(start, full, self.path)
        occupation, name = Occupation(start, full), self.path.name
        return find_path(ends, occupation, self.calculator, self.settings, name, self.checkpoint, md_positions_A)


class PathRun(NamedTuple):
    """Result of a path.

    Attributes:
        images: the images with energy and forces of the ensemble.
        candidates: images between the gate's thresholds, without results.
        profile: columns `neb.profile.PROFILE`.
        record: path, structure, reason ("" or why there is no path) and, if there is one, its barriers.
    """

    images: list[Atoms]
    candidates: list[Atoms]
    profile: pd.DataFrame
    record: dict[str, Any]


def run_path(task: PathTask) -> PathRun:
    """The path of lowest barrier, with its profile and candidates.

    If the ends of an event relax to other sites than those of its ions, or both to the same sites, the event connects
    no two minima, and the result has no images and states the reason. Sites named in the config must be minima.

    Raises:
        NoPath: see `find_path`.
        Interrupted: SIGTERM; the state is written.
    """
    metadata = task.metadata
    try:
        images = task.images()
    except NoPath as none:
        if task.path.event is None or none.reason not in (PathEnd.LEFT_ITS_SITE, PathEnd.SAME_SITES):
            raise
        return without_path({**metadata, "reason": f"the event's ends are no two minima ({none.reason})"})
    profile = profile_table(images, task.gate)
    path_frames = image_frames(images, profile, metadata)
    record = {**metadata, "reason": "", **barrier_record(images)}
    return PathRun(path_frames, candidate_frames(path_frames, profile), profile, record)


class PathCandidates(NamedTuple):
    """Result of a path searched in a generation: candidates among its images, `neb.profile.PROFILE`, and record."""

    candidates: list[Atoms]
    profile: pd.DataFrame
    record: PathRecord


def explore_path(task: PathTask) -> PathCandidates:
    """A path found with the ensemble of a generation, and the candidates among its images (paper, section 2.6).

    If an end does not relax at its sites, or the band does not converge, the last structures are gated instead: failure
    to find a path is not an error, and these structures improve the ensemble. Structures above the high threshold, not
    finite or with a close contact are refused and never collected.

    Raises:
        Interrupted: SIGTERM; the state is written.
    """
    metadata = task.metadata
    end_reason = PathEnd.CONVERGED
    try:
        images = task.images()
    except NoPath as none:
        images, end_reason = [image for image in none.images if np.isfinite(image.positions).all()], none.reason
    profile = profile_table(images, task.gate)
    candidates = candidate_frames(image_frames(images, profile, metadata), profile)
    refused = int((profile["passage"] == GateOutcome.STOP.value).sum())
    spread_eV_A = float(profile["spread_eV_A"].max())
    record = PathRecord(
        **metadata,
        end_reason=end_reason,
        images=len(images),
        n_candidates=len(candidates),
        n_refused=refused,
        max_spread_eV_A=spread_eV_A,
    )
    return PathCandidates(candidates, profile, record)


def without_path(record: dict[str, Any]) -> PathRun:
    """The result if there is no path; `record` has path and reason."""
    return PathRun([], [], pd.DataFrame(columns=list(PROFILE)), {"structure": "", **record})
