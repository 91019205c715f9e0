from redoxmd.config.declared import runtime_settings
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import attempt_hash, get_engine
from redoxmd.files.frames import read_frames
from redoxmd.files.layout import supercell_of
from redoxmd.files.records import atomic_path, file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job
from redoxmd.neb.profile import single_point_energies
from redoxmd.structures.build import set_initial_moments

name = snakemake.wildcards.path
with job("neb", snakemake.log[0], snakemake.threads, snakemake.resources.get("tasks", 1)):
    runtime = runtime_settings(snakemake.config)
    levels, attempt = OxidationLevels.of(runtime.electrons), attempt_hash(runtime.engine, runtime.electrons)
    fingerprint = [file_sha256(snakemake.input.images), snakemake.params.reference, attempt]
    checkpoint = Checkpoint(snakemake.params.state, fingerprint)
    images = read_frames(snakemake.input.images)
    for image in images:
        set_initial_moments(image, runtime.structures)
    supercell = supercell_of(images[0].info["structure"]) if images else runtime.neb.supercell
    engine = get_engine(runtime.engine, supercell, checkpoint.folder)
    energies = single_point_energies(images, engine, checkpoint, name, levels)
    with atomic_path(snakemake.output.energies) as temporary:
        energies.to_csv(temporary, index=False, float_format="%.12g")
    checkpoint.clear()
