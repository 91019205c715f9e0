from redoxmd.config import parse_config
from redoxmd.files.frames import write_frames
from redoxmd.jobs.job import job
from redoxmd.structures.build import build
from redoxmd.structures.request import parse_name

with job("structures", snakemake.log[0]):
    settings = parse_config(snakemake.config).structures
    request = parse_name(snakemake.wildcards.structure)
    write_frames(snakemake.output.atoms, [build(request, settings, snakemake.params.seed)])
