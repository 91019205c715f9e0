from redoxmd.aimd.drivers import run_reference_md
from redoxmd.config.declared import read_settings, runtime_settings
from redoxmd.config.sections import Aimd
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import attempt_hash, get_engine
from redoxmd.files.frames import read_frames
from redoxmd.files.layout import beside_state, supercell_of
from redoxmd.files.records import file_sha256, write_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job
from redoxmd.seeds import derive_rng

name = snakemake.wildcards.structure
with job("aimd", snakemake.log[0], snakemake.threads, snakemake.resources.get("tasks", 1)):
    runtime = runtime_settings(snakemake.config)
    settings = read_settings(Aimd, snakemake.rule, snakemake.params.aimd)
    # Without the number of steps: a finished run is made longer or cut, not done again.
    declared = {key: value for key, value in snakemake.params.aimd.items() if key != "steps"}
    fingerprint = [file_sha256(snakemake.input.atoms), declared, snakemake.params.reference, snakemake.params.seed]
    checkpoint = Checkpoint(snakemake.params.state, fingerprint)
    (atoms,) = read_frames(snakemake.input.atoms)
    electrons, levels = runtime.electrons, OxidationLevels.of(runtime.electrons)
    engine = get_engine(runtime.engine, supercell_of(name), checkpoint.folder)
    rng = derive_rng(snakemake.params.seed, "aimd", name)
    run = run_reference_md(atoms, engine, settings, rng, name, checkpoint, levels, electrons.tries)
    run.move_side_files(*(beside_state(snakemake.params.state, name) for name in ("refused", "files")))
    run.require_frames()
    run.write(snakemake.output.frames, snakemake.output.densities)
    write_json(
        snakemake.output.record, {"structure": name, **vars(run.record(attempt_hash(runtime.engine, electrons)))}
    )
    run.retain(snakemake.output.frames, snakemake.output.densities)
