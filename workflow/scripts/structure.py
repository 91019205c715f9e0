from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Structures
from redoxmd.files.frames import write_frames
from redoxmd.jobs.job import job
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name

with job("structures", snakemake.log[0]):
    settings = read_settings(Structures, snakemake.rule, snakemake.params.structures)
    request = parse_name(snakemake.wildcards.structure)
    write_frames(snakemake.output.atoms, [build_structure(request, settings, snakemake.params.seed)])
