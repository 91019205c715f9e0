import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.fig6_concerted import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    style = Figures(**snakemake.params.style)
    table = pd.read_csv(snakemake.input.concerted)
    figure = draw(table, style, snakemake.params.caption["window"])
    save_figure(figure, table, snakemake.params.stem, style)
