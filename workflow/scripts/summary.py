import pandas as pd

from redoxmd.job import job
from redoxmd.records import read_json, write_json
from redoxmd.run_tables import summarise_run

with job("figures", snakemake.log[0]):
    tables = [
        pd.read_csv(path).to_dict("records") for path in (snakemake.input.diffusivities, snakemake.input.arrhenius)
    ]
    decisions = [read_json(path) for path in snakemake.input.decisions]
    write_json(snakemake.output.summary, summarise_run(read_json(snakemake.input.ensemble), decisions, *tables))
