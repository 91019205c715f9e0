"""Every figure on tables as the stages write them, on empty ones and on single points."""

import os
import re
import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from matplotlib.backends.backend_agg import FigureCanvasAgg

from redoxmd.config.sections import Config, Diffusion, Figures
from redoxmd.diffusion.arrhenius import fits_by_method
from redoxmd.diffusion.counting import count_interval, share_interval
from redoxmd.diffusion.line_fit import LineFit
from redoxmd.diffusion.mechanism import Event, Move
from redoxmd.figures import (
    calibration,
    fig3a_errors,
    fig4_neb,
    fig5_exchange,
    fig6_concerted,
    fig7_diffusivity,
    fig8_arrhenius,
    fig9_jumps_vs_msd,
    gate_timeline,
    learning_curve,
    left_out_errors,
    site_occupancy,
    table2_activation,
    van_hove,
)
from redoxmd.figures.catalogue import FIGURES, NEB_FIGURES
from redoxmd.figures.intervals import ARROW, with_intervals
from redoxmd.figures.save import save_figure
from redoxmd.figures.style import assign_colours, new_figure
from redoxmd.files.records import write_json
from redoxmd.runs.captions import captions_of
from redoxmd.units import BOLTZMANN_EV_PER_K
from tests.scripts import ROOT, run_script

DATA = pd.DataFrame({"a": [1.0, 1 / 3]})
STYLE = Figures(dpi=60)
MM_PER_INCH = 25.4


def diffusivities(xs=(2.0, 2.5, 3.0), kelvins=(800.0, 1000.0, 1200.0), still=3.0):
    rows = []
    for x in xs:
        for kelvin in kelvins:
            D = 1e-3 * np.exp(-0.35 / (BOLTZMANN_EV_PER_K * kelvin))
            jumps = 0 if x == still else 16
            rows.append(
                {
                    "x": x,
                    "temperature_K": kelvin,
                    "replicas": 1,
                    "n_jumps": jumps,
                    "time_ps": 10.0,
                    "ion_time_ps": 60.0,
                    "sites_ion_time_ps": 60.0,
                    "jumps_no_transport": "",
                    "sites_no_transport": "",
                    "D_jumps_cm2_s": D if jumps else 0.0,
                    "D_jumps_error_cm2_s": D / 4 if jumps else 0.0,
                    "D_jumps_limit_cm2_s": np.nan if jumps else 2e-6,
                    "n_site_jumps": jumps,
                    "D_sites_cm2_s": 0.9 * D if jumps else 0.0,
                    "D_sites_error_cm2_s": D / 4 if jumps else 0.0,
                    "D_msd_cm2_s": 1.2 * D if jumps else 1e-7,
                    "D_msd_error_cm2_s": D / 3,
                    "D_msd_low_cm2_s": 0.6 * D if jumps else 0.0,
                    "D_msd_high_cm2_s": 2 * D if jumps else 2e-6,
                    "D_msd_limit_cm2_s": np.nan if jumps else 1e-6,
                    "correlation_factor": np.nan,
                    "msd_regime": ("diffusive" if x > 2 else "subdiffusive") if jumps else "not told from zero",
                }
            )
    columns = list(rows[0]) if rows else list(diffusivities((2.0,), (800.0,)).columns)
    return pd.DataFrame(rows, columns=columns)


def msd_line(row):
    exponent = 0.5 if row["msd_regime"] == "subdiffusive" else 1.0
    variance = np.array([row["D_msd_error_cm2_s"] ** 2, 0.0, 0.0])
    return LineFit(row["D_msd_cm2_s"], variance, exponent, 0.1, 100.0, 3e-8)


def fits(table):
    rows = [
        {"x": x, **fits_by_method(group, [msd_line(row) for _, row in group.iterrows()], Diffusion())}
        for x, group in table.groupby("x")
    ]
    columns = list(rows[0]) if rows else list(fits(diffusivities((2.0,), (800.0,))).columns)
    return pd.DataFrame(rows, columns=columns)


def van_hoves(xs=(2.0, 2.5), kelvins=(800.0, 1000.0), lags=(1.0, 10.0)):
    distance = np.arange(0.05, 8, 0.1)
    rows = [
        {
            "x": x,
            "temperature_K": kelvin,
            "lag_ps": lag,
            "distance_A": r,
            "self_per_A": r**2 * np.exp(-(r**2)) + 1e-3 * x * np.exp(-(((r - 4) / 0.6) ** 2)),
            "distinct": np.nan if len(xs) == 1 else 1 - np.exp(-((r / 3) ** 4)),
        }
        for x in xs
        for kelvin in kelvins
        for lag in lags
        for r in distance
    ]
    columns = ["x", "temperature_K", "lag_ps", "distance_A", "self_per_A", "distinct"]
    return pd.DataFrame(rows, columns=columns)


