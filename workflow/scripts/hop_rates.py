from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Diffusion
from redoxmd.electrons.hops import summarise_hops
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.records import atomic_path
from redoxmd.jobs.job import job

with job("charges", snakemake.log[0]):
    settings = read_settings(Diffusion, snakemake.rule, snakemake.params.diffusion)
    summary = summarise_hops([read_dataset(path) for path in snakemake.input.hops], settings)
    for name in vars(summary):
        with atomic_path(snakemake.output[name]) as temporary:
            getattr(summary, name).to_csv(temporary, index=False, float_format="%.8g")
