# The config, and input functions that ask for decisions of the gate, the checkpoint; no rules here.
# Files, settings and resources that do not depend on it: src/redoxmd/runs/rules.py.

import gc
import json
from functools import cache
from pathlib import Path

from redoxmd import gate
from redoxmd.config import parse_config, read_config
from redoxmd.config.declared import settings_for
from redoxmd.engines import settings_hash
from redoxmd.figures.catalogue import figures_of, first_page_figures
from redoxmd.files import layout
from redoxmd.files.records import plain
from redoxmd.runs.captions import captions_of
from redoxmd.runs.driver import acquire_run, export_config, exported_config, report_driver, with_last_kpoints
from redoxmd.runs.job_records import update_snakemake_records
from redoxmd.runs.mixing import record_reference, refuse_mixing
from redoxmd.runs.rules import Rules, path_end_files, without_signal
from redoxmd.runs.versions import stage_version

if workflow.is_main_process:
    for file in workflow.configfiles:
        # Snakemake has read it already, and takes the second of a key that stands twice.
        read_config(file)
else:
    config = exported_config(config)
config = with_last_kpoints(config, workflow.configfiles, workflow.config_settings.config)
CFG = parse_config(config, source="config")
# Whether potentials distinguish oxidation states, so that settings of the electrons in MD have an effect.
AWARE = CFG.train.states == "aware"
REFERENCE = settings_hash(CFG.engine)
FIGURES = figures_of(CFG)
RESULTS = Path("results") / CFG.run
SITE_OPTIONS = (workflow.resource_settings.default_resources or {}).get("slurm_extra")
RULES = Rules(
    CFG, Path(str(workflow.current_basedir)).parent, without_signal(getattr(SITE_OPTIONS, "raw", SITE_OPTIONS))
)
cores, resources_for, code = RULES.cores, RULES.resources_for, RULES.code
refuse_mixing(RESULTS, CFG)
if workflow.is_main_process:
    # Thousands of jobs are millions of objects that stay: looking for garbage among them takes a fifth of the time.
    gc.set_threshold(200_000, 50, 1000)
    report_driver(CFG.run, workflow.configfiles)
    update_snakemake_records(CFG.run)


wildcard_constraints:
    run=CFG.run.replace(".", r"\."),
    gen=r"\d+",
    member=r"\d+",
    fold=r"\d+",
    label=r"g\d+f\d+",
    structure=r"x[0-9.]+_[a-z]+\d+_\d+x\d+x\d+",
    temperature=r"[0-9.]+",
    path=r"[A-Za-z0-9][A-Za-z0-9_-]*",


@cache
def decision_file(run, gen):
    """The decision of a generation; asking for it makes Snakemake run the loop that far."""
    return str(checkpoints.gate.get(run=run, gen=gen).output[0])


def decision(run, gen):
    """Content of the decision of a generation."""
    path = decision_file(run, str(gen))
    return decision_as_of(path, Path(path).stat().st_mtime_ns)


@cache
def decision_as_of(path, mtime_ns):
    """A decision file of a date: thousands of jobs ask for the same few."""
    return gate.Decision.read(path)


def phase_of(run, gen):
    """The phase that a generation explores."""
    first = CFG.explore.phases[0].name
    return first if int(gen) == 0 else decision(run, int(gen) - 1).next_phase


def phase_settings(run, gen):
    """Settings of the phase that a generation explores."""
    name = phase_of(run, gen)
    return next(phase for phase in CFG.explore.phases if phase.name == name)


def phase(wildcards):
    """The phase that the job's generation explores."""
    return phase_of(wildcards.run, wildcards.gen)


def earlier_decision(wildcards):
    """The decision that set the job's phase; a job on another machine may only look at what is among its inputs."""
    gen = int(wildcards.gen)
    return ancient(f"results/{wildcards.run}/gate/gen{gen - 1}.json") if gen else []


def last_generation(run):
    """Number of the generation that converged; 0 for an ensemble that is given."""
    gen = 0
    while CFG.has_loop and decision(run, gen).status != gate.GateStatus.CONVERGED:
        gen += 1
    return gen


def converged(pattern):
    """Input function: a file of the converged generation."""

    def file(wildcards):
        run = getattr(wildcards, "run", CFG.run)
        return pattern.format(run=run, gen=last_generation(run))

    return file


converged_ensemble = converged("results/{run}/train/gen{gen}/ensemble.pt")


def all_generations(pattern):
    """Input function: one file per generation, up to the converged one."""

    def files(wildcards):
        gens = range(last_generation(wildcards.run) + 1)
        return expand(pattern, run=wildcards.run, gen=gens)

    return files


def decided(pattern):
    """Input function: one file per decision of the gate."""
    return all_generations(pattern) if CFG.has_loop else []


