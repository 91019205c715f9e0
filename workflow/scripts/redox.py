from redoxmd.charges.summary import summarise_redox
from redoxmd.config import parse_config
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.records import atomic_path, read_json
from redoxmd.jobs.job import job

with job("charges", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    charges, jumps = (
        [read_dataset(path) for path in paths] for paths in (snakemake.input.charges, snakemake.input.jumps)
    )
    mixture = read_json(snakemake.input.mixture)
    summary = summarise_redox(charges, jumps, mixture, config.structures, config.charges, snakemake.params.seed)
    for name in ("table", "hops", "states"):
        with atomic_path(snakemake.output[name]) as temporary:
            getattr(summary, name).to_csv(temporary, index=False, float_format="%.8g")
