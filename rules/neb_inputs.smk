# Input functions of the stage neb, and of select and gate where paths are found in every generation; no rules here.

import json

from redoxmd.gate import lasting_bands
from redoxmd.structures.request import structure_name


def neb_path(wildcards):
    """Settings of the path of a job."""
    return next(path for path in neb_paths() if path["name"] == wildcards.path)


def neb_paths():
    """Settings of all paths; without `event` where it is not used, so that paths from before it was there stay."""
    return [{key: value for key, value in path.items() if key != "event" or value} for path in section("neb")["paths"]]


def neb_inputs(wildcards):
    """What a path starts from and, where a file says so, ends at; or the frames of its event."""
    path = neb_path(wildcards)
    if "event" in path:
        return [f"results/{wildcards.run}/neb/{wildcards.path}.event.{suffix}" for suffix in ("extxyz", "json")]
    return path_inputs(path, layout.neb_structures(CFG.neb)[wildcards.path], wildcards.run)


def path_inputs(path, start, run):
    """The structure that a path starts from, and the file of its end, if it has one."""
    return [f"results/{run}/structures/{start}.extxyz", *([path["final"]] if path["final"] else [])]


def event_trajectories(pattern):
    """Input function: the trajectories (or what was made of them) in which the event of a path is looked for."""

    def files(wildcards):
        path = next(path for path in CFG.neb.paths if path.name == wildcards.path)
        return of_trajectories(pattern, layout.event_trajectories(CFG.production, path))

    return files


def bands_of(run, gen):
    """Settings with which paths are found in a generation, those of the paths among them; {} where none are."""
    now = {}
    if CFG.neb.train_phases and phase_of(run, gen) in CFG.neb.train_phases:
        now = section("neb", without=["reference", "train_phases"])
        now["paths"] = [path for path in neb_paths() if "event" not in path]
    found = lasting_bands(Path("results") / run, int(gen), now) if CFG.explore.keep_labelled else now
    # In one order, whether it comes from the config or from a file.
    return json.loads(json.dumps(found, sort_keys=True))


def bands(pattern):
    """Input function: one file per path that is found in the generation."""

    def files(wildcards):
        found = bands_of(wildcards.run, wildcards.gen).get("paths", [])
        return [pattern.format(run=wildcards.run, gen=wildcards.gen, path=path["name"]) for path in found]

    return files


def band_path(wildcards):
    """Settings of the path of a job of a generation."""
    found = bands_of(wildcards.run, wildcards.gen)["paths"]
    return next(path for path in found if path["name"] == wildcards.path)


def band_settings(wildcards):
    """How the path of a job of a generation is found."""
    return {key: value for key, value in bands_of(wildcards.run, wildcards.gen).items() if key != "paths"}


def band_inputs(wildcards):
    """What the path of a job of a generation starts from and, where a file says so, ends at."""
    path, repeats = band_path(wildcards), band_settings(wildcards)["supercell"]
    start = structure_name(path["x"], path["ordering"], path["seed"], repeats)
    return path_inputs(path, start, wildcards.run)


def lasting_limits(wildcards):
    """Limits of the gate for single frames, as the job's generation was explored with them."""
    return lasting_value(wildcards, "explore", frame_limits("low_eV_A"))
