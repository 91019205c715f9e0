from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Diffusion, Structures
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.files.hdf5 import write_dataset
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job
from redoxmd.seeds import derive_seed

with job("diffusion", snakemake.log[0], snakemake.threads):
    params = snakemake.params
    settings = read_settings(Diffusion, snakemake.rule, params.diffusion)
    structures = read_settings(Structures, snakemake.rule, params.structures)
    seed = derive_seed(params.seed, "diffusion", snakemake.wildcards.structure, snakemake.wildcards.temperature)
    trajectory = read_trajectory(snakemake.input.trajectory)
    analysis = analyse_trajectory(trajectory, settings, seed, structures)
    write_dataset(snakemake.output.analysis, analysis)
