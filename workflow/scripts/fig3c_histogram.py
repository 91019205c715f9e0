import pandas as pd

from redoxmd.charges.oxidation import OxidationStates
from redoxmd.config.sections import Figures
from redoxmd.figures.fig3c_histogram import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    style, element = Figures(**snakemake.params.style), snakemake.params.caption["element"]
    reference = pd.read_csv(snakemake.input.charges).query("element == @element")
    states = pd.read_csv(snakemake.input.states)
    figure = draw(reference, states, OxidationStates.read(snakemake.input.mixture).reference, style)
    data = pd.concat([reference.assign(kind="reference"), states.assign(kind="trajectories")], ignore_index=True)
    save_figure(figure, data, snakemake.params.stem, style)
