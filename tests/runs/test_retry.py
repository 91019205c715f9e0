from redoxmd.config import parse_config
from redoxmd.engines import attempt_hash
from redoxmd.files.records import read_json, write_json
from redoxmd.runs.retry import retry_refused

CONFIG = parse_config({"run": "trial", "engine": {"name": "toy"}})
CHANGED = parse_config({"run": "trial", "engine": {"name": "toy", "toy": {"refuse_fraction": 0.1}}})


def results(tmp_path):
    """A good label, a refused one, one cut short, and a reference MD cut short."""
    now = attempt_hash(CONFIG.engine)
    refusal = {"reason": "unconverged", "detail": "150 steps", "step": 0}
    for name, frames, why in (("g0f000", 2, None), ("g0f001", 0, refusal), ("g0f002", 1, {**refusal, "step": 1})):
        folder = tmp_path / "label/gen0"
        write_json(folder / f"{name}.json", {"n_frames": frames, "refusal": why, "attempt": now})
        for suffix in (".extxyz", ".densities.h5"):
            (folder / (name + suffix)).touch()
    folder = tmp_path / "aimd/x3.000_random0_1x1x1"
    write_json(folder / "record.json", {"n_frames": 3, "refusal": {**refusal, "step": 3}, "attempt": now})
    (folder / "frames.extxyz").touch()
    write_json(tmp_path / "label/gen0/summary.json", {"refused": 1})
    return tmp_path


def left(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_nothing_is_tried_twice(tmp_path):
    before = left(results(tmp_path))
    removed, unchanged = retry_refused(tmp_path, CONFIG, partial=True)
    assert removed == {}
    assert [line.split(":")[0] for line in unchanged] == ["g0f001", "g0f002", "x3.000_random0_1x1x1"]
    assert left(tmp_path) == before


def test_after_a_change_the_refused_one_goes(tmp_path):
    before = left(results(tmp_path))
    removed, _ = retry_refused(tmp_path, CHANGED)
    assert removed == {tmp_path / "label/gen0/g0f001.json": "g0f001: unconverged at step 0, 150 steps"}
    assert set(before) - set(left(tmp_path)) == {"g0f001.json", "g0f001.extxyz", "g0f001.densities.h5"}


def test_partial_ones_only_when_asked_for(tmp_path):
    results(tmp_path)
    assert len(retry_refused(tmp_path, CHANGED, partial=True)[0]) == 3
    assert left(tmp_path / "aimd") == []
    assert read_json(tmp_path / "label/gen0/g0f000.json")["refusal"] is None


def test_anyway(tmp_path):
    results(tmp_path)
    assert len(retry_refused(tmp_path, CONFIG, anyway=True)[0]) == 1


def test_a_wrong_electronic_state_is_tried_again_with_more_tries(tmp_path):
    config = parse_config({"electrons": {"levels": {"V": {3: {"moment_muB": 1.85}, 4: {"moment_muB": 1.05}}}}})
    record = tmp_path / "label/gen0/g0f000.json"
    refusal = {"reason": "wrong_electronic_state", "detail": "one V4+ fewer", "step": 0}

    def write():
        content = {"refusal": refusal, "n_frames": 0, "attempt": attempt_hash(config.engine, config.electrons)}
        write_json(record, content)

    write()
    assert retry_refused(tmp_path, config)[0] == {}
    more = config.model_copy(update={"electrons": config.electrons.model_copy(update={"tries": 5})})
    assert list(retry_refused(tmp_path, more)[0]) == [record]
    # How electrons move in MD has no influence on a label.
    write()
    other = config.model_copy(update={"electrons": config.electrons.model_copy(update={"md": "frozen"})})
    assert retry_refused(tmp_path, other)[0] == {}
