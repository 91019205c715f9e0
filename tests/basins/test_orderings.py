import numpy as np
import pandas as pd
import pytest

from redoxmd.basins.orderings import ordering_table, vacancy_costs
from redoxmd.config.sections import Figures
from redoxmd.figures.orderings import draw

# Two preferred sites, three others; bit i of an ordering is site i.
SITES = ["Na1", "Na1", "Na2", "Na2", "Na2"]
NAMES = ("x1.500_preferred0_1x1x1", "x1.500_preferred1_1x1x1", "x2.000_preferred0_1x1x1")


def visits(*rows):
    return pd.DataFrame(rows, columns=["ordering", "energy_eV", "refused"]).assign(spread_eV_A=0.1)


def table():
    found = {
        NAMES[0]: visits(("7", -10.0, ""), ("b", -9.9, np.nan), ("7", -10.1, ""), ("e", -9.7, "")),
        NAMES[1]: visits(("b", -10.2, ""), ("e", -20.0, "not_relaxed")),
        NAMES[2]: visits(("f", -13.0, "")),
    }
    return ordering_table(found, dict.fromkeys(NAMES, SITES), "Na1", 2)


def test_the_lowest_of_each_ordering_over_all_walks_and_no_refused_one():
    rows = table()
    assert rows["ordering"].tolist() == ["b", "7", "e", "f"]
    assert rows["energy_eV"].tolist() == [-10.2, -10.1, -9.7, -13.0]
    assert rows["visits"].tolist() == [2, 2, 1, 1]
    # 7 and b fill sites 0 and 1, e leaves site 0 empty.
    assert rows["preferred_empty"].tolist() == [0, 0, 1, 0]
    assert rows["above_lowest_meV_fu"].tolist() == pytest.approx([0, 50, 250, 0])


def test_the_cost_of_a_vacancy_compares_the_lowest_of_each_per_formula_unit(tmp_path):
    table().to_csv(tmp_path / "orderings.csv", index=False)
    (cost,) = vacancy_costs(pd.read_csv(tmp_path / "orderings.csv", dtype={"ordering": str})).to_dict("records")
    # −9.7 against −10.2 eV in a cell of two formula units, one of its two preferred sites empty.
    assert cost == {"x": 1.5, "supercell": "1x1x1", "empty_share": 0.5, "cost_meV_fu": pytest.approx(250)}
    assert vacancy_costs(table()[:2]).empty


def test_drawn_with_and_without_structures():
    for rows in (table(), table()[:0]):
        assert draw(rows, "Na1", Figures()).axes


def test_nothing_relaxed_is_an_empty_table():
    refused = {NAMES[0]: visits(("7", -1.0, "close_contact"))}
    assert ordering_table(refused, {NAMES[0]: SITES}, "Na1", 2).empty
