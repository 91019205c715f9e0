from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Charges, Electrons, Structures
from redoxmd.electrons.hops import analyse_hops
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job

with job("charges", snakemake.log[0], snakemake.threads):
    sections = {"structures": Structures, "charges": Charges, "electrons": Electrons}
    settings = {name: read_settings(model, snakemake.rule, snakemake.params[name]) for name, model in sections.items()}
    trajectory = read_trajectory(snakemake.input.trajectory)
    write_dataset(snakemake.output.hops, analyse_hops(trajectory, read_dataset(snakemake.input.jumps), **settings))
