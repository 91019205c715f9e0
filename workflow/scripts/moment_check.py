from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Electrons
from redoxmd.electrons.moment_checks import check_trajectory
from redoxmd.electrons.moments import load_moments
from redoxmd.electrons.states import OxidationLevels
from redoxmd.files.hdf5 import write_dataset
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job

with job("electrons", snakemake.log[0], snakemake.threads):
    levels = OxidationLevels.of(read_settings(Electrons, snakemake.rule, snakemake.params.electrons))
    trajectory = read_trajectory(snakemake.input.trajectory)
    write_dataset(snakemake.output.check, check_trajectory(trajectory, load_moments(snakemake.input.model), levels))
