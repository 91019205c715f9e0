from dataclasses import asdict, replace

from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Electrons, Neb, NebPath
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import atomic_path, file_sha256, write_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger
from redoxmd.md.frame_gate import GateSettings
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.neb.run import PathTask, explore_path

LIMITS = ("max_relax_steps", "max_band_steps", "max_candidate_images")
with job("neb", snakemake.log[0], snakemake.threads):
    runtime, path = runtime_settings(snakemake.config), NebPath.model_validate(snakemake.params.path)
    declared, version = dict(snakemake.params.neb), snakemake.params.get("version", 1)
    files, model = [file_sha256(file) for file in snakemake.input.ends], ensemble_identity(snakemake.input.ensemble)
    params = snakemake.params
    moves = given_settings(Electrons, snakemake.rule, params)
    made_from = [files, model, {key: value for key, value in declared.items() if key not in LIMITS} | moves]
    checkpoint = Checkpoint(params.state, [*made_from, dict(params.path), version])
    ensemble = load_ensemble(snakemake.input.ensemble, runtime.train.device, runtime.compute.evaluation)
    task = PathTask(
        read_frames(snakemake.input.ends[0]),
        path,
        runtime.structures,
        lambda: EnsembleCalculator(ensemble, runtime.electrons, all_swaps=True),
        read_settings(Neb, snakemake.rule, declared),
        GateSettings(**snakemake.params.gate),
        checkpoint,
    )
    run = explore_path(task)
    logger.info("%s: %s, %d candidates", path.name, run.record.end_reason, len(run.candidates))
    write_frames(snakemake.output.candidates, run.candidates)
    with atomic_path(snakemake.output.profile) as temporary:
        run.profile.to_csv(temporary, index=False, float_format="%.8g")
    record = replace(run.record, settings={**declared, "path": dict(snakemake.params.path)})
    write_json(snakemake.output.record, asdict(record))
    checkpoint.keep(["initial.npz", "final.npz", "band.npz"])
