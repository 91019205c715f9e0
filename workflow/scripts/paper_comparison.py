from math import prod

import pandas as pd

from redoxmd.config import parse_config
from redoxmd.figures.paper_comparison import draw
from redoxmd.figures.save import save_figure
from redoxmd.files.records import read_json
from redoxmd.jobs.job import job
from redoxmd.paper import RunTables, compare

with job("figures", snakemake.log[0]):
    config, given = parse_config(snakemake.config), snakemake.input
    names = ("trajectories", "diffusivities", "arrhenius", "concerted", "sites", "events")
    tables = {name: pd.read_csv(given[name]) for name in names}
    electrons = {"charges": None, "mixture": None, "redox": None}
    if config.density.enabled:
        electrons = {name: pd.read_csv(given[name]) for name in ("charges", "redox")}
        electrons["mixture"] = read_json(given.mixture)
    orderings = pd.read_csv(given.orderings) if config.basins.enabled else None
    errors, decisions = read_json(given.ensemble)["errors"], [read_json(path) for path in given.decisions]
    run = RunTables(
        errors,
        decisions,
        **tables,
        **electrons,
        orderings=orderings,
        redox_element=config.structures.redox_element,
        preferred_site=config.structures.preferred_site,
        engine=config.engine.name,
        formula_units=config.structures.formula_units * prod(config.production.supercell),
    )
    table = compare(run)
    save_figure(draw(table, config.figures), table, snakemake.params.stem, config.figures)
