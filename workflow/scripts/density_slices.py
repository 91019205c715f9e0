from redoxmd.config.sections import Figures
from redoxmd.density.slices import read_slices, slice_table
from redoxmd.figures.density_slices import draw
from redoxmd.figures.save import save_figure
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    slices = read_slices(snakemake.input.slices)
    save_figure(draw(slices, settings), slice_table(slices), snakemake.params.stem, settings)
