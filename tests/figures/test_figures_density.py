"""The figures of densities, charges and redox states: from full tables, from empty ones and from single points."""

from dataclasses import replace
from functools import cache

import matplotlib
import numpy as np
import pandas as pd
import pytest
from ase.data import atomic_numbers
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Ellipse, FancyArrowPatch

from redoxmd.charges.event import NO_JUMP, Snapshot
from redoxmd.charges.oxidation import OxidationModel
from redoxmd.config.sections import Figures, Structures
from redoxmd.density.grid import Density
from redoxmd.density.slices import interpolate_grid, slice_reference
from redoxmd.electrons.moment_tables import ATOM_COLUMNS, moment_errors
from redoxmd.engines.toy import gaussian_density
from redoxmd.figures import (
    density_errors,
    density_slices,
    electron_hops,
    fig3b_bader,
    fig3c_histogram,
    fig10_jump,
    moment_network,
    redox_table,
)
from redoxmd.figures.intervals import ARROW
from redoxmd.figures.save import save_figure
from redoxmd.figures.structure_view import MOBILE_COLOUR, View, choose_view, draw_structure, nearest_images
from redoxmd.figures.style import COLOURS, SET_COLOURS, new_figure
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name

DATA = pd.DataFrame({"a": [1 / 3]})
STYLE = Figures(dpi=60)
MM_PER_INCH = 25.4
SIZES = {"full": 40, "single": 1, "empty": 0}
WIDTHS = {
    "fig3b_bader": 2.0,
    "fig3c_histogram": 2.0,
    "fig10_jump": 2.0,
    "density_slices": 2.0,
    "redox_table": 2.0,
    "density_errors": 2.0,
    "electron_hops": 2.0,
    "moment_network": 2.0,
}
ROUNDING = 1e-9
MODEL = OxidationModel(
    states=(3, 4),
    mean=np.array([[2.0, 1.9], [2.25, 1.0]]),
    covariance=np.array([[[4e-4, 2e-4], [2e-4, 3e-3]], [[6e-4, 0.0], [0.0, 4e-3]]]),
    weight=np.array([0.7, 0.3]),
    background=0.0,
    n_atoms=20,
)


def on_grid(density):
    grids = (density.total_e_A3, density.spin_e_A3)
    return lambda points: np.stack([interpolate_grid(grid, density.cell_A, points) for grid in grids], axis=1)


def bader(n):
    """n vanadium atoms and as many oxygen atoms in each set; errors of 0.02 e, of alternating sign."""
    rng = np.random.default_rng(0)
    parts = []
    for name in ("train", "validation", "test"):
        high = rng.random(n) < 0.3
        charge = np.where(high, 2.25, 2.0) + rng.normal(0, 0.02, n)
        moment = np.where(high, 1.0, 1.9) + rng.normal(0, 0.05, n)
        error = 0.02 * (-1.0) ** np.arange(n)
        vanadium = pd.DataFrame({"reference_charge_e": charge, "predicted_charge_e": charge + error})
        vanadium = vanadium.assign(reference_moment_muB=moment, predicted_moment_muB=moment - 2 * error, element="V")
        oxygen = vanadium.assign(element="O", reference_charge_e=-1.3, predicted_charge_e=9.0)
        parts.append(pd.concat([vanadium, oxygen]).assign(set=name, key="a/step00000"))
    table = pd.concat(parts)
    return table.assign(atom=np.arange(len(table)))


def along(n):
    rng = np.random.default_rng(1)
    high = rng.random(n) < 0.3
    charge = np.where(high, 2.25, 2.0) + rng.normal(0, 0.025, n)
    moment = np.where(high, 1.0, 1.9) + rng.normal(0, 0.06, n)
    columns = {"x": 2.5, "temperature_K": 1000.0, "charge_e": charge, "moment_muB": moment}
    return pd.DataFrame({**columns, "probability": high.astype(float), "state": np.where(high, 4, 3)})


