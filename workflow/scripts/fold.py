from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Train
from redoxmd.files.frames import read_frames
from redoxmd.files.records import atomic_path, file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job
from redoxmd.train.cross_validation import held_out_errors
from redoxmd.train.records import DatasetRecord
from redoxmd.train.trainer import load_member

with job("train", snakemake.log[0], snakemake.threads):
    settings = read_settings(Train, snakemake.rule, snakemake.params.train)
    fold, seed = int(snakemake.wildcards.fold), snakemake.params.seed
    data = [file_sha256(path) for path in snakemake.input]
    start, replay = (snakemake.input.get(name) or [] for name in ("pretrained", "replay"))
    declared = [dict(snakemake.params.train), fold, seed, snakemake.params.get("version", 1)]
    checkpoint = Checkpoint(snakemake.params.state, [data, *declared])
    configurations = {item.config_id: item for item in DatasetRecord.read(snakemake.input.record).configurations}
    frames = read_frames(snakemake.input.dataset)
    pretrained = load_member(start)[0] if start else None
    replayed = [frame for path in replay for frame in read_frames(path)]
    errors = held_out_errors(frames, configurations, settings, fold, seed, checkpoint, pretrained, replayed)
    with atomic_path(snakemake.output.errors) as temporary:
        errors.to_csv(temporary, index=False, float_format="%.6g")
    checkpoint.clear()
