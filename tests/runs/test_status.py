import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from redoxmd.aimd.records import LabelRecord, RunRecord
from redoxmd.charges.oxidation import OxidationStates, fit_record
from redoxmd.cli import main
from redoxmd.config import parse_config
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import write_json
from redoxmd.files.trajectory import write_segment
from redoxmd.gate import Decision
from redoxmd.jobs.job import job
from redoxmd.jobs.progress import Progress, last_progress
from redoxmd.runs.run_tables import (
    calibration_tables,
    electron_record,
    error_table,
    run_table,
    state_counts,
    summarise_run,
    trace_table,
)
from redoxmd.runs.status import describe_status, fit_to_rows, headline_lines
from redoxmd.train.records import DatasetRecord, EnsembleRecord
from tests.files.test_trajectory import piece

CONFIG = parse_config(
    {
        "run": "r",
        "aimd": {"starts": [{"x": 3.0, "seeds": [0, 1]}]},
        "production": {"x": [3.0], "temperatures_K": [500, 600], "replicas": 1, "supercell": [1, 1, 1]},
    }
)
ERRORS = [{"member": -1, "set": "test", "force_mae_eV_A": 0.25, "energy_mae_meV_atom": 8.7, "n_frames": 22}]
CONCERTED = ("n_site_jumps", "n_neighbouring", "n_neighbouring_chance", "n_exchanges")
RUN = {"structure": "s", "end_reason": "close_contact", "survived_ps": 0.9, "target_ps": 2.0, "n_candidates": 7}
DECISION = {
    "generation": 0,
    "phase": "small",
    "status": "go_on",
    "label_ids": ["g0f000", "g0f001"],
    "figures": {"candidates_per_ps": 3.5, "runs": [RUN]},
}
REFUSED = {
    "label_id": "g0f001",
    "status": "refused",
    "n_frames": 0,
    "refusal": {"reason": "unconverged", "detail": "", "step": 0},
}


def put(root, path, record):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record))


def test_not_started(tmp_path):
    assert "not started" in describe_status(tmp_path / "none", CONFIG)


def test_a_run_on_its_way(tmp_path):
    put(tmp_path, "aimd/x3.000_random0_1x1x1/record.json", {"n_frames": 5, "refusal": None})
    put(tmp_path, "train/gen0/ensemble.json", {"errors": ERRORS})
    (tmp_path / "train/gen0/member0.pt").touch()
    put(tmp_path, "explore/gen0/s.json", RUN)
    put(tmp_path, "gate/gen0.json", DECISION)
    put(tmp_path, "label/gen0/g0f000.json", {"label_id": "g0f000", "status": "labelled", "n_frames": 2})
    put(tmp_path, "label/gen0/g0f001.json", REFUSED)
    trajectory = piece(0, 5)
    trajectory.metadata.update(recorded_ps=250.0, ns_per_day=1.5, end_reason="completed")
    trajectory.metadata["evaluation"] = "compiled kernels, because no GPU is used"
    (tmp_path / "production").mkdir()
    write_segment(tmp_path / "production/x3.000_preferred0_1x1x1_T500K.h5", trajectory)
    # Finished runs keep their states as well.
    for kelvin in (500, 600):
        state = tmp_path / f"state/production/x3.000_preferred0_1x1x1_T{kelvin}K"
        state.mkdir(parents=True)
        np.savez(state / "state.npz", step=np.asarray(500_000), spent_s=np.asarray(43_200.0))
    text = describe_status(tmp_path, CONFIG)
    assert "T500K" not in text
    for line in (
        "  x3.000_preferred0_1x1x1_T600K: 250 of 1e+03 ps, equilibration included, 0.5 ns/day, 36.2 h left",
        "aimd: 1 of 2 runs done, 5 frames",
        "generation 0: 1 of 4 members trained",
        "test: force MAE 0.250 eV/Å, energy MAE 8.7 meV/atom (22 frames)",
        "explore s: 0.9 of 2 ps, close_contact, 7 candidates",
        "gate (small): go_on; labels: 2 of 2 done, 1 refused or ended early (g0f001 unconverged)",
        "density: no model yet",
        "production: 1 of 2 trajectories, 0.25 ns, median 1.5 ns/day, 0 ended early",
        "  1 evaluated by compiled kernels, because no GPU is used",
    ):
        assert line in text


