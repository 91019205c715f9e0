"""`snakemake --profile slurm` on a real Slurm: the toy campaign to its end, a site's settings on top, walltime."""

import json
import re
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import ase.io
import h5py
import numpy as np
import pytest
import yaml

from redoxmd.cli import main
from redoxmd.config import load_config
from redoxmd.figures.catalogue import figures_of
from tests.slurm import PrivateSlurm, missing_programs
from tests.workflow import test_workflow
from tests.workflow.test_workflow import repository, snakemake_environment

# Slurm starts each job as a process; so does whoever hands them in.
snakemake = partial(test_workflow.snakemake, python=sys.executable)
SHORT = Path(__file__).parent / "slurm.yaml"
# What a site says in the user's folder: its GPUs, and a shorter wait.
SITE = {
    "resources": {"gpu": 2},
    "default-resources": {"mem_mb": 1500, "slurm_extra": "'--signal=TERM@120 --nice=7'"},
    "latency-wait": 5,
    "slurm-init-seconds-before-status-checks": 2,
    "slurm-keep-successful-logs": True,
}
GPU_RULES = {"train", "explore", "production"}
REFERENCE_RULES = {"aimd", "label"}
ON_THE_CLUSTER = {"dataset", "ensemble", "select", "jumps", "hops", "manifest", *GPU_RULES, *REFERENCE_RULES}

SHORT_JOBS = {
    "set-resources": {"aimd": {"runtime": 2}},
    # The job's own clock is to be first: its margin is 20 s then.
    "default-resources": {"slurm_extra": "'--signal=TERM@10'"},
    "retries": 0,
}

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(missing_programs()),
        reason=f"no Slurm here ({', '.join(missing_programs())} missing; Debian: apt-get install slurm-wlm munge)",
    ),
]


@pytest.fixture(scope="module")
def slurm():
    with PrivateSlurm() as cluster:
        yield cluster


def site(folder, **settings):
    """A user's own profile named slurm."""
    profile = folder / "snakemake/slurm/config.yaml"
    profile.parent.mkdir(parents=True)
    profile.write_text(yaml.safe_dump({**SITE, **settings}))


def rule_of(job):
    return re.match(r"rule_([a-z_0-9]+?)(?:_wildcards_.*)?$", job["Comment"])[1]


