from functools import partial

from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Electrons, Neb, NebPath
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import atomic_path, file_sha256, read_json, write_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger
from redoxmd.md.frame_gate import GateSettings
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.neb.run import PathTask, run_path, without_path

name = snakemake.wildcards.path
with job("neb", snakemake.log[0], snakemake.threads):
    runtime, path = runtime_settings(snakemake.config), NebPath.model_validate(snakemake.params.path)
    settings = read_settings(Neb, snakemake.rule, snakemake.params.neb, runtime.neb)
    files = [file_sha256(file) for file in snakemake.input.ends]
    declared, version = dict(snakemake.params.neb), snakemake.params.get("version", 1)
    model = ensemble_identity(snakemake.input.ensemble)
    declared |= given_settings(Electrons, snakemake.rule, snakemake.params)
    checkpoint = Checkpoint(snakemake.params.state, [files, model, declared, dict(snakemake.params.path), version])
    ensemble = load_ensemble(snakemake.input.ensemble, runtime.train.device, runtime.compute.evaluation)
    gate, frames = GateSettings(**snakemake.params.gate), read_frames(snakemake.input.ends[0])
    calculator = partial(EnsembleCalculator, ensemble, runtime.electrons, all_swaps=True)
    if frames:
        run = run_path(PathTask(frames, path, runtime.structures, calculator, settings, gate, checkpoint))
    else:
        run = without_path(read_json(snakemake.input.ends[1]))
    barrier_eV = run.record.get("barrier_forward_eV")
    logger.info("%s: %s", name, run.record["reason"] or f"barrier {barrier_eV:.3f} eV")
    write_frames(snakemake.output.images, run.images)
    write_frames(snakemake.output.candidates, run.candidates)
    with atomic_path(snakemake.output.profile) as temporary:
        run.profile.to_csv(temporary, index=False, float_format="%.8g")
    write_json(snakemake.output.barriers, run.record)
    checkpoint.clear()
