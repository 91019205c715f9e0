from redoxmd.config import parse_config
from redoxmd.jobs.job import job, logger
from redoxmd.md.forces import force_evaluator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.production import produce, trajectory_spec

name, kelvin, params = snakemake.wildcards.structure, snakemake.wildcards.temperature, snakemake.params
with job("production", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    spec = trajectory_spec(
        config,
        params.production,
        name,
        kelvin,
        snakemake.input.atoms,
        params.state,
        snakemake.output.trajectory,
        ensemble_identity(snakemake.input.ensemble),
        params.get("version", 1),
    )
    ensemble = load_ensemble(snakemake.input.ensemble, config.train.device, config.compute.evaluation)
    summary = produce(spec, force_evaluator(ensemble, config.compute.md))
    logger.info("%s at %s K: %s, %.3g ps, %.3g ns/day", name, kelvin, *summary)
