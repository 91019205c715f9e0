import pandas as pd

from redoxmd.charges.oxidation import fit_record
from redoxmd.files.records import write_json
from redoxmd.jobs.job import job, logger

with job("charges", snakemake.log[0]):
    table = pd.read_csv(snakemake.input.charges)
    redox = table[table["element"] == snakemake.params.redox]
    record = fit_record(redox, snakemake.params.states)
    logger.info("oxidation states of %s: %s", snakemake.params.redox, record["summary"])
    write_json(snakemake.output.mixture, record)