def errors(generations=2):
    rows = [
        {"generation": g, "set": s, "member": m, "force_mae_eV_A": 0.1 + 0.01 * m, "energy_mae_meV_atom": 5.0}
        for g in range(generations)
        for s in ("train", "validation", "test")
        for m in (-1, 0, 1)
    ]
    return pd.DataFrame(rows, columns=["generation", "set", "member", "force_mae_eV_A", "energy_mae_meV_atom"])


def runs(generations=2):
    rows = [
        {"generation": g, "structure": s, "survived_ps": 1.0 + g, "target_ps": 2.0, "end_reason": "close_contact"}
        for g in range(generations)
        for s in ("a", "b")
    ]
    return pd.DataFrame(rows, columns=["generation", "structure", "survived_ps", "target_ps", "end_reason"])


def traces(generations=2, points=20):
    rows = [
        {"generation": g, "structure": s, "time_fs": 10.0 * t, "spread_eV_A": 0.4 + 0.05 * t, "candidate": t % 7 == 6}
        for g in range(generations)
        for s in ("a", "b")
        for t in range(points)
    ]
    return pd.DataFrame(rows, columns=["generation", "structure", "time_fs", "spread_eV_A", "candidate"])


def parity(n, kind):
    rng = np.random.default_rng(0)
    reference = rng.normal(0, 1, n)
    unit = {"forces": "eV_A", "energies": "eV_atom"}[kind]
    predicted = reference + rng.normal(0, 0.1, n)
    return pd.DataFrame({f"reference_{unit}": reference, f"predicted_{unit}": predicted})


