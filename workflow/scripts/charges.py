from redoxmd.charges.tables import frames_to_charge, trajectory_charges
from redoxmd.config import parse_config
from redoxmd.density.model import load_density_model
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.records import file_sha256
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger

with job("charges", snakemake.log[0], snakemake.threads):
    config = parse_config(snakemake.config)
    inputs = [file_sha256(path) for path in snakemake.input]
    given, version = dict(snakemake.params.charges), snakemake.params.get("version", 1)
    checkpoint = Checkpoint(snakemake.params.state, [inputs, given, version])
    model, _ = load_density_model(snakemake.input.model, config.density.device)
    trajectory = read_trajectory(snakemake.input.trajectory)
    jumps = read_dataset(snakemake.input.jumps)["jump_time_fs"].to_numpy()
    frames = frames_to_charge(trajectory.time_fs, jumps, config.charges)
    logger.info("%d of %d frames", len(frames), len(trajectory.time_fs))
    table = trajectory_charges(trajectory, frames, model, config.charges, config.structures, checkpoint)
    write_dataset(snakemake.output.charges, table)
    checkpoint.clear()
