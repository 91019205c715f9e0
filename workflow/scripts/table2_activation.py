import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.save import save_figure
from redoxmd.figures.table2_activation import draw
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    table = pd.read_csv(snakemake.input.arrhenius)
    save_figure(draw(table, settings), table, snakemake.params.stem, settings)
