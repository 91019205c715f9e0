from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Member, Pretrain, Structures
from redoxmd.files.frames import read_frames
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger
from redoxmd.pretrain import common_teacher, pretraining_settings, teacher_dataset
from redoxmd.seeds import derive_seed
from redoxmd.train.trainer import save_member, train_member

number, params = int(snakemake.wildcards.member), snakemake.params
with job("pretrain", snakemake.log[0], snakemake.threads):
    settings = pretraining_settings(params.train, read_settings(Pretrain, snakemake.rule, params.pretrain))
    structures = read_settings(Structures, snakemake.rule, params.structures)
    data = [file_sha256(path) for path in snakemake.input.frames]
    declared = [dict(params.train), dict(params.pretrain), dict(params.structures), dict(params["size"])]
    checkpoint = Checkpoint(params.state, [data, *declared, params.seed, params.get("version", 1)])
    frames = [frame for path in snakemake.input.frames for frame in read_frames(path)]
    dataset = teacher_dataset(frames, structures, settings, params.seed)
    counts, teacher = dataset.counts(), common_teacher(frames)
    logger.info("member %d is trained on labels of %s: %s", number, params.teacher, counts)
    seed = derive_seed(params.seed, "pretrain", number)
    name = f"pretraining, member {number}"
    result = train_member(dataset, Member(**params["size"]), settings, 0, seed, None, checkpoint, name=name)
    record = {"teacher": params.teacher, "settings_hash": teacher, "frames": counts, "dataset": data, "member": number}
    save_member(snakemake.output.member, result, record)
    checkpoint.clear()
