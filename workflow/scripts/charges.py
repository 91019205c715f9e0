from redoxmd.charges.tables import frames_to_charge, trajectory_charges
from redoxmd.config.declared import read_settings, runtime_settings
from redoxmd.config.sections import Charges, Structures
from redoxmd.density.model import load_density_model
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.records import file_sha256
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger

with job("charges", snakemake.log[0], snakemake.threads):
    settings = read_settings(Charges, snakemake.rule, snakemake.params.charges)
    structures = read_settings(Structures, snakemake.rule, snakemake.params.structures)
    inputs = [file_sha256(path) for path in snakemake.input]
    declared, version = dict(snakemake.params.charges), snakemake.params.get("version", 1)
    checkpoint = Checkpoint(snakemake.params.state, [inputs, declared, version])
    model, _ = load_density_model(snakemake.input.model, runtime_settings(snakemake.config).density.device)
    trajectory = read_trajectory(snakemake.input.trajectory)
    jumps = read_dataset(snakemake.input.jumps)["jump_time_fs"].to_numpy()
    frames = frames_to_charge(trajectory.time_fs, jumps, settings)
    logger.info("%d of %d frames", len(frames), len(trajectory.time_fs))
    table = trajectory_charges(trajectory, frames, model, settings, structures, checkpoint)
    write_dataset(snakemake.output.charges, table)
    checkpoint.clear()
