import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.electron_hops import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    rates, fits, states = (pd.read_csv(snakemake.input[name]) for name in ("rates", "arrhenius", "states"))
    figure = draw(rates, fits, states, settings)
    save_figure(figure, pd.concat([rates, states], ignore_index=True), snakemake.params.stem, settings)
