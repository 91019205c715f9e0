# Input functions and wildcard constraints shared by the stages; no rules here.

import gc
import re
from functools import cache
from pathlib import Path

import yaml

from redoxmd.files import layout
from redoxmd.config import parse_config, read_config
from redoxmd.config.document import plain
from redoxmd.train.dataset import exclusions
from redoxmd.engines import settings_hash
from redoxmd.figures.catalogue import figures_of
from redoxmd.gate import lasting_settings
from redoxmd.files.records import read_json
from redoxmd.structures.request import cell_name
from redoxmd.runs.driver import acquire_run, export_config, exported_config, report_driver
from redoxmd.runs.job_records import update_snakemake_records
from redoxmd.runs.mixing import record_reference, refuse_mixing
from redoxmd.runs.versions import PACKAGE, code_hash, stage_version

if workflow.is_main_process:
    for file in workflow.configfiles:
        # Snakemake has read it already, and takes the second of a key that stands twice.
        read_config(file)
else:
    config = exported_config(config)
CFG = parse_config(config, source="config")
REFERENCE = settings_hash(CFG.engine)
FIGURES = figures_of(CFG)
NEEDS = yaml.safe_load((Path(workflow.basedir) / "config/resources.yaml").read_text())
refuse_mixing(Path("results") / CFG.run, CFG)
if workflow.is_main_process:
    # Thousands of jobs are millions of objects that stay: looking for garbage among them takes a fifth of the time.
    gc.set_threshold(200_000, 50, 1000)
    report_driver(CFG.run, workflow.overwrite_configfiles)
    update_snakemake_records(CFG.run)


wildcard_constraints:
    run=CFG.run.replace(".", r"\."),
    gen=r"\d+",
    member=r"\d+",
    fold=r"\d+",
    label=r"g\d+f\d+",
    structure=r"x[0-9.]+_[a-z]+\d+_\d+x\d+x\d+",
    temperature=r"[0-9.]+",
    figure="|".join(FIGURES),
    path=r"[A-Za-z0-9][A-Za-z0-9_-]*",


def cpus(rule):
    """Cores of a job of a rule; for the reference method, the MPI ranks of its engine."""
    row = NEEDS[rule]
    return getattr(getattr(CFG.engine, CFG.engine.name), "ranks", 1) if row["cpus"] == "ranks" else row["cpus"]


def needs(rule):
    """Resources of a rule, from its row in config/resources.yaml."""
    row = NEEDS[rule]
    ranks = cpus(rule) if row["cpus"] == "ranks" else 1
    settings = CFG.density if rule in ("density", "density_evaluation", "charges", "reference_charges") else CFG.train

    def memory_MB(wildcards, attempt):
        return row["mem_mb"] * ranks * min(attempt, 3)

    def memory_per_core_MB(wildcards, attempt):
        return row["mem_mb"] * min(attempt, 3)

    def minutes(wildcards, attempt):
        return int(60 * row["hours"]) * (1 if row["goes_on"] else min(attempt, 3))

    asked = {"mem_mb": memory_MB, "runtime": minutes}
    if row["gpu"] and settings.device != "cpu":
        asked["gpu"] = row["gpu"]
    if ranks > 1:
        asked |= dict(
            tasks=ranks, cpus_per_task=1, mem_mb_per_cpu=memory_per_core_MB, mpi="srun", slurm_extra=words_for_ranks()
        )
    return asked


def words_for_ranks():
    """The site's `slurm_extra`, a text in quotes, without a signal ahead of time, for jobs of several ranks.

    Such a job stands outside Slurm's steps, which are for its ranks; the signal would reach them alone.
    """
    default = (workflow.resource_settings.default_resources or {}).get("slurm_extra")
    words = str(getattr(default, "raw", None) or default or "").strip().strip("'\"")
    return re.sub(r"\s*--signal[= ]\S+", "", words).strip()


def section(name, without=()):
    """A config section as plain values: what a rule declares as its parameters, so that only it goes stale."""
    return {key: value for key, value in plain(getattr(CFG, name)).items() if key not in without}


