from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.analysis import summarise
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.records import atomic_path
from redoxmd.jobs.job import job

with job("diffusion", snakemake.log[0], snakemake.threads):
    settings = read_settings(Diffusion, snakemake.rule, snakemake.params.diffusion)
    datasets = [read_dataset(path) for path in snakemake.input.analyses]
    summary = summarise(datasets, settings)
    for name in vars(summary):
        with atomic_path(snakemake.output[name]) as temporary:
            getattr(summary, name).to_csv(temporary, index=False)
