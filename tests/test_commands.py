"""Every command of the documentation is executed, or stands in a table with what is executed in its place."""

import os
import re
import shlex
import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests import documented
from tests.documented import ROOT, blocks_of, documented_blocks
from tests.standin import install_standin
from tests.warm import warm_python
from tests.workflow.test_workflow import PARTS, snakemake_environment

# Command → what is executed instead, or nothing and the reason.
TABLE = {
    # Commands in an image are those of a folder that it makes.
    r"apptainer exec \S+ (snakemake .*)": r"\1 -n",
    r"apptainer exec \S+ (redoxmd .*)": r"\1",
    r"(\S*snakemake --(?!.* -n$).*)": r"\1 -n",
    r"make (.*)": r"make -n \1",
    r"(\S+ -m pytest .*)": r"\1 --collect-only -q -p no:cacheprovider",
    r"(redoxmd density train .*)": r"\1 --config small.yaml",
    r"(python -m benchmarks\.budget) \S+ (.*) 1 2 3 (.*)=1500": r"\1 small.yaml \2 1 \3=2",
}
NOTHING = {
    r"git clone .*": "network",
    r"cd redoxmd": "folder of the clone",
    r"source \.venv/bin/activate": "shell",
    r"(\.venv/bin/)?pip install .*": "network",
    r"\.venv/bin/pre-commit install": "changes the repository",
    r"tmux new .*": "terminal",
    r"\S+ -m tests\.workflow\.kills > docs/kills\.md": "needs the records of hours of trials",
}
# Command → files that it leaves beside those that it names, and a part of what it prints.
LEAVES = {
    r"redoxmd analyse .*": ("out/analysis.html", "out/diffusivities.csv", "out/files.csv"),
    r"redoxmd analyse \S+ \S+ \S+ .*": ("out/arrhenius.csv",),
    r"redoxmd charges my_chgcars/ .*": ("charges.csv",),
    r"redoxmd charges CHGCAR\.1 .*": ("charges.csv",),
    r"redoxmd charges reference model": ("model/reference.csv", "model/oxidation.json"),
    r"redoxmd density train .*": ("model/model.pt", "model/errors.csv"),
    r"redoxmd density export .* frame\.cube": ("frame_spin.cube",),
    r"redoxmd import (?!.*--append).*": ("data/*/frames.extxyz", "data/*/dataset.yaml"),
    r"redoxmd import .* --append": ("data/*/frames-2.extxyz", "data/*/dataset.yaml"),
    r"redoxmd export .* --as mace .*": ("mace/train.xyz",),
    r"redoxmd export .* --as deepmd .*": ("deepmd/*/set.000/force.npy",),
    r".* crate .*": ("results/nvp-gpaw/ro-crate-metadata.json",),
    r".*benchmarks\.budget.*": ("rows.svg",),
}
PRINTS = {
    r".*snakemake .*": "This was a dry-run",
    r".*redoxmd check config/\S+( --profile slurm)?": "\nready\n",
    r".*redoxmd check .* --profile slurm": "every kind of job is accepted, and the nodes have all that jobs need",
    r".*redoxmd check .* --changes": "reference calculations",
    r".*redoxmd recover \S+": "1 cleaned up; start Snakemake again",
    r".*redoxmd recover .* --dry-run": "temporary file: results/nvp/.frames.abcdefgh.extxyz",
    r".*redoxmd retry .*": "1 removed, to be repeated by the next run",
    r".*redoxmd trace .*": "fig7_diffusivity.csv",
    r".*redoxmd status .*": ": ",
    r"redoxmd charges my_chgcars/ .*": "1 V4+ per frame, 2 changes of state",
    r"redoxmd density import .* --append .*": "1 accepted, 3 refused",
    r".*--collect-only.*": "tests collected",
}
# Page → word of a command → what writes the file of this name, or what the command is about.
FILES = {
    "README.md": {
        "recover": documented.half_written("nvp-gpaw"),
        "trace": documented.finished_run,
        "my_calculations/": documented.calculations("x2.500_random0"),
        "config/mine.yaml": documented.config(),
        "results/RUN/train/gen0/ensemble.pt": documented.shipped("nvp-demo/ensemble.pt"),
        "600K/XDATCAR": documented.xdatcar,
        "800K/XDATCAR": documented.xdatcar,
        "1000K/XDATCAR": documented.xdatcar,
        "my_chgcars/": documented.hopping_chgcars,
    },
    "config/README.md": {"config/mine.yaml": documented.config()},
    "docs/analyse.md": {
        "XDATCAR": documented.xdatcar,
        "600K/vasprun.xml": documented.vasprun,
        "800K/vasprun.xml": documented.vasprun,
        "1000K/vasprun.xml": documented.vasprun,
        "all_sites.cif": documented.reference_cif,
        "dump.lammpstrj": documented.lammps_dump,
        "traj.xtc": documented.gromacs,
        "run/": documented.hopping_chgcars,
        "CHGCAR.1": documented.gaussians,
        "CHGCAR.2": documented.gaussians,
    },
    "docs/clusters.md": {
        "config/mine.yaml": documented.config(),
        "--profile": documented.site_profile,
        "recover": documented.half_written("quickstart"),
    },
    "docs/data-efficiency.md": {
        "small.yaml": documented.config(
            train={"datasets": ["data"], "max_steps": 2, "validate_every": 1, "test_configurations": []}
        ),
        "benchmarks.budget": lambda path: documented.dataset(path.with_name("data")),
    },
    "docs/densities.md": {
        "archive/": documented.chgcar_archive,
        "more/CHGCAR.7.gz": documented.chgcar_gz,
        "densities.h5": documented.density_store,
        "small.yaml": documented.small_density_model,
        "trajectory.extxyz": documented.trajectory,
        "XDATCAR": documented.trajectory_without_times,
    },
    "docs/importing.md": {
        "old_project/": documented.calculations("x2.500_random0"),
        "more/": documented.calculations("x2.000_random2"),
        "config/mine.yaml": documented.config(),
        "nmc/": documented.layered_oxide,
        "data/old": documented.dataset,
        "results/RUN/train/gen0/dataset.extxyz": documented.dataset_of_a_run,
        "results/RUN/train/gen0/ensemble.pt": documented.shipped("nvp-demo/ensemble.pt"),
    },
    "docs/staleness.md": {"CONFIG": documented.config(), "recover": documented.half_written("nvp")},
    "docs/vasp.md": {"config/mine.yaml": documented.config(), "retry": documented.refused_label},
}
NAMES_OUTPUT = ("--into", "--to", "--output", ">")
REPOSITORY = (*PARTS, "benchmarks", "tests", "Makefile", "pyproject.toml", "CITATION.cff")
# Answers of Slurm at a site that accepts every job and runs it at once.
SBATCH = """for word; do case $word in --test-only) exit 0;; --wrap=*) sh -c "${word#--wrap=}" >&2;; esac; done
echo 17"""
PROGRAMS = {"sbatch": SBATCH, "scontrol": "", "squeue": "", "mpirun": 'exec "$@"', "srun": 'exec "$@"'}
LIMIT_S = 600
# The clock of files has this resolution or a finer one.
CLOCK_S = 0.02


