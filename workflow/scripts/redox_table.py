import pandas as pd

from redoxmd.config import parse_config
from redoxmd.figures.redox_table import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = parse_config(snakemake.config).figures
    table = pd.read_csv(snakemake.input.table)
    save_figure(draw(table, settings), table, snakemake.params.stem, settings)
