from pathlib import Path

import pandas as pd

from redoxmd.files.records import atomic_path, read_json
from redoxmd.jobs.job import job
from redoxmd.neb.profile import join_profiles

with job("neb", snakemake.log[0]):
    profiles = {Path(file).name.removesuffix(".profile.csv"): pd.read_csv(file) for file in snakemake.input.profiles}
    barriers = {Path(file).stem: read_json(file) for file in snakemake.input.barriers}
    references = {
        Path(file).name.removesuffix(".reference.csv"): pd.read_csv(file) for file in snakemake.input.references
    }
    for table, file in zip(join_profiles(profiles, barriers, references), snakemake.output, strict=True):
        with atomic_path(file) as temporary:
            table.to_csv(temporary, index=False, float_format="%.8g")
