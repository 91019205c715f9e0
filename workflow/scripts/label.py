from redoxmd.aimd.records import LabelRecord
from redoxmd.config.declared import read_settings, runtime_settings
from redoxmd.config.sections import Label
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import attempt_hash, get_engine
from redoxmd.files.frames import read_frames
from redoxmd.files.layout import beside_state, supercell_of
from redoxmd.files.records import content_hash, write_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger
from redoxmd.label import frame_with_id, label_frame
from redoxmd.seeds import derive_rng
from redoxmd.structures.build import set_initial_moments

name = snakemake.wildcards.label
with job("label", snakemake.log[0], snakemake.threads, snakemake.resources.get("tasks", 1)):
    runtime = runtime_settings(snakemake.config)
    settings = read_settings(Label, snakemake.rule, snakemake.params.label)
    frame = frame_with_id(read_frames(snakemake.input.selected), name)
    set_initial_moments(frame, runtime.structures)
    declared = {key: value for key, value in snakemake.params.label.items() if key != "steps"}
    fingerprint = [content_hash(frame.positions), declared, snakemake.params.reference, snakemake.params.seed]
    if "oxidation" in frame.arrays:
        fingerprint.append(frame.arrays["oxidation"].tolist())
    checkpoint = Checkpoint(snakemake.params.state, fingerprint)
    electrons, levels = runtime.electrons, OxidationLevels.of(runtime.electrons)
    engine = get_engine(runtime.engine, supercell_of(frame.info["structure"]), checkpoint.folder)
    rng = derive_rng(snakemake.params.seed, "label", name)
    run = label_frame(frame, engine, settings, rng, name, checkpoint, levels, electrons.tries)
    record = LabelRecord.of(name, run, frame, attempt_hash(runtime.engine, electrons))
    logger.info("%s: %s, %d frames", name, record.status, record.n_frames)
    run.move_side_files(*(beside_state(snakemake.params.state, name) for name in ("refused", "files")))
    run.write(snakemake.output.frames, snakemake.output.densities)
    write_json(snakemake.output.record, record)
    run.retain(snakemake.output.frames, snakemake.output.densities)
