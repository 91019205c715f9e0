from math import prod

import pandas as pd

from redoxmd.charges.oxidation import OxidationStates
from redoxmd.config.declared import read_settings
from redoxmd.config.sections import Figures, Structures
from redoxmd.figures.paper import RunTables, compare
from redoxmd.figures.paper_comparison import draw
from redoxmd.figures.save import save_figure
from redoxmd.gate import Decision
from redoxmd.jobs.job import job
from redoxmd.train.records import EnsembleRecord

with job("figures", snakemake.log[0]):
    inputs, params = snakemake.input, snakemake.params
    style, structures = Figures(**params.style), read_settings(Structures, snakemake.rule, params.structures)
    names = ("trajectories", "diffusivities", "arrhenius", "concerted", "sites", "events")
    tables = {name: pd.read_csv(inputs[name]) for name in names}
    electrons = {"charges": None, "states": None, "redox": None}
    if inputs.get("redox"):
        electrons = {name: pd.read_csv(inputs[name]) for name in ("charges", "redox")}
        electrons["states"] = OxidationStates.read(inputs.mixture)
    orderings = pd.read_csv(inputs.orderings) if inputs.get("orderings") else None
    errors, decisions = EnsembleRecord.read(inputs.ensemble).errors, [Decision.read(path) for path in inputs.decisions]
    run = RunTables(
        errors,
        decisions,
        **tables,
        **electrons,
        orderings=orderings,
        redox_element=structures.redox_element,
        preferred_site=structures.preferred_site,
        engine=params.engine,
        formula_units=structures.formula_units * prod(params.supercell),
    )
    table = compare(run)
    save_figure(draw(table, style), table, snakemake.params.stem, style)
