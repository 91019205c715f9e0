from pathlib import Path

import pandas as pd

from redoxmd.config.sections import Figures
from redoxmd.figures.fig4_neb import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.frames import read_frames
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    settings = Figures(**snakemake.params.style)
    profiles, barriers = pd.read_csv(snakemake.input.profiles), pd.read_csv(snakemake.input.barriers)
    images = {Path(file).name.removesuffix(".images.extxyz"): read_frames(file) for file in snakemake.input.images}
    save_figure(draw(profiles, barriers, settings, images), profiles, snakemake.params.stem, settings)
