from dataclasses import replace

from redoxmd.config.declared import read_settings, runtime_settings
from redoxmd.config.sections import Explore, Gate
from redoxmd.files.frames import read_frames
from redoxmd.files.records import read_json
from redoxmd.gate import ExploreRecord, PathRecord, decide, recorded_path_settings
from redoxmd.jobs.job import job, logger

with job("gate", snakemake.log[0]):
    runtime = runtime_settings(snakemake.config)
    runs = [ExploreRecord(**read_json(path)) for path in snakemake.input.runs]
    bands = [PathRecord(**read_json(path)) for path in snakemake.input.bands]
    ids = [frame.info["label_id"] for frame in read_frames(snakemake.input.selected)]
    gen = int(snakemake.wildcards.gen)
    settings = {name: snakemake.params[name] for name in ("explore", "length_ps", "select", "gate")}
    explored = read_settings(Explore, snakemake.rule, settings["explore"], runtime.explore)
    judged = read_settings(Gate, snakemake.rule, settings["gate"], runtime.gate)
    decision = decide(gen, snakemake.params.phase, runs, ids, explored, judged, bands)
    settings |= {"neb": recorded_path_settings(bands)} if bands else {}
    logger.info(
        "generation %d (%s): %s, %d labels asked for%s",
        *(gen, decision.phase, decision.status, len(decision.label_ids)),
        "".join(f"; {reason}" for reason in decision.reasons),
    )
    replace(decision, settings=settings).write(snakemake.output.decision)
