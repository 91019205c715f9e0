"""Every figure on tables as the stages write them, on empty ones and on single points."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from redoxmd.config.sections import Diffusion, Figures
from redoxmd.diffusion.arrhenius import fits_by_method
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
    site_occupancy,
    table2_activation,
    van_hove,
)
from redoxmd.figures.catalogue import FIGURES, NEB_FIGURES
from redoxmd.figures.save import save_figure
from redoxmd.units import BOLTZMANN_EV_PER_K

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
                    "ion_time_ps": 100.0,
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
                    "msd_regime": ("diffusive" if x > 2 else "subdiffusive") if jumps else "not told from zero",
                }
            )
    columns = list(rows[0]) if rows else list(diffusivities((2.0,), (800.0,)).columns)
    return pd.DataFrame(rows, columns=columns)


def fits(table):
    rows = [{"x": x, **fits_by_method(group, Diffusion())} for x, group in table.groupby("x")]
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
    table["n_concerted"] = table["n_jumps"] // 2
    share = table["n_concerted"] / table["n_jumps"].where(table["n_jumps"] > 0)
    near = {"n_site_jumps": table["n_jumps"], "neighbouring_fraction": share / 2, "neighbouring_error": 0.1}
    chance = {"concerted_chance": share / 3, "neighbouring_chance": share / 9}
    return table.assign(concerted_fraction=share, concerted_error=0.1, **near, **chance)


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


def reliability(sets=("validation", "test")):
    curve = pd.DataFrame({"expected_fraction": [0.0, 0.5, 1.0], "observed_fraction": [0.0, 0.4, 1.0]})
    bins = pd.DataFrame({"spread_eV_A": [0.1, 0.2], "rmse_eV_A": [0.1, 0.3], "n": [10, 10]})
    empty = [curve.iloc[:0].assign(set=""), bins.iloc[:0].assign(set="")]
    return (
        pd.concat([curve.assign(set=name) for name in sets] or empty[:1]),
        pd.concat([bins.assign(set=name) for name in sets] or empty[1:]),
        dict.fromkeys(sets, 0.05),
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
        "fig6_concerted": lambda: fig6_concerted.draw(concerted((0, 5, 20) if full else (1,) * one), STYLE),
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
def test_every_figure_draws_whatever_there_is(name, kind, tmp_path):
    save_figure(drawn(name, kind), pd.DataFrame({"a": [1.0]}), tmp_path / name, STYLE)
    for suffix in ("pdf", "svg", "png", "csv"):
        assert (tmp_path / f"{name}.{suffix}").stat().st_size > 0


@pytest.mark.parametrize("name", FIGURES + NEB_FIGURES)
def test_an_empty_figure_says_so(name):
    words = texts(drawn(name, "empty"))
    assert any(word in words for word in ("no ", "No ")), words


@pytest.mark.parametrize("name", FIGURES + NEB_FIGURES)
def test_the_same_data_give_the_same_bytes(name, tmp_path):
    data = pd.DataFrame({"a": [1.0, 1 / 3]})
    for attempt in ("one", "two"):
        save_figure(drawn(name, "full"), data, tmp_path / attempt, STYLE)
    for suffix in ("pdf", "svg", "png", "csv"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes(), suffix


@pytest.mark.parametrize(("name", "columns"), [("fig7_diffusivity", 1.2), ("fig3a_errors", 2.0)])
def test_width_is_the_columns_width(name, columns):
    assert drawn(name, "full").get_figwidth() == pytest.approx(columns * STYLE.width_mm / MM_PER_INCH)


def test_arrhenius_shows_fits_and_says_what_it_refuses():
    words = texts(drawn("fig8_arrhenius", "full"))
    assert "x = 2: Ea = 0.35 ± " in words
    assert "x = 3: no fit, jumps at 0 of 3 temperatures, 2 are needed" in words


def test_points_of_too_few_jumps_are_limits():
    table = diffusivities((2.0,))
    table.loc[0, ["n_jumps", "D_jumps_limit_cm2_s"]] = 1, 3e-5
    axis = fig8_arrhenius.draw(table, fits(table), STYLE).axes[0]
    points = axis.containers[0][0].get_xdata()
    (limit,) = (line for line in axis.lines if line.get_marker() == "v")
    assert len(points) == 2
    assert limit.get_ydata() == pytest.approx(np.log10(3e-5))


def test_msd_and_jumps_with_their_intervals():
    over_x, parity = drawn("fig9_jumps_vs_msd", "full").axes
    limits = [line.get_ydata().tolist() for line in over_x.lines if line.get_marker() == "v"]
    assert limits == [[2e-6], [1e-6]]
    # Jumps, diffusive MSD, and that which is not; once with nothing in it.
    assert [len(container[0].get_xdata()) for container in over_x.containers] == [2, 0, 1, 1]
    assert len(parity.containers) == 2


def test_van_hove_of_the_concentration_that_moves_most():
    by_temperature, by_time, distinct = drawn("van_hove", "full").axes
    assert by_temperature.get_title(loc="left") == "a  10 ps, x = 2.5"
    assert [text.get_text() for text in by_temperature.get_legend().get_texts()] == ["800 K", "1000 K"]
    assert [text.get_text() for text in by_time.get_legend().get_texts()] == ["1 ps", "10 ps"]
    assert len(distinct.lines) == 2
    assert "no other ion" in texts(drawn("van_hove", "single"))


def test_table_2_has_a_row_for_every_concentration():
    (table,) = drawn("table2_activation", "full").axes[0].tables
    words = [cell.get_text().get_text() for cell in table.get_celld().values()]
    assert {"2", "2.5", "3"} < set(words)
    # From jumps and between sites at two x; from the MSD at the one where it is diffusive.
    assert sum(word.startswith("0.35 ± ") for word in words) == 5
    assert sum("0 of 3 temperatures" in word for word in words) == 1


def test_points_without_a_jump_are_limits():
    figure = drawn("fig8_arrhenius", "full")
    limits = [line for line in figure.axes[0].lines if line.get_marker() == "v" and len(line.get_ydata())]
    np.testing.assert_allclose(limits[0].get_ydata(), np.log10(2e-6))


def test_concerted_shares_without_sites_are_those_of_the_distance_rule():
    table = concerted().assign(n_site_jumps=np.nan, neighbouring_fraction=np.nan)
    share = fig6_concerted.draw(table, STYLE).axes[1]
    assert [len(container[0].get_xdata()) for container in share.containers] == [2, 0]


def test_the_order_of_an_exchange_is_told():
    words = texts(drawn("fig5_exchange", "full"))
    assert "x = 2.5, 900 K: exchange, Na1:0 is left first, Na2:0 100 fs later" in words
    assert "ion 1, Na1:0 → Na2:1" in words and "before, −200 fs" in words
    alone = texts(drawn("fig5_exchange", "single"))
    assert "one jump (no concerted ones in any trajectory), Na1:0 → Na2:1" in alone
    pictures = [axis for axis in drawn("fig5_exchange", "full").axes if not axis.axison]
    assert len(pictures) == 4


def test_occupancy_at_the_highest_temperature_alone():
    along, means = drawn("site_occupancy", "full").axes
    assert len(along.lines) == 4 and len(means.containers) == 4
    assert "at 1000 K" in along.get_xlabel()
    assert [text.get_text() for text in means.get_legend().get_texts()] == ["Na1 (6 ligands)", "Na2 (6 ligands)"]


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
    words = texts(drawn("fig4_neb", "full"))
    assert "exchange\n0.30 ± 0.02 eV (0.33 eV)" in words
    assert "single\n0.30 ± 0.02 eV" in words and "single\n0.30 ± 0.02 eV (" not in words
    first, second = (axis for axis in drawn("fig4_neb", "full").axes if axis.get_legend())
    assert len(first.get_legend().get_texts()) == 2
    assert len(second.get_legend().get_texts()) == 1


def test_structures_stand_below_their_path_and_a_path_that_is_not_says_why():
    titles = [axis.get_title() for axis in drawn("fig4_neb", "full").axes]
    assert [titles.count(word) for word in ("initial", "saddle", "final")] == [2, 2, 2]
    profiles, barriers, images = paths()
    none = {"path": "seen", "reason": "no ion changed its site in 3 trajectories"}
    with_it = pd.concat([barriers, pd.DataFrame([none])], ignore_index=True)
    figure = neb_figure(profiles, with_it, {**images, "seen": []})
    words = texts(figure).replace("\n", " ")
    assert "seen: no path" in words and none["reason"] in words
    assert [axis.get_title() for axis in figure.axes].count("saddle") == 2
