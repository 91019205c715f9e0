"""The decision after each generation: converged, continue with these frames to label, or stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from redoxmd.config.sections import Explore, Gate
from redoxmd.errors import SURVIVED, NotConverged, PathEnd
from redoxmd.files.records import JsonRecord, read_json, typed_record, with_numbers
from redoxmd.runs.job_records import read_record


class GateStatus(StrEnum):
    """Status of the loop after a generation."""

    CONVERGED = "converged"
    NEXT_PHASE = "next_phase"
    GO_ON = "go_on"


@dataclass(frozen=True)
class ExploreRecord:
    """Outcome of an explore run (`redoxmd.explore.ExploreRun`); `end_reason` is `SURVIVED` or a `FrameRefusal`."""

    structure: str
    end_reason: str
    survived_ps: float
    target_ps: float
    n_candidates: int
    steps_per_s: float
    max_spread_eV_A: float


@dataclass(frozen=True)
class PathRecord:
    """Outcome of a path searched in a generation (`redoxmd.neb.run.explore_path`).

    Attributes:
        path, structure: names of the path and of its start.
        end_reason: a `redoxmd.errors.PathEnd`.
        images, n_candidates, n_refused: number of images, of candidates among them, and of those beyond the gate.
        max_spread_eV_A: largest spread of an image.
        settings: those of the paths, with `path` those of this one.
    """

    path: str
    structure: str
    end_reason: str
    images: int
    n_candidates: int
    n_refused: int
    max_spread_eV_A: float
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateFigures:
    """Numbers a decision rests on: thresholds, candidate rate, explore runs and paths of the generation."""

    low_eV_A: float
    high_eV_A: float
    max_candidates_per_ps: float
    candidates_per_ps: float
    runs: list[ExploreRecord]
    bands: list[PathRecord]


@dataclass(frozen=True)
class Decision(JsonRecord):
    """The decision after a generation, which the checkpoint of the workflow reads.

    Attributes:
        generation: its number.
        phase: name of the phase explored.
        status: converged (production may start), next_phase, or go_on.
        next_phase: phase the next generation explores; "" when converged.
        label_ids: frames to label before the next generation.
        reasons: one sentence each, why not converged.
        figures: the numbers behind it.
        settings: section or key → settings with which the generation was explored; "neb" only if it has paths.
    """

    generation: int
    phase: str
    status: GateStatus
    next_phase: str
    label_ids: list[str]
    reasons: list[str]
    figures: GateFigures
    settings: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As written to the decision file; without `bands` if the generation has no paths."""
        record = asdict(self)
        if not self.figures.bands:
            del record["figures"]["bands"]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The decision of a JSON record; keys that it lacks as in `redoxmd.files.records.typed_record`."""
        figures = with_numbers(record.get("figures", {}))
        figures["runs"] = [typed_record(ExploreRecord, run) for run in figures.get("runs", [])]
        figures["bands"] = [typed_record(PathRecord, band) for band in figures.get("bands", [])]
        status = {"status": GateStatus(record["status"])} if "status" in record else {}
        return typed_record(cls, {"settings": {}, **record, **status, "figures": typed_record(GateFigures, figures)})


def decide(
    generation: int,
    phase: str,
    runs: Sequence[ExploreRecord],
    label_ids: Sequence[str],
    explore: Explore,
    gate: Gate,
    bands: Sequence[PathRecord] = (),
) -> Decision:
    """Decide on a generation from the records of its explore runs and of its paths.

    A phase has converged when every run reached its full length, all runs together gave at most
    `max_candidates_per_ps` candidates per ps, every path converged with no image refused and at most the share
    `neb.max_candidate_images` of its images candidates, and `min_generations` have passed. Images have no duration and
    do not count as candidates per ps. When the last phase has converged the loop ends; when an earlier one has, the
    next phase begins, and the selected frames are still labelled and trained on.

    Raises:
        NotConverged: this was the last generation allowed; the message lists the unmet criteria.
    """
    names = [item.name for item in explore.phases]
    time_ps = sum(run.survived_ps for run in runs)
    rate = sum(run.n_candidates for run in runs) / time_ps if time_ps > 0 else float("inf")
    reasons = [
        f"{run.structure} survived {run.survived_ps:.3g} of {run.target_ps:.3g} ps ({run.end_reason})"
        for run in runs
        if run.end_reason != SURVIVED
    ]
    if rate > gate.max_candidates_per_ps:
        reasons.append(
            f"{rate:.3g} candidates per ps, more than gate.max_candidates_per_ps {gate.max_candidates_per_ps:g}"
        )
    if not runs:
        reasons.append("no explore run")
    reasons += [text for band in bands for text in _unsure(band)]
    if reasons and not label_ids:
        candidates = sum(run.n_candidates for run in runs) + sum(band.n_candidates for band in bands)
        reasons.append(
            f"no frame to label ({candidates} candidates): the next generation only trains on; if "
            "this repeats, widen explore.low_eV_A to high_eV_A or give more initial data (aimd.starts)"
        )
    if generation + 1 < gate.min_generations:
        reasons.append(f"generation {generation} of at least {gate.min_generations} asked for (gate.min_generations)")
    if reasons:
        status, next_phase = GateStatus.GO_ON, phase
    elif phase == names[-1]:
        status, next_phase = GateStatus.CONVERGED, ""
    else:
        status, next_phase = GateStatus.NEXT_PHASE, names[names.index(phase) + 1]
    if status is not GateStatus.CONVERGED and generation + 1 >= gate.max_generations:
        failing = "; ".join(reasons) or f"phase {next_phase} was still to come"
        raise NotConverged(
            f"generation {generation} was the last allowed (gate.max_generations = {gate.max_generations}) and "
            f"the ensemble has not converged: {failing}. Raise gate.max_generations to continue, or add data"
        )
    thresholds = explore.low_eV_A, explore.high_eV_A, gate.max_candidates_per_ps
    label = [] if status is GateStatus.CONVERGED else list(label_ids)
    figures = GateFigures(*thresholds, rate, list(runs), list(bands))
    return Decision(generation, phase, status, next_phase, label, reasons, figures)


def settings_when_labelled(results: Path, generation: int, name: str, now: Any) -> Any:
    """A setting with the value it had when a labelled generation was explored; `now` if it is not labelled yet.

    A changed threshold therefore holds from the next generation on, and no generation is labelled twice. The decision
    file keeps the settings (`settings`); keys that a later version of the software adds are omitted.
    """
    if not _labelled(results, generation):
        return now
    recorded = _recorded_settings(results, generation)
    if recorded is None or name not in recorded:
        return now
    value = recorded[name]
    return {key: value[key] for key in now if key in value} if isinstance(now, dict) else value


def neb_settings_when_labelled(results: Path, generation: int, now: dict[str, Any]) -> dict[str, Any]:
    """The settings of the paths of a labelled generation, {} if it had none; else `now`, as above."""
    recorded = _recorded_settings(results, generation) if _labelled(results, generation) else None
    if recorded is None:
        return now
    bands: dict[str, Any] = recorded.get("neb", {})
    return bands


def lost_decisions(results: Path) -> list[str]:
    """Paths of missing decision files of labelled generations, which must be made again.

    Snakemake does not request them by itself, and without them it does not see which later results are stale.
    """
    labelled = sorted(path.parent.name for path in results.glob("label/gen*/frames.extxyz"))
    decisions = [results / f"gate/{generation}.json" for generation in labelled]
    return [str(path) for path in decisions if not path.exists()]


def _recorded_settings(results: Path, generation: int) -> dict[str, Any] | None:
    """Settings of a labelled generation, from its decision file or, if that was removed, from its job record.

    A damaged decision file can therefore be deleted, and the gate repeats its decision.
    """
    decision = results / f"gate/gen{generation}.json"
    if decision.exists():
        return Decision.read(decision).settings
    record = read_record(Path(), str(decision))
    if record is None:
        return None
    bands = [PathRecord(**read_json(path)) for path in record["input"] if Path(path).parts[2] == "neb"]
    return record["settings"] | ({"neb": recorded_path_settings(bands)} if bands else {})


def recorded_path_settings(records: Sequence[PathRecord]) -> dict[str, Any]:
    """Settings of the paths of a generation, from their records, for its decision file; {} if it has no paths."""
    if not records:
        return {}
    common = {key: value for key, value in records[0].settings.items() if key != "path"}
    return {**common, "paths": [record.settings["path"] for record in records]}


def _labelled(results: Path, generation: int) -> bool:
    return (results / f"label/gen{generation}/frames.extxyz").exists()


def _unsure(band: PathRecord) -> list[str]:
    """Reasons why a path has not converged."""
    name, tolerated = band.path, band.settings["max_candidate_images"]
    reasons = [] if band.end_reason == PathEnd.CONVERGED else [f"path {name} was not found ({band.end_reason})"]
    if band.n_refused:
        reasons.append(f"{band.n_refused} of {band.images} images of path {name} are beyond the gate")
    if band.n_candidates > tolerated * band.images:
        reasons.append(
            f"{band.n_candidates} of {band.images} images of path {name} are candidates, more than "
            f"neb.max_candidate_images {tolerated:g}"
        )
    return reasons