def jump_series(n, atoms=8):
    """Atom 1 hands its hole to atom 2 at half time; the others stay."""
    rng = np.random.default_rng(2)
    rows = []
    for atom in range(atoms):
        for step in range(n):
            late = step >= n / 2
            state = 4 if (atom == 1 and not late) or (atom == 2 and late) or atom == 5 else 3
            charge = {3: 2.0, 4: 2.25}[state] + rng.normal(0, 0.01)
            moment = {3: 1.9, 4: 1.0}[state] + rng.normal(0, 0.03)
            rows.append((50.0 * step, atom, charge, moment, float(state == 4), state))
    columns = ["time_fs", "atom", "charge_e", "moment_muB", "probability", "state"]
    return pd.DataFrame(rows, columns=columns)


def jump_displacements(n, ions=6):
    rng = np.random.default_rng(3)
    rows = []
    for ion in range(ions):
        for step in range(n):
            way = 3.4 / (1 + np.exp(-(step - n / 2 - ion))) if ion < 2 else 0.0
            rows.append((50.0 * step, ion, way + abs(rng.normal(0.4, 0.15)), ion < 2))
    return pd.DataFrame(rows, columns=["time_fs", "ion", "displacement_A", "jumps"])


@cache
def crystal(x=2.5, repeats="2x2x2"):
    return build_structure(parse_name(f"x{x:.3f}_random1_{repeats}"), Structures(), 1)


def jump_event(series, displacements, kind):
    """An ion that jumps by 3.4 Å between three frames of a crystal; one frame, or none, if there is less to show."""
    event = replace(NO_JUMP, series=series, displacements=displacements)
    if kind == "empty":
        return event
    atoms = crystal() if kind == "full" else crystal(3.0, "1x1x1")
    redox = np.flatnonzero(atoms.numbers == atomic_numbers["V"])
    ion = int(np.flatnonzero(atoms.numbers == atomic_numbers["Na"])[3])
    start, path = atoms.positions[ion].copy(), np.array([2.0, 2.4, 1.2])
    snapshots = []
    for title, share in (("before", 0.0), ("during", 0.5), ("after", 1.0))[: 3 if kind == "full" else 1]:
        positions = atoms.positions.copy()
        positions[ion] = start + share * path
        snapshots.append(Snapshot(title, 1000.0 * (1 + share), positions, np.linspace(0, 1, len(redox))))
    cell_A, arrows = np.asarray(atoms.cell), [(start, start + path)]
    structure = {"numbers": atoms.numbers, "cell_A": cell_A, "redox": redox, "jumping": np.array([ion])}
    times = {"jump_time_fs": 1000.0, "hop_times_fs": [900.0, 1150.0], "text": "x = 2.5, 1000 K, ion 3 jumps 3.4 Å"}
    return replace(event, snapshots=snapshots, arrows=arrows, **structure, **times)


@cache
def slices(kind):
    if kind == "empty":
        return {}
    atoms = crystal(3.0, "1x1x1")
    density = gaussian_density(atoms)
    wrong = Density(**{**vars(density), "total_e_A3": 1.02 * density.total_e_A3, "spin_e_A3": 0.9 * density.spin_e_A3})
    vanadium = int(np.flatnonzero(atoms.numbers == atomic_numbers["V"])[0])
    return slice_reference(density, vanadium, on_grid(wrong), "V 24, x = 3", points=61 if kind == "full" else 1)


REDOX_COLUMNS = [
    "x",
    "temperature_K",
    "n_frames",
    "n_high_mean",
    "n_high_expected",
    "bond_low_A",
    "bond_high_A",
    "bond_difference_A",
    "bond_difference_error_A",
    "vacancy_low_A",
    "vacancy_high_A",
    "n_hops",
    "hops_per_ps",
    "mean_cosine",
    "disagreement_share",
    "charge_low_e",
    "charge_high_e",
    "same_atoms_share",
    "same_atoms_chance",
]


