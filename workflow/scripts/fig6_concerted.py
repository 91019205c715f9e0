import pandas as pd

from redoxmd.config import parse_config
from redoxmd.figures.fig6_concerted import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    config = parse_config(snakemake.config)
    table = pd.read_csv(snakemake.input.concerted)
    figure = draw(table, config.figures, config.diffusion.concerted_window_ps)
    save_figure(figure, table, snakemake.params.stem, config.figures)
