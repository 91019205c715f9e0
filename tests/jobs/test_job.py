"""What every job does first: its log, its figures' backend, the words on Slurm, the modes of its files."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from redoxmd.jobs.job import job

ROOT = Path(__file__).parents[2]


def run(code, **environment):
    more = {"PYTHONPATH": str(ROOT / "src"), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **more}
    )


def test_the_log_of_a_job_that_slurm_kills_says_where_to_look(tmp_path):
    code = f"import os, signal\nfrom redoxmd.jobs.job import job\nwith job('train', {str(tmp_path / 'a.log')!r}):\n"
    code += "    os.kill(os.getpid(), signal.SIGKILL)"
    killed = run(code, SLURM_JOB_ID="35", SLURMD_NODENAME="n7", SLURM_MEM_PER_NODE="150")
    assert killed.returncode == -9
    log = (tmp_path / "a.log").read_text()
    assert "Slurm job 35 on n7, memory 150 MB" in log and ".snakemake/slurm_logs/…/35.log" in log


@pytest.mark.parametrize("first", ["", "import matplotlib; "])
def test_figures_do_not_ask_for_the_backend_of_a_notebook(tmp_path, first):
    code = f"{first}from redoxmd.jobs.job import job\nwith job('figures', {str(tmp_path / 'a.log')!r}):\n"
    code += f"    from matplotlib import pyplot\n    pyplot.figure().savefig({str(tmp_path / 'a.png')!r})"
    drawn = run(code, MPLBACKEND="module://no_such_backend.inline")
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "a.png").stat().st_size > 0


@pytest.mark.parametrize(("umask", "mode"), [("0022", 0o644), ("0007", 0o660), ("0077", 0o600)])
def test_files_have_the_modes_that_the_user_asks_for(tmp_path, umask, mode):
    code = f"from redoxmd.files.records import write_json; write_json({str(tmp_path / 'a.json')!r}, 1)"
    made = subprocess.run(
        ["/bin/sh", "-c", f'umask {umask}; exec {sys.executable} -c "$CODE"'],
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "CODE": code},
    )
    assert made.returncode == 0
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == mode


def test_without_a_home_kernels_are_built_in_the_temporary_folder(tmp_path):
    """A user id that the machine has no name for, as in some containers."""
    code = "from redoxmd.model.fast import build; from redoxmd.charges import numba_setup; print(build.cache_folder())"
    code += "; print(numba_setup._cache_folder())"
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "n")}
    code = "import os, pathlib\npathlib.os.path.expanduser = lambda path: path\n" + code
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert told.returncode == 0, told.stderr
    assert all(line.startswith(str(tmp_path)) for line in told.stdout.split())


def test_a_terminal_of_ascii_is_no_reason_to_stop(tmp_path):
    toy = ROOT / "tests/workflow/toy.yaml"
    code = f"import sys; from redoxmd.cli import main; sys.exit(main(['check', {str(toy)!r}]))"
    for encoding in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}):
        told = run(code, **encoding)
        assert (told.returncode, told.stderr) == (0, "")
        assert "?" in told.stdout


def test_a_job_outside_snakemake_leaves_no_record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with job("train", str(tmp_path / "a.log")):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a.log"]
