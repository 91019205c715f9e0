"""Status of a run, from the files that it has written."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from redoxmd.aimd.records import LabelRecord
from redoxmd.config.sections import Config
from redoxmd.errors import COMPLETED
from redoxmd.files import layout
from redoxmd.files.records import read_json, with_numbers
from redoxmd.gate import Decision
from redoxmd.jobs.progress import duration, last_progress
from redoxmd.runs.job_times import time_lines
from redoxmd.train.records import DatasetRecord, EnsembleRecord, ensemble_error_lines
from redoxmd.units import FS_PER_PS, ns_per_day

# A job that says nothing for this time has its last message with its age; after the second time it is not listed.
SILENT_S, FORGOTTEN_S = 120.0, 86400.0
# Moves the cursor of a terminal to the top left and clears what is below.
CLEAR = "\x1b[H\x1b[2J"


def watch_status(results: Path, config: Config, every_s: float) -> None:
    """Print the status again every `every_s` seconds until Ctrl-C; once if the output is no terminal."""
    if not sys.stdout.isatty():
        print(describe_status(results, config))
        return
    try:
        while True:
            text = fit_to_rows(describe_status(results, config), shutil.get_terminal_size().lines - 3)
            print(f"{CLEAR}{text}\n\n{time.strftime('%H:%M:%S')}, again every {every_s:g} s; Ctrl-C ends", flush=True)
            time.sleep(every_s)
    except KeyboardInterrupt:
        print()


def fit_to_rows(text: str, rows: int) -> str:
    """A status without details, if it has more lines: stages, decisions of the gate and the time left of their jobs."""
    if len(text.splitlines()) <= rows:
        return text
    stages = text.partition("\n\n")[0].splitlines()
    detail = re.compile(r"  (?!gate |.* (s|min|h|time) left\b)")
    return "\n".join(line for line in stages if not detail.match(line))


def describe_status(results: Path, config: Config) -> str:
    """Status as text: generations, survived times, labels done and refused, trajectories, headline numbers.

    The folder of the run, `results`, may not exist yet.
    """
    if not results.exists():
        return f"{config.run}: not started (no {results})"
    names = layout.aimd_structures(config)
    runs = _read_records(results / f"aimd/{name}/record.json" for name in names)
    frames = sum(record["n_frames"] for record in runs)
    ended = [f"{record['structure']} {record['refusal']['reason']}" for record in runs if record.get("refusal")]
    short = f", {len(ended)} ended early ({_shorten_list(ended)})" if ended else ""
    aimd = [f"aimd: {len(runs)} of {len(names)} runs done, {frames} frames{short}"] if names else []
    lines = [f"{config.run} in {results}", *aimd]
    if config.pretrain.enabled:
        done = len(list(layout.pretrain_folder(config, results).glob("member*.pt")))
        lines.append(f"pretrain: {done} of {len(config.train.members)} members trained on {config.pretrain.potential}")
    generation = 0
    while (results / f"train/gen{generation}").exists():
        lines += _generation_lines(results, config, generation)
        generation += 1
    if config.basins.enabled:
        names = layout.production_structures(config.production)
        done = sum((results / f"basins/{name}.extxyz").exists() for name in names)
        lines.append(f"basins: {done} of {len(names)} starts for production")
    lines += _production_lines(results, config)
    lines += [*_running_lines(results), *time_lines(results)]
    lines += _neb_lines(results, config) if config.neb.paths else []
    lines += _electron_lines(results, config) if config.density.enabled else []
    for summary in _read_records([results / "summary.json"]):
        lines += ["", *headline_lines(summary)]
    return "\n".join(lines)


def _read_records(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Records of those JSON files that exist, with NaN and infinities as numbers."""
    return [with_numbers(read_json(path)) for path in paths if path.exists()]


