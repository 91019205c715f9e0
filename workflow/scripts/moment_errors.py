import pandas as pd

from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Electrons
from redoxmd.electrons.moment_checks import compare_moment_states
from redoxmd.electrons.moment_tables import moment_errors
from redoxmd.electrons.moments import load_moments
from redoxmd.electrons.states import OxidationLevels
from redoxmd.files.frames import read_frames
from redoxmd.files.records import atomic_path
from redoxmd.jobs.job import job

with job("electrons", snakemake.log[0], snakemake.threads):
    levels = OxidationLevels.of(read_settings(Electrons, snakemake.rule, snakemake.params.electrons))
    frames = read_frames(snakemake.input.dataset)
    tables = [compare_moment_states(load_moments(snakemake.input.model), frames, levels)]
    tables += [pd.read_csv(path) for path in snakemake.input.folds]
    states = pd.concat([table for table in tables if len(table)], ignore_index=True)
    for name, table in {"states": states, "errors": moment_errors(states)}.items():
        with atomic_path(snakemake.output[name]) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
