from pathlib import Path

import pytest

from redoxmd.errors import LabelRefusal
from tests.archive.corpus import BROKEN, SOUND, corpus_table, run_corpus

DOCS = Path(__file__).parents[2] / "docs" / "importing.md"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return run_corpus(tmp_path_factory.mktemp("corpus"))


def test_the_corpus_is_as_large_as_promised():
    assert len(SOUND) >= 10
    assert len(BROKEN) >= 25
    assert len({case.what for case in (*SOUND, *BROKEN)}) == len(SOUND) + len(BROKEN)


@pytest.mark.parametrize("index", range(len(SOUND)), ids=[case.what for case in SOUND])
def test_a_sound_calculation_is_accepted_whole(outcomes, index):
    outcome = outcomes[index]
    assert (outcome.refused, outcome.kept) == ({}, SOUND[index].kept)


@pytest.mark.parametrize("index", range(len(BROKEN)), ids=[case.what for case in BROKEN])
def test_a_broken_calculation_is_refused_with_its_reason_and_the_rest_kept(outcomes, index):
    outcome = outcomes[len(SOUND) + index]
    assert (outcome.refused, outcome.kept) == (BROKEN[index].refused, BROKEN[index].kept)


def test_the_table_of_the_docs_is_what_the_code_finds(outcomes):
    assert corpus_table(outcomes) in DOCS.read_text(), "paste tests.archive.corpus.corpus_table into docs/importing.md"


def test_the_docs_have_a_remedy_for_every_reason():
    rows = [line.split("|")[1].strip(" `") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    assert set(rows) >= {*LabelRefusal, "duplicate"}