def concerted(jumps=(0, 5, 20)):
    table = pd.DataFrame({"temperature_K": [800.0, 1000.0, 1200.0][: len(jumps)], "n_jumps": list(jumps)})
    counts = {"n_concerted": 2, "n_sites_concerted": 2, "n_neighbouring": 4, "n_exchanges": 8}
    table = table.assign(n_site_jumps=table["n_jumps"], **{name: table["n_jumps"] // of for name, of in counts.items()})
    return table.assign(**{f"{name}_chance": table[name] / 3 for name in counts})


def occupancy(xs=(2.0, 2.5), kelvins=(800.0, 1000.0), times=20):
    rows = [
        {"structure": f"x{x}", "x": x, "temperature_K": kelvin, "replica": 0, "time_ps": 0.5 * t, "kind": kind}
        for x in xs
        for kelvin in kelvins
        for kind in ("Na1", "Na2")
        for t in range(times)
    ]
    columns = ["structure", "x", "temperature_K", "replica", "time_ps", "kind"]
    along = pd.DataFrame(rows, columns=columns).assign(occupancy=lambda table: 0.9 - 0.01 * table["time_ps"])
    sites = along.drop_duplicates(["x", "temperature_K", "kind"]).assign(sites=16, coordination=6, occupancy_error=0.02)
    return along, sites


FRAMES = ["set", "bound_eV_A", "error_eV_A"]


def reliability(sets=("validation", "test")):
    curve = pd.DataFrame({"expected_fraction": [0.0, 0.5, 1.0], "observed_fraction": [0.0, 0.4, 1.0]})
    bins = pd.DataFrame({"spread_eV_A": [0.1, 0.2], "rmse_eV_A": [0.1, 0.3], "n": [10, 10]})
    empty = [curve.iloc[:0].assign(set=""), bins.iloc[:0].assign(set="")]
    return (
        pd.concat([curve.assign(set=name) for name in sets] or empty[:1]),
        pd.concat([bins.assign(set=name) for name in sets] or empty[1:]),
        dict.fromkeys(sets, 0.05),
        pd.DataFrame([(name, 1.0, error) for name in sets for error in (0.5, 1.5)], columns=FRAMES),
    )


def paths(names=("exchange", "single"), images=5):
    rows = [
        {"path": name, "image": i, "coordinate_A": 0.8 * i, "energy_eV": 0.3 * np.sin(np.pi * i / max(images - 1, 1))}
        for name in names
        for i in range(images)
    ]
    profiles = pd.DataFrame(rows, columns=["path", "image", "coordinate_A", "energy_eV"])
    known = profiles["path"] == "exchange"
    profiles = profiles.assign(energy_spread_eV=0.02, reference_eV=(profiles["energy_eV"] * 1.1).where(known))
    barriers = pd.DataFrame({"path": list(names), "barrier_forward_eV": 0.3, "barrier_forward_spread_eV": 0.02})
    barriers["reference_forward_eV"] = [0.33 if name == "exchange" else np.nan for name in names]
    return (
        profiles,
        barriers.assign(saddle_image=float(images // 2), reason=""),
        {name: images_of(images) for name in names},
    )


def images_of(count):
    """A sodium ion that goes 3 Å past an octahedron of VO6."""
    corners = [[4 + 2 * a, 4 + 2 * b, 4 + 2 * c] for a, b, c in np.concatenate([np.eye(3), -np.eye(3)])]
    ways = np.linspace(0, 3, count)
    cell = [9.0, 9.0, 9.0]
    return [Atoms("NaNaVO6", [[2 + x, 7, 1], [7, 7, 7], [4, 4, 4], *corners], cell=cell, pbc=True) for x in ways]


def event(exchange=True):
    """An exchange through Na1:0, or one of its jumps alone."""
    time_fs, cell = np.arange(0.0, 600.0, 20.0), np.diag([9.0, 9.0, 12.0])
    places = np.array([[4.0, 4.0, 3.0], [4.0, 4.0, 6.0], [4.0, 4.0, 9.0], [1.0, 1.0, 1.0], [2.5, 1.0, 1.0]])
    positions = np.repeat(places[[0, 1, 3, 4]][None], len(time_fs), axis=0)
    moves = []
    for ion, leaves, name in ((1, 200.0, ("Na1:0", "Na2:1")), (0, 300.0, ("Na2:0", "Na1:0")))[: 1 + exchange]:
        start, end = places[ion], places[ion + 1]
        positions[:, ion] = start + np.clip((time_fs - leaves) / 100.0, 0, 1)[:, None] * (end - start)
        moves.append(Move(ion, *name, start, end, leaves, leaves + 100.0))
    about = {"structure": "s", "x": 2.5, "temperature_K": 900.0, "replica": 0}
    numbers = np.array([11, 11, 23, 8])
    kind = "exchange" if exchange else "single"
    return Event(kind, about, numbers, cell, time_fs, positions, tuple(moves), 0, len(time_fs) - 1)


def neb_figure(profiles, barriers, images):
    return fig4_neb.draw(profiles, barriers, STYLE, images)


def drawn(name, kind):
    """Figure `name` from full, empty or single-point data."""
    full, one = kind == "full", kind == "single"
    table = diffusivities() if full else diffusivities((2.0,), (800.0,)) if one else diffusivities(())
    generations = 2 if full else 1 if one else 0
    return {
        "learning_curve": lambda: learning_curve.draw(errors(generations), runs(generations), STYLE),
        "gate_timeline": lambda: gate_timeline.draw(
            traces(generations, 20 if full else 1), runs(generations), 1.0, 5.0, STYLE
        ),
        "fig3a_errors": lambda: fig3a_errors.draw(
            parity(5000 if full else int(one), "forces"), parity(30 if full else int(one), "energies"), STYLE
        ),
        "calibration": lambda: calibration.draw(
            *reliability(("validation", "test") if full else ("test",) * one), STYLE
        ),
        "fig4_neb": lambda: neb_figure(*(paths() if full else paths(("single",), 3) if one else paths(()))),
        "fig5_exchange": lambda: fig5_exchange.draw(event(full) if full or one else None, STYLE),
        "fig6_concerted": lambda: fig6_concerted.draw(concerted((0, 5, 20) if full else (1,) * one), STYLE, 1.0),
        "fig7_diffusivity": lambda: fig7_diffusivity.draw(table, STYLE),
        "fig8_arrhenius": lambda: fig8_arrhenius.draw(table, fits(table), STYLE),
        "fig9_jumps_vs_msd": lambda: fig9_jumps_vs_msd.draw(table, STYLE),
        "site_occupancy": lambda: site_occupancy.draw(
            *(occupancy() if full else occupancy((2.0,), (800.0,), 1) if one else occupancy(())), STYLE
        ),
        "van_hove": lambda: van_hove.draw(
            van_hoves() if full else van_hoves((2.0,), (800.0,), (1.0,)) if one else van_hoves(()), STYLE
        ),
        "table2_activation": lambda: table2_activation.draw(fits(table), STYLE),
    }[name]()


def texts(figure):
    found = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " | ".join(text for text in found if text)


@pytest.mark.parametrize("kind", ["full", "empty", "single"])
@pytest.mark.parametrize("name", FIGURES + NEB_FIGURES)
def test_every_figure_draws_whatever_there_is(name, kind, saved):
    for suffix in (".pdf", ".svg", ".png", ".csv"):
        assert saved(name, kind).with_suffix(suffix).stat().st_size > 0


@pytest.mark.parametrize("name", FIGURES + NEB_FIGURES)
def test_an_empty_figure_says_so(name):
    words = texts(drawn(name, "empty"))
    assert any(word in words for word in ("no ", "No ")), words


@pytest.mark.parametrize("name", FIGURES + NEB_FIGURES)
def test_the_same_data_give_the_same_bytes(name, saved, tmp_path):
    one, two = saved(name, "full"), tmp_path / "two"
    save_figure(drawn(name, "full"), DATA, two, STYLE)
    for suffix in (".pdf", ".svg", ".png", ".csv"):
        assert one.with_suffix(suffix).read_bytes() == two.with_suffix(suffix).read_bytes(), suffix


@pytest.mark.parametrize(("name", "columns"), [("fig8_arrhenius", 1.5), ("fig3a_errors", 2.0)])
def test_width_is_the_columns_width(name, columns):
    assert drawn(name, "full").get_figwidth() == pytest.approx(columns * STYLE.width_mm / MM_PER_INCH)


def test_arrhenius_shows_fits_and_says_what_it_refuses():
    words = texts(drawn("fig8_arrhenius", "full"))
    assert "x = 2: Ea = 0.35 " in words
    assert "x = 3: no fit, jumps at 0 of 3 temperatures, 2 are needed" in " ".join(words.split())


def limits_of(axis):
    return [line.get_ydata().tolist() for line in axis.lines if line.get_marker() is ARROW and len(line.get_ydata())]


def test_points_of_too_few_jumps_are_limits_in_figures_7_and_8(tmp_path):
    table = diffusivities((2.0,))
    table.loc[0, ["n_jumps", "D_jumps_limit_cm2_s"]] = 1, 3e-5
    table.to_csv(tmp_path / "diffusivities.csv", index=False)
    table = pd.read_csv(tmp_path / "diffusivities.csv")
    axis = fig8_arrhenius.draw(table, fits(table), STYLE).axes[0]
    assert [len(container[0].get_xdata()) for container in axis.containers] == [2, 0]
    assert limits_of(axis) == [[3e-5]]
    coloured, over_x = fig7_diffusivity.draw(table, STYLE).axes[:2]
    assert len(coloured.collections[0].get_offsets()) == 2
    # Its place is shown all the same, with how many jumps there were.
    assert [line.get_xydata().tolist() for line in coloured.lines] == [[[2.0, 800.0]]]
    assert [text.get_text() for text in coloured.texts] == ["1", "16", "16"]
    assert limits_of(over_x) == [[3e-5]]


def test_bars_of_jumps_are_those_of_a_poisson_count():
    table = with_intervals(diffusivities((2.0,)).assign(D_jumps_cm2_s=3e-6, D_jumps_error_cm2_s=3e-6 / np.sqrt(3)))
    # Three events: 0.6187 to 8.7673 (Garwood 1936, 95 %).
    assert table["D_jumps_low_cm2_s"].to_numpy() == pytest.approx(0.6187e-6, rel=1e-4)
    assert table["D_jumps_high_cm2_s"].to_numpy() == pytest.approx(8.7673e-6, rel=1e-4)


def test_a_bar_that_reaches_zero_ends_below_the_axis():
    table = diffusivities((2.0, 2.5)).assign(D_msd_low_cm2_s=0.0)
    axis = fig9_jumps_vs_msd.draw(table, STYLE).axes[0]
    bottoms = [segment[0, 1] for bars in axis.containers for segment in bars[2][0].get_segments()]
    low, high = axis.get_ylim()
    assert min(bottoms) < low and high / low < 100


def test_no_point_and_no_bar_is_cut_off():
    table = with_intervals(diffusivities())
    for axis in fig9_jumps_vs_msd.draw(table, STYLE).axes:
        known = table[(table["temperature_K"] == 1200.0) & table["D_jumps_limit_cm2_s"].isna()]
        low, high = axis.get_ylim()
        assert low < known["D_msd_low_cm2_s"].min() and high > known["D_msd_high_cm2_s"].max()
        labels = [text.get_text() for text in axis.yaxis.get_ticklabels() if text.get_text()]
        ticks = [tick for tick in axis.get_yticks() if low <= tick <= high]
        assert len(labels) >= 2 and len(ticks) >= 2


def test_points_of_one_temperature_stand_side_by_side():
    axis = drawn("fig8_arrhenius", "full").axes[0]
    places = np.concatenate([container[0].get_xdata() for container in axis.containers])
    assert len(np.unique(places.round(6))) == len(places)


def test_many_concentrations_have_a_panel_each():
    table = diffusivities(tuple(np.arange(1, 3.01, 0.125)))
    figure = fig8_arrhenius.draw(table, fits(table), STYLE)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == 17 and len({axis.get_ylim() for axis in shown}) == 1
    assert shown[0].get_title(loc="left").startswith("x = 1\nEa = 0.35 ")
    assert "no fit" in shown[-1].get_title(loc="left")


def test_the_quality_of_a_fit_is_told_where_it_is_known():
    table = diffusivities()
    words = texts(fig8_arrhenius.draw(table, fits(table).assign(deviance=3.21, dof=1), STYLE))
    assert "deviance 3.2 for 1 d.o.f." in words
    asymmetric = fits(table).assign(Ea_low_eV=-0.1, Ea_high_eV=np.inf)
    assert "Ea = 0.35 eV (−0.10 to ∞)" in texts(fig8_arrhenius.draw(table, asymmetric, STYLE))


def test_every_symbol_is_explained():
    for name, words in {
        "fig7_diffusivity": ["bars: 95 % intervals", "95 % upper limit", "no jump"],
        "fig8_arrhenius": ["bars and brackets: 95 % intervals", "95 % upper limit"],
        "fig9_jumps_vs_msd": ["bars: 95 % intervals", "95 % upper limit", "MSD not diffusive", "MSD diffusive"],
        "fig6_concerted": ["the same jumps at random times", "bars: 95 % intervals"],
        "fig5_exchange": [
            "time since the first ion left (fs)",
            "from Na1:0, which it leaves",
            "from Na2:1, where it goes",
            "between the two",
        ],
        "gate_timeline": ["candidate for labelling", "run stopped", "thresholds of the gate"],
        "calibration": ["perfect", "equal", "validation, 50 % below"],
        "site_occupancy": ["x = 2", "x = 2.5", "one ion per site"],
        "van_hove": ["mean density", "1 ps"],
    }.items():
        found = texts(drawn(name, "full"))
        assert [word for word in words if word not in found] == [], name


def test_msd_and_jumps_with_their_intervals():
    over_x, parity = drawn("fig9_jumps_vs_msd", "full").axes
    assert limits_of(over_x) == [[2e-6], [1e-6]]
    # Jumps, then MSD: diffusive (or from jumps) filled, the others open.
    assert [len(container[0].get_xdata()) for container in over_x.containers] == [2, 0, 1, 1]
    assert len(parity.containers) == 2


def test_van_hove_of_the_concentration_that_moves_most():
    by_temperature, by_time, distinct = drawn("van_hove", "full").axes
    titles = [axis.get_title(loc="left") for axis in (by_temperature, by_time, distinct)]
    assert titles == ["a  x = 2.5, 10 ps", "b  x = 2.5, 1000 K", "c  x = 2.5, 1000 K"]
    assert [text.get_text() for text in by_temperature.get_legend().get_texts()] == ["800 K", "1000 K"]
    assert [text.get_text() for text in by_time.get_legend().get_texts()] == ["1 ps", "10 ps"]
    assert len(distinct.lines) == 3
    assert [text.get_text() for text in distinct.get_legend().get_texts()] == ["1 ps", "10 ps", "mean density"]
    assert "no other ion" in texts(drawn("van_hove", "single"))


def test_table_2_has_a_row_for_every_concentration():
    (table,) = drawn("table2_activation", "full").axes[0].tables
    words = [cell.get_text().get_text() for cell in table.get_celld().values()]
    assert {"2", "2.5", "3"} < set(words)
    # From jumps and between sites at two x; from the MSD at the one where it is diffusive.
    assert sum(word.startswith("0.35 ") for word in words) == 5
    remarks = [" ".join(table[row, 5].get_text().get_text().split()) for row in (1, 2, 3)]
    no_msd = "MSD: 0 of 3 temperatures have an MSD that is diffusive"
    assert remarks == [no_msd, "", f"jumps at 0 of 3 temperatures, 2 are needed; {no_msd}"]
    asymmetric = fits(diffusivities()).assign(Ea_low_eV=0.2, Ea_high_eV=0.5)
    (table,) = table2_activation.draw(asymmetric, STYLE).axes[0].tables
    assert table[1, 1].get_text().get_text() == "0.35 (0.20 to 0.50)"


def test_table_2_names_what_fits_leave_out_within_the_picture():
    without = ", ".join(f"{kelvin} K: subdiffusive" for kelvin in (600, 700, 800, 900))
    figure = table2_activation.draw(
        fits(diffusivities()).assign(left_out="", msd_fitted=True, msd_left_out=without), STYLE
    )
    FigureCanvasAgg(figure).draw()
    (table,) = figure.axes[0].tables
    cells = [cell.get_text() for (row, column), cell in table.get_celld().items() if column == 5 and row]
    assert all(without in " ".join(text.get_text().split()) for text in cells)
    for text in cells:
        box = text.get_window_extent()
        assert box.x1 <= figure.bbox.x1 and box.y0 >= figure.bbox.y0
    boxes = sorted((text.get_window_extent() for text in cells), key=lambda box: box.y0)
    assert all(above.y0 >= below.y1 for below, above in pairwise(boxes))


def test_what_follows_the_peak_of_the_distinct_part_is_seen():
    table = van_hoves().assign(distinct=lambda v: np.where(v["distance_A"] < 0.5, 80.0, 0.8))
    axis = van_hove.draw(table, STYLE).axes[2]
    place = axis.transData.transform([(0, 0.0), (0, 0.8), (0, 80.0)])[:, 1]
    assert (place[1] - place[0]) / (place[2] - place[0]) > 0.1


def test_points_without_a_jump_are_limits():
    assert limits_of(drawn("fig8_arrhenius", "full").axes[0])[0] == pytest.approx([2e-6] * 3)


def test_shares_of_jumps_between_sites_have_one_denominator():
    table = concerted()
    share = fig6_concerted.draw(table, STYLE, 1.0).axes[1]
    drawn_shares = [container[0].get_ydata().tolist() for container in share.containers]
    within, near, exchange = (np.array(values) for values in drawn_shares[1:])
    assert within.tolist() == [2 / 5, 10 / 20] and near.tolist() == [1 / 5, 5 / 20]
    assert (near <= within).all() and exchange.tolist() == [0.0, 4 / 20]
    # Where all sites are neighbours, the criterion says nothing.
    merged = fig6_concerted.draw(table.assign(n_neighbouring=table["n_sites_concerted"]), STYLE, 1.0)
    assert len(merged.axes[1].containers) == 3 and "all sites are neighbours" in texts(merged)


def test_intervals_of_counts_are_garwoods():
    low, high = count_interval([0, 1, 10])
    # Garwood (1936), table 1: 95 %.
    assert low == pytest.approx([0.0, 0.0253, 4.795], abs=1e-3)
    assert high == pytest.approx([3.689, 5.572, 18.39], abs=1e-2)


def test_bars_of_shares_are_wilsons():
    low, high = share_interval([0, 10, 119], [10, 10, 169])
    # Brown, Cai and DasGupta (2001), eq. 4, by hand.
    assert low == pytest.approx([0.0, 0.7225, 0.6314], abs=1e-4)
    assert high == pytest.approx([0.2775, 1.0, 0.7678], abs=1e-4)


def test_concerted_shares_without_sites_are_those_of_the_distance_rule():
    nothing = dict.fromkeys(("n_site_jumps", "n_sites_concerted", "n_neighbouring", "n_exchanges"), np.nan)
    share = fig6_concerted.draw(concerted().assign(**nothing), STYLE, 1.0).axes[1]
    assert [len(container[0].get_xdata()) for container in share.containers] == [2]


def test_the_order_of_an_exchange_is_told():
    words = texts(drawn("fig5_exchange", "full"))
    assert "x = 2.5, 900 K: exchange, Na1:0 is left first, Na2:0 100 fs later" in words
    assert "ion 1: from Na1:0, which it leaves" in words and "before, −200 fs" in words
    assert "time since the first ion left (fs)" in words
    alone = texts(drawn("fig5_exchange", "single"))
    assert "one jump (no concerted ones in any trajectory), Na1:0 → Na2:1" in alone
    pictures = [axis for axis in drawn("fig5_exchange", "full").axes if not axis.axison]
    assert len(pictures) == 4


def test_an_interval_that_ends_just_below_zero_has_no_negative_zero(tmp_path):
    table = diffusivities()
    fits(table).assign(Ea_low_eV=-0.0008).to_csv(tmp_path / "arrhenius.csv", index=False)
    table.to_csv(tmp_path / "diffusivities.csv", index=False)
    read = {name: str(tmp_path / f"{name}.csv") for name in ("diffusivities", "arrhenius")}
    fitted = pd.read_csv(read["arrhenius"])
    arrhenius = texts(fig8_arrhenius.draw(pd.read_csv(read["diffusivities"]), fitted, STYLE))
    (table,) = table2_activation.draw(fitted, STYLE).axes[0].tables
    for words in (arrhenius, table[1, 1].get_text().get_text()):
        assert "(0.00 to " in words and "−0.00" not in words


def test_bars_of_occupancies_are_95_percent_within_none_and_one_ion(tmp_path):
    along, sites = occupancy((2.0,), (800.0,))
    sites = sites.assign(occupancy=[0.99, 0.5], occupancy_error=[0.02, 0.1])
    for name, rows in {"occupancy": along, "sites": sites}.items():
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    figure = site_occupancy.draw(*(pd.read_csv(tmp_path / f"{name}.csv") for name in ("occupancy", "sites")), STYLE)
    ends = [bars[2][0].get_segments()[0][:, 1] for bars in figure.axes[1].containers]
    # 1.96 standard errors.
    assert np.concatenate(ends) == pytest.approx([0.9508, 1.0, 0.304, 0.696], abs=1e-4)
    assert "bars: 95 %" in texts(figure)


def test_means_over_configurations_left_out_stand_above_the_bars(tmp_path):
    rows = {"config_id": ["a", "b"], "n_frames": [2, 28], "force_mae_eV_A": [0.2, 0.4], "energy_mae_meV_atom": [5, 8]}
    pd.DataFrame(rows).to_csv(tmp_path / "0.csv", index=False)
    axes = left_out_errors.draw(pd.read_csv(tmp_path / "0.csv"), STYLE).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["a  dashed: mean 0.3", "b  dashed: mean 6.5"]
    assert axes[0].get_ylabel() == "configuration (frames)"


def test_occupancy_at_the_highest_temperature_alone():
    along, means = drawn("site_occupancy", "full").axes
    lines = [line for line in along.lines if len(line.get_xdata()) > 2]
    assert len(lines) == 4 and len(means.containers) == 4
    assert along.get_title(loc="left") == "a  1000 K"
    # x by colour, kind by line.
    assert len({line.get_color() for line in lines}) == len({line.get_linestyle() for line in lines}) == 2
    words = [text.get_text() for text in means.get_legend().get_texts()]
    assert words == ["Na1 (6 ligands)", "Na2 (6 ligands)", "x = 2", "x = 2.5", "one ion per site"]


@pytest.mark.parametrize("many", [2, 7, 17])
def test_no_two_series_have_one_colour(many):
    assert len(set(assign_colours(range(many)).values())) == many


def test_the_learning_curve_says_when_nothing_is_learned():
    table = errors()
    words = texts(learning_curve.draw(table, runs().assign(survived_ps=2.0), STYLE)).replace("\n", " ")
    assert "test: no change beyond the spread of the members" in words
    assert "every run reached its end: no limit seen" in words
    table.loc[(table["generation"] == 1) & (table["set"] == "test"), "force_mae_eV_A"] -= 0.05
    words = texts(learning_curve.draw(table, runs(), STYLE)).replace("\n", " ")
    assert "a  test: falls" in words and "every run" not in words
    before = table[table["generation"] == 0].assign(generation=learning_curve.PRETRAINED, force_mae_eV_A=0.9)
    figure = learning_curve.draw(pd.concat([before, errors()]), runs(), STYLE)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()][:2] == ["teacher", "0"]
    assert "a  test: falls" in texts(figure).replace("\n", " ")


def test_parity_shows_the_errors():
    words = texts(drawn("fig3a_errors", "full"))
    forces = parity(5000, "forces")
    mae = (forces["predicted_eV_A"] - forces["reference_eV_A"]).abs().mean()
    assert f"MAE {mae:.3g} eV/Å" in words
    assert "n = 5000" in words


def test_the_gate_shows_thresholds_and_stops():
    figure = drawn("gate_timeline", "full")
    levels = {float(line.get_ydata()[0]) for line in figure.axes[0].lines if line.get_linestyle() == "--"}
    assert levels == {1.0, 5.0}
    assert [line.get_marker() for line in figure.axes[0].lines].count("x") == 2


def test_barriers_are_told_with_the_reference_beside_them_where_there_is_one():
    profiles, barriers, images = paths()
    structures = ["x2.000_preferred0_1x1x1", "x2.500_preferred1_1x1x1"]
    figure = neb_figure(profiles, barriers.assign(structure=structures), images)
    words = texts(figure)
    assert "1  x = 2, one ion moves\nensemble 0.30 ± 0.02 eV\nreference 0.33 eV" in words
    assert "2  x = 2.5, one ion moves\nensemble 0.30 ± 0.02 eV |" in words
    assert "no minimum" not in words
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == ["reference, same images", "ensemble, bars and ±: spread"]


def test_an_end_above_its_neighbour_is_told_with_the_barrier_from_the_lowest_image():
    profiles, barriers, images = paths()
    profiles.loc[1, "energy_eV"] = -0.04
    assert "first image is no minimum:\n0.34 eV from the lowest" in texts(neb_figure(profiles, barriers, images))


def test_structures_stand_below_their_path_and_a_path_that_is_not_says_why():
    titles = [axis.get_title() for axis in drawn("fig4_neb", "full").axes]
    assert [titles.count(word) for word in ("initial", "saddle", "final")] == [2, 2, 2]
    profiles, barriers, images = paths()
    none = {"path": "seen", "reason": "no ion changed its site in 3 trajectories"}
    with_it = pd.concat([barriers, pd.DataFrame([none])], ignore_index=True)
    figure = neb_figure(profiles, with_it, {**images, "seen": []})
    words = texts(figure).replace("\n", " ")
    assert "3  seen: no path" in words and none["reason"] in words
    assert [axis.get_title() for axis in figure.axes].count("saddle") == 2


@pytest.fixture
def foreign_settings():
    """A user's matplotlibrc: LaTeX for text, thick lines, another font size."""
    with matplotlib.rc_context({"text.usetex": True, "lines.linewidth": 9.0, "font.size": 30, "savefig.bbox": "tight"}):
        yield


@pytest.mark.parametrize("name", ["fig8_arrhenius", "fig6_concerted"])
def test_a_users_settings_change_no_figure(name, tmp_path, request):
    data = pd.DataFrame({"a": [1.0]})
    save_figure(drawn(name, "full"), data, tmp_path / "ours", STYLE)
    request.getfixturevalue("foreign_settings")
    save_figure(drawn(name, "full"), data, tmp_path / "theirs", STYLE)
    assert (tmp_path / "ours.png").read_bytes() == (tmp_path / "theirs.png").read_bytes()
    assert matplotlib.rcParams["lines.linewidth"] == 9.0


def test_a_notebooks_backend_does_not_stop_a_figure():
    command = "import redoxmd.figures.fig6_concerted"
    settings = {**os.environ, "MPLBACKEND": "module://no_such.backend"}
    done = subprocess.run([sys.executable, "-c", command], env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_plotted_is_written_without_words_for_what_is_not_known(tmp_path):
    table = pd.DataFrame({"n_jumps": [3.0, np.nan], "D": [np.inf, 1.5e-6]})
    save_figure(new_figure(STYLE)[0], table, tmp_path / "f", STYLE)
    assert (tmp_path / "f.csv").read_text().splitlines() == ["n_jumps,D", "3,", ",1.5e-06"]


def test_the_learning_curve_names_the_ensemble_and_counts_in_integers(tmp_path):
    columns = ["set", "member", "force_mae_eV_A", "energy_mae_meV_atom", "n_frames"]
    rows = [dict(zip(columns, ("test", member, 0.1, 1.0, 22), strict=True)) for member in (-1, 0, 1)]
    decision = {"generation": 0, "phase": "small"}
    run = {"structure": "x2.000_random0_1x1x1", "survived_ps": 2.0, "target_ps": 2.0, "end_reason": "survived"}
    write_json(tmp_path / "ensemble.json", {"errors": rows})
    write_json(tmp_path / "gen0.json", {**decision, "figures": {"runs": [run]}})
    table = run_script(
        "learning_curve",
        tmp_path,
        ensembles=[str(tmp_path / "ensemble.json")],
        decisions=[str(tmp_path / "gen0.json")],
    )
    assert table["member"].tolist()[:3] == ["ensemble", "0", "1"]
    lines = (tmp_path / "learning_curve.csv").read_text().splitlines()
    assert {"0", "22", "ensemble"} <= set(lines[1].split(","))
    assert not any(word in line.lower().split(",") for line in lines for word in ("nan", "none", "inf", "-1"))
    # Members trained on labels of a teacher alone come first.
    pd.DataFrame(rows).assign(force_mae_eV_A=0.3).to_csv(tmp_path / "errors.csv", index=False)
    inputs = {"ensembles": [str(tmp_path / "ensemble.json")], "decisions": [str(tmp_path / "gen0.json")]}
    table = run_script("learning_curve", tmp_path, **inputs, pretrained=str(tmp_path / "errors.csv"))
    errors = table[table["kind"] == "errors"]
    assert errors["generation"].tolist() == ["teacher"] * 3 + ["0"] * 3
    assert errors["force_mae_eV_A"].tolist() == [0.3] * 3 + [0.1] * 3
    assert table.loc[table["kind"] == "runs", "generation"].tolist() == ["0"]
    lines = (tmp_path / "learning_curve.csv").read_text().splitlines()
    assert not any(word in line.lower().split(",") for line in lines for word in ("nan", "none", "inf", "-1"))


def test_captions_ask_for_what_their_rules_give():
    given = captions_of(Config())
    for caption in sorted((ROOT / "workflow/report").glob("*.rst")):
        wanted = set(re.findall(r"snakemake\.params\.caption\.(\w+)", caption.read_text()))
        assert wanted <= set(given.get(caption.stem, {})), caption.name
