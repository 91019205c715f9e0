import os

from redoxmd.aimd.warm_up import potential_calculator, warm_up
from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Aimd
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.jobs.job import job
from redoxmd.seeds import derive_rng

name = snakemake.wildcards.structure
with job("warm_up", snakemake.log[0], snakemake.threads):
    # No GPU is reserved for this job.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    settings = read_settings(Aimd, snakemake.rule, given_settings(Aimd, snakemake.rule, snakemake.params))
    electrons = runtime_settings(snakemake.config).electrons
    (atoms,) = read_frames(snakemake.input.atoms)
    calculator = potential_calculator(settings.warm_up, electrons)
    rng = derive_rng(snakemake.params.seed, "warm_up", name)
    write_frames(snakemake.output.atoms, [warm_up(atoms, calculator, settings, rng, electrons)])
