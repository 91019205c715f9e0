import json
import sys

import pandas as pd
import pytest
import torch

from benchmarks import gpu_check, roofline, scaling, times, timing, works
from benchmarks.__main__ import md_rows, other_rows
from benchmarks.timing import schnetpack_steps, take_turns
from redoxmd.config.sections import Member


def test_works_take_turns_and_medians_leave_out_the_warm_up():
    calls = []

    def work(name, seconds):
        values = iter(seconds)

        def go():
            calls.append(name)
            value = next(values)
            return value, 2 * value

        return go

    times = take_turns({"a": work("a", [9, 9, 1, 5, 2]), "b": work("b", [9, 9, 4, 4, 4])}, goes=3, warm_up=2)
    assert calls == ["a", "b"] * 5
    assert times["a"] == timing.Times(2, 4, 3)
    assert times["b"].wall_s == 4


def test_a_peer_answers_step_by_step(monkeypatch, tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import sys, numpy as np\n"
        "crystal = np.load(sys.argv[1])\n"
        "print('{}', flush=True)\n"
        "for number, _ in enumerate(sys.stdin):\n"
        "    print([number, len(crystal['numbers'])], flush=True)\n"
    )
    monkeypatch.setattr(timing, "WORKER", worker)
    with schnetpack_steps(sys.executable, works.crystal(1), [(128, 3)], tmp_path) as step:
        assert [step() for _ in range(3)] == [(0.0, 40.0), (1.0, 40.0), (2.0, 40.0)]
    worker.write_text("raise SystemExit(1)\n")
    with pytest.raises(RuntimeError, match="ended"), schnetpack_steps(sys.executable, works.crystal(1), [], tmp_path):
        pass


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_table_has_a_row_for_every_work(monkeypatch, threads):
    monkeypatch.setattr(works, "crystal", lambda repeat, real=works.crystal: real(1)[: 10 * repeat])
    monkeypatch.setattr(works, "PROBE_BRICKS", 1)
    fastest_s = {}
    rows = [*md_rows("cpu", 1, False, fastest_s), *other_rows("cpu", 1)]
    assert set(fastest_s) == {10, 20}
    assert len(rows) == 10
    assert all(row.count("|") == 6 for row in rows)
    assert sum("ns/day" in row for row in rows) == 6
    assert sum("probes/s" in row for row in rows) == 2


def test_the_arithmetic_of_a_step():
    """By hand, for one member of one layer: no vectors, no messages of it but the first's."""
    atoms = works.crystal(1)
    found = roofline.count(atoms, (Member(features=16, layers=1),))
    n, f = len(atoms), 16
    assert found.layers_GFLOP == pytest.approx(4e-9 * n * (6 * f * f + 4 * f * f + f * f / 2))
    assert found.filters_GFLOP == pytest.approx(6e-9 * found.pairs * 20 * 2 * f)
    assert "on one thread" in roofline.words(atoms, 0.1)


def test_scaling_is_drawn(tmp_path):
    rows = [
        {"work": work, "size": size, "wall_ms": 1.0, "cpu_ms": 0.5, "peak_GB": 1.0}
        for work in ("MD step, compiled", "MD step, plain", "training step")
        for size in (1, 2)
    ]
    scaling.draw(pd.DataFrame(rows), tmp_path)
    assert (tmp_path / "scaling.svg").stat().st_size > 1000
    assert len(pd.read_csv(tmp_path / "scaling.csv")) == 6


def test_results_of_a_gpu_check_are_on_disk_at_once_and_no_section_costs_the_others(tmp_path, monkeypatch):
    def first(check):
        check.tell("first", passed=True)
        assert json.loads((tmp_path / "results.jsonl").read_text().splitlines()[-1])["passed"] is True

    def fails(check):
        raise RuntimeError("CUDA error: planted")

    def long(check):
        raise AssertionError("there is no time for this one")

    def last(check):
        values = {"trajectory_step_ms": 0.5, "ns_day_in_all": 86.4, "peak_GB": 1.5}
        check.tell("md", atoms=320, trajectories=2, evaluation="fused kernels on cuda, MD on the device", **values)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_check, "SECTIONS", {first: 1, fails: 1, long: 1e6, last: 1})
    assert gpu_check.main(["--output", str(tmp_path)]) == 1
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["section"] for row in rows] == ["first", "fails", "long", "md"]
    assert "planted" in rows[1]["error"] and "planted" in (tmp_path / "error_fails.txt").read_text()
    assert "1000000 s needed" in rows[2]["omitted"]
    written = (tmp_path / "table.md").read_text()
    # 0.5 fs in 260 ms, by hand.
    assert "| 320 | 2 | fused kernels on cuda | 0.5 | 86.4 | 1.5 |" in written and "260 ms, 0.166 ns/day" in written
    assert gpu_check.main(["--output", str(tmp_path), "--only", "first", "last"]) == 0


def test_a_gpu_check_without_a_gpu_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu_check.main(["--output", str(tmp_path / "none")])
    assert "no CUDA device" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_times_are_summed_by_stage_and_a_slower_run_is_refused(tmp_path, monkeypatch):
    """Benchmark files as Snakemake writes them; sums by hand."""
    for name, seconds in {"train/a.tsv": 90, "train/b.tsv": 30, "label/c.tsv": 300}.items():
        path = tmp_path / "run/benchmarks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tcpu_time\n{seconds}\t0:00:01\t{seconds}\n")
    table = tmp_path / "times.csv"
    table.write_text("run,stage,cpu_minutes\nother,train,7\nrun,train,1\n")
    arguments = ["times", str(tmp_path / "run"), "--table", str(table)]
    monkeypatch.setattr(sys, "argv", arguments)
    times.main()
    rows = pd.read_csv(table).set_index(["run", "stage"])["cpu_minutes"].to_dict()
    assert rows == {("other", "train"): 7, ("run", "label"): 5, ("run", "train"): 2}
    monkeypatch.setattr(sys, "argv", [*arguments, "--check", "1.5"])
    times.main()
    table.write_text("run,stage,cpu_minutes\nrun,label,4\n")
    with pytest.raises(SystemExit, match="run takes longer than stated"):
        times.main()
    assert table.read_text() == "run,stage,cpu_minutes\nrun,label,4\n"
