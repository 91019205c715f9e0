"""The DAG with basin hopping before production, and without."""

import pytest
import yaml

from redoxmd.upkeep.changes import planned_jobs
from tests.workflow.test_workflow import TOY, repository, snakemake

pytestmark = pytest.mark.workflow


def planned(folder, **sections):
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(TOY.read_text()), **sections}))
    result = snakemake(repository(folder / "run"), "--dry-run", "--configfile", str(config))
    assert result.returncode == 0, result.stderr[-3000:]
    return {(job.rule, *sorted(job.inputs), *sorted(job.outputs)) for job in planned_jobs(result.stdout)}


def test_enabled_it_stands_between_structures_and_production_and_changes_nothing_else(tmp_path):
    for name in ("without", "with"):
        (tmp_path / name).mkdir()
    before = planned(tmp_path / "without")
    after = planned(tmp_path / "with", basins={"enabled": True})
    assert {job[0] for job in before} & {"basins", "neb"} == set()
    added, gone = after - before, before - after
    assert sum(job[0] == "basins" for job in added) == 3
    assert {job[0] for job in added} == {"basins", "production"}
    assert {job[0] for job in gone} == {"production"}
    for job in added:
        source = "structures" if job[0] == "basins" else "basins"
        assert any(f"results/toy/{source}/" in file for file in job[1:])
    for job in gone:
        assert any("results/toy/structures/" in file for file in job[1:])
