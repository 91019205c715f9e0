from redoxmd.diffusion.scene import jump_scene
from redoxmd.figures.jump_view import draw_page
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.records import write_text
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    analyses = [read_dataset(path) for path in snakemake.input.analyses]
    scene = jump_scene(analyses, lambda number: read_trajectory(snakemake.input.trajectories[number]))
    write_text(snakemake.output.page, draw_page(scene))
