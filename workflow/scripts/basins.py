from redoxmd.basins.hopping import hop_basins
from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Basins, Electrons
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.layout import supercell_of
from redoxmd.files.records import atomic_path, file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job, logger
from redoxmd.md.frame_gate import GateSettings
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.seeds import derive_rng
from redoxmd.structures.source import full_cell

name, seed = snakemake.wildcards.structure, snakemake.params.seed
with job("basins", snakemake.log[0], snakemake.threads):
    runtime = runtime_settings(snakemake.config)
    settings = read_settings(Basins, snakemake.rule, snakemake.params.basins)
    model, limits = ensemble_identity(snakemake.input.ensemble), dict(snakemake.params.gate)
    # Without the number of steps: a finished walk is made longer, not walked again.
    declared = {key: value for key, value in snakemake.params.basins.items() if key != "steps"}
    version = snakemake.params.get("version", 1)
    declared |= given_settings(Electrons, snakemake.rule, snakemake.params)
    fingerprint = [file_sha256(snakemake.input.atoms), model, declared, limits, name, seed, version]
    checkpoint = Checkpoint(snakemake.params.state, fingerprint)
    (atoms,) = read_frames(snakemake.input.atoms)
    ensemble = load_ensemble(snakemake.input.ensemble, runtime.train.device, runtime.compute.evaluation)
    full = full_cell(runtime.structures, supercell_of(name))
    gate = GateSettings(low_eV_A=limits["high_eV_A"], **limits)
    rng = derive_rng(seed, "basins", name)
    run = hop_basins(atoms, EnsembleCalculator(ensemble, runtime.electrons), full, settings, gate, rng, checkpoint)
    logger.info("%s: lowest of %d at step %d", name, len(run.visits), run.lowest.info["basins_step"])
    with atomic_path(snakemake.output.visits) as temporary:
        run.visits.to_csv(temporary, index=False, float_format="%.8g")
    write_frames(snakemake.output.atoms, [run.lowest])
    checkpoint.keep(["state.npz"])
