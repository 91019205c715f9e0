import pytest

from redoxmd.config import parse_config
from redoxmd.errors import NotConverged
from redoxmd.gate import decide

CONFIG = parse_config(
    {
        "explore": {"phases": [{"name": "small"}, {"name": "large", "supercell": [2, 2, 2]}]},
        "gate": {"max_generations": 4, "max_candidates_per_ps": 1.0},
    }
)


def ran(survived=10.0, reason="survived", candidates=0, name="x3.000_random0_1x1x1"):
    return {
        "structure": name,
        "survived_ps": survived,
        "target_ps": 10.0,
        "end_reason": reason,
        "n_candidates": candidates,
    }


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
    with pytest.raises(NotConverged, match=r"x2\.500.*lived 3 of 10 ps \(close_contact\)"):
        judged([ran(3.0, "close_contact", name="x2.500_random0_1x1x1")], generation=3)


def test_phases_left_when_generations_run_out():
    with pytest.raises(NotConverged, match="phase large was still to come"):
        judged([ran()], generation=3)


def test_no_runs_never_converge():
    assert judged([]).status == "go_on"
