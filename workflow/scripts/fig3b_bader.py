import pandas as pd

from redoxmd.config import parse_config
from redoxmd.figures.fig3b_bader import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    config = parse_config(snakemake.config)
    element = config.structures.redox_element
    table = pd.read_csv(snakemake.input.charges).query("element == @element")
    save_figure(draw(table, element, config.figures), table, snakemake.params.stem, config.figures)
