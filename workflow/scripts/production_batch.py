from pathlib import Path

from redoxmd.config import parse_config
from redoxmd.jobs.job import job, logger
from redoxmd.md.forces import force_evaluator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.production import run_batch, trajectory_spec

params = snakemake.params
with job("production", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    model, version = ensemble_identity(snakemake.input.ensemble), params.get("version", 1)
    starts = {Path(path).stem: path for path in snakemake.input.atoms}
    specs = [
        trajectory_spec(
            config,
            params.production,
            name,
            kelvin,
            starts[name],
            f"{params.state}/{Path(output).stem}",
            output,
            model,
            version,
        )
        for (name, kelvin), output in zip(params.trajectories, snakemake.output.trajectories, strict=True)
    ]
    ensemble = load_ensemble(snakemake.input.ensemble, config.train.device, config.compute.evaluation)
    summaries = run_batch(specs, force_evaluator(ensemble, config.compute.md), len(specs))
    for (name, kelvin), summary in zip(params.trajectories, summaries, strict=True):
        logger.info("%s at %s K: %s, %.3g ps, %.3g ns/day", name, kelvin, *summary)
