from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Electrons, Structures, Train
from redoxmd.electrons.states import OxidationLevels
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.jobs.job import job, logger
from redoxmd.train.dataset import build_dataset, load_datasets

with job("train", snakemake.log[0]):
    params, runtime = snakemake.params, runtime_settings(snakemake.config)
    declared = given_settings(Train, snakemake.rule, params)
    # All names, of which the rule declares those that its generation can have.
    declared["exclude"] = runtime.train.exclude
    settings = read_settings(Train, snakemake.rule, declared)
    structures = read_settings(Structures, snakemake.rule, params.structures)
    states = given_settings(Electrons, snakemake.rule, params)
    levels = OxidationLevels.of(read_settings(Electrons, snakemake.rule, states))
    frames = load_datasets(settings.datasets, params.reference)
    for path in snakemake.input.frames:
        frames += read_frames(path)
    dataset = build_dataset(frames, settings, params.seed, params.reference, structures, levels)
    logger.info("generation %s trains on %s", snakemake.wildcards.gen, dataset.counts())
    write_frames(snakemake.output.frames, dataset.frames)
    dataset.record(getattr(params, "teacher", None)).write(snakemake.output.record)