def test_headline_numbers():
    ensemble = EnsembleRecord([*ERRORS, {**ERRORS[0], "member": 0}], {"scale": 1.3}, [])
    moved = {
        "x": 2.0,
        "temperature_K": 900.0,
        "n_jumps": 4,
        "D_jumps_cm2_s": 3e-6,
        "D_jumps_error_cm2_s": 1e-6,
        "D_jumps_limit_cm2_s": float("nan"),
    }
    still = {**moved, "n_jumps": 0, "D_jumps_cm2_s": 0.0, "D_jumps_limit_cm2_s": 2e-7}
    fits = [{"x": 2.0, "fitted": False, "reason": "1 of 2 temperatures"}]
    sites = [{"kind": "Na1", "x": 2.0, "temperature_K": 900.0, "occupancy": 0.97}]
    near = {"n_site_jumps": 8.0, "n_neighbouring": 4.0, "n_neighbouring_chance": 1.25, "n_exchanges": 2.0}
    concerted = [{"temperature_K": 900.0, **near}, {"temperature_K": 300.0, **dict.fromkeys(near, "nan")}]
    summary = summarise_run(ensemble, [Decision.from_json(DECISION)], [moved, still], fits, concerted, sites)
    assert len(summary["errors"]) == 1
    text = "\n".join(headline_lines(summary))
    for part in (
        "generation 0: survived 0.9 ps, 3.5 candidates/ps, 2 labels, go_on",
        "D at x = 2, 900 K: 3e-06 ± 1e-06 cm²/s, 4 jumps",
        "< 2e-07 cm²/s, 0 jumps",
        "Ea at x = 2: not fitted: 1 of 2 temperatures",
        "Na1 at x = 2, 900 K: 0.97 ions per site",
        "900 K: 4 of 8 jumps between sites with one of a neighbour (1.2 by chance), 2 exchanges",
    ):
        assert part in text


def test_tables_of_a_run(tmp_path):
    assert error_table([EnsembleRecord(ERRORS, {}, [])] * 2)["generation"].tolist() == [0, 1]
    assert run_table([Decision.from_json(DECISION)]).loc[0, "survived_ps"] == pytest.approx(0.9)
    paths = []
    for generation in (0, 1):
        path = tmp_path / f"gen{generation}" / "s.csv"
        path.parent.mkdir()
        path.write_text("time_fs,spread_eV_A,temperature_K,candidate\n0,0.5,900,False\n10,1.5,950,True\n")
        paths.append(str(path))
    traces = trace_table(paths)
    assert traces["generation"].tolist() == [0, 0, 1, 1]
    assert set(traces["structure"]) == {"s"}
    assert traces["candidate"].tolist() == [False, True] * 2


def test_calibration_without_a_test_set():
    record = {
        "expected_fraction": [0.0, 1.0],
        "observed_fraction": [0.0, 1.0],
        "spread_eV_A": [0.2],
        "rmse_eV_A": [0.3],
        "n": [9],
        "miscalibration_area": 0.02,
    }
    ensemble = EnsembleRecord([], {"scale": 1.0, "validation": record}, [])
    curves, bins, areas, frames = calibration_tables(ensemble, "max", 0.5)
    assert set(curves["set"]) == set(bins["set"]) == {"validation"}
    assert areas == {"validation": 0.02}
    # An ensemble of an earlier version has no errors of frames; with three ratios the bound covers half, not 0.9.
    assert frames.empty
    errors = {"error": [1.0, 4.0, 9.0], "spread": [1.0, 2.0, 3.0]}
    ensemble.calibration.update(ratios={"max": [1.0, 2.0, 3.0]}, frames={"validation": {"max": errors}})
    assert calibration_tables(ensemble, "max", 0.9)[-1].empty
    frames = calibration_tables(ensemble, "max", 0.5)[-1]
    assert frames["bound_eV_A"].tolist() == [2.0, 4.0, 6.0]
    assert frames["error_eV_A"].tolist() == [1.0, 4.0, 9.0]


def test_electrons_on_their_way(tmp_path):
    put(tmp_path, "density/model.pt", {})
    table = "key,set,nmae_total_percent,nmae_spin_percent\na,test,1.5,30\nb,test,2.5,50\n"
    (tmp_path / "density/errors.csv").write_text(table)
    text = describe_status(tmp_path, CONFIG)
    assert "density: model trained" in text
    assert "  test: NMAE 2.00 % (total), 40.0 % (spin)" in text
    assert "charges: 0 of 2 trajectories" in text


