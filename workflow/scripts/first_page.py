from redoxmd.jobs.job import job
from redoxmd.runs.first_page import write_first_page

with job("figures", snakemake.log[0]):
    write_first_page(snakemake.output.page, dict(snakemake.input.items()), snakemake.params.caption)
