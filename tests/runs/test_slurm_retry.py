"""Commands of Slurm that wait: a stand-in for sbatch that is away for a while, refuses, or loses its answer."""

import os
import subprocess
import sys
import time

from redoxmd.runs import slurm_retry
from redoxmd.runs.slurm_retry import install_retrying_commands, run_with_retries

AWAY = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
LOST = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
REFUSED = "sbatch: error: invalid partition specified: nowhere"


def program(folder, name, *lines):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", f"echo call >> {folder}/calls", *lines, ""]))
    path.chmod(0o755)
    return str(path)


def empty_queue(folder):
    """A squeue that knows no job, and is not counted."""
    program(folder, "squeue")
    (folder / "squeue").write_text("#!/bin/sh\n")


def calls(folder):
    return len((folder / "calls").read_text().splitlines())


def submit(path, *more):
    code = "import sys; from redoxmd.runs.slurm_retry import run_with_retries; "
    code += "sys.exit(run_with_retries(sys.argv[1:], 20.0, 0.2))"
    command = [sys.executable, "-c", code, path, "--job-name", "1234", "--comment", "rule_a_wildcards_b", *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, input="a script")


def test_a_controller_that_is_away_is_waited_for(tmp_path):
    path = program(
        tmp_path / "bin",
        "sbatch",
        f"[ $(wc -l < {tmp_path}/bin/calls) -gt 3 ] && echo 42 && exit 0",
        f"echo '{AWAY}' >&2; exit 1",
    )
    empty_queue(tmp_path / "bin")
    started = time.monotonic()
    result = submit(path)
    assert (result.returncode, result.stdout) == (0, "42\n")
    assert calls(tmp_path / "bin") == 4
    assert time.monotonic() - started > 0.2 + 0.4 + 0.8


def test_a_refusal_is_passed_on_at_once(tmp_path):
    result = submit(program(tmp_path / "bin", "sbatch", f"echo '{REFUSED}' >&2; exit 1"))
    assert (result.returncode, result.stderr) == (1, REFUSED + "\n")
    assert calls(tmp_path / "bin") == 1


def test_a_job_whose_submission_was_not_confirmed_is_not_submitted_twice(tmp_path):
    path = program(tmp_path / "bin", "sbatch", f"echo '{LOST}' >&2; exit 1")
    program(tmp_path / "bin", "squeue", "echo '17|rule_a_wildcards_other'; echo '18|rule_a_wildcards_b'")
    result = submit(path)
    assert (result.returncode, result.stdout) == (0, "18\n")
    assert calls(tmp_path / "bin") == 2


def test_states_are_asked_of_squeue_where_nothing_keeps_accounts(tmp_path, capfd):
    """The plugin asks sacct once scontrol has not answered, and would ask it for ever."""
    sacct = program(tmp_path / "bin", "sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    program(tmp_path / "bin", "squeue", 'echo "12|RUNNING"; echo "$@" >&2')
    assert run_with_retries([sacct, "-X", "--format=JobIdRaw,State", "--name", "1234"], 5.0) == 0
    told = capfd.readouterr()
    assert told.out == "12|RUNNING\n"
    assert "--name=1234" in told.err and "%i|%T" in told.err


def test_it_gives_up_in_the_end_with_slurms_own_words(tmp_path, capfd):
    path = program(tmp_path / "bin", "squeue", f"echo '{AWAY}' >&2; exit 1")
    assert run_with_retries([path], 1.0, 0.2) == 1
    assert AWAY in capfd.readouterr().err


def test_a_script_is_handed_to_every_try(tmp_path):
    path = program(
        tmp_path / "bin",
        "sbatch",
        f"cat >> {tmp_path}/script; [ -s {tmp_path}/away ] || "
        f"{{ echo x > {tmp_path}/away; echo '{AWAY}' >&2; exit 1; }}; echo 7",
    )
    empty_queue(tmp_path / "bin")
    assert submit(path, "/dev/stdin").stdout == "7\n"
    assert (tmp_path / "script").read_text() == "a script" * 2


def test_commands_that_wait_come_first_and_only_for_those_that_are_here(tmp_path):
    program(tmp_path / "bin", "sbatch", "echo 5")
    environ = {"PATH": f"{tmp_path}/bin{os.pathsep}/nowhere"}
    for _ in range(2):
        install_retrying_commands(environ, tmp_path / "patient")
    assert environ["PATH"] == os.pathsep.join([f"{tmp_path}/patient", f"{tmp_path}/bin", "/nowhere"])
    assert [path.name for path in (tmp_path / "patient").iterdir()] == ["sbatch"]
    told = subprocess.run([tmp_path / "patient/sbatch", "--parsable"], capture_output=True, text=True, check=True)
    assert told.stdout == "5\n"
    without = {"PATH": "/nowhere"}
    install_retrying_commands(without, tmp_path / "none")
    assert without["PATH"] == "/nowhere" and not (tmp_path / "none").exists()


def test_a_question_for_states_ends_before_snakemake_stops_listening():
    """The plugin gives it 60 s; a submission has no such limit."""
    assert max(slurm_retry.RETRY_PERIOD_S["squeue"], slurm_retry.RETRY_PERIOD_S["sacct"]) < 60
    assert slurm_retry.RETRY_PERIOD_S["sbatch"] > 3600