class TestCampaign:
    @pytest.fixture(scope="class")
    def campaign(self, slurm, tmp_path_factory):
        folder = repository(tmp_path_factory.mktemp("slurm"))
        site(folder)
        result = snakemake(folder, "--profile", "slurm", "--configfile", str(SHORT), **slurm.environment)
        assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
        return folder, folder / "results/slurm", slurm.jobs()

    def test_it_converged_and_drew_every_figure(self, campaign):
        _, results, _ = campaign
        decisions = [json.loads(path.read_text()) for path in sorted((results / "gate").glob("gen*.json"))]
        assert [decision["status"] for decision in decisions] == ["go_on", "converged"]
        assert len(decisions[0]["label_ids"]) == 2
        for figure in figures_of(load_config(SHORT)):
            assert (results / f"figures/{figure}.svg").stat().st_size > 0

    def test_states_of_the_electrons_reach_every_stage(self, campaign):
        """Against charge neutrality, counted by hand, and the moments of V3+ and V4+ (2 and 1 μB)."""
        results = campaign[1]

        def holes(symbols):
            count = list(symbols).count
            return 2 * count("O") - 5 * count("P") - count("Na") - 3 * count("V")

        frames = ase.io.read(results / "train/gen1/dataset.extxyz", ":")
        assert {str(frame.info["config_id"])[:2] for frame in frames} == {"x2", "x3", "g0"}
        for frame in frames:
            states, moments = frame.arrays["oxidation"], frame.get_magnetic_moments()
            assert np.array_equal(states == 4, moments == 1.0)
            assert (states == 4).sum() == holes(frame.symbols)
        selected = ase.io.read(results / "select/gen0/selected.extxyz", ":")
        for frame in selected:
            # The label begins in the state that the candidate had.
            (label,) = ase.io.read(results / f"label/gen0/{frame.info['label_id']}.extxyz", ":1")
            assert np.array_equal(frame.arrays["oxidation"], label.arrays["oxidation"])
            assert (frame.arrays["oxidation"] == 4).sum() == holes(frame.symbols) == 1
        (path,) = (results / "production").glob("*.h5")
        with h5py.File(path) as file:
            states = file["particles/atoms/oxidation/value"][()]
            time_fs = file["particles/atoms/oxidation/time"][()]
            hops = file["hops"][()]
        assert set((states == 4).sum(axis=1)) == {1}
        for before, after, start, end in zip(states, states[1:], time_fs, time_fs[1:], strict=False):
            moved = before.copy()
            for _, donor, acceptor, *_ in hops[(hops[:, 0] >= start) & (hops[:, 0] < end)]:
                moved[[int(donor), int(acceptor)]] = moved[[int(acceptor), int(donor)]]
            assert np.array_equal(moved, after)

    def test_jobs_went_where_they_belong(self, campaign):
        jobs = campaign[2]
        assert {job["JobState"] for job in jobs} == {"COMPLETED"}
        count = Counter(rule_of(job) for job in jobs)
        assert (count["aimd"], count["train"], count["explore"], count["label"], count["production"]) == (3, 4, 2, 2, 1)
        assert set(count) == ON_THE_CLUSTER
        for job in jobs:
            on_gpu = rule_of(job) in GPU_RULES
            assert job["Partition"] == ("gpu" if on_gpu else "cpu"), job
            assert ("gpu" in job.get("TresPerJob", "")) == on_gpu, job

    def test_reference_jobs_have_a_task_for_every_rank(self, campaign):
        for job in campaign[2]:
            tasks = 2 if rule_of(job) in REFERENCE_RULES else 1
            assert (job["NumTasks"], job["CPUs/Task"]) == (str(tasks), "1"), job
            if tasks == 2:
                assert job["MinMemoryCPU"] == "3000M"

    def test_what_a_site_wants_for_all_jobs_holds_for_those_of_several_ranks_too(self, campaign):
        assert {job["Nice"] for job in campaign[2]} == {"7"}

    def test_few_jobs_ran_beside_the_driver_at_once(self, campaign):
        _, results, jobs = campaign
        submitted = {rule_of(job) for job in jobs}
        records = [json.loads(path.read_text()) for path in (results / "records").rglob("*.json")]
        own = [record for record in records if record["rule"] not in submitted]
        assert len(own) > 20
        for record in own:
            during = [other for other in own if other["starttime"] <= record["starttime"] < other["endtime"]]
            # As many as Snakemake 9.27 starts beside a cluster; the profile's two places do not always hold.
            assert len(during) <= 5, [other["rule"] for other in during]

    def test_the_log_of_a_job_says_what_slurm_gave_it(self, campaign):
        _, results, jobs = campaign
        (job,) = [job for job in jobs if rule_of(job) == "production"]
        (log,) = (results / "logs/production").iterdir()
        assert f"Slurm job {job['JobId']} on {job['BatchHost']}" in log.read_text()

    def test_walltimes_are_those_of_the_table_within_the_limit_of_the_profile(self, campaign):
        hours = {rule_of(job): job["TimeLimit"] for job in campaign[2]}
        assert (hours["aimd"], hours["label"], hours["select"]) == ("1-00:00:00", "12:00:00", "02:00:00")
        assert hours["dataset"] == "01:00:00"

    def test_a_second_run_does_nothing(self, campaign, slurm):
        folder, _, jobs = campaign
        # Of a waiting job of another run, which would not start without it.
        empty = folder / ".snakemake/slurm_logs/rule_select/other_0"
        empty.mkdir(parents=True)
        result = snakemake(folder, "--profile", "slurm", "--configfile", str(SHORT), **slurm.environment)
        assert result.returncode == 0
        assert empty.exists()
        assert "Nothing to be done" in result.stdout + result.stderr
        assert len(slurm.jobs()) == len(jobs)


class TestSite:
    """What a site is asked before the first job."""

    def checked(self, slurm, tmp_path, monkeypatch, capsys, partition="cpu", **settings):
        folder = repository(tmp_path / "repository")
        site(folder, **settings, **{"slurm-partition-config": "partitions.yaml"})
        partitions = {"partitions": {partition: {}, "gpu": {"max_gpu": 1}}}
        (folder / "snakemake/slurm/partitions.yaml").write_text(yaml.safe_dump(partitions))
        monkeypatch.chdir(folder)
        for name, value in snakemake_environment(folder, **slurm.environment).items():
            monkeypatch.setenv(name, value)
        status = main(["check", str(SHORT), "--profile", "slurm"])
        told = capsys.readouterr().out.split("profile slurm")[1].strip().splitlines()
        return status, [line.strip() for line in told]

    def test_a_sound_one(self, slurm, tmp_path, monkeypatch, capsys):
        # The GPUs of this Slurm are invented.
        status, told = self.checked(slurm, tmp_path, monkeypatch, capsys, resources={"gpu": 0})
        assert (status, told) == (0, ["every kind of job is accepted, and the nodes have all that jobs need"])

    def test_each_mistake_is_told_once_with_its_remedy(self, slurm, tmp_path, monkeypatch, capsys):
        wrong = {"train": {"gres": "gpu:a100:1"}, "select": {"mem_mb": 999_000}, "jumps": {"mem_mb": 999_000}}
        status, told = self.checked(slurm, tmp_path, monkeypatch, capsys, **{"set-resources": wrong})
        assert status == 1
        (gres,) = [line for line in told if "mutually exclusive" in line]
        assert gres.startswith("! train: ") and "gpu_model" in gres
        (memory,) = [line for line in told if "node configuration is not available" in line]
        assert {"select", "jumps"} == set(memory.removeprefix("! ").split(":")[0].split(", "))
        assert any("torch sees no GPU" in line for line in told)

    def test_a_partition_that_is_not_there(self, slurm, tmp_path, monkeypatch, capsys):
        status, told = self.checked(slurm, tmp_path, monkeypatch, capsys, "standard", resources={"gpu": 0})
        (line,) = told
        assert status == 1
        assert "Invalid partition name" in line and "partitions.yaml" in line and "aimd, " in line


