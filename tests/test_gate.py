import json
from dataclasses import asdict, replace

import pytest

from redoxmd.config import parse_config
from redoxmd.errors import NotConverged
from redoxmd.files.frames import write_frames
from redoxmd.files.records import write_json
from redoxmd.gate import (
    Decision,
    ExploreRecord,
    GateStatus,
    PathRecord,
    decide,
    neb_settings_when_labelled,
    recorded_path_settings,
)

CONFIG = parse_config(
    {
        "explore": {"phases": [{"name": "small"}, {"name": "large", "supercell": [2, 2, 2]}]},
        "gate": {"max_generations": 4, "max_candidates_per_ps": 1.0},
    }
)


def ran(survived=10.0, reason="survived", candidates=0, name="x3.000_random0_1x1x1"):
    return ExploreRecord(name, reason, survived, 10.0, candidates, 100.0, 0.5)


def judged(runs, generation=0, phase="small", labels=("g0f000",), config=CONFIG):
    return decide(generation, phase, runs, list(labels), config.explore, config.gate)


def test_phase_after_phase():
    first = judged([ran(), ran()])
    assert (first.status, first.next_phase, first.label_ids) == ("next_phase", "large", ["g0f000"])
    last = judged([ran()], generation=1, phase="large")
    assert (last.status, last.next_phase, last.label_ids) == ("converged", "", [])


def test_a_broken_run_goes_on_and_says_why():
    decision = judged([ran(), ran(2.0, "spread_above_high")])
    assert decision.status == "go_on" and decision.next_phase == "small"
    assert "2 of 10 ps" in decision.reasons[0] and "spread_above_high" in decision.reasons[0]


@pytest.mark.parametrize(("candidates", "status"), [(20, "next_phase"), (21, "go_on")])
def test_candidate_rate_boundary(candidates, status):
    assert judged([ran(candidates=candidates), ran()]).status == status


def test_minimum_of_generations():
    config = CONFIG.model_copy(update={"gate": CONFIG.gate.model_copy(update={"min_generations": 2})})
    assert judged([ran()], config=config).status == "go_on"
    assert judged([ran()], generation=1, config=config).status == "next_phase"


def test_out_of_generations_is_an_error_that_says_what_failed():
    with pytest.raises(NotConverged, match=r"x2\.500.*survived 3 of 10 ps \(close_contact\)"):
        judged([ran(3.0, "close_contact", name="x2.500_random0_1x1x1")], generation=3)


def test_phases_left_when_generations_run_out():
    with pytest.raises(NotConverged, match="phase large was still to come"):
        judged([ran()], generation=3)


def found(end_reason="converged", candidates=0, refused=0, tolerated=0.0):
    settings = {"max_candidate_images": tolerated, "path": {"name": "hop"}}
    return PathRecord("hop", "s", end_reason, 8, candidates, refused, 0.5, settings)


@pytest.mark.parametrize(
    ("band", "reason"),
    [
        (found(), None),
        (found("not_converged"), "path hop was not found (not_converged)"),
        (found(refused=2), "2 of 8 images of path hop are beyond the gate"),
        (found(candidates=1), "1 of 8 images of path hop are candidates, more than neb.max_candidate_images 0"),
        (found(candidates=2, tolerated=0.25), None),
        (found(candidates=3, tolerated=0.25), "3 of 8 images of path hop are candidates"),
    ],
)
def test_paths_count_beside_the_runs(band, reason):
    decision = decide(0, "small", [ran()], ["g0f000"], CONFIG.explore, CONFIG.gate, [band])
    assert decision.status == ("next_phase" if reason is None else "go_on")
    assert reason is None or reason in decision.reasons[0]
    # They take no time, and so do not count per ps.
    assert decision.figures.candidates_per_ps == 0
    assert decision.record()["figures"]["bands"] == [asdict(band)]
    assert "bands" not in judged([ran()]).record()["figures"]


def test_settings_of_paths_last_for_a_labelled_generation(tmp_path):
    now = {"images": 9, "paths": [{"name": "new"}]}
    assert neb_settings_when_labelled(tmp_path, 0, now) == now
    kept = recorded_path_settings([replace(found(), settings={"images": 7, "path": {"name": "hop"}})])
    write_json(tmp_path / "gate/gen0.json", {"settings": {"neb": kept}})
    write_json(tmp_path / "gate/gen1.json", {"settings": {}})
    for gen in (0, 1):
        write_frames(tmp_path / f"label/gen{gen}/frames.extxyz", [])
    assert (
        neb_settings_when_labelled(tmp_path, 0, now)
        == {"images": 7, "paths": [{"name": "hop"}]}
        == neb_settings_when_labelled(tmp_path, 0, {})
    )
    assert neb_settings_when_labelled(tmp_path, 1, now) == {} == recorded_path_settings([])


def test_no_runs_never_converge():
    assert judged([]).status == "go_on"


@pytest.mark.parametrize("bands", [[], [found(refused=1)]])
def test_a_decision_is_what_its_file_says(tmp_path, bands):
    """Against the JSON of the file, and against that file written again."""
    runs = [ran(candidates=3), ran(0.0, "not_finite")]
    decision = decide(0, "small", runs, ["g0f000"], CONFIG.explore, CONFIG.gate, bands)
    replace(decision, settings={"length_ps": 10.0, "low_eV_A": float("inf")}).write(tmp_path / "gen0.json")
    content, read = json.loads((tmp_path / "gen0.json").read_text()), Decision.read(tmp_path / "gen0.json")
    assert [vars(run) for run in read.figures.runs] == content["figures"]["runs"]
    assert [vars(band) for band in read.figures.bands] == content["figures"].get("bands", [])
    assert ("bands" in content["figures"]) == bool(bands)
    names = ("generation", "phase", "status", "next_phase", "label_ids", "reasons", "settings")
    assert {name: getattr(read, name) for name in names} == {name: content[name] for name in names}
    assert read.settings["low_eV_A"] == "inf"
    read.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "gen0.json").read_bytes()


def test_a_decision_of_another_version_lacks_what_its_file_lacks(tmp_path):
    write_json(tmp_path / "gen0.json", {"status": "go_on", "later": 1, "figures": {"candidates_per_ps": float("inf")}})
    read = Decision.read(tmp_path / "gen0.json")
    assert read.status is GateStatus.GO_ON
    assert (read.settings, read.figures.runs, read.figures.candidates_per_ps) == ({}, [], float("inf"))
    with pytest.raises(AttributeError, match="next_phase"):
        _ = read.next_phase