def lasting(name, without=()):
    """Params function: a section as the job's generation was explored with it, once that generation is labelled."""

    def settings(wildcards):
        now = section(name, without=[*without, "keep_labelled"])
        return lasting_value(wildcards, name, now)

    return settings


def lasting_value(wildcards, name, now):
    """What a setting was when the job's generation was explored; `now` where that is not labelled, or is to be redone."""
    if not CFG.explore.keep_labelled:
        return now
    return lasting_settings(Path("results") / wildcards.run, int(wildcards.gen), name, now)


def code(script, *modules):
    """What a cheap stage depends on beside its inputs: the content of its script and of modules of the package."""
    return code_hash([Path(workflow.basedir) / f"workflow/scripts/{script}.py", *(PACKAGE / name for name in modules)])


def aimd_structures():
    """Names of the structures the initial training data start from."""
    return layout.aimd_structures(CFG.aimd)


def trajectories():
    """(structure, temperature) of every production trajectory, as used in file names."""
    return layout.trajectories(CFG.production)


TRAJECTORY_LENGTHS_PS = layout.trajectory_lengths_ps(CFG.production)


def trajectory_settings(wildcards):
    """What a production trajectory is run with."""
    length_ps = TRAJECTORY_LENGTHS_PS[wildcards.structure, wildcards.temperature]
    return layout.trajectory_settings(CFG.production, length_ps)


def decision(run, gen):
    """The decision of a generation; asking for it makes Snakemake run the loop that far."""
    path = f"results/{run}/gate/gen{gen}.json"
    if path not in checkpoints.created_output:
        checkpoints.gate.get(run=run, gen=gen)
    return decision_as_of(path, Path(path).stat().st_mtime_ns)


@cache
def decision_as_of(path, mtime_ns):
    """A decision file of a date: thousands of jobs ask for the same few."""
    return read_json(path)


def phase_of(run, gen):
    """The phase a generation explores."""
    first = CFG.explore.phases[0].name
    return first if int(gen) == 0 else decision(run, int(gen) - 1)["next_phase"]


def phase_settings(run, gen):
    """Settings of the phase a generation explores."""
    return layout.phase_named(CFG.explore, phase_of(run, gen))


def phase(wildcards):
    """The phase the job's generation explores."""
    return phase_of(wildcards.run, wildcards.gen)


def earlier_decision(wildcards):
    """The decision that set the job's phase; a job on another machine may only look at what is among its inputs."""
    gen = int(wildcards.gen)
    return ancient(f"results/{wildcards.run}/gate/gen{gen - 1}.json") if gen else []


def explore_length_ps(wildcards):
    """How long the explore runs of the job's generation are to live."""
    return lasting_value(wildcards, "length_ps", phase_settings(wildcards.run, wildcards.gen).length_ps)


def member_size(wildcards):
    """Hyperparameters of the member a job trains."""
    return section("train")["members"][int(wildcards.member)]


def last_generation(run):
    """Number of the generation that converged."""
    gen = 0
    while decision(run, gen)["status"] != "converged":
        gen += 1
    return gen


def converged_ensemble(wildcards):
    """The ensemble that production uses."""
    run = getattr(wildcards, "run", CFG.run)
    return f"results/{run}/train/gen{last_generation(run)}/ensemble.pt"


def training_frames(wildcards):
    """Every file of labelled frames a generation trains on."""
    run, gen = wildcards.run, int(wildcards.gen)
    if gen:
        phase_of(run, gen)
    initial = expand(
        "results/{run}/aimd/{structure}/frames.extxyz",
        run=run,
        structure=aimd_structures(),
    )
    labels = [f"results/{run}/label/gen{earlier}/frames.extxyz" for earlier in range(gen)]
    return initial + labels


def excluded(wildcards):
    """Frames left out that a generation can have: naming a late label leaves the generations before it as they are."""
    return exclusions(CFG.train.exclude, int(wildcards.gen))


def aimd_densities(wildcards):
    """Density stores of the reference MD."""
    return expand("results/{run}/aimd/{structure}/densities.h5", run=wildcards.run, structure=aimd_structures())