def explored(pattern):
    """Input function: one file per explore run of the generation."""

    def files(wildcards):
        names = layout.phase_structures(phase_settings(wildcards.run, wildcards.gen), int(wildcards.gen))
        return expand(pattern, run=wildcards.run, gen=wildcards.gen, structure=names)

    return files


def all_explored(pattern):
    """Input function: one file per explore run of every generation."""

    def files(wildcards):
        found = []
        for gen in range(last_generation(wildcards.run) + 1):
            names = layout.phase_structures(phase_settings(wildcards.run, gen), gen)
            found += expand(pattern, run=wildcards.run, gen=gen, structure=names)
        return found

    return files


def labels(pattern):
    """Input function: one file per label that the gate asked for."""

    def files(wildcards):
        ids = decision(wildcards.run, wildcards.gen).label_ids
        return expand(pattern, run=wildcards.run, gen=wildcards.gen, label=ids)

    return files


def all_labels(pattern):
    """Input function: one file per label of every generation."""

    def files(wildcards):
        found = []
        for gen in range(last_generation(wildcards.run)):
            ids = decision(wildcards.run, gen).label_ids
            found += expand(pattern, run=wildcards.run, gen=gen, label=ids)
        return found

    return files


def state_records():
    """Input functions of the records with the electronic states of the frames; none without levels."""
    if not CFG.electrons.levels:
        return {}
    return {
        "datasets": all_generations("results/{run}/train/gen{gen}/dataset.json"),
        "labels": all_labels("results/{run}/label/gen{gen}/{label}.json"),
    }


def training_frames(wildcards):
    """Every file of labelled frames that a generation trains on."""
    run, gen = wildcards.run, int(wildcards.gen)
    if gen:
        phase_of(run, gen)
    labelled = [f"results/{run}/label/gen{earlier}/frames.extxyz" for earlier in range(gen)]
    return RULES.aimd_files("frames.extxyz") + labelled


def settings_when_labelled(rule, section):
    """Params function: settings as the job's generation was explored with them, once that generation is labelled."""
    now = settings_for(rule, section)

    def settings(wildcards):
        return value_when_labelled(wildcards, type(section).__name__.lower(), now)

    return settings


def value_when_labelled(wildcards, name, now):
    """A setting as the job's generation was explored with it; `now` where that is not labelled, or is to be redone."""
    if not CFG.explore.keep_labelled:
        return now
    return gate.settings_when_labelled(Path("results") / wildcards.run, int(wildcards.gen), name, now)


def explore_length_ps(wildcards):
    """Time for which each explore run of the job's generation is to survive."""
    return value_when_labelled(wildcards, "length_ps", phase_settings(wildcards.run, wildcards.gen).length_ps)


def frame_limits_when_labelled(wildcards):
    """Limits of the gate for single frames, as the job's generation was explored with them."""
    return value_when_labelled(wildcards, "explore", RULES.frame_limits("low_eV_A"))


def generation_neb_settings(run, gen):
    """Settings with which a generation finds paths, those of the paths among them; {} where it finds none."""
    now = RULES.generation_neb_settings(phase_of(run, gen)) if CFG.neb.train_phases else {}
    if CFG.explore.keep_labelled:
        now = gate.neb_settings_when_labelled(Path("results") / run, int(gen), now)
    # In one order, whether it comes from the config or from a file.
    return json.loads(json.dumps(now, sort_keys=True))


def generation_paths(pattern):
    """Input function: one file per path that is found in the generation."""

    def files(wildcards):
        paths = generation_neb_settings(wildcards.run, wildcards.gen).get("paths", [])
        return [pattern.format(run=wildcards.run, gen=wildcards.gen, path=path["name"]) for path in paths]

    return files


def generation_path(wildcards):
    """Settings of the path of a job of a generation."""
    paths = generation_neb_settings(wildcards.run, wildcards.gen)["paths"]
    return next(path for path in paths if path["name"] == wildcards.path)


def generation_band_settings(wildcards):
    """Settings with which the path of a job of a generation is found."""
    settings = generation_neb_settings(wildcards.run, wildcards.gen)
    return {key: value for key, value in settings.items() if key != "paths"}


def generation_path_ends(wildcards):
    """The start of the path of a job of a generation and, if it has one, the file of its end."""
    supercell = generation_band_settings(wildcards)["supercell"]
    return path_end_files(generation_path(wildcards), supercell, wildcards.run)


def figure_files(figure, category):
    """The files of a figure; its vector form goes into the report with its caption."""
    stem = f"results/{{run}}/figures/{{figure,{figure}}}"
    caption = f"../workflow/report/{figure}.rst"
    svg = report(f"{stem}.svg", caption=caption, category=category, labels={"figure": figure})
    return {"pdf": f"{stem}.pdf", "svg": svg, "png": f"{stem}.png", "csv": f"{stem}.csv"}
