"""The generation as a whole: converged, go on with these frames, or stop."""

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
    """What follows a generation; the one checkpoint of the workflow reads it.

    Attributes:
        generation: this one.
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
    """Judge a generation by the records of its explore runs, and of the paths found in it (`neb.explore`).

    A phase has converged when every run lived its full time, all runs together met no more than
    `max_candidates_per_ps` candidates per ps, every path was found with no image refused and no more than
    `neb.max_candidate_images` of them candidates, and `min_generations` have passed. Images take no time: they do not
    count as candidates per ps. The last phase's convergence ends
    the loop; an earlier one's moves on to the next phase, which the selected frames still help to train.

    Raises:
        NotConverged: this was the last generation allowed; the message says what was still failing.
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


def lasting_settings(results: Path, generation: int, name: str, now: Any) -> Any:
    """A setting as a labelled generation was explored with it; `now` for one that is not labelled yet.

    New thresholds so hold from the next generation on, and what is labelled is not labelled anew. The decision file
    keeps the settings (`settings`); keys that a later version of the software adds are left out.
    """
    if not _labelled(results, generation):
        return now
    kept = _kept_settings(results, generation)
    if kept is None or name not in kept:
        return now
    return {key: kept[name][key] for key in now if key in kept[name]} if isinstance(now, dict) else kept[name]


def lasting_bands(results: Path, generation: int, now: dict[str, Any]) -> dict[str, Any]:
    """With which settings a labelled generation found its paths, {} if it found none; else `now`, as above."""
    kept = _kept_settings(results, generation) if _labelled(results, generation) else None
    if kept is None:
        return now
    bands: dict[str, Any] = kept.get("neb", {})
    return bands


def lost_decisions(results: Path) -> list[str]:
    """Decisions that are gone (damaged and deleted, say) of generations that are labelled: they are to be made again.

    Snakemake does not miss them by itself, and without them cannot see what is stale behind them.
    """
    labelled = sorted(path.parent.name for path in results.glob("label/gen*/frames.extxyz"))
    decisions = [results / f"gate/{generation}.json" for generation in labelled]
    return [str(path) for path in decisions if not path.exists()]


def _kept_settings(results: Path, generation: int) -> dict[str, Any] | None:
    """Settings that a labelled generation was explored with: from its decision, or its record where that was removed.

    So a damaged decision can be deleted, and the gate decides again as it did.
    """
    decision = results / f"gate/gen{generation}.json"
    if decision.exists():
        kept: dict[str, Any] = read_json(decision).get("settings", {})
        return kept
    record = read_record(Path(), str(decision))
    if record is None:
        return None
    from redoxmd.neb.explore import settings_of

    bands = [read_json(path) for path in record["input"] if Path(path).parts[2] == "neb"]
    return record["settings"] | ({"neb": settings_of(bands)} if bands else {})


def _labelled(results: Path, generation: int) -> bool:
    return (results / f"label/gen{generation}/frames.extxyz").exists()


def _unsure(band: dict[str, Any]) -> list[str]:
    """Why a path is not as it should be in the end; see `neb.explore.explore_path` for its record."""
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
