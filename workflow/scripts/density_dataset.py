from pathlib import Path

from redoxmd.charges.density_states import judge_densities
from redoxmd.config.declared import given_settings, read_settings
from redoxmd.config.sections import Electrons
from redoxmd.density.dataset import index_densities, stores_of_datasets
from redoxmd.electrons.states import OxidationLevels
from redoxmd.files.records import write_json
from redoxmd.jobs.job import job, logger
from redoxmd.train.dataset import check_dataset_files
from redoxmd.train.records import DatasetRecord

with job("density", snakemake.log[0]):
    params = snakemake.params
    folders = [Path(folder) for folder in params.datasets]
    check_dataset_files(folders, params.reference)
    stores = [*stores_of_datasets(folders), *snakemake.input.stores, *snakemake.input.aimd, *snakemake.input.labels]
    test = params.test
    frames = DatasetRecord.read(snakemake.input.frames)
    groups = {item.config_id: item.group for item in frames.configurations}
    validation = [item.config_id for item in frames.configurations if item.set == "validation"]
    left_out = [f"{item['config_id']}/{item['step']}" for item in frames.left_out]
    electrons = given_settings(Electrons, snakemake.rule, params)
    levels = OxidationLevels.of(read_settings(Electrons, snakemake.rule, electrons))
    states = None
    if levels is not None:
        states = judge_densities(stores, levels, left_out)
        write_json(snakemake.output.left_out, states.left_out)
    split = (test["ids"], params.validation_fraction, params.seed, test["demanded"])
    index = index_densities(stores, *split, groups, left_out, validation, states, not params.get("given"))
    logger.info("the density model learns from %s", index.counts())
    write_json(snakemake.output.index, index.record())
