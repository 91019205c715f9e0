from pathlib import Path

from redoxmd.config import parse_config
from redoxmd.jobs.job import job
from redoxmd.runs.provenance import write_manifest

with job("figures", snakemake.log[0]):
    write_manifest(Path(snakemake.output.manifest), parse_config(snakemake.params.config), snakemake.input)