def test_headlines_of_the_electrons():
    errors = pd.DataFrame(
        {"key": ["a"], "set": ["test"], "nmae_total_percent": [1.2], "nmae_spin_percent": [33.0]},
    )
    charge, moment = [2.0, 2.01, 2.25, 1.99] * 5, [2.0, 2.0, 1.0, 1.98] * 5
    charges = pd.DataFrame(
        {
            "set": "test",
            "element": "V",
            "reference_charge_e": charge,
            "predicted_charge_e": np.array(charge) + 0.01,
            "reference_moment_muB": moment,
            "predicted_moment_muB": moment,
        }
    )
    states = OxidationStates.from_record(fit_record(charges, (3, 4)))
    record = electron_record(errors, charges, states, "V")
    summary = summarise_run(EnsembleRecord(ERRORS, {"scale": 1.0}, []), [], [], [], [], [], electrons=record)
    text = "\n".join(headline_lines(summary))
    assert "density, test: NMAE 1.20 % (total), 33.0 % (spin); charge 0.010 e, moment 0.00 μB" in text
    assert "same oxidation state for 20 of 20" in text
    assert "3+ at 2.00" in text


def test_starts_found_by_basin_hopping_are_counted(tmp_path):
    (tmp_path / "basins").mkdir()
    (tmp_path / "basins/x3.000_preferred0_1x1x1.extxyz").touch()
    assert "basins" not in describe_status(tmp_path, CONFIG)
    enabled = CONFIG.model_copy(update={"basins": CONFIG.basins.model_copy(update={"enabled": True})})
    assert "basins: 1 of 1 starts for production" in describe_status(tmp_path, enabled)


def test_barriers_are_told(tmp_path):
    keys = ("forward_eV", "forward_spread_eV", "back_eV", "back_spread_eV")
    record = {f"barrier_{key}": value for key, value in zip(keys, (0.41, 0.03, 0.2, 0.01), strict=True)}
    put(tmp_path, "neb/hop.json", record)
    path = {"name": "hop", "x": 3.0, "moves": [["Na2:0", "Na2:3"]]}
    config = parse_config({"run": "r", "neb": {"paths": [path, {**path, "name": "other"}]}})
    text = describe_status(tmp_path, config)
    assert "neb: 1 of 2 paths" in text
    assert "hop: barrier 0.410 ± 0.030 eV, back 0.200 ± 0.010 eV" in text
    put(tmp_path, "neb/other.json", {"path": "other", "reason": "no ion changed its site in 3 trajectories"})
    assert "other: no path, no ion changed its site in 3 trajectories" in describe_status(tmp_path, config)
    assert "neb" not in describe_status(tmp_path, CONFIG)


def test_a_run_whose_cell_may_be_empty_ends_with_its_numbers(tmp_path, monkeypatch, capsys):
    """No ions, no D: JSON has no NaN, so records spell it; `redoxmd status` is the end of `make run`."""
    monkeypatch.chdir(tmp_path)
    nothing = float("nan")
    empty = {
        "x": 0.0,
        "temperature_K": 300.0,
        "n_jumps": 0,
        "D_jumps_cm2_s": nothing,
        "D_jumps_error_cm2_s": nothing,
        "D_jumps_limit_cm2_s": nothing,
    }
    fits = [{"x": 0.0, "fitted": False, "reason": "0 of 1 temperatures", "Ea_eV": nothing, "Ea_error_eV": nothing}]
    decision = {**DECISION, "figures": {"candidates_per_ps": float("inf"), "runs": [{**RUN, "survived_ps": nothing}]}}
    ensemble = EnsembleRecord([{**ERRORS[0], "energy_mae_meV_atom": nothing}], {"scale": nothing}, [])
    concerted = [{"temperature_K": 300.0, **dict.fromkeys(CONCERTED, nothing)}]
    sites = [{"kind": "Na1", "x": 0.0, "temperature_K": 300.0, "occupancy": nothing}]
    summary = summarise_run(ensemble, [Decision.from_json(decision)], [empty], fits, concerted, sites)
    write_json(tmp_path / "results/r/summary.json", summary)
    ensemble.write(tmp_path / "results/r/train/gen0/ensemble.json")
    write_json(tmp_path / "results/r/explore/gen0/s.json", {**RUN, "survived_ps": nothing})
    (tmp_path / "config.yaml").write_text("run: r\nproduction: {x: [0.0], temperatures_K: [300]}\n")
    assert main(["status", "config.yaml"]) == 0
    text = capsys.readouterr().out
    assert "D at x = 0, 300 K: no value (no ions or no time)" in text
    assert "Ea at x = 0: not fitted: 0 of 1 temperatures" in text
    assert "energy MAE nan meV/atom" in text and "inf candidates/ps" in text


