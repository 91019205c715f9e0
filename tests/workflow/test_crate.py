"""The crate of the toy campaign as the library rocrate reads it, against the files of the folder."""

import hashlib
import os
import shutil

import pytest

from redoxmd.runs.crate import write_crate
from tests.workflow.test_workflow import ROOT

rocrate = pytest.importorskip("rocrate.rocrate")
pytestmark = pytest.mark.workflow


def test_every_result_behind_a_figure_is_in_the_crate(toy_campaign, tmp_path):
    _, results, _ = toy_campaign
    # Dates stay, so that nothing but the crate is new.
    shutil.copytree(results, tmp_path / "results/toy", copy_function=os.link)
    write_crate(tmp_path / "results/toy", ROOT / "CITATION.cff", tmp_path)
    crate = rocrate.ROCrate(tmp_path / "results/toy")
    assert crate.name == "redoxmd run toy" and crate.license.id == "https://spdx.org/licenses/MIT"
    files = {entity.id: entity for entity in crate.data_entities}
    wanted = [*results.glob("figures/*.*"), *results.glob("production/**/*.h5"), *results.glob("density/**/model*.pt")]
    wanted += [*results.glob("train/gen*/ensemble.pt"), results / "summary.json", results / "manifest.json"]
    assert len(wanted) > 40
    assert {path.relative_to(results).as_posix() for path in wanted} <= set(files)
    for name, entity in files.items():
        content = (tmp_path / "results/toy" / name).read_bytes()
        assert (entity["contentSize"], entity["sha256"]) == (str(len(content)), hashlib.sha256(content).hexdigest())
    (run,) = crate.get_by_type("CreateAction")
    assert run["instrument"]["name"] == "redoxmd" and len(run["result"]) == len(files)
