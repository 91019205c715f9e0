import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.fig7_diffusivity import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    table = pd.read_csv(snakemake.input.diffusivities)
    save_figure(draw(table, settings), table, snakemake.params.stem, settings)