def redox(n):
    row = [2.5, 1000.0, 400, 7.96, 8, 2.031, 1.952, -0.079, 0.004, 3.91, 3.41, 23, 0.115, 0.31, 0.017, 2.0, 2.25]
    still = [3.0, 800.0, 400, 0.0, 0, 2.03, *[np.nan] * 3, 4.0, np.nan, 0, 0.0, np.nan, np.nan, 2.0, np.nan]
    row, still = ([*values, np.nan, np.nan] for values in (row, still))
    rows = [row if number % 2 == 0 else still for number in range(min(n, 6))]
    return pd.DataFrame(rows, columns=REDOX_COLUMNS)


def hop_tables(n):
    """Rates, fits and states: hops at x = 2.5, none at x = 3; without hops there is no fit."""
    rates, states = [], []
    for x, kelvin in [(x, kelvin) for x in (2.5, 3.0) for kelvin in (600.0, 900.0, 1200.0)][: min(n, 6)]:
        for state in ("V3+", "V4+") if x < 3 else ("V3+",):
            error = np.nan if n == 1 else 0.004
            states.append((x, kelvin, state, 2.03 if state == "V3+" else 1.95, error))
        row = {"x": x, "temperature_K": kelvin, "atom_ns": 0.4}
        for kind, rate in (("all", kelvin / 10), ("lasting", kelvin / 30)):
            values = np.array([1.0, 0.8, 1.3]) * rate if x < 3 else np.array([0.0, 0.0, 9.2])
            row |= {f"{kind}{end}_per_ns_atom": value for end, value in zip(("", "_low", "_high"), values, strict=True)}
        rates.append(row)
    fit = {"x": 2.5, "fitted": n > 1, "Ea_eV": 0.17, "Ea_low_eV": 0.13, "Ea_high_eV": 0.21, "log10_rate0_per_ns": 3.0}
    return (
        pd.DataFrame(rates),
        pd.DataFrame([fit | {"kind": kind} for kind in ("all", "lasting")]),
        pd.DataFrame(states, columns=["x", "temperature_K", "state", "bond_A", "bond_error_A"]),
    )


def test_rates_of_hops_and_limits_are_drawn_where_the_tables_have_them(tmp_path):
    tables = hop_tables(40)
    for number, table in enumerate(tables):
        table.to_csv(tmp_path / f"{number}.csv", index=False)
    figure = electron_hops.draw(*(pd.read_csv(tmp_path / f"{number}.csv") for number in range(3)), STYLE)
    rates = figure.axes[0]
    limits = [line for line in rates.lines if line.get_marker() is ARROW]
    # No hop in 0.4 ns of atoms: three hops are the 95 % limit.
    assert {float(value) for line in limits for value in line.get_ydata()} == {3.0 / 0.4}
    points = [line for line in rates.lines if line.get_marker() == "o" and len(line.get_xdata())]
    drawn_rates = sorted(float(value) for line in points for value in line.get_ydata())
    assert drawn_rates == pytest.approx([20, 30, 40, 60, 90, 120])
    assert "Ea = 0.17 eV (0.13 to 0.21)" in texts(figure) and "V4+, x = 2.5" in texts(figure)


