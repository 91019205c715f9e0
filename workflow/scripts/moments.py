from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Electrons, Moments
from redoxmd.electrons.moments import train_moments
from redoxmd.electrons.states import OxidationLevels
from redoxmd.files.frames import read_frames
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job
from redoxmd.seeds import derive_seed
from redoxmd.train.dataset import Dataset
from redoxmd.train.trainer import save_member

with job("electrons", snakemake.log[0], snakemake.threads):
    params = snakemake.params
    settings = read_settings(Moments, snakemake.rule, params.moments)
    levels = OxidationLevels.of(read_settings(Electrons, snakemake.rule, params.electrons))
    data = file_sha256(snakemake.input.dataset)
    declared = [dict(params.moments), dict(params.electrons), params.seed, params.get("version", 1)]
    checkpoint = Checkpoint(params.state, [data, *declared])
    dataset = Dataset(read_frames(snakemake.input.dataset))
    result = train_moments(dataset, levels, settings, derive_seed(params.seed, "moments"), checkpoint)
    save_member(snakemake.output.model, result, {"dataset": data})
    checkpoint.clear()
