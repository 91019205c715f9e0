import os

from redoxmd.aimd.warm_up import potential_calculator, warm_up
from redoxmd.config.declared import given_settings, read_settings, runtime_settings
from redoxmd.config.sections import Aimd
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.layout import state_of
from redoxmd.files.records import file_sha256
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.job import job
from redoxmd.seeds import derive_rng

name = snakemake.wildcards.structure
with job("warm_up", snakemake.log[0], snakemake.threads):
    # No GPU is reserved for this job.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    settings = read_settings(Aimd, snakemake.rule, given_settings(Aimd, snakemake.rule, snakemake.params))
    electrons = runtime_settings(snakemake.config).electrons
    (atoms,) = read_frames(snakemake.input.atoms)
    calculator = potential_calculator(settings.warm_up, electrons)
    # The potential is a file, or an ASE calculator, which is no input.
    file = snakemake.input.get("potential")
    potential = file_sha256(file) if file else ""
    declared = {**given_settings(Aimd, snakemake.rule, snakemake.params), "version": snakemake.params.get("version", 1)}
    moves = electrons.model_dump(mode="json")
    fingerprint = [file_sha256(snakemake.input.atoms), potential, declared, moves, snakemake.params.seed]
    checkpoint = Checkpoint(state_of(snakemake.output.atoms, "warm_up"), fingerprint)
    rng = derive_rng(snakemake.params.seed, "warm_up", name)
    write_frames(snakemake.output.atoms, [warm_up(atoms, calculator, settings, rng, electrons, checkpoint)])
    checkpoint.clear()
