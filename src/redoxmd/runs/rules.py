"""Files, settings and resources of the rules that do not depend on a decision of the gate.

Files are patterns with the wildcards of the rules; `Wildcards` are those of a job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Config, NebPath
from redoxmd.files import layout
from redoxmd.files.records import plain
from redoxmd.runs.captions import MODULES_OF_FIGURE, captions_of
from redoxmd.runs.versions import PACKAGE, code_hash
from redoxmd.structures.request import structure_name
from redoxmd.train.dataset import exclusions

# Rules whose network is the density model, and those of the moment network; others with a GPU have the potentials.
DENSITY_RULES = ("density", "density_evaluation", "charges", "reference_charges")
MOMENT_RULES = ("moments", "moment_fold")
ELECTRON_FILES = {
    "density_errors": "results/{run}/density/errors.csv",
    "charges": "results/{run}/charges/reference.csv",
    "mixture": "results/{run}/charges/oxidation.json",
    "redox": "results/{run}/charges/redox.csv",
}
Wildcards = Any


@dataclass(frozen=True)
class Rules:
    """Files, settings and resources of the rules of one run.

    Attributes:
        root: folder of the Snakefile.
        slurm_extra: options of the site for every job on Slurm.
    """

    config: Config
    root: Path
    slurm_extra: str = ""

    @cached_property
    def table(self) -> dict[str, dict[str, Any]]:
        """Rule → its row in config/resources.yaml."""
        rows: dict[str, dict[str, Any]] = yaml.safe_load((self.root / "config/resources.yaml").read_text())
        return rows

    def cores(self, rule: str) -> int:
        """Cores of a job of a rule; for the reference method, the MPI ranks of its engine."""
        cpus = self.table[rule]["cpus"]
        engine = self.config.engine
        return int(getattr(getattr(engine, engine.name), "ranks", 1) if cpus == "ranks" else cpus)

    def resources_for(self, rule: str) -> dict[str, Any]:
        """Resources of a rule; memory, and time if a job does not resume, grow with each attempt."""
        row = self.table[rule]
        ranks = self.cores(rule) if row["cpus"] == "ranks" else 1
        moments, density = self.config.electrons.moments, self.config.density
        network = density if rule in DENSITY_RULES else moments if rule in MOMENT_RULES else self.config.train

        def growing(value: float) -> Callable[[Wildcards, int], int]:
            return lambda wildcards, attempt: int(value * min(attempt, 3))

        minutes = int(60 * row["hours"])
        resources: dict[str, Any] = {
            "mem_mb": growing(row["mem_mb"] * ranks),
            "runtime": (lambda wildcards, attempt: minutes) if row["goes_on"] else growing(minutes),
        }
        if row["gpu"] and network.device != "cpu":
            resources["gpu"] = row["gpu"]
        if ranks > 1:
            per_rank = {"tasks": ranks, "cpus_per_task": 1, "mem_mb_per_cpu": growing(row["mem_mb"])}
            resources |= per_rank | {"mpi": "srun", "slurm_extra": self.slurm_extra}
        return resources

    def code(self, script: str, *modules: str) -> str:
        """Hash of the code that a cheap stage depends on: its script and modules of the package."""
        return code_hash([self.root / f"workflow/scripts/{script}.py", *(PACKAGE / name for name in modules)])

    def figure_code(self, wildcards: Wildcards) -> str:
        """Hash of the code that the figure of a job depends on."""
        return self.code(wildcards.figure, "figures", *MODULES_OF_FIGURE.get(wildcards.figure, ()))

    def caption(self, wildcards: Wildcards) -> dict[str, Any]:
        """Values in the caption of the figure of a job."""
        return captions_of(self.config)[wildcards.figure]

    def member_size(self, wildcards: Wildcards) -> dict[str, Any]:
        """Hyperparameters of the member that a job trains."""
        size: dict[str, Any] = plain(self.config.train.members[int(wildcards.member)])
        return size

    def excluded(self, wildcards: Wildcards) -> list[str]:
        """Excluded frames that a generation can have: naming a late label leaves earlier generations as they are."""
        return exclusions(self.config.train.exclude, int(wildcards.gen))

    def trajectory_settings(self, wildcards: Wildcards) -> dict[str, Any]:
        """Settings of a production trajectory."""
        return layout.trajectory_settings(
            self.config.production, self.lengths_ps[wildcards.structure, wildcards.temperature]
        )

    @cached_property
    def lengths_ps(self) -> dict[tuple[str, str], float]:
        """(structure, temperature) of every production trajectory, as in file names → its length."""
        return layout.trajectory_lengths_ps(self.config.production)

    def frame_limits(self, *more: str) -> dict[str, Any]:
        """Limits of the gate for single frames: beyond them a structure is not accepted."""
        keys = ("high_eV_A", "statistic", "min_distance_fraction", *more)
        return {key: plain(getattr(self.config.explore, key)) for key in keys}

    def density_test_configurations(self) -> dict[str, Any]:
        """Configurations on which the density model is tested; {"ids", "demanded"}."""
        own = self.config.density.test_configurations
        return {"ids": list(self.config.density_test_configurations), "demanded": own is not None}

    def aimd_files(self, name: str) -> list[str]:
        """A file of every reference MD."""
        structures = layout.aimd_structures(self.config)
        return [f"results/{self.config.run}/aimd/{structure}/{name}" for structure in structures]

    def aimd_start(self) -> str:
        """The start of a reference MD: the structure as built, or the end of its MD with a potential."""
        stage = "warm_up" if self.config.aimd.warm_up.steps else "structures"
        return "results/{run}/" + stage + "/{structure}.extxyz"

    @staticmethod
    def potential_file(potential: str) -> str | list[str]:
        """A potential (`aimd.warm_up.potential`, `pretrain.potential`), if it is a file."""
        # A single file instead of a list, because the script reads it by name.
        return potential if potential.endswith(".pt") else []

    def previous_member(self, wildcards: Wildcards) -> str | list[str]:
        """The same member of the previous generation if training starts from it, else none."""
        if int(getattr(wildcards, "gen", 0)) == 0 or not self.config.train.warm_start:
            return []
        # A single file instead of a list, because the script reads it by name.
        return f"results/{wildcards.run}/train/gen{int(wildcards.gen) - 1}/member{wildcards.member}.pt"

    def teacher_files(self) -> list[str]:
        """Frames of the teacher of every structure that this run labels."""
        return [str(self._pretrain_folder / f"{name}.extxyz") for name in layout.pretrain_structures(self.config)]

    def replay_files(self) -> list[str]:
        """Frames of the teacher that are in the batches of the training on reference labels."""
        return [str(path) for path in layout.replayed_files(self.config)]

    @property
    def _pretrain_folder(self) -> Path:
        return layout.pretrain_folder(self.config, Path("results") / self.config.run)

    def pretrained_member(self, wildcards: Wildcards) -> str | list[str]:
        """The member trained on labels of the teacher, if a training starts from it; of a fold, the first member."""
        if not self.config.pretrain.enabled or self.previous_member(wildcards):
            return []
        return str(self._pretrain_folder / f"member{getattr(wildcards, 'member', 0)}.pt")

    def pretrained_members(self) -> list[str]:
        """Members trained on labels of the teacher."""
        return [str(self._pretrain_folder / f"member{number}.pt") for number in range(len(self.config.train.members))]

    def teacher(self) -> dict[str, str]:
        """Parameter that names the teacher in records; none without pretraining."""
        return {"teacher": self.config.pretrain.potential} if self.config.pretrain.enabled else {}

    def members(self) -> dict[str, str | list[str]]:
        """All members of a generation; the file of an ensemble that is given."""
        if self.config.train.ensemble is not None:
            return {"given": str(self.config.train.ensemble)}
        count = len(self.config.train.members)
        return {"members": [f"results/{{run}}/train/gen{{gen}}/member{member}.pt" for member in range(count)]}

    def folds(self) -> list[str]:
        """Errors of every fold of the cross-validation."""
        return [f"results/{{run}}/train/folds/{fold}.csv" for fold in range(self.config.train.folds)]

    def moment_folds(self) -> list[str]:
        """States of every fold of the cross-validation of the moment network."""
        return [f"results/{{run}}/electrons/folds/{fold}.csv" for fold in range(self.config.electrons.moments.folds)]

    def moment_tables(self) -> dict[str, str]:
        """Tables about the moment network by name: its errors and, of MD with states, the agreement with these."""
        if not self.config.electrons.moments.enabled:
            return {}
        names = ["moment_errors"] + ["moment_agreement"] * (self.config.train.states == "aware")
        return {name: f"results/{{run}}/electrons/{name}.csv" for name in names}

    def visits(self) -> list[str]:
        """Basins of every structure that production starts from."""
        return [f"results/{{run}}/basins/{name}.csv" for name in layout.production_structures(self.config.production)]

    def production_start(self) -> str:
        """The start of a trajectory: the structure as built, or the lowest one that basin hopping found."""
        stage = "basins" if self.config.basins.enabled else "structures"
        return "results/{run}/" + stage + "/{structure}.extxyz"

    def first_structure(self) -> str:
        """The structure of the first trajectory as built."""
        structure, _ = next(iter(self.lengths_ps))
        return f"results/{self.config.run}/structures/{structure}.extxyz"

    def all_trajectories(self, pattern: str) -> list[str]:
        """A file of every production trajectory."""
        return self.trajectory_files(pattern, self.lengths_ps)

    def grid_trajectories(self, pattern: str) -> list[str]:
        """A file of every production trajectory in the cell of the grid."""
        return self.trajectory_files(pattern, layout.grid_trajectories(self.config.production))

    def trajectory_files(self, pattern: str, trajectories: Iterable[tuple[str, str]]) -> list[str]:
        """A file of each of the given trajectories (structure, temperature)."""
        return [
            pattern.format(run=self.config.run, structure=name, temperature=kelvin) for name, kelvin in trajectories
        ]

    def electrons(self, *names: str) -> dict[str, str]:
        """Files about the electrons by name; none without a density model."""
        return {name: ELECTRON_FILES[name] for name in names} if self.config.density.enabled else {}

    def all_paths(self, pattern: str, wanted: bool = True) -> list[str]:
        """A file of every path of the config, if `wanted`."""
        return [pattern.format(run=self.config.run, path=path.name) for path in self.config.neb.paths if wanted]

    def neb_path(self, wildcards: Wildcards) -> dict[str, Any]:
        """Settings of the path of a job."""
        return path_settings(self._path(wildcards.path))

    def neb_ends(self, wildcards: Wildcards) -> list[str]:
        """The structure that a path starts from and, if it has one, the file of its end; or the frames of its event."""
        path = self._path(wildcards.path)
        if path.event is not None:
            return [f"results/{wildcards.run}/neb/{path.name}.event.{suffix}" for suffix in ("extxyz", "json")]
        return path_end_files(path_settings(path), self.config.neb.supercell, wildcards.run)

    def event_trajectories(self, pattern: str) -> Callable[[Wildcards], list[str]]:
        """Input function: a file of each trajectory that is searched for the event of a path."""
        production = self.config.production
        return lambda wildcards: self.trajectory_files(
            pattern, layout.event_trajectories(production, self._path(wildcards.path))
        )

    def generation_neb_settings(self, phase: str) -> dict[str, Any]:
        """Settings of the path search in the generations of a phase, with those of the paths; {} without any."""
        neb = self.config.neb
        if phase not in neb.train_phases:
            return {}
        paths = [path_settings(path) for path in neb.paths if path.event is None]
        return settings_for("neb_explore", neb) | {"paths": paths}

    def _path(self, name: str) -> NebPath:
        return next(path for path in self.config.neb.paths if path.name == name)


def path_settings(path: NebPath) -> dict[str, Any]:
    """Settings of a path; `event` is omitted if empty, so that paths of versions without that key stay valid."""
    return {key: value for key, value in plain(path).items() if key != "event" or value}


def path_end_files(path: dict[str, Any], supercell: Iterable[int], run: str) -> list[str]:
    """The structure that a path between sites starts from, and the file of its end, if it has one."""
    a, b, c = supercell
    start = structure_name(path["x"], path["ordering"], path["seed"], (a, b, c))
    return [f"results/{run}/structures/{start}.extxyz", *([path["final"]] if path["final"] else [])]


def without_signal(slurm_extra: Any) -> str:
    """Options for Slurm without --signal, for jobs of several ranks.

    Such a job runs outside Slurm's steps, which hold its ranks; the signal would reach only these.
    """
    words = str(slurm_extra or "").strip().strip("'\"")
    return re.sub(r"\s*--signal[= ]\S+", "", words).strip()
