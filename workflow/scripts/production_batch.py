from pathlib import Path

from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Electrons, Production
from redoxmd.jobs.job import job, logger
from redoxmd.md.evaluators import force_evaluator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.production import run_batch, trajectory_spec

params = snakemake.params
with job("production", snakemake.log[0], snakemake.threads):
    runtime = runtime_settings(snakemake.config)
    moves = given_settings(Electrons, "production", params)
    settings = read_settings(Production, "production", params.production, runtime.production)
    model, version = ensemble_identity(snakemake.input.ensemble), params.get("version", 1)
    starts = {Path(path).stem: path for path in snakemake.input.atoms}
    specs = [
        trajectory_spec(
            settings,
            params.production | moves,
            name,
            kelvin,
            starts[name],
            f"{params.state}/{Path(output).stem}",
            output,
            model,
            params.seed,
            runtime.structures.mobile_ion,
            version,
            runtime.electrons,
        )
        for (name, kelvin), output in zip(params.trajectories, snakemake.output.trajectories, strict=True)
    ]
    ensemble = load_ensemble(snakemake.input.ensemble, runtime.train.device, runtime.compute.evaluation)
    summaries = run_batch(specs, force_evaluator(ensemble, runtime.compute.md, specs[0].atoms), len(specs))
    for (name, kelvin), summary in zip(params.trajectories, summaries, strict=True):
        logger.info("%s at %s K: %s, %.3g ps, %.3g ns/day", name, kelvin, *summary)
