from pathlib import Path

from redoxmd.config import parse_config
from redoxmd.jobs.job import job, logger
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.production.company import ProductionJob, make

name, kelvin = snakemake.wildcards.structure, snakemake.wildcards.temperature
with job("production", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    own = ProductionJob(
        config,
        name,
        kelvin,
        start=Path(snakemake.input.atoms),
        state=Path(snakemake.params.state),
        output=Path(snakemake.output.trajectory),
        model=ensemble_identity(snakemake.input.ensemble),
        version=snakemake.params.get("version", 1),
    )
    ensemble = load_ensemble(snakemake.input.ensemble, config.train.device, config.compute.evaluation)
    summary = make(own, ensemble)
    logger.info("%s at %s K: %s, %.3g ps, %.3g ns/day", name, kelvin, *summary)
