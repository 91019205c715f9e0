from redoxmd.config import parse_config
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import write_json
from redoxmd.jobs.job import job, logger
from redoxmd.train.dataset import build_dataset, load_datasets

with job("train", snakemake.log[0]):
    config = parse_config(snakemake.config)
    settings = config.train
    reference = snakemake.params.reference
    frames = load_datasets(settings.datasets, reference)
    for path in snakemake.input.frames:
        frames += read_frames(path)
    dataset = build_dataset(frames, settings, snakemake.params.seed, reference, config.structures)
    counts = dataset.counts()
    logger.info("generation %s trains on %s", snakemake.wildcards.gen, counts)
    configurations = [item.record() for item in dataset.configurations.values()]
    write_frames(snakemake.output.frames, dataset.frames)
    record = {"duplicates": dataset.duplicates, "left_out": dataset.left_out, "too_short": dataset.too_short}
    write_json(snakemake.output.record, counts | record | {"configurations": configurations})
