import pandas as pd

from redoxmd.aimd.records import LabelRecord
from redoxmd.charges.oxidation import OxidationStates
from redoxmd.files.records import write_json
from redoxmd.gate import Decision
from redoxmd.jobs.job import job
from redoxmd.runs.run_tables import electron_record, moment_record, state_counts, summarise_run
from redoxmd.train.records import DatasetRecord, EnsembleRecord

with job("figures", snakemake.log[0]):
    inputs = snakemake.input
    names = ("diffusivities", "arrhenius", "concerted", "sites")
    tables = {name: pd.read_csv(inputs[name]).to_dict("records") for name in names}
    decisions = [Decision.read(path) for path in inputs.decisions]
    electrons = None
    if inputs.get("charges"):
        errors, charges = (pd.read_csv(path) for path in (inputs.density_errors, inputs.charges))
        redox = pd.read_csv(inputs.redox) if inputs.get("redox") else None
        states = OxidationStates.read(inputs.mixture)
        electrons = electron_record(errors, charges, states, snakemake.params.redox, redox)
    left_out = [row for path in inputs.folds for row in pd.read_csv(path).to_dict("records")]
    labels = [LabelRecord.read(path) for path in inputs.get("labels", [])]
    states = [
        state_counts(DatasetRecord.read(path), [label for label in labels if label.label_id in decision.label_ids])
        for path, decision in zip(inputs.get("datasets", []), decisions, strict=False)
    ]
    names = [name for name in ("moment_errors", "moment_agreement") if inputs.get(name)]
    moments = moment_record(**{name: pd.read_csv(inputs[name]) for name in names}) if names else None
    more = {"moments": moments, "left_out": left_out, "electrons": electrons, "states": states}
    summary = summarise_run(EnsembleRecord.read(inputs.ensemble), decisions, **tables, **more)
    write_json(snakemake.output.summary, summary)