def label_densities(wildcards):
    """Density stores of every label of every generation."""
    pattern = "results/{run}/label/gen{gen}/{label}.densities.h5"
    found = []
    for gen in range(last_generation(wildcards.run)):
        ids = decision(wildcards.run, gen)["label_ids"]
        found += expand(pattern, run=wildcards.run, gen=gen, label=ids)
    return found


def density_test_configurations():
    """Configurations the density model is judged by; {"ids", "demanded"}."""
    own = CFG.density.test_configurations
    return {"ids": list(CFG.train.test_configurations if own is None else own), "demanded": own is not None}


ELECTRON_FILES = {
    "density_errors": "results/{run}/density/errors.csv",
    "charges": "results/{run}/charges/reference.csv",
    "mixture": "results/{run}/charges/oxidation.json",
    "redox": "results/{run}/charges/redox.csv",
}


def electrons(*names):
    """Some of the files about the electrons, by name; none without a density model."""
    return {name: ELECTRON_FILES[name] for name in names} if CFG.density.enabled else {}


def previous_member(wildcards):
    """The same member of the generation before, where training starts from it."""
    if int(wildcards.gen) == 0 or not CFG.train.warm_start:
        return []
    return f"results/{wildcards.run}/train/gen{int(wildcards.gen) - 1}/member{wildcards.member}.pt"


def members(wildcards):
    """All members of a generation."""
    count = range(len(CFG.train.members))
    return [f"results/{wildcards.run}/train/gen{wildcards.gen}/member{member}.pt" for member in count]


def explored(pattern):
    """Input function: one file per explore run of the generation."""

    def files(wildcards):
        names = layout.phase_structures(phase_settings(wildcards.run, wildcards.gen), int(wildcards.gen))
        return expand(pattern, run=wildcards.run, gen=wildcards.gen, structure=names)

    return files


def labels(pattern):
    """Input function: one file per label the gate asked for."""

    def files(wildcards):
        ids = decision(wildcards.run, wildcards.gen)["label_ids"]
        return expand(pattern, run=wildcards.run, gen=wildcards.gen, label=ids)

    return files


def all_generations(pattern):
    """Input function: one file per generation, up to the converged one."""

    def files(wildcards):
        gens = range(last_generation(wildcards.run) + 1)
        return expand(pattern, run=wildcards.run, gen=gens)

    return files


def all_traces(wildcards):
    """Traces of every explore run of every generation."""
    pattern = "results/{run}/explore/gen{gen}/{structure}.csv"
    found = []
    for gen in range(last_generation(wildcards.run) + 1):
        names = layout.phase_structures(phase_settings(wildcards.run, gen), gen)
        found += expand(pattern, run=wildcards.run, gen=gen, structure=names)
    return found


def production_start():
    """What a trajectory starts from: the structure as built, or the lowest one that basin hopping found."""
    stage = "basins" if CFG.basins.enabled else "structures"
    return "results/{run}/" + stage + "/{structure}.extxyz"


def frame_limits(*more):
    """Limits of the gate for single frames: beyond them a structure is not believed."""
    keys = ("high_eV_A", "statistic", "min_distance_fraction", *more)
    return {key: section("explore")[key] for key in keys}


def all_paths(pattern, wanted=True):
    """A file of every path of the config; none where it is not wanted."""
    return [pattern.format(run=CFG.run, path=path.name) for path in CFG.neb.paths if wanted]


def all_trajectories(pattern):
    """Every production trajectory (or what was made of it)."""
    return of_trajectories(pattern, trajectories())


def grid_trajectories(pattern):
    """Those in the cell of the grid."""
    return of_trajectories(pattern, layout.grid_trajectories(CFG.production))


def of_trajectories(pattern, names):
    """A file of each trajectory of some."""
    return [pattern.format(run=CFG.run, structure=name, temperature=kelvin) for name, kelvin in names]


def converged(pattern):
    """Input function: a file of the converged generation."""

    def file(wildcards):
        return pattern.format(run=wildcards.run, gen=last_generation(wildcards.run))

    return file
