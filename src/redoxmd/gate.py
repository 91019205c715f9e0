"""The decision after each generation: converged, label these frames and go on, or stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from redoxmd.config.sections import Explore, Gate
from redoxmd.errors import NotConverged
from redoxmd.files.records import read_json
from redoxmd.runs.job_records import read_record


class GateStatus(StrEnum):
    """Status of the loop after a generation."""

    CONVERGED = "converged"
    NEXT_PHASE = "next_phase"
    GO_ON = "go_on"


@dataclass(frozen=True)
class Decision:
    """The decision after a generation, which the checkpoint of the workflow reads.

    Attributes:
        generation: its number.
        phase: name of the phase explored.
        status: converged (production may start), next_phase, or go_on.
        next_phase: phase the next generation explores; "" when converged.
        label_ids: frames to label before the next generation.
        reasons: one sentence each, why not converged.
        figures: survived_ps, target_ps, candidates_per_ps, end_reasons by structure; thresholds; bands, where there
            are any.
    """

    generation: int
    phase: str
    status: GateStatus
    next_phase: str
    label_ids: list[str]
    reasons: list[str]
    figures: dict[str, Any]

    def record(self) -> dict[str, Any]:
        """As written to the decision file."""
        return asdict(self)


def decide(
    generation: int,
    phase: str,
    runs: Sequence[dict[str, Any]],
    label_ids: Sequence[str],
    explore: Explore,
    gate: Gate,
    bands: Sequence[dict[str, Any]] = (),
) -> Decision:
    """Decide on a generation from the records of its explore runs and of its paths (`neb.explore`).

    A phase has converged when every run reached its full length, all runs together gave at most
    `max_candidates_per_ps` candidates per ps, every path converged with no image refused and at most the share
    `neb.max_candidate_images` of its images candidates, and `min_generations` have passed. Images have no duration and
    do not count as candidates per ps. When the last phase has converged the loop ends; when an earlier one has, the
    next phase begins, and the selected frames are still labelled and trained on.

    Raises:
        NotConverged: this was the last generation allowed; the message lists the unmet criteria.
    """
    names = [item.name for item in explore.phases]
    reasons = _shortcomings(runs, gate) + [text for band in bands for text in _unsure(band)]
    if reasons and not label_ids:
        candidates = sum(run["n_candidates"] for run in [*runs, *bands])
        reasons.append(
            f"no frame to label ({candidates} candidates): the next generation only trains on; if "
            "this repeats, widen explore.low_eV_A to high_eV_A or give more initial data (aimd.starts)"
        )
    if generation + 1 < gate.min_generations:
        reasons.append(f"generation {generation} of at least {gate.min_generations} asked for (gate.min_generations)")
    last_phase = phase == names[-1]
    if reasons:
        status, next_phase = GateStatus.GO_ON, phase
    elif last_phase:
        status, next_phase = GateStatus.CONVERGED, ""
    else:
        status, next_phase = GateStatus.NEXT_PHASE, names[names.index(phase) + 1]
    decision = Decision(
        generation,
        phase,
        status,
        next_phase,
        [] if status is GateStatus.CONVERGED else list(label_ids),
        reasons,
        _figures(runs, explore, gate) | ({"bands": [dict(band) for band in bands]} if bands else {}),
    )
    if status is not GateStatus.CONVERGED and generation + 1 >= gate.max_generations:
        raise NotConverged(_out_of_generations(decision, gate))
    return decision


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
        settings: dict[str, Any] = read_json(decision).get("settings", {})
        return settings
    record = read_record(Path(), str(decision))
    if record is None:
        return None
    from redoxmd.neb.explore import settings_of

    bands = [read_json(path) for path in record["input"] if Path(path).parts[2] == "neb"]
    return record["settings"] | ({"neb": settings_of(bands)} if bands else {})


def _labelled(results: Path, generation: int) -> bool:
    return (results / f"label/gen{generation}/frames.extxyz").exists()


def _unsure(band: dict[str, Any]) -> list[str]:
    """Reasons why a path has not converged; for its record see `neb.explore.explore_path`."""
    name, total, tolerated = band["path"], band["images"], band["settings"]["max_candidate_images"]
    reasons = [] if band["end_reason"] == "converged" else [f"path {name} was not found ({band['end_reason']})"]
    if band["n_refused"]:
        reasons.append(f"{band['n_refused']} of {total} images of path {name} are beyond the gate")
    if band["n_candidates"] > tolerated * total:
        reasons.append(
            f"{band['n_candidates']} of {total} images of path {name} are candidates, more than "
            f"neb.max_candidate_images {tolerated:g}"
        )
    return reasons


def _shortcomings(runs: Sequence[dict[str, Any]], gate: Gate) -> list[str]:
    reasons = [
        f"{run['structure']} lived {run['survived_ps']:.3g} of {run['target_ps']:.3g} ps ({run['end_reason']})"
        for run in runs
        if run["end_reason"] != "survived"
    ]
    rate = _candidates_per_ps(runs)
    if rate > gate.max_candidates_per_ps:
        reasons.append(
            f"{rate:.3g} candidates per ps, more than gate.max_candidates_per_ps {gate.max_candidates_per_ps:g}"
        )
    if not runs:
        reasons.append("no explore run")
    return reasons


def _candidates_per_ps(runs: Sequence[dict[str, Any]]) -> float:
    time_ps = sum(run["survived_ps"] for run in runs)
    candidates = sum(run["n_candidates"] for run in runs)
    return candidates / time_ps if time_ps > 0 else float("inf")


def _figures(runs: Sequence[dict[str, Any]], explore: Explore, gate: Gate) -> dict[str, Any]:
    return {
        "low_eV_A": explore.low_eV_A,
        "high_eV_A": explore.high_eV_A,
        "max_candidates_per_ps": gate.max_candidates_per_ps,
        "candidates_per_ps": _candidates_per_ps(runs),
        "runs": [dict(run) for run in runs],
    }


def _out_of_generations(decision: Decision, gate: Gate) -> str:
    failing = "; ".join(decision.reasons) or f"phase {decision.next_phase} was still to come"
    return (
        f"generation {decision.generation} was the last allowed (gate.max_generations = {gate.max_generations}) and "
        f"the ensemble has not converged: {failing}. Raise gate.max_generations to go on from here, or add data"
    )
