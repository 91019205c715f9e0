from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Diffusion, Figures
from redoxmd.diffusion.analysis import diffusivities_by_cell
from redoxmd.figures.cell_sizes import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.hdf5 import read_dataset
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    style = Figures(**snakemake.params.style)
    settings = read_settings(Diffusion, snakemake.rule, snakemake.params.diffusion)
    table = diffusivities_by_cell([read_dataset(path) for path in snakemake.input.analyses], settings)
    save_figure(draw(table, style), table, snakemake.params.stem, style)
