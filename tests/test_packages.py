"""The wheel, built from the sdist and used outside the repository: `redoxmd new`, then a dry run of Snakemake."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

from redoxmd.errors import DataError
from redoxmd.runs.workflow_copy import LINKS, PARTS, copy_workflow

ROOT = Path(__file__).parents[1]
BUILD = "import sys; from setuptools import build_meta; print(build_meta.{}(sys.argv[1]))"


def run(*command, cwd, environment=None):
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def versioned(*parts):
    """Files of the repository that git has, in some of its folders."""
    return set(run("git", "ls-files", *parts, cwd=ROOT).split())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of an sdist that was made from a clean copy of the repository."""
    folder = tmp_path_factory.mktemp("build")
    clean = folder / "clean"
    for name in sorted(versioned("src", *PARTS, "pyproject.toml", "README.md", "LICENSE")):
        (clean / name).parent.mkdir(parents=True, exist_ok=True)
        (clean / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-c", BUILD.format("build_sdist"), str(folder), cwd=clean)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    (source,) = (folder / "sdist").iterdir()
    run(sys.executable, "-c", BUILD.format("build_wheel"), str(folder), cwd=source)
    (path,) = folder.glob("*.whl")
    return path


def test_it_has_every_file_of_the_package_and_of_the_workflow(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    package = {name for name in names if name.startswith("redoxmd/")}
    assert package == {name.removeprefix("src/") for name in versioned("src/redoxmd")}
    data = {name.split("share/redoxmd/")[1] for name in names if "share/redoxmd/" in name}
    assert data == versioned(*PARTS)


def test_a_new_folder_of_an_installed_wheel_is_a_workflow_that_snakemake_can_plan(wheel, tmp_path):
    prefix, folder = tmp_path / "prefix", tmp_path / "mine/first"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--ignore-installed", "--no-deps", "--no-index")
    run(*pip, "--prefix", str(prefix), str(wheel), cwd=tmp_path)
    (packages,) = prefix.glob("lib/python*/site-packages")
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    command = (sys.executable, "-P", "-m", "redoxmd.cli")
    shown = run(sys.executable, "-c", "import redoxmd; print(redoxmd.__file__)", cwd=tmp_path, environment=environment)
    assert shown.startswith(str(prefix))
    run(*command, "new", str(folder), cwd=tmp_path, environment=environment)
    copied = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {name for name in copied if name.split("/")[0] not in LINKS} == versioned(*PARTS)
    for name in LINKS:
        assert (folder / name).is_symlink() and (folder / name).is_dir()
    plan = run(*command, "check", "config/config.yaml", cwd=folder, environment=environment)
    assert "jobs" in plan
    config = yaml.safe_load((ROOT / "tests/workflow/toy.yaml").read_text())
    (folder / "toy.yaml").write_text(yaml.safe_dump(config))
    snakemake = (sys.executable, "-P", "-m", "snakemake", "--dry-run", "--cores", "1", "--configfile", "toy.yaml")
    jobs = subprocess.run(snakemake, cwd=folder, env=environment, capture_output=True, text=True)
    assert jobs.returncode == 0 and "aimd" in jobs.stdout, jobs.stderr[-3000:]


def test_a_folder_with_files_is_left_as_it_is(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("kept")
    with pytest.raises(DataError, match="is not empty; name a new folder"):
        copy_workflow(tmp_path / "mine")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "notes"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    place = (tmp_path / "empty").stat().st_ino
    copy_workflow(tmp_path / "link")
    # A shell in the folder is still in it.
    assert (tmp_path / "empty").stat().st_ino == place
    assert (tmp_path / "empty/slurm/config.yaml").is_file()


def test_the_recipes_of_images_install_the_same():
    """Containerfile and apptainer.def: one base, the same Debian packages and the same make target."""
    steps = []
    for name in ("Containerfile", "apptainer.def"):
        text = (ROOT / "envs" / name).read_text()
        (base,) = re.findall(r"^(?i:from):? (\S+:\S+)$", text, re.MULTILINE)
        (packages,) = re.findall(r"--no-install-recommends ([^\\\n]*)", text)
        (target,) = re.findall(r"PIP_NO_CACHE_DIR=1 (make .*)", text)
        steps.append((base, packages.split(), target))
    assert steps[0] == steps[1]
    assert {"gcc", "g++", "make", "python3-venv"} <= set(steps[0][1])
