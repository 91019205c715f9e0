from redoxmd.checkpoint import Checkpoint
from redoxmd.config import parse_config, with_settings
from redoxmd.frames import read_frames
from redoxmd.job import job, logger
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.production import produce
from redoxmd.records import file_sha256
from redoxmd.seeds import derive_rng

name, kelvin = snakemake.wildcards.structure, snakemake.wildcards.temperature
with job("production", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    model = ensemble_identity(snakemake.input.ensemble)
    # Without the length: a finished trajectory is made longer or cut, not run again.
    given = {key: value for key, value in snakemake.params.production.items() if key != "length_ps"}
    seed, version = snakemake.params.seed, snakemake.params.get("version", 1)
    fingerprint = [file_sha256(snakemake.input.atoms), model, given, kelvin, seed, version]
    checkpoint = Checkpoint(snakemake.params.state, fingerprint)
    (atoms,) = read_frames(snakemake.input.atoms)
    ensemble = load_ensemble(snakemake.input.ensemble, config.train.device, config.compute.evaluation)
    summary = produce(
        atoms,
        ensemble,
        with_settings(config.production, snakemake.params.production),
        float(kelvin),
        derive_rng(seed, "production", name, kelvin),
        checkpoint,
        snakemake.output.trajectory,
        {"structure": name, "mobile_ion": config.structures.mobile_ion, "model": model},
        config.compute.md,
    )
    logger.info("%s at %s K: %s, %.3g ps, %.3g ns/day", name, kelvin, *summary)