def _generation_lines(results: Path, config: Config, generation: int) -> list[str]:
    folder = results / f"train/gen{generation}"
    members = len(list(folder.glob("member*.pt")))
    lines = [f"generation {generation}: {members} of {len(config.train.members)} members trained"]
    if not config.has_loop:
        lines = [f"ensemble {config.train.ensemble}, errors on train.datasets"]
    for path in folder.glob("ensemble.json"):
        lines += [f"  {text}" for text in ensemble_error_lines(EnsembleRecord.read(path).errors)]
    decisions = [Decision.read(path) for path in (results / "gate").glob(f"gen{generation}.json")]
    ids = decisions[0].label_ids if decisions else []
    files = (results / f"label/gen{generation}/{name}.json" for name in ids)
    labels = [LabelRecord.read(path) for path in files if path.exists()]
    lines += _audit_lines(folder)
    lines += _state_lines(folder, labels) if config.electrons.levels else []
    lines += [
        f"  explore {run['structure']}: {run['survived_ps']:.3g} of {run['target_ps']:.3g} ps, {run['end_reason']}, "
        f"{run['n_candidates']} candidates"
        for run in _read_records(sorted((results / f"explore/gen{generation}").glob("*.json")))
    ]
    lines += [
        f"  path {band['path']}: {band['end_reason']}, {band['n_candidates']} of {band['images']} images candidates, "
        f"{band['n_refused']} refused"
        for band in _read_records(sorted((results / f"neb/gen{generation}").glob("*.json")))
    ]
    for decision in decisions:
        line = f"  gate ({decision.phase}): {decision.status}"
        if ids:
            refused = [f"{label.label_id} {label.refusal.reason}" for label in labels if label.refusal]
            line += f"; labels: {len(labels)} of {len(ids)} done, {len(refused)} refused or ended early"
            line += f" ({', '.join(refused)})" if refused else ""
        lines.append(line)
    return lines


def _audit_lines(folder: Path) -> list[str]:
    """Labels left out of a training set, configurations too short for a check, and suspects of the ensemble."""
    lines = []
    for path in folder.glob("dataset.json"):
        audited = DatasetRecord.read(path)
        if left_out := audited.left_out:
            names = [f"{item['config_id']}/{item['step']} {item['reason']}" for item in left_out]
            lines.append(f"  left out: {len(names)} frames ({_shorten_list(names)})")
        for check, names in audited.too_short.items():
            lines.append(f"  too short for the check of {check}: {len(names)} configurations ({_shorten_list(names)})")
        if runs := audited.work_imbalances:
            worst = max(runs, key=lambda run: abs(run["mean_meV"]))
            lines.append(
                f"  energy change and work of the forces differ by up to {worst['mean_meV']:+.1f} ± "
                f"{worst['error_meV']:.1f} meV a step ({worst['config_id']}, of {len(runs)} runs)"
            )
    table = folder / "suspects.csv"
    if table.exists():
        from redoxmd.train.audit.parity import read_suspects, suspect_names

        suspects = read_suspects(table)
        if names := suspect_names(suspects):
            lines.append(
                f"  suspects: {len(names)} of {len(suspects)} frames checked ({_shorten_list(names)}), see {table}"
            )
        if unscored := int(suspects["force_score"].isna().sum()):
            lines.append(f"  not scored by the ensemble: {unscored} of {len(suspects)} frames, too few are like them")
    return lines


def _state_lines(folder: Path, labels: list[LabelRecord]) -> list[str]:
    """Frames refused for their electronic state, hops within runs, and labels in another state than that asked for."""
    from redoxmd.runs.run_tables import compared_labels, state_counts

    lines = []
    for path in folder.glob("dataset.json"):
        dataset = DatasetRecord.read(path)
        counts = state_counts(dataset, labels)
        hops = [f"{hop['config_id']}/{hop['step']}" for hop in dataset.hops]
        lines.append(
            f"  electronic states: frames refused: {counts['frames_refused']}, hops within runs: {counts['hops']}"
            + (f" ({_shorten_list(hops)})" if hops else "")
        )
        if counts["labels_asked"]:
            others = [
                f"{label.label_id} asked {_states(label.states_asked)}, found {_states(label.states_found)}"
                for label in compared_labels(labels)
                if label.states_asked != label.states_found
            ]
            lines.append(
                f"  labels in the state asked for: {counts['labels_as_asked']} of {counts['labels_asked']}"
                + (f" ({_shorten_list(others)})" if others else "")
            )
    return lines


