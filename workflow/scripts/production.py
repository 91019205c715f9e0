from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Electrons, Production
from redoxmd.jobs.job import job, logger
from redoxmd.md.evaluators import force_evaluator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.production import produce, trajectory_spec

name, kelvin, params = snakemake.wildcards.structure, snakemake.wildcards.temperature, snakemake.params
with job("production", snakemake.log[0], snakemake.threads):
    runtime = runtime_settings(snakemake.config)
    moves = given_settings(Electrons, "production", params)
    settings = read_settings(Production, "production", params.production, runtime.production)
    spec = trajectory_spec(
        settings,
        params.production | moves,
        name,
        kelvin,
        snakemake.input.atoms,
        params.state,
        snakemake.output.trajectory,
        ensemble_identity(snakemake.input.ensemble),
        params.seed,
        runtime.structures.mobile_ion,
        params.get("version", 1),
        runtime.electrons,
    )
    ensemble = load_ensemble(snakemake.input.ensemble, runtime.train.device, runtime.compute.evaluation)
    summary = produce(spec, force_evaluator(ensemble, runtime.compute.md, spec.atoms))
    logger.info("%s at %s K: %s, %.3g ps, %.3g ns/day", name, kelvin, *summary)
