from redoxmd.charges.summary import summarise_redox
from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Charges, Structures
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.records import atomic_path, read_json
from redoxmd.jobs.job import job

with job("charges", snakemake.log[0], snakemake.threads):
    settings = read_settings(Charges, snakemake.rule, snakemake.params.charges)
    structures = read_settings(Structures, snakemake.rule, snakemake.params.structures)
    charges, jumps = (
        [read_dataset(path) for path in paths] for paths in (snakemake.input.charges, snakemake.input.jumps)
    )
    mixture = read_json(snakemake.input.mixture)
    summary = summarise_redox(charges, jumps, mixture, structures, settings)
    for name in ("table", "hops", "states"):
        with atomic_path(snakemake.output[name]) as temporary:
            getattr(summary, name).to_csv(temporary, index=False, float_format="%.8g")
