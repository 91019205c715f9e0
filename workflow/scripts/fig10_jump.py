import pandas as pd

from redoxmd.charges.event import describe_best_jump
from redoxmd.charges.oxidation import OxidationStates
from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Charges, Figures, Structures
from redoxmd.figures.fig10_jump import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.job import job

with job("figures", snakemake.log[0]):
    style = Figures(**snakemake.params.style)
    structures = read_settings(Structures, snakemake.rule, snakemake.params.structures)
    settings = read_settings(Charges, snakemake.rule, snakemake.params.charges)
    charges, jumps = (
        [read_dataset(path) for path in paths] for paths in (snakemake.input.charges, snakemake.input.jumps)
    )
    event = describe_best_jump(
        charges,
        jumps,
        lambda number: read_trajectory(snakemake.input.trajectories[number]),
        OxidationStates.read(snakemake.input.mixture).predicted,
        structures,
        settings,
    )
    figure = draw(event, style)
    data = pd.concat([event.series.assign(kind="redox"), event.displacements.assign(kind="ion")], ignore_index=True)
    save_figure(figure, data, snakemake.params.stem, style)