def moment_tables(n):
    """Atoms of two unseen sets and of the training set, half of them V4+; the network is wrong about every tenth."""
    rng = np.random.default_rng(6)
    rows = []
    for name in ("train", "test", "left_out"):
        for atom in range(n):
            state = 3 + atom % 2
            moment = 1.85 if state == 3 else 1.05
            network = state if atom % 10 else 7 - state
            frame = (name, f"x2.00_{name}", atom // 4, atom % 4, "V", moment, moment + rng.normal(0, 0.1))
            rows.append((*frame, state, network, 3))
    states = pd.DataFrame(rows, columns=list(ATOM_COLUMNS))
    if n:
        return states, moment_errors(states)
    columns = ["set", "config_id", "choice", "n_frames", "n_atoms", "atoms_network", "atoms_bonds", "atoms_chance"]
    return states, pd.DataFrame(columns=columns).astype({"choice": bool})


def test_states_of_the_moment_network_are_drawn_for_unseen_frames_only(tmp_path):
    for name, table in zip(("states", "errors"), moment_tables(40), strict=True):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    figure = moment_network.draw(pd.read_csv(tmp_path / "states.csv"), pd.read_csv(tmp_path / "errors.csv"), STYLE)
    moments, shares = figure.axes
    assert [len(line.get_xdata()) for line in moments.lines if line.get_marker() == "o"] == [40, 40]
    # By the network 36 of 40, with everything V3+ by bonds, and of each four two by chance; for either set.
    widths = sorted(round(float(bar.get_width())) for bar in shares.patches)
    assert widths == [50, 50, 50, 50, 90, 90]
    assert "x2.00_train" not in texts(figure) and "x2.00_left_out, left out in turn (10)" in texts(figure)


def density_error_rows(n):
    rng = np.random.default_rng(4)
    rows = []
    for name, level in (("train", 0.6), ("validation", 0.8), ("test", 1.1)):
        for number in range(min(n, 12)):
            factor = np.exp(rng.normal(0, 0.15))
            rows.append(
                (f"{name}/step{number:05d}", name, level * factor, 6 * level * factor, 14 * factor, 80 * factor)
            )
    parts = [f"{kind}_{part}_percent" for kind in ("nmae", "superposition") for part in ("total", "spin")]
    return pd.DataFrame(rows, columns=["key", "set", *parts])


def history(n):
    step = 250.0 * np.arange(1, n + 1)
    decay = 1 / np.sqrt(step)
    columns = {"training_loss": decay, "validation_loss": 1.3 * decay}
    nmae = {"validation_nmae_total": 40 * decay, "validation_nmae_spin": 300 * decay}
    return pd.DataFrame({"step": step, **columns, **nmae})


def drawn(name, kind, style=STYLE):
    n = SIZES[kind]
    model = MODEL if kind == "full" else None
    return {
        "fig3b_bader": lambda: fig3b_bader.draw(bader(n), "V", style),
        "fig3c_histogram": lambda: fig3c_histogram.draw(bader(n).query("element == 'V'"), along(50 * n), model, style),
        "fig10_jump": lambda: fig10_jump.draw(jump_event(jump_series(n), jump_displacements(n), kind), style),
        "density_slices": lambda: density_slices.draw(slices(kind), style),
        "redox_table": lambda: redox_table.draw(redox(n), style),
        "electron_hops": lambda: electron_hops.draw(*hop_tables(n), style),
        "moment_network": lambda: moment_network.draw(*moment_tables(n), style),
        "density_errors": lambda: density_errors.draw(density_error_rows(n), history(n), style),
    }[name]()


def texts(figure):
    found = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return " | ".join(text for text in found if text)


@pytest.mark.parametrize("kind", ["full", "empty", "single"])
@pytest.mark.parametrize("name", WIDTHS)
def test_every_figure_draws_whatever_there_is(name, kind, saved):
    for suffix in (".pdf", ".svg", ".png", ".csv"):
        assert saved(name, kind).with_suffix(suffix).stat().st_size > 0


@pytest.mark.parametrize("name", WIDTHS)
def test_an_empty_figure_says_so(name):
    assert "no " in texts(drawn(name, "empty"))


@pytest.mark.parametrize("name", WIDTHS)
def test_the_same_data_give_the_same_bytes(name, saved, tmp_path):
    one, two = saved(name, "full"), tmp_path / "two"
    save_figure(drawn(name, "full"), DATA, two, STYLE)
    for suffix in (".pdf", ".svg", ".png", ".csv"):
        assert one.with_suffix(suffix).read_bytes() == two.with_suffix(suffix).read_bytes(), suffix


@pytest.mark.parametrize(("name", "columns"), WIDTHS.items())
def test_width_is_the_columns_width(name, columns):
    assert drawn(name, "full").get_figwidth() == pytest.approx(columns * STYLE.width_mm / MM_PER_INCH)


def test_bader_errors_are_those_of_the_redox_element_in_the_test_set():
    words = texts(drawn("fig3b_bader", "full"))
    assert "test: MAE 0.02 e\n100 % below 0.05 e\nn = 40" in words
    assert "test: MAE 0.04" in words
    no_test = bader(5).query("set != 'test'")
    assert "no test density" in texts(fig3b_bader.draw(no_test, "V", STYLE))


def test_training_points_lie_behind():
    axis = drawn("fig3b_bader", "full").axes[0]
    names = [line.get_label().split(",")[0] for line in axis.lines if line.get_marker() == "o"]
    assert names == ["train", "validation", "test"]


@pytest.mark.parametrize(("kept", "rows"), [((40, 4, 8), 3), ((40, 40, 40), 0)])
def test_few_errors_are_shown_one_by_one(kept, rows, tmp_path):
    parts = [
        bader(40).query("set == @name and element == 'V'").head(n) for name, n in zip(SET_COLOURS, kept, strict=True)
    ]
    pd.concat(parts).to_csv(tmp_path / "reference.csv", index=False)
    figure = fig3b_bader.draw(pd.read_csv(tmp_path / "reference.csv"), "V", STYLE)
    shown = {line.get_color(): len(line.get_xdata()) for line in figure.axes[2].lines if line.get_marker() == "o"}
    assert shown == (dict(zip(SET_COLOURS.values(), kept, strict=True)) if rows else {})
    # Bars of a histogram only where every set has enough.
    assert bool(figure.axes[2].patches) == (rows == 0)


def test_few_reference_charges_are_shown_one_by_one():
    figure = fig3c_histogram.draw(bader(3).query("element == 'V'"), along(900), MODEL, STYLE)
    assert "reference\nn = 9" in texts(figure) and not figure.axes[0].patches


def test_the_mixture_is_drawn_at_one_and_two_sigma():
    axis = drawn("fig3c_histogram", "full").axes[2]
    ellipses = [patch for patch in axis.patches if isinstance(patch, Ellipse)]
    assert [patch.center for patch in ellipses] == [(2.0, 1.9)] * 2 + [(2.25, 1.0)] * 2
    # The second state has no covariance: its axes are the standard deviations, the longer one along the moment.
    assert ellipses[2].width == pytest.approx(2 * np.sqrt(4e-3))
    assert ellipses[3].height == pytest.approx(4 * np.sqrt(6e-4))
    assert abs(ellipses[2].angle) == pytest.approx(90.0)
    assert "4+, 30 %" in texts(axis.figure)


def test_stacked_histograms_have_the_area_of_one():
    axis = drawn("fig3c_histogram", "full").axes[1]
    assert sum(patch.get_width() * patch.get_height() for patch in axis.patches) == pytest.approx(1.0)


def test_without_a_mixture_the_states_are_not_told_apart():
    words = texts(fig3c_histogram.draw(bader(5), along(9).assign(state=np.nan), None, STYLE))
    assert "two states cannot be distinguished" in words
    assert "state not known" in words


def test_atoms_that_change_state_stand_out():
    axis = drawn("fig10_jump", "full").axes[0]
    thick = {line.get_label() for line in axis.lines if line.get_linewidth() == 1.5}
    assert thick == {"atom 1", "atom 2"}
    quiet = jump_series(5).query("atom > 2")
    words = texts(fig10_jump.draw(jump_event(quiet, jump_displacements(5), "empty"), STYLE))
    assert "no change of state" in words
    assert "no snapshot to show" in words


def test_events_are_marked_in_every_panel():
    for axis in drawn("fig10_jump", "full").axes[:3]:
        marks = {line.get_xdata()[0]: line.get_linestyle() for line in axis.lines if len(line.get_xdata()) == 2}
        assert marks == {1.0: "--", 0.9: ":", 1.15: ":"}


@pytest.mark.parametrize("part", ["total", "spin"])
def test_slices_show_the_difference(part):
    images = [axis.images[0] for axis in drawn("density_slices", "full").axes[:6]]
    reference, predicted, difference = images[:3] if part == "total" else images[3:]
    factor = {"total": 1.02, "spin": 0.9}[part]
    # A cubic spline is linear in its grid.
    np.testing.assert_allclose(predicted.get_array(), factor * np.asarray(reference.get_array()), atol=ROUNDING)
    np.testing.assert_allclose(difference.get_array(), (factor - 1) * reference.get_array(), atol=ROUNDING)
    assert difference.norm.vmin == -difference.norm.vmax
    assert reference.norm is predicted.norm


def table_words(figure):
    (table,) = figure.axes[0].tables
    return [cell.get_text().get_text() for cell in table.get_celld().values()]


def test_the_redox_table_shows_numbers_and_dashes():
    words = table_words(drawn("redox_table", "full"))
    assert {"7.96 (8)", "2.031 / 1.952", "−0.079 ± 0.004", "3.91 / 3.41", "0.115", "1.7 %"} < set(words)
    assert {"2.030 / –", "2.00 / 2.25", "2.00 / –"} < set(words)
    assert "nan" not in " ".join(words)
    explained = texts(drawn("redox_table", "full")).replace("\n", " ")
    assert all(f"{word}: " in explained for word in ("low, high", "expected", "direction", "models disagree"))


def test_the_redox_table_shows_the_check_of_the_states_of_the_md(tmp_path):
    table = redox(2)
    table.loc[0, ["same_atoms_share", "same_atoms_chance"]] = 0.93, 0.625
    table.to_csv(tmp_path / "redox.csv", index=False)
    words = table_words(redox_table.draw(pd.read_csv(tmp_path / "redox.csv"), STYLE))
    assert {"charges agree\n(by chance)", "93 % (62 %)", "– (–)"} < set(words)
    assert not any("charges agree" in word for word in table_words(drawn("redox_table", "full")))


def test_density_errors_show_every_density_and_the_median():
    axis = drawn("density_errors", "full").axes[2]
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    assert [len(line.get_ydata()) for line in dots] == [12] * 12
    median = density_error_rows(12).query("set == 'train'")["nmae_total_percent"].median()
    assert any(np.allclose(line.get_ydata(), median, rtol=1e-9) for line in axis.lines if line.get_marker() == "None")


def test_the_scatter_of_constant_atoms_stands_beside_the_step():
    noisy = jump_series(40)
    words = texts(drawn("fig10_jump", "full"))
    still = noisy[~noisy["atom"].isin([1, 2])].groupby("atom")["charge_e"].std()
    assert f"step of coloured atoms 0.25 e; scatter of grey ones (1 σ) {still.mean():.2g} e" in words


class TestStructureView:
    def test_an_atom_is_drawn_in_one_image_through_all_pictures(self):
        """An atom that crosses the edge of the cell between two pictures stays where it was."""
        cell, numbers = 8.0 * np.eye(3), np.array([11, 23])
        first = np.array([[4.0, 4.0, 4.0], [7.95, 4.0, 4.0]])
        later = first + np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]])
        view, places = View(np.eye(3), np.full(3, 4.0)), []
        for positions in (first, later):
            _, axes = new_figure(STYLE)
            draw_structure(axes[0, 0], numbers, positions, cell, view, image_reference_A=first)
            (discs,) = (part for part in axes[0, 0].collections if isinstance(part, EllipseCollection))
            places.append(np.asarray(discs.get_offsets())[:, 0].max())
        np.testing.assert_allclose(places, [3.95, 4.05])

    def test_the_view_is_perpendicular_to_the_jump(self):
        cell = np.asarray(crystal().cell)
        arrow = (np.zeros(3), np.array([2.0, 2.4, 1.2]))
        view = choose_view(cell, [arrow])
        np.testing.assert_allclose(view.axes @ view.axes.T, np.eye(3), atol=ROUNDING)
        assert np.linalg.det(view.axes) == pytest.approx(1.0)
        seen = view.project(np.stack(arrow))
        assert np.linalg.norm((seen[1] - seen[0])[:2]) == pytest.approx(np.linalg.norm(arrow[1]))

    def test_a_flat_cell_is_seen_from_its_thin_side(self):
        view = choose_view(np.diag([3.0, 10.0, 20.0]))
        np.testing.assert_allclose(np.abs(view.axes), [[0, 1, 0], [0, 0, 1], [1, 0, 0]], atol=ROUNDING)

    def test_images_surround_the_centre(self):
        cell = np.array([[5.0, 0.4, 0.0], [1.2, 4.6, 0.3], [-0.5, 0.8, 5.4]])
        points, centre = 30 * np.random.default_rng(0).normal(size=(50, 3)), np.array([1.0, 2.0, 3.0])
        moved = nearest_images(points, cell, centre)
        shifts = (moved - points) @ np.linalg.inv(cell)
        np.testing.assert_allclose(shifts, np.round(shifts), atol=ROUNDING)
        assert np.abs((moved - centre) @ np.linalg.inv(cell)).max() <= 0.5 + ROUNDING

    def test_what_is_painted(self):
        atoms = crystal(3.0, "1x1x1")
        vanadium = np.flatnonzero(atoms.numbers == atomic_numbers["V"])
        sodium = np.flatnonzero(atoms.numbers == atomic_numbers["Na"])
        figure, axes = new_figure(STYLE)
        arrow = (atoms.positions[sodium[0]], atoms.positions[sodium[0]] + 1.0)
        colours = dict.fromkeys(vanadium.tolist(), COLOURS[0])
        cell, arrows = np.asarray(atoms.cell), [arrow]
        view = choose_view(cell, arrows)
        draw_structure(axes[0, 0], atoms.numbers, atoms.positions, cell, view, [sodium[0]], colours, arrows)
        discs, front = (part for part in axes[0, 0].collections if isinstance(part, EllipseCollection))
        # Framework atoms are one disc, redox atoms and ions have two light spots.
        assert len(discs.get_offsets()) == len(atoms) + 2 * (len(vanadium) + len(sodium)) - 3
        assert len(front.get_offsets()) == 3
        np.testing.assert_array_equal(front.get_edgecolor()[0], [0, 0, 0, 1])
        assert to_hex(front.get_facecolor()[0]) == MOBILE_COLOUR.lower()
        assert sum(isinstance(patch, FancyArrowPatch) for patch in axes[0, 0].patches) == 1
        assert figure.axes

    def test_surroundings_are_all_images_within_reach_and_their_polyhedra(self):
        atoms, radius_A = crystal(3.0, "1x1x1"), 6.0
        ion = int(np.flatnonzero(atoms.numbers == atomic_numbers["Na"])[0])
        _, axes = new_figure(STYLE)
        view = View(np.eye(3), atoms.positions[ion])
        draw_structure(
            axes[0, 0], atoms.numbers, atoms.positions, np.asarray(atoms.cell), view, [ion], {ion: COLOURS[1]},
            radius_A=radius_A, trails={ion: atoms.positions[ion] + np.linspace(0, 1, 5)[:, None]},
        )  # fmt: skip
        pictures = [part for part in axes[0, 0].collections if isinstance(part, EllipseCollection)]
        images = atoms.repeat((5, 5, 5))
        middle = atoms.positions[ion] + 2 * np.asarray(atoms.cell).sum(axis=0)
        near = np.linalg.norm(images.positions - middle, axis=1) <= radius_A
        sodium = near & (images.numbers == atomic_numbers["Na"])
        assert sum(len(part.get_offsets()) for part in pictures) == near.sum() + 2 * sodium.sum()
        front = pictures[-1]
        assert len(front.get_offsets()) == 3 and to_hex(front.get_facecolor()[0]) == COLOURS[1].lower()
        (shadows,) = (part for part in axes[0, 0].collections if isinstance(part, PolyCollection))
        assert len(shadows.get_paths()) > 0
        assert len(axes[0, 0].lines) == 1
