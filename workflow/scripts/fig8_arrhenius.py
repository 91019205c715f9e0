import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.fig8_arrhenius import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    table, fits = (pd.read_csv(path) for path in (snakemake.input.diffusivities, snakemake.input.arrhenius))
    data = table.merge(fits, on="x")
    save_figure(draw(table, fits, settings), data, snakemake.params.stem, settings)
