from redoxmd.config.declared import runtime_settings
from redoxmd.electrons.states import OxidationLevels
from redoxmd.files.frames import read_frames
from redoxmd.files.records import atomic_path
from redoxmd.jobs.job import job, logger
from redoxmd.model.ensemble import Ensemble, ensemble_teacher, given_ensemble, save_ensemble
from redoxmd.train.audit.parity import describe_suspects, frames_to_audit, residuals, suspect_names, suspects
from redoxmd.train.calibration import calibrate, calibrated, evaluate, sample_frames
from redoxmd.train.records import EnsembleRecord, ensemble_error_lines
from redoxmd.train.trainer import load_member

with job("train", snakemake.log[0], snakemake.threads):
    runtime = runtime_settings(snakemake.config)
    loaded = [load_member(path) for path in snakemake.input.get("members", [])]
    if ensemble_file := snakemake.input.get("given"):
        ensemble = given_ensemble(ensemble_file, snakemake.params.states)
    else:
        levels = OxidationLevels.of(runtime.electrons) if loaded[0][0].states else None
        ensemble = Ensemble([member for member, _ in loaded], evaluation=runtime.compute.evaluation, levels=levels)
    frames, seed, generation = read_frames(snakemake.input.dataset), snakemake.params.seed, snakemake.wildcards.gen
    evaluation = evaluate(ensemble, sample_frames(frames, seed))
    calibration = calibrate(evaluation)
    training = [{key: metadata[key] for key in ("best_step", "stopped", "history")} for _, metadata in loaded]
    teachers = [metadata["about"].get("teacher") for _, metadata in loaded]
    teacher = ensemble_teacher(ensemble_file) if ensemble_file else teachers[0]
    save_ensemble(snakemake.output.ensemble, ensemble if ensemble_file else calibrated(ensemble, calibration), teacher)
    record = EnsembleRecord(evaluation.member_errors.to_dict("records"), calibration, training, teacher)
    record.write(snakemake.output.record)
    for text in ensemble_error_lines(record.errors):
        logger.info("generation %s, %s", generation, text)
    with atomic_path(snakemake.output.forces) as temporary:
        evaluation.forces.query("set != 'train'").to_csv(temporary, index=False, float_format="%.6g")
    with atomic_path(snakemake.output.energies) as temporary:
        evaluation.energies.to_csv(temporary, index=False, float_format="%.8g")
    audit = suspects(residuals(ensemble, frames_to_audit(frames, seed, int(generation))))
    if names := suspect_names(audit):
        logger.warning("generation %s: %s", generation, describe_suspects(names))
    with atomic_path(snakemake.output.suspects) as temporary:
        audit.to_csv(temporary, index=False, float_format="%.4g")
