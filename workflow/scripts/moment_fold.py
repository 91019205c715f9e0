from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Electrons, Moments, Train
from redoxmd.electrons.moment_checks import left_out_states
from redoxmd.electrons.states import OxidationLevels
from redoxmd.files.frames import read_frames
from redoxmd.files.records import atomic_path, file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job
from redoxmd.train.records import DatasetRecord

with job("electrons", snakemake.log[0], snakemake.threads):
    params, fold = snakemake.params, int(snakemake.wildcards.fold)
    settings = read_settings(Moments, snakemake.rule, params.moments)
    levels = OxidationLevels.of(read_settings(Electrons, snakemake.rule, params.electrons))
    train = read_settings(Train, snakemake.rule, params.train)
    data = [file_sha256(path) for path in snakemake.input]
    declared = [dict(value) for value in (params.moments, params.electrons, params.train)]
    checkpoint = Checkpoint(params.state, [data, *declared, fold, params.seed, params.get("version", 1)])
    configurations = {item.config_id: item for item in DatasetRecord.read(snakemake.input.record).configurations}
    frames = read_frames(snakemake.input.dataset)
    states = left_out_states(frames, configurations, train, levels, settings, fold, params.seed, checkpoint)
    with atomic_path(snakemake.output.states) as temporary:
        states.to_csv(temporary, index=False, float_format="%.6g")
    checkpoint.clear()
