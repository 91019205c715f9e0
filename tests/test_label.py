"""Labels of selected frames: their outcome, their records and the failure budget."""

import numpy as np
import pytest

from redoxmd.aimd.records import LabelRecord
from redoxmd.config.sections import EngineSettings, Label
from redoxmd.engines.toy import ToyEngine
from redoxmd.errors import DataError, LabelBudgetExceeded
from redoxmd.files.records import write_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.label import check_failures, frame_with_id, label_frame
from tests.aimd.test_aimd import Trap, refuse
from tests.engines.test_engines import nvp

SETTINGS = Label(steps=3, timestep_fs=1.0, density_every=0)


def label(tmp_path, engine, name="g0f000"):
    frame = nvp()
    frame.info.update(label_id=name, structure="x3.000_random1_1x1x1", time_fs=12.0, spread_eV_A=1.4)
    checkpoint = Checkpoint(tmp_path / name, "f")
    made = label_frame(frame, engine, SETTINGS, np.random.default_rng(3), name, checkpoint)
    write_json(tmp_path / f"{name}.json", LabelRecord.of(name, made, frame, "attempt"))
    return made, LabelRecord.read(tmp_path / f"{name}.json")


def test_labelled_partial_refused(tmp_path):
    _, whole = label(tmp_path, ToyEngine(EngineSettings(name="toy")), "g0f000")
    _, partial = label(tmp_path, Trap(2, refuse), "g0f001")
    refused_run, refused = label(tmp_path, Trap(1, refuse), "g0f002")
    assert [record.status for record in (whole, partial, refused)] == ["labelled", "partial", "refused"]
    assert [record.n_frames for record in (whole, partial, refused)] == [3, 1, 0]
    assert refused_run.frames == []
    assert refused.refusal.reason == "unconverged"
    counts = check_failures([whole, partial, refused], Label(failure_budget=0.5), 0)
    assert (counts.requested, counts.labelled, counts.partial, counts.refused) == (3, 1, 1, 1)
    assert counts.n_frames == 4


def test_velocities_are_drawn_anew(tmp_path):
    frame = nvp()
    frame.set_velocities(np.full((len(frame), 3), 0.3))
    engine = ToyEngine(EngineSettings(name="toy"))
    made = label_frame(frame, engine, SETTINGS, np.random.default_rng(3), "g", Checkpoint(tmp_path / "s", "f"))
    assert not np.allclose(made.frames[0].get_velocities(), frame.get_velocities())


def records(folder, refused, total):
    """Read from files, with the entries of an earlier version alone."""
    refusal = {"reason": "unconverged", "detail": "no", "step": 0}
    paths = [folder / f"g1f{n:03d}.json" for n in range(total)]
    for n, path in enumerate(paths):
        record = {
            "label_id": path.stem,
            "status": "refused" if n < refused else "labelled",
            "structure": "s",
            "refusal": refusal if n < refused else None,
            "n_frames": 0 if n < refused else 5,
        }
        write_json(path, record)
    return [LabelRecord.read(path) for path in paths]


@pytest.mark.parametrize(("refused", "stops"), [(0, False), (2, False), (3, True), (10, True)])
def test_the_failure_budget_counts_over_requested_labels(tmp_path, refused, stops):
    settings = Label(failure_budget=0.2)
    if not stops:
        assert check_failures(records(tmp_path, refused, 10), settings, 1).refused == refused
        return
    with pytest.raises(LabelBudgetExceeded) as caught:
        check_failures(records(tmp_path, refused, 10), settings, 1)
    message = str(caught.value)
    assert f"{refused} of 10 requested labels" in message
    assert all(f"g1f{n:03d}" in message for n in range(refused))
    assert "g1f009" not in message or refused == 10


def test_an_unknown_label_is_named():
    with pytest.raises(DataError, match="g9f000"):
        frame_with_id([nvp()], "g9f000")
