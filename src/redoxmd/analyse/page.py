"""Figures of the results and one HTML page that contains them with the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from redoxmd.analyse.results import MdResults
from redoxmd.config.sections import Figures
from redoxmd.figures import fig6_concerted, fig8_arrhenius, msd, site_occupancy, van_hove
from redoxmd.figures.save import save_figure
from redoxmd.files.html import embed_svg, write_html

PAGE = "analysis.html"
# Columns of the page; the CSV files have all.
DIFFUSIVITY_COLUMNS = (
    *("ion", "x", "temperature_K", "replicas", "time_ps", "D_msd_cm2_s", "D_msd_low_cm2_s", "D_msd_high_cm2_s"),
    *("D_msd_limit_cm2_s", "msd_regime", "D_msd_x_cm2_s", "D_msd_y_cm2_s", "D_msd_z_cm2_s", "haven_ratio"),
)
JUMP_COLUMNS = (
    *("ion", "x", "temperature_K", "n_jumps", "D_jumps_cm2_s", "D_jumps_error_cm2_s", "D_jumps_limit_cm2_s"),
    *("D_jumps_x_cm2_s", "D_jumps_y_cm2_s", "D_jumps_z_cm2_s", "n_site_jumps", "D_sites_cm2_s"),
    "correlation_factor",
)
CONCERTED_COLUMNS = (
    *("ion", "temperature_K", "n_jumps", "concerted_fraction", "concerted_error", "concerted_chance"),
    *("n_site_jumps", "sites_concerted_fraction", "sites_concerted_error", "sites_concerted_chance"),
)
ARRHENIUS_COLUMNS = (
    *("ion", "x", "Ea_eV", "Ea_low_eV", "Ea_high_eV", "reason", "sites_Ea_eV", "sites_Ea_low_eV", "sites_Ea_high_eV"),
    *("msd_Ea_eV", "msd_Ea_low_eV", "msd_Ea_high_eV", "msd_reason"),
)

# Stem without the ion → caption.
CAPTIONS = {
    "msd": "Mean squared displacement of the single ions, relative to the framework: (a) linear, (b) logarithmic. The "
    "last lags are means over few intervals.",
    "arrhenius": "D from jumps with fits. Bars and brackets: 95 % intervals; arrows: 95 % upper limits.",
    "occupancy": "Ions per site of each kind: (a) over time at the highest temperature, (b) mean over time.",
    "concerted": "Number (a) and share (b) of jumps with a jump of another ion within the window. Black lines: the "
    "same jumps at random times.",
    "van_hove": "(a, b) Probability density of the displacement of an ion; the maximum at the origin is vibration, "
    "those beyond are jumps. (c) Density of other ions around the initial position of an ion, relative to their mean "
    "density: a peak at the origin shows ions that follow into vacated positions.",
}


def write_page(results: MdResults, folder: str | Path, style: Figures | None = None, states: Sequence[str] = ()) -> str:
    """Write the figures (SVG, PDF, PNG, CSV) and analysis.html into a folder; returns the main results as text.

    `states` are lines on the oxidation states (`electrons.table.summarise_states`).
    """
    folder, style, settings = Path(folder), style or Figures(), results.settings
    sections = [
        ("Files", results.files, None, "One row per file and ion. The framework is the reference of all positions."),
        (
            "Diffusion coefficients from the MSD",
            results.diffusivities,
            DIFFUSIVITY_COLUMNS,
            "Posterior median and 95 % interval; where no transport is resolved, a 95 % upper limit. x: ions per "
            "formula unit of the framework. Directions: x along the cell vector a, y in the plane of a and b.",
        ),
        (
            "Diffusion coefficients from jumps",
            results.diffusivities,
            JUMP_COLUMNS,
            f"A jump is a displacement by more than {settings.jump_distance_A:g} Å for {settings.persistence_fs:g} fs; "
            "a jump between sites is a site change that is not reversed.",
        ),
        (
            "Activation energies",
            results.arrhenius,
            ARRHENIUS_COLUMNS,
            "From jumps, from jumps between sites (sites_), from the MSD (msd_).",
        ),
        (
            "Concerted jumps",
            results.concerted,
            CONCERTED_COLUMNS,
            f"Share of jumps with a jump of another ion within {settings.concerted_window_ps:g} ps, beside the share "
            "of the same jumps at random times.",
        ),
        ("Sites", results.sites, None, "Ions per site of each kind, mean over time, and the number of ligands."),
    ]
    body = [
        f"<h2>{escape(title)}</h2><p>{escape(text)}</p><div>{_html(table, columns)}</div>"
        for title, table, columns, text in sections
        if len(table) and (columns is None or columns[-1] in table)
    ]
    if states:
        body.append(f"<h2>Oxidation states</h2><p>{'<br>'.join(map(escape, states))}</p>")
    for stem, title, figure, data in _figures(results, style):
        save_figure(figure, data, folder / stem, style)
        caption = CAPTIONS[stem.partition("_")[2]]
        body.append(f"<h2>{escape(title)}</h2>{embed_svg(folder / f'{stem}.svg', title)}<p>{escape(caption)}</p>")
    tables = ", ".join(f"{name}.csv" for name in results.tables())
    body.append(f"<p>All columns are in {tables}.</p>")
    write_html(folder / PAGE, "Diffusion analysis", body)
    main = results.diffusivities[[*DIFFUSIVITY_COLUMNS[:10]]]
    return f"{main.to_string(index=False, float_format='%.3g')}\n{folder / PAGE}"


def _html(table: pd.DataFrame, columns: tuple[str, ...] | None) -> str:
    selected = table if columns is None else table[[name for name in columns if name in table]]
    text: str = (
        selected.replace("", pd.NA)
        .dropna(axis="columns", how="all")
        .to_html(index=False, border=0, na_rep="", float_format=lambda value: f"{value:.4g}")
    )
    return text


def _figures(results: MdResults, style: Figures) -> Iterator[tuple[str, str, Figure, pd.DataFrame]]:
    """Stem, title, figure and plotted data; figures without data are omitted."""
    settings = results.settings
    for ion, rows in results.diffusivities.groupby("ion", sort=False):
        table = {name: frame[frame["ion"] == ion].drop(columns="ion") for name, frame in results.tables().items()}
        yield f"{ion}_msd", f"MSD of {ion}", msd.draw(table["msd"], style, settings.msd_fit), table["msd"]
        if rows["temperature_K"].nunique() > 1 and "D_jumps_cm2_s" in rows:
            figure = fig8_arrhenius.draw(table["diffusivities"], table["arrhenius"], style)
            yield f"{ion}_arrhenius", f"D of {ion} from jumps over temperature", figure, table["diffusivities"]
        if len(table["occupancy"]):
            figure = site_occupancy.draw(table["occupancy"], table["sites"], style)
            yield f"{ion}_occupancy", f"Occupancy of the sites of {ion}", figure, table["occupancy"]
        if table["concerted"]["n_jumps"].gt(0).any():
            figure = fig6_concerted.draw(table["concerted"], style, settings.concerted_window_ps)
            yield f"{ion}_concerted", f"Concerted jumps of {ion}", figure, table["concerted"]
        figure = van_hove.draw(table["van_hove"], style)
        yield f"{ion}_van_hove", f"Van Hove functions of {ion}", figure, table["van_hove"]
