from redoxmd.config import parse_config
from redoxmd.diffusion.cells import diffusivities_by_cell
from redoxmd.figures.cell_sizes import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.hdf5 import read_dataset
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    config = parse_config(snakemake.config)
    table = diffusivities_by_cell([read_dataset(path) for path in snakemake.input.analyses], config.diffusion)
    save_figure(draw(table, config.figures), table, snakemake.params.stem, config.figures)
