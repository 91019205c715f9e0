import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.fig3b_bader import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    style, element = Figures(**snakemake.params.style), snakemake.params.caption["element"]
    table = pd.read_csv(snakemake.input.charges).query("element == @element")
    save_figure(draw(table, element, style), table, snakemake.params.stem, style)