def test_a_file_that_the_system_does_not_deliver_is_one_line(tmp_path, monkeypatch, capsys):
    """A folder in its place, for permissions do not hold for root."""
    (tmp_path / "results/r/summary.json").mkdir(parents=True)
    (tmp_path / "r.yaml").write_text("run: r\n")
    monkeypatch.chdir(tmp_path)
    assert main(["status", "r.yaml"]) == 1
    assert capsys.readouterr().err.startswith("redoxmd: results/r/summary.json: Is a directory")


def test_electronic_states_of_a_run_through_its_files(tmp_path):
    """Frames refused for their state, hops, and labels in another state, from the files that stages write."""
    levels = {"V": {3: {"moment_muB": 2.0}, 4: {"moment_muB": 1.0}}}
    config = parse_config({**CONFIG.model_dump(include={"run", "aimd", "production"}), "electrons": {"levels": levels}})
    wrong = {"step": 3, "reason": "wrong_electronic_state", "detail": "one V4+; neutrality asks for two V4+"}
    refusal = {key: wrong[key] for key in ("step", "reason", "detail")}
    record = {"structure": "x3.000_random0_1x1x1", "n_frames": 3, "refusal": refusal}
    put(tmp_path, "aimd/x3.000_random0_1x1x1/record.json", record)
    hop = {"config_id": "g0f000", "step": 2, "before": [3, 4], "after": [4, 3]}
    others = [{"config_id": "d", "step": 1, "reason": "excluded", "detail": ""}, {"config_id": "c", **wrong}]
    put(tmp_path, "train/gen0/dataset.json", {"left_out": others, "hops": [hop]})
    put(tmp_path, "gate/gen0.json", {**DECISION, "label_ids": ["g0f000", "g0f001", "g0f002"]})
    frames = {}
    for name, found in (("g0f000", [0, 3, 4]), ("g0f001", [0, 4, 3]), ("g0f002", None)):
        asked, labelled = Atoms("OV2", np.eye(3)), Atoms("OV2", np.eye(3))
        asked.set_array("oxidation", np.array([0, 3, 4]))
        if found is not None:
            labelled.set_array("oxidation", np.array(found))
        write_frames(tmp_path / f"{name}.extxyz", [asked, labelled])
        frames[name] = read_frames(tmp_path / f"{name}.extxyz")
        run = SimpleNamespace(frames=frames[name][1:], refusal=None, record=lambda attempt: RunRecord(n_frames=1))
        label = LabelRecord.of(name, run, frames[name][0], "attempt")
        write_json(tmp_path / f"label/gen0/{name}.json", label)
        read = LabelRecord.read(tmp_path / f"label/gen0/{name}.json")
        assert (read.states_asked, read.states_found) == ([3, 4], found and found[1:])
    text = describe_status(tmp_path, config)
    for line in (
        "aimd: 1 of 2 runs done, 3 frames, 1 ended early (x3.000_random0_1x1x1 wrong_electronic_state)",
        "  electronic states: frames refused: 1, hops within runs: 1 (g0f000/2)",
        "  labels in the state asked for: 1 of 2 (g0f001 asked 3 4, found 4 3)",
    ):
        assert line in text.splitlines()
    labels = [LabelRecord.read(tmp_path / f"label/gen0/{name}.json") for name in frames]
    counts = state_counts(DatasetRecord.read(tmp_path / "train/gen0/dataset.json"), labels)
    assert counts == {"frames_refused": 1, "hops": 1, "labels_asked": 2, "labels_as_asked": 1}
    ensemble, decisions = EnsembleRecord(ERRORS, {"scale": 1.3}, []), [Decision.from_json(DECISION)]
    write_json(tmp_path / "summary.json", summarise_run(ensemble, decisions, [], [], [], [], states=[counts]))
    line = "    electronic states: frames refused: 1, hops within runs: 1, labels in the state asked for: 1 of 2"
    assert line.strip() in describe_status(tmp_path, config)
    assert "electronic states" not in describe_status(tmp_path, CONFIG).split("headline")[0]


