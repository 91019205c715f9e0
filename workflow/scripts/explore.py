from redoxmd.config import parse_config, with_settings
from redoxmd.explore import explore
from redoxmd.frames import read_frames, write_frames
from redoxmd.job import job, logger
from redoxmd.model.ensemble import load_ensemble
from redoxmd.records import atomic_path, write_json
from redoxmd.seeds import derive_rng

name, gen = snakemake.wildcards.structure, snakemake.wildcards.gen
with job("explore", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    (atoms,) = read_frames(snakemake.input.atoms)
    ensemble = load_ensemble(snakemake.input.ensemble, config.train.device)
    rng = derive_rng(snakemake.params.seed, "explore", gen, name)
    settings = with_settings(config.explore, snakemake.params.explore)
    run = explore(atoms, ensemble, settings, snakemake.params.length_ps, rng, name)
    logger.info("%s: %s after %.3g ps, %d candidates", name, run.end_reason, run.survived_ps, len(run.candidates))
    write_frames(snakemake.output.candidates, run.candidates)
    with atomic_path(snakemake.output.trace) as temporary:
        run.trace.to_csv(temporary, index=False, float_format="%.6g")
    write_json(snakemake.output.record, run.record())
