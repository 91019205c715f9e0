from dataclasses import asdict

from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Electrons, Explore
from redoxmd.explore import bound_factor, explore
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import atomic_path, file_sha256, write_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger
from redoxmd.md.evaluators import force_evaluator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.seeds import derive_rng

name, gen = snakemake.wildcards.structure, snakemake.wildcards.gen
with job("explore", snakemake.log[0], snakemake.threads):
    runtime = runtime_settings(snakemake.config)
    seed, version = snakemake.params.seed, snakemake.params.get("version", 1)
    model = ensemble_identity(snakemake.input.ensemble)
    declared = dict(snakemake.params.explore)
    params = snakemake.params
    moves = given_settings(Electrons, "explore", params)
    fingerprint = [file_sha256(snakemake.input.atoms), model, declared | moves, name, gen, seed, version]
    checkpoint = Checkpoint(snakemake.params.state, fingerprint)
    (atoms,) = read_frames(snakemake.input.atoms)
    ensemble = load_ensemble(snakemake.input.ensemble, runtime.train.device, runtime.compute.evaluation)
    rng = derive_rng(seed, "explore", gen, name)
    settings = read_settings(Explore, snakemake.rule, declared)
    length_ps = snakemake.params.length_ps
    factor = bound_factor(ensemble, settings)
    evaluator = force_evaluator(ensemble, runtime.compute.md, atoms)
    run = explore(atoms, evaluator, settings, length_ps, rng, name, checkpoint, runtime.electrons, factor)
    logger.info("%s: %s after %.3g ps, %d candidates", name, run.end_reason, run.survived_ps, len(run.candidates))
    write_frames(snakemake.output.candidates, run.candidates)
    with atomic_path(snakemake.output.trace) as temporary:
        run.trace.to_csv(temporary, index=False, float_format="%.6g")
    write_json(snakemake.output.record, asdict(run.record()))
    checkpoint.keep(["state.npz"])
