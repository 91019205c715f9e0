from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Diffusion, NebPath, Structures
from redoxmd.files.frames import write_frames
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.records import write_json
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job, logger
from redoxmd.neb.event import event_of_path, event_record, frames_of_event

with job("neb", snakemake.log[0]):
    path = NebPath.model_validate(snakemake.params.path)
    settings = read_settings(Diffusion, snakemake.rule, snakemake.params.diffusion)
    structures = read_settings(Structures, snakemake.rule, snakemake.params.structures)
    analyses = [read_dataset(file) for file in snakemake.input.analyses]
    event = event_of_path(
        path, analyses, lambda number: read_trajectory(snakemake.input.trajectories[number]), settings
    )
    record = event_record(path, event, analyses)
    logger.info("%s: %s", path.name, record["reason"] or f"{record['kind']} in {record['structure']}")
    write_frames(snakemake.output.frames, [] if event is None else frames_of_event(event, structures))
    write_json(snakemake.output.record, record)
