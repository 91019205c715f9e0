from redoxmd.files.frames import read_frames
from redoxmd.files.records import atomic_path
from redoxmd.jobs.job import job, logger
from redoxmd.pretrain import pretrained_ensemble
from redoxmd.train.calibration import evaluate, sample_frames
from redoxmd.train.records import ensemble_error_lines
from redoxmd.train.trainer import load_member

with job("pretrain", snakemake.log[0], snakemake.threads):
    frames = read_frames(snakemake.input.dataset)
    training = [frame for frame in frames if frame.info["set"] == "train"]
    ensemble = pretrained_ensemble([load_member(path)[0] for path in snakemake.input.members], training)
    errors = evaluate(ensemble, sample_frames(frames, snakemake.params.seed)).member_errors
    for text in ensemble_error_lines(errors.to_dict("records")):
        logger.info("before training on reference labels, %s", text)
    with atomic_path(snakemake.output.errors) as temporary:
        errors.to_csv(temporary, index=False, float_format="%.8g")
