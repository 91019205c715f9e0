"""Records of jobs against Snakemake's own memory, as files; the script is run as Snakemake runs it, by its globals."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from redoxmd.errors import DataError
from redoxmd.gate import lost_decisions, settings_when_labelled
from redoxmd.runs.job_records import (
    FORMAT_VERSION,
    encoded_path,
    lost_results,
    read_record,
    refuse_unrecorded,
    update_snakemake_records,
)
from redoxmd.runs.recover import clean_up, find_leftovers

ROOT = Path(__file__).parents[2]
FRAMES, RECORD = "results/a/aimd/x3/frames.extxyz", "results/a/aimd/x3/record.json"

SCRIPT = """
import sys
from redoxmd.jobs.job import job
class Params(dict):
    def __iter__(self):
        return iter(self.values())
class snakemake:
    rule = "aimd"
    input, output, log = ["results/a/structures/x3.extxyz"], [{frames!r}, {record!r}], ["results/a/logs/aimd/x3.log"]
    params = Params(aimd={{"timestep_fs": 2.0}}, seed=7)
with job("aimd", snakemake.log[0]):
    open({frames!r}, "w").write("frames")
    if len(sys.argv) > 1:
        sys.exit(1)
    open({record!r}, "w").write("record")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a job of run `a` has ended, without a driver that saw it."""
    monkeypatch.chdir(tmp_path)
    for name in ("structures", "aimd/x3", "logs/aimd"):
        (tmp_path / "results/a" / name).mkdir(parents=True)
    (tmp_path / "results/a/structures/x3.extxyz").write_text("start")
    run_job()
    return tmp_path


def run_job(*arguments):
    Path("job.py").write_text(SCRIPT.format(frames=FRAMES, record=RECORD))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run([sys.executable, "job.py", *arguments], env=environment, check=False).returncode


def memory(name=FRAMES):
    return encoded_path(Path(".snakemake/metadata"), name)


def rules(*patterns):
    return [SimpleNamespace(name="aimd", is_producer=lambda name: any(pattern in name for pattern in patterns))]


def test_a_job_leaves_what_snakemake_would_remember_of_it(folder):
    from snakemake.persistence import RECORD_FORMAT_VERSION

    record = read_record(Path(), FRAMES)
    assert record["outputs"] == [FRAMES, RECORD]
    assert (record["rule"], record["params"]) == ("aimd", ["7", "{'timestep_fs': 2.0}"])
    digest = hashlib.sha256(b"start").hexdigest()
    assert record["input_checksums"] == {"results/a/structures/x3.extxyz": f"sha256:{digest}"}
    assert record["settings"] == {"aimd": {"timestep_fs": 2.0}, "seed": 7}
    assert record["record_format_version"] == FORMAT_VERSION == RECORD_FORMAT_VERSION


def test_a_job_that_fails_leaves_none_and_takes_the_old_one_away(folder):
    assert run_job("fail") == 1
    assert read_record(Path(), FRAMES) is None


def test_a_record_is_put_into_snakemakes_memory_for_every_output(folder):
    update_snakemake_records("a")
    for name in (FRAMES, RECORD):
        assert json.loads(memory(name).read_text())["params"] == ["7", "{'timestep_fs': 2.0}"]
    # What Snakemake then says of it holds, until the job runs again.
    memory().write_text(json.dumps({"params": ["accepted by the user"]}))
    update_snakemake_records("a")
    assert json.loads(memory().read_text())["params"] == ["accepted by the user"]
    run_job()
    update_snakemake_records("a")
    assert json.loads(memory().read_text())["params"] == ["7", "{'timestep_fs': 2.0}"]


def test_results_of_unknown_settings_are_refused_unless_no_job_is_to_run(folder):
    made_by = rules("/aimd/")
    (folder / RECORD).with_name("notes.txt").write_text("the user's own")
    update_snakemake_records("a")
    refuse_unrecorded("a", rules(RECORD, FRAMES), "a.yaml", ["snakemake"])
    memory().unlink()
    (folder / "results/a/records/aimd/x3/frames.extxyz.json").unlink()
    with pytest.raises(DataError, match=r"1 results have no record .*frames\.extxyz.*--touch --forcerun aimd"):
        refuse_unrecorded("a", rules(RECORD, FRAMES), "a.yaml", ["snakemake"])
    refuse_unrecorded("a", made_by, "a.yaml", ["snakemake", "--touch"])
    # A job is making it now.
    marker = encoded_path(Path(".snakemake/incomplete"), FRAMES)
    marker.write_text("{}")
    refuse_unrecorded("a", rules(RECORD, FRAMES), "a.yaml", ["snakemake"])


def test_a_result_whose_job_began_again_and_failed_is_not_forgotten(folder):
    """What was made from it stands, by its old settings; Snakemake alone would have nothing to do."""
    reader = {"outputs": ["results/a/train/d"], "rule": "dataset", "input": [FRAMES], "settings": {}}
    path = folder / "results/a/records/train/d.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(reader))
    update_snakemake_records("a")
    assert lost_results("a") == []
    assert run_job("fail") == 1
    (folder / FRAMES).unlink()
    for _ in range(2):
        update_snakemake_records("a")
        assert lost_results("a") == [FRAMES]
    path.rename(path.with_suffix(".gone"))
    assert lost_results("a") == []
    path.with_suffix(".gone").rename(path)
    assert run_job() == 0
    update_snakemake_records("a")
    assert lost_results("a") == []
    # Deleted on purpose, to make room: not wanted back.
    (folder / FRAMES).unlink()
    update_snakemake_records("a")
    assert lost_results("a") == []
    # Removed by Snakemake for a job that never came to begin.
    memory().write_text(json.dumps({**json.loads(memory().read_text()), "params": ["new"]}))
    update_snakemake_records("a")
    assert lost_results("a") == [FRAMES]


def test_what_a_job_finished_without_its_driver_is_not_half_done(folder):
    update_snakemake_records("a")
    for name in (FRAMES, RECORD):
        marker = encoded_path(Path(".snakemake/incomplete"), name)
        marker.write_text(json.dumps({"external_jobid": None}))
        os.utime(marker, (time.time() - 60,) * 2)
    found = find_leftovers("a")
    assert [line.split(":")[0] for line in found.lines()] == ["complete output whose job ended without a driver"] * 2
    clean_up(found)
    assert (folder / FRAMES).exists() and (folder / RECORD).exists()
    assert find_leftovers("a").lines() == []
    # A job that was started after the record was written has not ended.
    marker = encoded_path(Path(".snakemake/incomplete"), FRAMES)
    marker.write_text("{}")
    os.utime(marker, (time.time() + 60,) * 2)
    clean_up(find_leftovers("a"))
    assert not (folder / FRAMES).exists()


def test_settings_of_a_labelled_generation_outlive_its_decision(folder):
    results = Path("results/a")
    for name, content in (
        ("label/gen0/frames.extxyz", ""),
        ("gate/gen0.json", json.dumps({"settings": {"select": {"budget": 3}}})),
        ("records/gate/gen0.json.json", json.dumps({"input": [], "settings": {"select": {"budget": 4}}})),
    ):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(content)
    assert lost_decisions(results) == []
    assert settings_when_labelled(results, 0, "select", {"budget": 5}) == {"budget": 3}
    (results / "gate/gen0.json").unlink()
    assert lost_decisions(results) == ["results/a/gate/gen0.json"]
    assert settings_when_labelled(results, 0, "select", {"budget": 5}) == {"budget": 4}
    (results / "records/gate/gen0.json.json").unlink()
    assert settings_when_labelled(results, 0, "select", {"budget": 5}) == {"budget": 5}


def test_thousands_of_records_are_looked_through_in_seconds(folder):
    record = (folder / "results/a/records/aimd/x3/frames.extxyz.json").read_text()
    for number in range(3000):
        name = f"results/a/label/gen0/g0f{number}.extxyz"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
        path = folder / f"results/a/records/label/gen0/g0f{number}.extxyz.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.replace(FRAMES, name).replace(RECORD, name))
    update_snakemake_records("a")
    started = time.process_time()
    update_snakemake_records("a")
    refuse_unrecorded("a", rules("/label/"), "a.yaml", ["snakemake"])
    assert time.process_time() - started < 2.0
