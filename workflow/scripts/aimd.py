from redoxmd.aimd import run_reference_md
from redoxmd.checkpoint import Checkpoint
from redoxmd.config import parse_config
from redoxmd.density.store import join_densities
from redoxmd.engines import attempt_hash, get_engine
from redoxmd.frames import read_frames, write_frames
from redoxmd.job import job
from redoxmd.layout import beside_state
from redoxmd.records import file_sha256, write_json
from redoxmd.reference_run import keep_files, require_frames, set_aside
from redoxmd.seeds import derive_rng

name = snakemake.wildcards.structure
# The cores of a parallel job are for its ranks, not for threads of each.
threads = max(1, snakemake.threads // snakemake.resources.get("tasks", 1))
with job("aimd", snakemake.log[0], threads):
    config = parse_config(snakemake.config)
    fingerprint = [file_sha256(snakemake.input.atoms), dict(snakemake.params.aimd), snakemake.params.reference]
    checkpoint = Checkpoint(snakemake.params.state, fingerprint)
    (atoms,) = read_frames(snakemake.input.atoms)
    engine = get_engine(config.engine, config.aimd.supercell, checkpoint.folder)
    rng = derive_rng(snakemake.params.seed, "aimd", name)
    run = run_reference_md(atoms, engine, config.aimd, rng, name, checkpoint)
    set_aside(checkpoint, beside_state(snakemake.params.state, "refused"))
    keep_files(engine, beside_state(snakemake.params.state, "files"))
    require_frames(run, name)
    write_frames(snakemake.output.frames, run.frames)
    join_densities(snakemake.output.densities, run.densities)
    record = {"n_frames": len(run.frames), "refusal": run.refusal, "refused_densities": run.refused_densities}
    record |= {
        "corrections": run.corrections,
        "attempt": attempt_hash(config.engine),
        "provenance": engine.provenance(),
    }
    write_json(snakemake.output.record, {"structure": name, **record})
    checkpoint.clear()
