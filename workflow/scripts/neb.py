from redoxmd.checkpoint import Checkpoint
from redoxmd.config import parse_config
from redoxmd.config.sections import NebPath
from redoxmd.frames import read_frames, write_frames
from redoxmd.job import job, logger
from redoxmd.layout import supercell_of
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import ensemble_identity, load_ensemble
from redoxmd.neb.band import find_path
from redoxmd.neb.ends import path_ends
from redoxmd.neb.profile import barrier_record, candidate_frames, image_frames, profile_table
from redoxmd.occupation import Occupation
from redoxmd.records import atomic_path, file_sha256, write_json
from redoxmd.structures.source import full_cell
from redoxmd.uncertainty import GateSettings

name = snakemake.wildcards.path
with job("neb", snakemake.log[0], snakemake.threads):
    config, path = parse_config(snakemake.config), NebPath.model_validate(snakemake.params.path)
    files = [file_sha256(file) for file in snakemake.input.ends]
    given, version = dict(snakemake.params.neb), snakemake.params.get("version", 1)
    model = ensemble_identity(snakemake.input.ensemble)
    checkpoint = Checkpoint(snakemake.params.state, [files, model, given, dict(snakemake.params.path), version])
    (atoms,) = read_frames(snakemake.input.ends[0])
    full = full_cell(config.structures, supercell_of(atoms.info["structure"]))
    ensemble = load_ensemble(snakemake.input.ensemble, config.train.device, config.compute.evaluation)
    ends, sites = path_ends(atoms, full, path), Occupation(atoms, full)
    images = find_path(ends, sites, lambda: EnsembleCalculator(ensemble), config.neb, name, checkpoint)
    profile, barriers = profile_table(images, GateSettings(**snakemake.params.gate)), barrier_record(images)
    about = {"path": name, "structure": atoms.info["structure"]}
    frames = image_frames(images, profile, about)
    logger.info("%s: barrier %.3f eV, back %.3f eV", name, barriers["barrier_forward_eV"], barriers["barrier_back_eV"])
    write_frames(snakemake.output.images, frames)
    write_frames(snakemake.output.candidates, candidate_frames(frames, profile))
    with atomic_path(snakemake.output.profile) as temporary:
        profile.to_csv(temporary, index=False, float_format="%.8g")
    write_json(snakemake.output.barriers, about | barriers)
    checkpoint.clear()
