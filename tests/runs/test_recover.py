"""What a killed driver leaves, in Snakemake's own files: found, named, cleaned up; and nothing else touched."""

import json
import os
import socket
import subprocess
import sys
import time
from base64 import urlsafe_b64encode

import psutil
import pytest

from redoxmd.cli import main
from redoxmd.errors import DataError, DriverAlive, SchedulerSilent
from redoxmd.runs import driver
from redoxmd.runs.job_records import decoded_name, encoded_path
from redoxmd.runs.recover import clean_up, find_leftovers

DEAD = 2**22 + 1


def write(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def marker(root, name, job=None):
    return write(
        root / ".snakemake/incomplete" / urlsafe_b64encode(name.encode()).decode(), json.dumps({"external_jobid": job})
    )


@pytest.fixture
def killed(tmp_path):
    """A folder with two runs: the driver of `a` was killed, `b` is none of its business."""
    for run in "ab":
        write(tmp_path / f"results/{run}/train/gen0/whole.pt")
        write(tmp_path / f"results/{run}/train/gen0/.member0.ab12cd_9.pt")
        write(tmp_path / f"results/{run}/train/gen0/half.pt")
        write(tmp_path / f"results/{run}/state/train/gen0_member0/.chunk.ab12cd_9.npz")
        marker(tmp_path, f"results/{run}/train/gen0/half.pt", job="77" if run == "a" else "88")
    write(tmp_path / ".snakemake/locks/0.output.lock", "results/a/train/gen0/half.pt\n")
    write(tmp_path / ".snakemake/locks/1.output.lock", "results/b/train/gen0/half.pt\n")
    write(tmp_path / "results/a/driver.json", json.dumps({"pid": DEAD, "host": socket.gethostname(), "started": 1.0}))
    return tmp_path


def files(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_leftovers_are_named_and_mended_and_nothing_else_is_touched(killed):
    before = files(killed)
    found = find_leftovers("a", killed, jobs_gone=True)
    assert sorted(line.split(":")[0] for line in found.lines()) == [
        "incomplete output",
        "record of a dead driver",
        "stale lock",
        "temporary file",
    ]
    clean_up(found)
    gone = before - files(killed)
    assert gone == {
        ".snakemake/incomplete/" + urlsafe_b64encode(b"results/a/train/gen0/half.pt").decode(),
        ".snakemake/locks/0.output.lock",
        "results/a/driver.json",
        "results/a/train/gen0/.member0.ab12cd_9.pt",
        "results/a/train/gen0/half.pt",
    }
    assert find_leftovers("a", killed, jobs_gone=True).lines() == []


def queue_of(monkeypatch, site, lines):
    """Stand-ins for squeue, which tells these lines, and scancel, which writes down what it is told."""
    write(site / "squeue", "#!/bin/sh\ncat <<E\n" + "\n".join(lines) + "\nE\n").chmod(0o755)
    write(site / "scancel", f'#!/bin/sh\necho "$@" > {site}/cancelled\n').chmod(0o755)
    monkeypatch.setenv("PATH", f"{site}:/usr/bin:/bin")


def test_orphaned_slurm_jobs_are_cancelled_and_only_those_of_the_run_and_folder(killed, monkeypatch, tmp_path):
    site = tmp_path / "site"
    queue = [
        f"77|{killed}|whatever",
        f"78_3|{killed}|rule_label_wildcards_a_0_g0f1",
        f"79|{killed}|rule_label_wildcards_ab_0_g0f1",
        "80|/elsewhere|rule_label_wildcards_a_0_g0f1",
        f"88|{killed}|rule_train_wildcards_b_0_1",
    ]
    queue_of(monkeypatch, site, queue)
    found = find_leftovers("a", killed)
    assert set(found.slurm) == {"77", "78_3"}
    clean_up(found)
    assert (site / "cancelled").read_text().split() == ["77", "78_3"]


@pytest.mark.parametrize(
    "comment",
    ["rule_aimd_wildcards_a_2_x2.000_random0_1x1x1", "rule_train_wildcards_a_2_0_1", "rule_density_wildcards_a_2"],
)
def test_jobs_of_a_run_whose_name_begins_alike_are_left_alone(killed, monkeypatch, tmp_path, comment):
    queue_of(monkeypatch, tmp_path / "site", [f"79|{killed}|{comment}"])
    (killed / "results/a_2").mkdir()
    assert find_leftovers("a", killed).slurm == {}
    assert set(find_leftovers("a_2", killed).slurm) == {"79"}


def test_a_comment_that_fits_two_runs_is_decided_by_what_the_job_makes(killed, monkeypatch, tmp_path):
    """`a_0` may be generation 0 of run a, or run a_0."""
    queue_of(monkeypatch, tmp_path / "site", [f"91|{killed}|rule_select_wildcards_a_0"])
    (killed / "results/a_0").mkdir()
    marker(killed, "results/a/select/gen0.json", job="91")
    assert set(find_leftovers("a", killed).slurm) == {"91"}
    assert find_leftovers("a_0", killed).slurm == {}


def test_without_squeue_jobs_that_were_handed_in_stop_the_mending(killed, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SchedulerSilent, match=r"no squeue on this machine.*jobs 77 of run a.*--jobs-gone"):
        find_leftovers("a", killed)
    marker(killed, "results/a/train/gen0/half.pt")
    assert find_leftovers("a", killed).slurm == {}


def test_a_folder_without_the_run_is_not_a_healthy_one(killed):
    with pytest.raises(DataError, match=r"results/c: no such folder"):
        find_leftovers("c", killed)


def test_a_scheduler_that_is_down_stops_the_mending_where_jobs_may_still_write(killed, monkeypatch, tmp_path):
    write(tmp_path / "site/squeue", "#!/bin/sh\necho unable to contact slurm >&2\nexit 1\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'site'}:/usr/bin:/bin")
    with pytest.raises(SchedulerSilent, match=r"unable to contact.*jobs 77 of run a"):
        find_leftovers("a", killed)
    marker(killed, "results/a/train/gen0/half.pt")
    assert find_leftovers("a", killed).slurm == {}


def test_a_local_job_that_outlived_its_driver_is_stopped(killed):
    jobs = {}
    for run in ("a", "ab"):
        script = write(killed / f".snakemake/scripts/tmp1.{run}.py", f"# results/{run}/x\nimport time; time.sleep(600)")
        jobs[run] = subprocess.Popen([sys.executable, str(script)], cwd=killed)
    words = [sys.executable, "-c", "import time; time.sleep(600)", "--target-jobs"]
    jobs["a remote"] = subprocess.Popen([*words, "train:run=a,gen=0"], cwd=killed)
    jobs["ab remote"] = subprocess.Popen([*words, "train:run=ab,gen=0"], cwd=killed)
    try:
        deadline = time.monotonic() + 20
        while len(find_leftovers("a", killed, jobs_gone=True).processes) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        found = find_leftovers("a", killed, jobs_gone=True)
        assert {process.pid for process in found.processes} == {jobs["a"].pid, jobs["a remote"].pid}
        clean_up(found)
        assert not psutil.pid_exists(jobs["a"].pid)
        assert not psutil.pid_exists(jobs["a remote"].pid)
        assert jobs["ab"].poll() is None
        assert jobs["ab remote"].poll() is None
    finally:
        for job in jobs.values():
            job.kill()
            job.wait()


def test_what_a_job_writes_until_it_is_stopped_goes_too(killed):
    late = killed / "results/a/figures/.fig.ab12cd_9.png"
    late.parent.mkdir()
    code = f"""# results/a/x
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path({str(late)!r}).write_text("half"), sys.exit()))
print("ready", flush=True)
time.sleep(600)"""
    script = write(killed / ".snakemake/scripts/tmp1.a.py", code)
    with subprocess.Popen([sys.executable, str(script)], cwd=killed, stdout=subprocess.PIPE) as job:
        try:
            assert job.stdout.readline() == b"ready\n"
            clean_up(find_leftovers("a", killed, jobs_gone=True))
            assert job.wait(20) == 0
            assert not late.exists()
        finally:
            job.kill()


def test_long_names_are_put_together_again(tmp_path):
    name = "results/a/" + "x" * 300
    code = urlsafe_b64encode(name.encode()).decode()
    assert decoded_name(tmp_path / f"@{code[:254]}/{code[254:]}", tmp_path) == name
    assert encoded_path(tmp_path, name) == tmp_path / f"@{code[:254]}/{code[254:]}"


class TestDriver:
    def put(self, results, **values):
        own = {"pid": os.getpid(), "host": socket.gethostname(), "started": psutil.Process().create_time()}
        return write(results / "driver.json", json.dumps(own | values))

    def test_a_living_one_is_known_and_a_second_refused(self, tmp_path):
        self.put(tmp_path)
        with pytest.raises(DriverAlive, match=f"driven by process {os.getpid()}"):
            driver.acquire_run(tmp_path)

    def test_a_dead_one_and_a_pid_used_again_are_not_taken_for_living(self, tmp_path):
        self.put(tmp_path, pid=DEAD)
        assert driver.active_driver(tmp_path) is None
        self.put(tmp_path, started=psutil.Process().create_time() - 100)
        assert driver.active_driver(tmp_path) is None

    def test_one_on_another_host_lives_as_long_as_its_heart_beats(self, tmp_path):
        path = self.put(tmp_path, host="elsewhere", pid=DEAD)
        assert driver.active_driver(tmp_path).host == "elsewhere"
        silent = time.time() - driver.SILENCE_S - 5
        os.utime(path, (silent, silent))
        assert driver.active_driver(tmp_path) is None

    def test_its_record_lasts_as_long_as_its_process(self, tmp_path):
        script = (
            f"from pathlib import Path; from redoxmd.runs import driver; driver.acquire_run(Path({str(tmp_path)!r})); "
        )
        script += f"print(Path({str(tmp_path / 'driver.json')!r}).exists())"
        result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert result.stdout.strip() == "True"
        assert not (tmp_path / "driver.json").exists()

    def test_unlocking_a_run_at_work_is_refused_and_recover_too(self, tmp_path, monkeypatch, capsys):
        self.put(tmp_path / "results/a")
        driver.report_driver("a", root=tmp_path)
        assert "second driver is refused" in capsys.readouterr().err
        for removal in ("--unlock", "--delete-all-output", "--delete-temp", "--cleanup-metadata=x", "--unl"):
            monkeypatch.setattr(sys, "argv", ["snakemake", removal])
            with pytest.raises(DriverAlive, match=f"{removal} is refused"):
                driver.report_driver("a", root=tmp_path)
        monkeypatch.setattr(sys, "argv", ["snakemake", "--dry-run", "--", "results/a/x"])
        driver.report_driver("a", root=tmp_path)
        with pytest.raises(DriverAlive, match="nothing to recover"):
            find_leftovers("a", tmp_path)

    def test_a_killed_one_is_announced_with_the_command_that_mends(self, tmp_path, capsys):
        self.put(tmp_path / "results/a", pid=DEAD)
        driver.report_driver("a", ["config/a.yaml"], tmp_path)
        assert "`redoxmd recover config/a.yaml`" in capsys.readouterr().err


def test_the_command(killed, monkeypatch, capsys):
    monkeypatch.chdir(killed)
    write(killed / "a.yaml", "run: a\n")
    (killed / "elsewhere").mkdir()
    assert main(["recover", "a.yaml", "--jobs-gone", "--dry-run"]) == 0
    assert "incomplete output: results/a/train/gen0/half.pt" in capsys.readouterr().out
    assert (killed / "results/a/train/gen0/half.pt").exists()
    assert main(["recover", "a.yaml", "--jobs-gone"]) == 0
    assert "4 cleaned up" in capsys.readouterr().out
    assert not (killed / "results/a/train/gen0/half.pt").exists()
    monkeypatch.chdir(killed / "elsewhere")
    assert main(["recover", "../a.yaml"]) == 1
    assert "the folder in which snakemake was started" in capsys.readouterr().err