def _states(states: list[int] | None) -> str:
    """Oxidation states as text, "3 4 4 3"."""
    return " ".join(map(str, states or []))


def _shorten_list(names: list[str], shown: int = 5) -> str:
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


def _production_lines(results: Path, config: Config) -> list[str]:
    lengths_ps = {
        f"{name}_T{kelvin}K": config.production.equilibration_ps + length_ps
        for (name, kelvin), length_ps in layout.trajectory_lengths_ps(config.production).items()
    }
    files = {name: results / f"production/{name}.h5" for name in lengths_ps}
    done = [path for path in files.values() if path.exists()]
    lines = [f"production: 0 of {len(files)} trajectories"]
    if done:
        from redoxmd.files.trajectory import read_metadata

        metadata = [read_metadata(path) for path in done]
        total_ns = sum(item["recorded_ps"] for item in metadata) / 1000
        speeds = sorted(item["ns_per_day"] for item in metadata)
        ended = sum(item["end_reason"] != COMPLETED for item in metadata)
        lines = [
            f"production: {len(done)} of {len(files)} trajectories, {total_ns:.3g} ns, "
            f"median {speeds[len(speeds) // 2]:.3g} ns/day, {ended} ended early"
        ]
        # Trajectories of early versions do not name their evaluation.
        evaluations = Counter(item["evaluation"] for item in metadata if "evaluation" in item)
        lines += [f"  {count} evaluated by {name}" for name, count in evaluations.items()]
    unfinished = [name for name, path in files.items() if not path.exists()]
    return lines + [line for name in unfinished if (line := _progress_line(results, config, name, lengths_ps[name]))]


def _running_lines(results: Path) -> list[str]:
    """Jobs whose logs end with a message of progress and the time left; production is described by its states."""
    lines = []
    for log in sorted((results / "logs").rglob("*.log")):
        try:
            message, age_s = last_progress(log), time.time() - log.stat().st_mtime
        except OSError:
            # The job has ended and its log is gone.
            continue
        stage = log.relative_to(results / "logs").parts[0]
        if message is None or age_s > FORGOTTEN_S or stage == "production":
            continue
        silent = f" ({duration(age_s)} ago)" if age_s > SILENT_S else ""
        lines.append(f"  {stage}: {message}{silent}")
    return ["running:", *lines] if lines else []


def _neb_lines(results: Path, config: Config) -> list[str]:
    """Finished NEB paths with their barriers, or the reason why there is no path."""
    files = {path.name: results / f"neb/{path.name}.json" for path in config.neb.paths}
    done = {name: record for name, file in files.items() for record in _read_records([file])}
    return [f"neb: {len(done)} of {len(files)} paths"] + [
        f"  {name}: no path, {record['reason']}"
        if record.get("reason")
        else f"  {name}: barrier {record['barrier_forward_eV']:.3f} ± {record['barrier_forward_spread_eV']:.3f} eV, "
        f"back {record['barrier_back_eV']:.3f} ± {record['barrier_back_spread_eV']:.3f} eV"
        for name, record in done.items()
    ]


def _electron_lines(results: Path, config: Config) -> list[str]:
    """Status of the density model and of the charges along trajectories."""
    if not (results / "density/model.pt").exists():
        return ["density: no model yet"]
    lines, errors = ["density: model trained"], results / "density/errors.csv"
    if errors.exists():
        import pandas as pd

        columns = ["nmae_total_percent", "nmae_spin_percent"]
        for name, row in pd.read_csv(errors).groupby("set")[columns].mean().iterrows():
            lines.append(f"  {name}: NMAE {row.iloc[0]:.2f} % (total), {row.iloc[1]:.1f} % (spin)")
    wanted = [f"{name}_T{kelvin}K" for name, kelvin in layout.trajectories(config.production)]
    done = sum((results / f"charges/{name}.nc").exists() for name in wanted)
    return [*lines, f"charges: {done} of {len(wanted)} trajectories"]