def matching(table, command):
    """Entries of a table whose pattern is the whole command."""
    return [entry for pattern, entry in table.items() if re.fullmatch(pattern, command)]


def executed(command):
    """The command to execute for one that the documentation shows; "" for nothing."""
    if matching(NOTHING, command):
        return ""
    for pattern, instead in TABLE.items():
        if re.fullmatch(pattern, command):
            return re.sub(pattern, instead, command)
    return command


class Session:
    """A user's folder, in which the commands of a block are typed."""

    def __init__(self, folder, page):
        self.folder, self.files = folder, dict(FILES.get(page, {}))
        for part in REPOSITORY:
            if part != "config":
                (folder / part).symlink_to(ROOT / part)
        shutil.copytree(ROOT / "config", folder / "config")
        standin = install_standin(folder / "site")
        programs = {folder / "site/bin" / name: text for name, text in PROGRAMS.items()}
        for name, module in (("python", ""), ("redoxmd", "-m redoxmd.cli"), ("snakemake", "-m snakemake")):
            programs[folder / ".venv/bin" / name] = f'exec {warm_python()} {module} "$@"'
        for path, text in programs.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        home, cache_home = folder / "home", os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
        self.environment = snakemake_environment(home / ".config", **standin.env) | {
            **{"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "XDG_CACHE_HOME": cache_home},
            "PATH": f"{folder / '.venv/bin'}:{standin.env['PATH']}",
        }

    def run(self, command):
        """Problems of a command: its return code, what it prints, and the files that it must leave."""
        words = shlex.split(command)
        outputs = [output for name, output in pairwise(words) if name in NAMES_OUTPUT]
        outputs += words[-1:] if words[0] in ("cp", "mkdir") else []
        for word in self.files.keys() & set(words) - set(outputs):
            write = self.files.pop(word)
            if not (self.folder / word).exists():
                write(self.folder / word)
        start = time.time() - CLOCK_S
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        problems = [] if done.returncode == 0 else [f"return code {done.returncode}"]
        problems += [f"{text!r} is not printed" for text in matching(PRINTS, command) if text not in done.stdout]
        names = [name.replace("~", "home") for name in outputs]
        for name in [*names, *(name for more in matching(LEAVES, command) for name in more)]:
            found = [path for path in self.folder.glob(name.rstrip("/")) if is_new(path, start)]
            problems += [] if found else [f"{name} is missing, empty or old"]
        for name in re.findall(r"\bconfig/[\w-]+\.yaml", command):
            problems += [] if (self.folder / name).exists() else [f"{name} does not exist"]
        return problems and [*problems, done.stdout[-1500:], done.stderr[-3000:]]


def is_new(path, start):
    """Whether a file, or a folder with files, was written since a time, and no file is empty."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    written = max((file.stat().st_mtime for file in files), default=path.stat().st_mtime)
    return written >= start and all(file.stat().st_size for file in files)


BLOCKS = documented_blocks()


@pytest.mark.parametrize("block", BLOCKS, ids=[f"{block.page}:{block.line}" for block in BLOCKS])
def test_commands_of_the_documentation_run(block, tmp_path):
    session = Session(tmp_path, block.page)
    for command in dict.fromkeys(filter(None, map(executed, block.commands))):
        problems = session.run(command)
        assert not problems, f"{block.page}, line {block.line}: {command}\n" + "\n".join(problems)


def test_every_row_of_the_tables_is_of_a_documented_command():
    shown = [(block.page, command) for block in BLOCKS for command in block.commands]
    done = [(page, executed(command)) for page, command in shown]
    for table, commands in ((TABLE, shown), (NOTHING, shown), (LEAVES, done), (PRINTS, done)):
        assert [row for row in table if not any(re.fullmatch(row, command) for _, command in commands)] == []
    for page, files in FILES.items():
        assert files.keys() <= {word for name, command in done if name == page for word in shlex.split(command)}, page


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("--levels Ni2=", "--level-of Ni2=", "return code 2"),
        ("redoxmd states nmc/", "redoxmd states missing/", "return code 1"),
        ("redoxmd states nmc/", "redoxmd status nmc/", "return code"),
        ("redoxmd states nmc/", "no_such_program nmc/", "return code 127"),
        ("redoxmd states nmc/", "true nmc/", "states.csv is missing, empty or old"),
    ],
)
def test_a_wrong_command_in_a_page_is_found(old, new, problem, tmp_path):
    text = (ROOT / "docs/importing.md").read_text()
    assert old in text
    blocks = blocks_of("docs/importing.md", text.replace(old, new))
    (command,) = [c for block in blocks for c in block.commands if new in c]
    assert Session(tmp_path, "docs/importing.md").run(executed(command))[0].startswith(problem)
