from redoxmd.config import parse_config
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.files.hdf5 import write_dataset
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job
from redoxmd.seeds import derive_seed

with job("diffusion", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    seed = derive_seed(
        snakemake.params.seed, "diffusion", snakemake.wildcards.structure, snakemake.wildcards.temperature
    )
    trajectory = read_trajectory(snakemake.input.trajectory)
    analysis = analyse_trajectory(trajectory, config.diffusion, seed, config.structures)
    write_dataset(snakemake.output.analysis, analysis)