def _progress_line(results: Path, config: Config, trajectory: str, wanted_ps: float) -> str:
    """Progress of an unfinished trajectory from its last state; "" without a state."""
    state = results / f"state/production/{trajectory}/state.npz"
    try:
        with np.load(state, allow_pickle=False) as record:
            step, spent_s = int(record["step"]), float(record["spent_s"])
    except (OSError, ValueError, KeyError, BadZipFile):
        # The state is absent or incomplete; the job that resumes from it reports errors.
        return ""
    time_ps = step * config.production.timestep_fs / FS_PER_PS
    line = f"  {trajectory}: {time_ps:.3g} of {wanted_ps:.3g} ps, equilibration included"
    if step == 0 or spent_s <= 0:
        return line
    speed = ns_per_day(config.production.timestep_fs, spent_s / step)
    remaining_s = max(wanted_ps - time_ps, 0.0) / time_ps * spent_s
    return f"{line}, {speed:.3g} ns/day, {duration(remaining_s)} left"


def headline_lines(summary: dict[str, Any]) -> list[str]:
    """Headline numbers as text."""
    summary = with_numbers(summary)
    lines = ["headline numbers:", *(f"  {text}" for text in ensemble_error_lines(summary["errors"]))]
    lines += [f"  pretrained on labels of {summary['teacher']}"] if "teacher" in summary else []
    if rows := summary.get("left_out", []):
        forces = [row["force_mae_eV_A"] for row in rows]
        energy = sum(row["energy_mae_meV_atom"] for row in rows) / len(rows)
        lines.append(
            f"  {len(rows)} configurations left out in turn: force MAE {sum(forces) / len(forces):.3f} eV/Å "
            f"({min(forces):.3f} to {max(forces):.3f}), energy MAE {energy:.1f} meV/atom"
        )
    for item in summary["generations"]:
        times = ", ".join(f"{value:.3g}" for value in item["survived_ps"].values())
        lines.append(
            f"  generation {item['generation']}: survived {times} ps, "
            f"{item['candidates_per_ps']:.3g} candidates/ps, {item['labels']} labels, {item['status']}"
        )
        if "frames_refused" in item:
            line = f"    electronic states: frames refused: {item['frames_refused']}, hops within runs: {item['hops']}"
            if item["labels_asked"]:
                line += f", labels in the state asked for: {item['labels_as_asked']} of {item['labels_asked']}"
            lines.append(line)
    for row in summary["diffusivities"]:
        lines.append(f"  D at x = {row['x']:g}, {row['temperature_K']:g} K: {_diffusivity(row)}")
    for row in summary["arrhenius"]:
        fit = f"{row['Ea_eV']:.2f} ± {row['Ea_error_eV']:.2f} eV" if row["fitted"] else f"not fitted: {row['reason']}"
        lines.append(f"  Ea at x = {row['x']:g}: {fit}")
    lines += [
        f"  {row['kind']} at x = {row['x']:g}, {row['temperature_K']:g} K: {row['occupancy']:.2f} ions per site"
        for row in summary.get("sites", [])
    ]
    lines += [
        f"  concerted at {row['temperature_K']:g} K: {row['n_neighbouring']:.0f} of {row['n_site_jumps']:.0f} jumps "
        f"between sites with one of a neighbour ({row['n_neighbouring_chance']:.1f} by chance), "
        f"{row['n_exchanges']:.0f} exchanges"
        for row in summary.get("concerted", [])
        if row["n_site_jumps"] > 0
    ]
    return lines + _electron_headlines(summary.get("electrons")) + _moment_headlines(summary.get("moments"))


