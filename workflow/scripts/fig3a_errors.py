import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.fig3a_errors import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    forces, energies = (pd.read_csv(path) for path in (snakemake.input.forces, snakemake.input.energies))
    forces, energies = forces[forces["set"] == "test"], energies[energies["set"] == "test"]
    data = pd.concat([forces.assign(kind="force"), energies.assign(kind="energy")], ignore_index=True)
    save_figure(draw(forces, energies, settings), data, snakemake.params.stem, settings)
