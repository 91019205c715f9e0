from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Member, Train
from redoxmd.files.frames import read_frames
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job
from redoxmd.seeds import derive_seed
from redoxmd.train.dataset import Dataset
from redoxmd.train.trainer import load_member, save_member, train_member

gen, number = int(snakemake.wildcards.gen), int(snakemake.wildcards.member)
with job("train", snakemake.log[0], snakemake.threads):
    settings = read_settings(Train, snakemake.rule, snakemake.params.train)
    data = file_sha256(snakemake.input.dataset)
    previous, pretrained = (snakemake.input.get(name) for name in ("previous", "pretrained"))
    start, replay = previous or pretrained, snakemake.input.get("replay") or []
    earlier = file_sha256(start) if start else ""
    declared = [dict(snakemake.params.train), dict(snakemake.params["size"]), snakemake.params.seed]
    replayed = [file_sha256(path) for path in replay]
    checkpoint = Checkpoint(
        snakemake.params.state, [data, earlier, *declared, snakemake.params.get("version", 1), *replayed]
    )
    network, origin = load_member(start) if start else (None, {})
    teacher = {key: value for key, value in origin.get("about", {}).items() if key == "teacher"}
    result = train_member(
        Dataset(read_frames(snakemake.input.dataset)),
        Member(**snakemake.params["size"]),
        settings,
        gen,
        derive_seed(snakemake.params.seed, "train", number),
        network if previous else None,
        checkpoint,
        f"generation {gen}, member {number}",
        network if pretrained else None,
        [frame for path in replay for frame in read_frames(path)],
    )
    save_member(snakemake.output.member, result, {"dataset": data, "generation": gen, "member": number, **teacher})
    checkpoint.clear()
