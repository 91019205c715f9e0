from redoxmd.charges.oxidation import OxidationStates
from redoxmd.charges.summary import summarise_redox
from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Charges, Structures
from redoxmd.files.hdf5 import read_dataset
from redoxmd.files.records import atomic_path
from redoxmd.jobs.job import job

with job("charges", snakemake.log[0], snakemake.threads):
    settings = read_settings(Charges, snakemake.rule, snakemake.params.charges)
    structures = read_settings(Structures, snakemake.rule, snakemake.params.structures)
    charges, jumps = (
        [read_dataset(path) for path in paths] for paths in (snakemake.input.charges, snakemake.input.jumps)
    )
    model = OxidationStates.read(snakemake.input.mixture).predicted
    summary = summarise_redox(charges, jumps, model, structures, settings)
    for name in ("table", "hops", "states"):
        with atomic_path(snakemake.output[name]) as temporary:
            getattr(summary, name).to_csv(temporary, index=False, float_format="%.8g")
