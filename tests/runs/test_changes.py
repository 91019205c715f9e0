"""A dry run digested: jobs, what waits for the gate, reasons in few words, the price. The text is Snakemake 9.27's."""

import pytest

from redoxmd.config import parse_config
from redoxmd.runs.changes import describe_changes, describe_reason, planned_jobs

TEXT = """\
[Wed Nov 25 04:33:24 2026]
rule label:
    input: results/a/select/gen1/selected.extxyz
    output: results/a/label/gen1/g1f0.extxyz, results/a/label/gen1/g1f0.json
    jobid: 3
    reason: Params have changed since last execution: Union of exclusive params before and now across all output: \
before: {'steps': 8, 'timestep_fs': 2.0} now: {'steps': 9, 'timestep_fs': 2.0} \n\
    wildcards: run=a, gen=1, label=g1f0
[Wed Nov 25 04:33:24 2026]
checkpoint gate:
    input: results/a/select/gen2/selected.extxyz
    output: results/a/gate/gen2.json
    reason: Updated input files: results/a/select/gen2/selected.extxyz
DAG of jobs will be updated after completion.

[Wed Nov 25 04:33:24 2026]
rule production:
    input: results/a/structures/x3.extxyz, <TBD>
    output: results/a/production/x3_T600K.h5
    reason: Input files updated by another job: results/a/gate/gen2.json
rule jumps:
    input: results/a/production/x3_T600K.h5
    output: results/a/diffusion/x3_T600K.nc
    reason: Input files updated by another job: results/a/production/x3_T600K.h5
localrule all:
    input: results/a/summary.json
    reason: Input files updated by another job: results/a/summary.json
"""
CONFIG = parse_config({"engine": {"name": "toy"}, "label": {"steps": 9}, "select": {"budget": 4}})


def test_jobs_with_their_files_and_those_that_wait():
    jobs = planned_jobs(TEXT)
    assert [job.rule for job in jobs] == ["label", "gate", "production", "jumps"]
    assert jobs[0].outputs == ["results/a/label/gen1/g1f0.extxyz", "results/a/label/gen1/g1f0.json"]
    assert [job.pending for job in jobs] == [False, False, True, True]


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Missing output files: a, b", "missing output"),
        ("Updated input files: a", "updated input"),
        ("Set of input files has changed since last execution", "set of input files has changed since last execution"),
        ("Params have changed: before: 400 now: 500", "400 → 500"),
        ("Params have changed: before: {'a': 1, 'b': [1]} now: {'a': 1, 'b': [2], 'c': 3}", "b [1] → [2], c None → 3"),
        ("Params have changed: before: <nothing exclusive> now: {'a': 1} ", "parameters changed"),
    ],
)
def test_reasons_in_few_words(reason, words):
    assert describe_reason(reason) == words


def test_what_would_run_why_and_the_price():
    said = describe_changes(planned_jobs(TEXT), CONFIG)
    assert "label: steps 8 → 9 (1 jobs)" in said
    assert "label: 1 jobs, 9 steps" in said
    assert "label: up to 4 jobs, 36 steps for each generation" in said
    assert said.index("after the gate") < said.index("production")
    assert describe_changes([], CONFIG).startswith("nothing would run")
