import os

from redoxmd.aimd.warm_up import potential_calculator
from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Electrons, Pretrain
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.layout import state_of
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger
from redoxmd.pretrain import teacher_frames, teacher_hash
from redoxmd.seeds import derive_rng

name = snakemake.wildcards.structure
with job("pretrain", snakemake.log[0], snakemake.threads):
    # No GPU is reserved for this job.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    settings = read_settings(Pretrain, snakemake.rule, snakemake.params.pretrain)
    electrons = read_settings(Electrons, snakemake.rule, snakemake.params.electrons)
    (atoms,) = read_frames(snakemake.input.atoms)
    rng = derive_rng(snakemake.params.seed, "pretrain", name)
    calculator, identity = potential_calculator(settings, electrons), teacher_hash(settings)
    declared = [dict(snakemake.params.pretrain), dict(snakemake.params.electrons), snakemake.params.get("version", 1)]
    fingerprint = [file_sha256(snakemake.input.atoms), identity, declared, snakemake.params.seed]
    checkpoint = Checkpoint(state_of(snakemake.output.frames, "pretrain_frames"), fingerprint)
    frames = teacher_frames(atoms, calculator, settings, electrons, rng, identity, checkpoint)
    logger.info("%s: %d frames labelled by %s", name, len(frames), settings.potential)
    write_frames(snakemake.output.frames, frames)
    checkpoint.clear()