def _diffusivity(row: dict[str, Any]) -> str:
    """D from jumps, or its upper limit, of a row of diffusivities.csv."""
    jumps = f"{row['n_jumps']:.0f} jumps"
    if row["D_jumps_limit_cm2_s"] > 0:
        reason = row.get("jumps_no_transport")
        note = f" ({reason})" if isinstance(reason, str) and reason else ""
        return f"< {row['D_jumps_limit_cm2_s']:.1g} cm²/s, {jumps}{note}"
    if not row["n_jumps"]:
        # Without ions or time there is no limit either.
        return "no value (no ions or no time)"
    return f"{row['D_jumps_cm2_s']:.2g} ± {row['D_jumps_error_cm2_s']:.1g} cm²/s, {jumps}"


def _electron_headlines(electrons: dict[str, Any] | None) -> list[str]:
    """Errors of the density model and of charges, and the share of atoms with the oxidation state of the reference."""
    if electrons is None:
        return []
    lines = [f"  oxidation states of the reference: {electrons['states']}"]
    for name, row in electrons["nmae_percent"].items():
        total, spin = row["nmae_total_percent"], row["nmae_spin_percent"]
        text = f"  density, {name}: NMAE {total:.2f} % (total), {spin:.1f} % (spin)"
        if name in electrons["mae_charge_e"]:
            charge, moment = (electrons[f"mae_{kind}"][name] for kind in ("charge_e", "moment_muB"))
            text += f"; charge {charge:.3f} e, moment {moment:.2f} μB"
        if name in electrons.get("same_state", {}):
            same, of = electrons["same_state"][name]
            text += f"; same oxidation state for {same} of {of}"
        lines.append(text)
    for row in electrons.get("same_state_along", []):
        # NaN is text in JSON.
        if isinstance(row["same_atoms_share"], float):
            atoms, chance, frames = (
                100 * row[f"same_{name}"] for name in ("atoms_share", "atoms_chance", "frames_share")
            )
            lines.append(
                f"  x = {row['x']:g}, {row['temperature_K']:g} K: charges give the state of the MD for {atoms:.0f} % "
                f"of the atoms (by chance {chance:.0f} %), and for all atoms in {frames:.0f} % of the frames"
            )
    return lines


def _moment_headlines(moments: dict[str, Any] | None) -> list[str]:
    """Redox atoms and frames in the state of the reference by the moment network, and its agreement with the MD."""
    if moments is None:
        return []
    lines = []
    for row in moments["states"]:
        error = f"|moment| MAE {row['moment_mae_muB']:.3f} μB"
        if row["choice"]:
            error += (
                f", right states for {row['atoms_network']} of {row['n_atoms']} redox atoms ({row['atoms_bonds']} by "
                f"bond valences, {row['atoms_chance']:.0f} by chance) and all atoms of {row['frames_network']} of "
                f"{row['n_frames']} frames ({row['frames_bonds']})"
            )
        kind = "" if row["choice"] else ", one state per element"
        lines.append(f"  moment network, {row['set']}{kind}: {error}")
    compared = [row for row in moments["trajectories"] if row["choice"] and row["n_frames"]]
    if compared:
        frames = sum(row["n_frames"] for row in compared)
        atoms = sum(row["n_frames"] * row["n_redox"] for row in compared)
        same = sum(row["atoms_share"] * row["n_frames"] * row["n_redox"] for row in compared) / atoms
        whole, error_muB = (
            sum(row[key] * row["n_frames"] for row in compared) / frames for key in ("frames_share", "moment_error_muB")
        )
        lines.append(
            f"  moment network, {len(compared)} trajectories: {100 * same:.1f} % of the redox atoms and all atoms of "
            f"{100 * whole:.1f} % of the frames in the states of the MD; |moment| {error_muB:.3f} μB from their levels"
        )
    return lines