def test_jobs_on_their_way_say_how_long_still_by_their_logs(tmp_path):
    logs = {
        "aimd/x3.000_random0_1x1x1.log": ["12:00:00 INFO    x3: 4/6 frames, 0.5/s, 4 s left, 836 K"],
        "train/gen0/member1.log": [
            "12:00:00 INFO    member 1: 5/9 steps, 1/s, 4 s left",
            "12:00:09 DEBUG   done in 9 s",
        ],
        "train/gen0/member2.log": ["12:00:09 INFO    member 2: 9/9 steps, 1/s, 0 s left"],
        "label/gen0/g0f000.log": ["12:00:00 ERROR   g0f000: stopped by SIGTERM at step 1 of 2"],
        "charges/a.log": ["Å" * 3000, "12:00:00 INFO    charges: 2/23 frames, 0.13/s, 3 min left"],
        "density/model.log": [],
    }
    for name, lines in logs.items():
        (tmp_path / "logs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "logs" / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    earlier = time.time() - 600
    os.utime(tmp_path / "logs/charges/a.log", (earlier, earlier))
    lines = describe_status(tmp_path, CONFIG).splitlines()
    start = lines.index("running:")
    assert lines[start + 1 : start + 3] == [
        "  aimd: x3: 4/6 frames, 0.5/s, 4 s left, 836 K",
        "  charges: charges: 2/23 frames, 0.13/s, 3 min left (10 min ago)",
    ]
    assert not any("member" in line and "left" in line for line in lines)


def test_processor_times_are_those_of_the_benchmark_files(tmp_path):
    """Files as Snakemake writes them, by hand: 90 + 30 s of training, 60 s of a label."""
    for name, seconds in (("train/gen0_member0", 90.0), ("train/deeper/fold1", 30.0), ("label/gen0_a", 60.0)):
        path = tmp_path / f"benchmarks/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\tmax_rss\tmean_load\tcpu_time\n400.0\t0:06:40\t10.0\t50.0\t{seconds}\n")
    assert "CPU-minutes of finished jobs: 3.0 (train 2.0, label 1.0)" in describe_status(tmp_path, CONFIG)


def test_progress_is_read_as_it_is_logged(tmp_path):
    with job("a", str(tmp_path / "a.log")):
        progress = Progress("explore a", 10, interval_s=0.0, timestep_fs=2.0)
        progress.update(4, "spread 0.5 eV/Å")
        assert re.fullmatch(r"explore a: 4/10 steps, .* left, spread 0.5 eV/Å", last_progress(tmp_path / "a.log"))
    assert last_progress(tmp_path / "a.log") is None


def test_a_status_longer_than_the_screen_leaves_out_details(tmp_path):
    for name in ("aimd/x3.000_random0_1x1x1/record.json", "train/gen0/ensemble.json", "gate/gen0.json"):
        record = {"ensemble": {"errors": ERRORS}, "gen0": DECISION}.get(name.split("/")[-1].split(".")[0])
        put(tmp_path, name, record or {"n_frames": 5, "refusal": None})
    put(tmp_path, "explore/gen0/s.json", RUN)
    (tmp_path / "logs/label").mkdir(parents=True)
    (tmp_path / "logs/label/a.log").write_text("12:00:00 INFO    a: 1/2 frames, 0.1/s, 9 s left\n")
    text = describe_status(tmp_path, CONFIG)
    assert fit_to_rows(text, 40) == text
    short = fit_to_rows(text, 8).splitlines()
    assert [line.split(":")[0] for line in short[1:]] == [
        "aimd",
        "generation 0",
        "  gate (small)",
        "production",
        "running",
        "  label",
        "density",
    ]


def watched(folder, interrupt):
    """Output and exit status of `redoxmd status --watch 1` in a terminal, interrupted, or in a pipe."""
    (folder / "config.yaml").write_text("run: r\n")
    command = [sys.executable, "-m", "redoxmd.cli", "status", "config.yaml", "--watch", "1"]
    if not interrupt:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        return done.stdout, done.returncode
    reader, terminal = os.openpty()
    # Processes in the background of a shell ignore Ctrl-C, and so would their children.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, cwd=folder, stdout=terminal, stderr=terminal, preexec_fn=default)
    os.close(terminal)
    output = b""
    while output.count(b"not started") < 2:
        output += os.read(reader, 1000)
    process.send_signal(signal.SIGINT)
    status = process.wait()
    output += os.read(reader, 1000)
    os.close(reader)
    return output.decode(), status


def test_a_watched_status_is_drawn_again_until_ctrl_c_and_once_in_a_pipe(tmp_path):
    output, status = watched(tmp_path, interrupt=True)
    assert status == 0 and "Traceback" not in output
    assert output.count("\x1b[2J") == output.count("not started") >= 2
    assert watched(tmp_path, interrupt=False) == ("r: not started (no results/r)\n", 0)
