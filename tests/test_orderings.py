import numpy as np
import pandas as pd
import pytest

from redoxmd.config.sections import Figures
from redoxmd.figures.orderings import draw
from redoxmd.orderings import cost_of_a_vacancy_eV, ordering_table

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


def test_the_cost_of_a_vacancy_compares_the_lowest_of_each():
    assert cost_of_a_vacancy_eV(table()) == pytest.approx([0.5])
    assert len(cost_of_a_vacancy_eV(table()[:2])) == 0


def test_drawn_with_and_without_structures():
    for rows in (table(), table()[:0]):
        assert draw(rows, "Na1", Figures()).axes


def test_nothing_relaxed_is_an_empty_table():
    refused = {NAMES[0]: visits(("7", -1.0, "close_contact"))}
    assert ordering_table(refused, {NAMES[0]: SITES}, "Na1", 2).empty
