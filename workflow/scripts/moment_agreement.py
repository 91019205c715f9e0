from redoxmd.electrons.moment_tables import trajectory_agreement
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.records import atomic_path
from redoxmd.jobs.job import job

with job("electrons", snakemake.log[0]):
    table = trajectory_agreement([read_dataset(path) for path in snakemake.input.checks])
    with atomic_path(snakemake.output.table) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g")