def test_a_controller_that_is_away_is_waited_for(tmp_path):
    """When the job is handed in, and when its state is asked for."""
    target = "results/slurm/aimd/x3.000_random0_1x1x1/frames.extxyz"
    folder = repository(tmp_path / "repository")
    site(folder, retries=0)
    config = yaml.safe_load(SHORT.read_text())
    config["engine"]["toy"] = {"ranks": 1, "delay_s": 0.5}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with PrivateSlurm() as slurm:
        slurm.stop_controller()
        asked = ["--profile", "slurm", "--configfile", "config.yaml", "--", target]
        results = []
        driver = threading.Thread(target=lambda: results.append(snakemake(folder, *asked, **slurm.environment)))
        driver.start()
        time.sleep(30)
        slurm.start_controller()
        deadline = time.monotonic() + 120
        while not slurm.jobs() and time.monotonic() < deadline:
            time.sleep(0.5)
        slurm.stop_controller()
        time.sleep(15)
        slurm.start_controller()
        driver.join(900)
        assert results and results[0].returncode == 0, results and results[0].stderr[-4000:]
        assert [job["JobState"] for job in slurm.jobs()] == ["COMPLETED"]
    assert (folder / target).exists()


@pytest.mark.slow
class TestWalltime:
    """A reference run that its walltime cuts: 60 frames of 2 s, two minutes a job."""

    TARGET = "results/slurm/aimd/x3.000_random0_1x1x1/frames.extxyz"

    def config(self, folder, ranks, delay_s):
        config = yaml.safe_load(SHORT.read_text())
        config["engine"]["toy"] = {"ranks": ranks, "delay_s": delay_s}
        config["aimd"]["steps"] = 60
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    @pytest.fixture(scope="class")
    def undisturbed(self, tmp_path_factory):
        folder = repository(tmp_path_factory.mktemp("undisturbed"))
        result = snakemake(folder, "--configfile", self.config(folder, 1, 0.0), "--", self.TARGET)
        assert result.returncode == 0, result.stderr[-4000:]
        return (folder / self.TARGET).read_bytes()

    @pytest.mark.parametrize("ranks", [1, 2])
    def test_the_job_goes_back_in_the_queue_and_on_to_the_same_frames(self, slurm, undisturbed, tmp_path, ranks):
        folder = repository(tmp_path / "repository")
        site(folder, **SHORT_JOBS)
        before = len(slurm.jobs())
        asked = ["--profile", "slurm", "--configfile", self.config(folder, ranks, 2.0), "--", self.TARGET]
        result = snakemake(folder, *asked, **slurm.environment)
        assert result.returncode == 0, result.stderr[-4000:]
        # One job, in the queue again and again: Snakemake saw no failure.
        (job,) = slurm.jobs()[before:]
        assert job["JobState"] == "COMPLETED"
        assert int(job["Restarts"]) >= 1
        # Snakemake begins a job's log anew; the last start says where it came in.
        log = (folder / "results/slurm/logs/aimd/x3.000_random0_1x1x1.log").read_text()
        assert 20 < int(re.search(r"resuming from (\d+) of 60 frames", log)[1]) < 60
        assert (folder / self.TARGET).read_bytes() == undisturbed

    def test_a_cancelled_job_does_not(self, slurm, tmp_path):
        folder = repository(tmp_path / "repository")
        site(folder, **SHORT_JOBS)
        before = len(slurm.jobs())
        asked = ["--profile", "slurm", "--configfile", self.config(folder, 1, 2.0), "--", self.TARGET]
        log = folder / "results/slurm/logs/aimd/x3.000_random0_1x1x1.log"
        driver = threading.Thread(target=snakemake, args=(folder, *asked), kwargs=slurm.environment)
        driver.start()
        try:
            deadline = time.monotonic() + 120
            while not (log.exists() and "frames" in log.read_text()) and time.monotonic() < deadline:
                time.sleep(0.5)
            (job,) = slurm.jobs()[before:]
            slurm.run("scancel", job["JobId"])
        finally:
            driver.join()
        (job,) = slurm.jobs()[before:]
        assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0")
        assert "the state is written" in log.read_text()
