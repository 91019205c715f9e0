"""Limits, intervals and points of figures, read from their artists and compared with numbers by hand."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from redoxmd.figures import cell_sizes, electron_hops, fig7_diffusivity, fig8_arrhenius, fig9_jumps_vs_msd
from redoxmd.figures.intervals import ARROW, BELOW
from tests.figures.test_figures import STYLE, diffusivities, fits, texts
from tests.figures.test_figures_density import hop_tables

POINTS_PER_INCH = 72
# Limit of one row of `one_limit`, in cm²/s; the other rows have an estimate.
LIMIT = 3e-5


def one_limit(folder):
    """The table of D, through its file, of two x and three T; x = 2 at 1200 K has one jump, D and a limit above it."""
    table = diffusivities((2.0, 2.5), still=0.0)
    few = (table["x"] == 2.0) & (table["temperature_K"] == 1200.0)
    table.loc[few, ["n_jumps", "D_jumps_cm2_s", "D_jumps_error_cm2_s", "D_jumps_limit_cm2_s"]] = 1, 1e-5, 1e-5, LIMIT
    table = table.assign(correlation_low=0.3, correlation_factor=0.71, correlation_high=1.9)
    table.to_csv(folder / "diffusivities.csv", index=False)
    return pd.read_csv(folder / "diffusivities.csv")


def panel(name, table):
    """The panel of a figure that shows D from jumps with limits."""
    if name == "fig7_diffusivity":
        return fig7_diffusivity.draw(table, STYLE).axes[1]
    if name == "fig8_arrhenius":
        return fig8_arrhenius.draw(table, fits(table), STYLE).axes[0]
    if name == "cell_sizes":
        return cell_sizes.draw(table.assign(supercell="1x1x1"), STYLE).axes[0]
    return fig9_jumps_vs_msd.draw(table, STYLE).axes[0]


def arrows(axis):
    """Positions (n, 2) of the upper limits on an axis."""
    return np.concatenate([line.get_xydata() for line in axis.lines if line.get_marker() is ARROW])


def points(axis):
    """Positions (n, 2) of the points with bars on an axis."""
    return np.concatenate([bars[0].get_xydata() for bars in axis.containers])


@pytest.mark.parametrize(
    ("name", "values"),
    # Points from jumps: of 6 rows without the limit; of fig. 9 the two rows at 1200 K. Points from the MSD: every row.
    [("fig7_diffusivity", 5), ("fig8_arrhenius", 5), ("fig9_jumps_vs_msd", 1 + 2), ("cell_sizes", 5 + 6)],
)
def test_a_limit_is_an_arrow_within_the_picture_and_no_point(name, values, tmp_path):
    axis = panel(name, one_limit(tmp_path))
    assert arrows(axis)[:, 1].tolist() == [LIMIT]
    assert len(points(axis)) == values
    # D of the row, which has the limit, is drawn nowhere.
    assert not np.isclose(points(axis)[:, 1], 1e-5, rtol=1e-3).any()
    assert "95 % upper limit" in texts(axis.figure)
    assert_arrows_are_within(axis)


def assert_arrows_are_within(axis):
    FigureCanvasAgg(axis.figure).draw()
    (size,) = {line.get_markersize() for line in axis.lines if line.get_marker() is ARROW}
    tips = axis.transData.transform(arrows(axis))[:, 1] - size / 2 * axis.figure.dpi / POINTS_PER_INCH
    assert (tips > axis.bbox.y0).all()


def test_one_event_does_not_add_two_decades_and_its_bar_is_explained():
    """One event, D = 1e-5: its interval begins at 0.0253e-5 (Garwood 1936), the axis at D / 10 over its margin."""
    table = diffusivities((2.0,), (1000.0,)).assign(D_jumps_cm2_s=1e-5, D_jumps_error_cm2_s=1e-5)
    axis = panel("fig8_arrhenius", table)
    (segment,) = axis.containers[0][2][0].get_segments()
    assert segment[:, 1] == pytest.approx([0.0253e-5, 5.572e-5], rel=1e-3)
    assert axis.get_ylim() == pytest.approx((1e-6 / 1.4, 5.572e-5 * 1.4), rel=1e-3)
    assert BELOW in texts(axis.figure)
    # Two events: 0.2422e-5 to 7.225e-5 of 2e-5 are shown whole.
    whole = panel("fig8_arrhenius", table.assign(D_jumps_error_cm2_s=1e-5 / np.sqrt(2)))
    assert whole.get_ylim()[0] == pytest.approx(0.1211e-5 / 1.4, rel=1e-3) and BELOW not in texts(whole.figure)


def test_axes_of_both_methods_end_at_their_own_bars():
    """From jumps 1e-6 with 100 events (0.8136 to 1.2163), from the MSD 4e-5 (3 to 5): no decade is empty."""
    row = {"D_jumps_cm2_s": 1e-6, "D_jumps_error_cm2_s": 1e-7, "D_msd_cm2_s": 4e-5, "D_msd_low_cm2_s": 3e-5}
    table = diffusivities((2.5,), (1000.0,)).assign(**row, D_msd_high_cm2_s=5e-5)
    parity = fig9_jumps_vs_msd.draw(table, STYLE).axes[1]
    assert parity.get_xlim() == pytest.approx((0.8136e-6 / 1.4, 1.2163e-6 * 1.4), rel=1e-3)
    assert parity.get_ylim() == pytest.approx((3e-5 / 1.4, 5e-5 * 1.4), rel=1e-3)
    assert "bars: 95 % intervals" in [text.get_text() for text in parity.get_legend().get_texts()]


def test_the_ratio_of_both_methods_has_its_interval(tmp_path):
    axis = panel("fig9_jumps_vs_msd", one_limit(tmp_path))
    assert [text.get_text() for text in axis.texts] == ["0.71\n(0.3 to 1.9)"] * 2


@pytest.mark.parametrize("number", [0, 1])
def test_hops_and_bonds_have_intervals_of_95_percent_and_places_of_their_own(number, tmp_path):
    tables = hop_tables(6)
    for name, table in zip("012", tables, strict=True):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    figure = electron_hops.draw(*(pd.read_csv(tmp_path / f"{name}.csv") for name in "012"), STYLE)
    axis = figure.axes[number]
    kelvins = np.array([600.0, 900.0, 1200.0])
    true = 1000 / kelvins if number == 0 else kelvins
    places = np.concatenate([points(axis), arrows(axis)]) if number == 0 else points(axis)
    # Hops: two kinds at two x; bonds: two states at x = 2.5, one at x = 3.
    assert len(places) == (12 if number == 0 else 9)
    nearest = np.abs(places[:, :1] - true).min(axis=1)
    assert nearest.max() < 0.2 * np.diff(np.sort(true)).min()
    if number == 0:
        assert len(np.unique(places[:, 0].round(9))) == 12
        assert_arrows_are_within(axis)
        # Three hops in 0.4 ns of atoms.
        assert set(arrows(axis)[:, 1]) == {7.5}
        assert "Ea = 0.17 eV (0.13 to 0.21)" in texts(figure)
    else:
        ends = np.array([segment[:, 1] for bars in axis.containers for segment in bars[2][0].get_segments()])
        # 1.96 standard errors of 0.004 Å on both sides.
        assert np.ptp(ends, axis=1) == pytest.approx(0.01568, rel=1e-3)
        assert "bars: 95 % intervals" in axis.get_title(loc="left")
