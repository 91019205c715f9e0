"""The first page of a run: its main results in short answers, and the reasons to distrust them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from redoxmd.diffusion.counting import count_interval
from redoxmd.errors import COMPLETED, SURVIVED
from redoxmd.files.frames import read_frames
from redoxmd.files.html import embed_svg, write_html
from redoxmd.files.records import read_json, with_numbers
from redoxmd.gate import GateStatus
from redoxmd.structures.describe import formula
from redoxmd.structures.request import parse_name
from redoxmd.train.records import DatasetRecord
from redoxmd.units import FS_PER_PS

# Fewer jumps than this have a relative error above a third.
FEW_JUMPS = 10
# A force error that exceeds the spread, or that on training frames, by this factor is named.
LARGE_FACTOR = 1.5
# Normalised error of the spin density above which orbitals are assigned wrongly.
LARGE_SPIN_NMAE_PERCENT = 50.0
# Redox atoms per cell by which the mean number in the higher state may differ from that of charge neutrality.
STATE_TOLERANCE = 0.25
# Points that a sentence names.
MOST_NAMED = 4
LEGENDS = {
    "learning_curve": "Convergence: errors and survival under the gate, by generation.",
    "fig8_arrhenius": "Diffusion coefficient from jumps over temperature.",
    "fig3a_errors": "Accuracy: ensemble against the reference on validation and test configurations.",
    "fig3c_histogram": "Electrons: charges and moments of the redox element, reference and trajectories.",
    "electron_hops": "Electrons: hop rates over temperature, and bond lengths by oxidation state.",
}


def write_first_page(path: str | Path, files: Mapping[str, Any], facts: Mapping[str, str]) -> None:
    """Write the first page of a run from its tables.

    Args:
        path: HTML file.
        files: summary (summary.json), trajectories (diffusion/trajectories.csv), dataset (dataset.json of the converged
            generation), errors (figures/learning_curve.csv), structure (one start of production), figures (SVG files);
            redox (charges/redox.csv) with a density model, rates (electrons/rates.csv) with states in the MD.
        facts: run, ion (mobile ion), element (redox element), engine, ensemble (if it was given).
    """
    summary, dataset = with_numbers(read_json(files["summary"])), DatasetRecord.read(files["dataset"])
    redox, rates = (None if files.get(name) is None else pd.read_csv(files[name]) for name in ("redox", "rates"))
    trajectories, errors = (pd.read_csv(files[name]) for name in ("trajectories", "errors"))
    points = pd.DataFrame(summary["diffusivities"])
    answers = {
        "What material?": _material(files["structure"], facts, trajectories),
        "What was run?": _calculations(summary, dataset, facts, trajectories),
        "Is it converged?": _convergence(summary, errors),
        "How good is it?": _accuracy(summary),
        "D and activation energy": _diffusion(points, summary["arrhenius"]),
        "The electrons": _electrons(summary.get("electrons"), redox, rates, facts["element"]),
        "What to distrust": _list(
            [
                *_doubts_of_potentials(summary, dataset, trajectories),
                *_doubts_of_diffusion(points, summary["arrhenius"]),
                *_doubts_of_electrons(summary, redox, facts["element"]),
            ]
        ),
    }
    body = [f"<h2>{escape(question)}</h2>\n{answer}" for question, answer in answers.items()]
    legends = {figure: LEGENDS[Path(figure).stem] for figure in files["figures"]}
    images = [
        f"<figure>{embed_svg(figure, text)}<figcaption>{escape(text)}</figcaption></figure>"
        for figure, text in legends.items()
    ]
    write_html(path, f"{facts['run']}: results in short", [*body, f'<div class="figures">{"".join(images)}</div>'])


def _paragraph(*sentences: str) -> str:
    return f"<p>{' '.join(escape(text) for text in sentences if text)}</p>"


def _list(sentences: Sequence[str]) -> str:
    if not sentences:
        return _paragraph("None of the checks of this page found a reason.")
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in sentences)}</ul>"


def _material(structure: str | Path, facts: Mapping[str, str], trajectories: pd.DataFrame) -> str:
    """Formula with the mobile ion as x, from a structure and its name; x of the trajectories; atoms of the cell."""
    atoms = read_frames(structure)[0]
    counts = Counter(atoms.get_chemical_symbols())
    ions = counts.pop(facts["ion"], 0)
    # The formula unit is that of x, which need not be the smallest.
    x = parse_name(Path(structure).stem).x
    units = round(ions / x) if x else math.gcd(*counts.values())
    redox_first = sorted(counts, key=lambda element: element != facts["element"])
    framework = formula({element: Fraction(counts[element], units) for element in redox_first})
    text = re.sub(r"([\d/]+)", r"<sub>\1</sub>", escape(framework))
    cell = (
        f"x = {_range(trajectories['x'])}. {facts['ion']} is mobile, {facts['element'] or 'no element'} is the redox "
        f"element. Cells of production have {units} formula units ({len(atoms)} atoms at x = {ions / units:.4g})."
    )
    return f"<p>{escape(facts['ion'])}<sub>x</sub>{text}, {escape(cell)}</p>"


def _range(values: Sequence[float] | pd.Series, unit: str = "") -> str:
    """Distinct values as text; first, last and number if there are many."""
    distinct = sorted(set(values))
    if len(distinct) > MOST_NAMED:
        return f"{distinct[0]:.4g} to {distinct[-1]:.4g}{unit} ({len(distinct)} values)"
    return ", ".join(f"{value:.4g}" for value in distinct) + unit


def _calculations(
    summary: Mapping[str, Any], dataset: DatasetRecord, facts: Mapping[str, str], trajectories: pd.DataFrame
) -> str:
    labels = sum(item["labels"] for item in summary["generations"])
    number = len(summary["generations"])
    learning = (
        f"{number} generation{'' if number == 1 else 's'} of active learning with {facts['engine']} as the reference: "
        f"{dataset.train} training frames, {labels} labels requested."
    )
    if not number:
        learning = f"No learning: the ensemble {facts['ensemble']} was given (train.ensemble)."
    return _paragraph(
        learning,
        f"Their training started from networks trained on labels of {summary['teacher']}."
        if "teacher" in summary
        else "",
        f"Production MD: {len(trajectories)} trajector{'y' if len(trajectories) == 1 else 'ies'} at "
        f"{_range(trajectories['temperature_K'], ' K')}, "
        f"{trajectories['duration_ps'].sum() / FS_PER_PS:.3g} ns in total.",
    )


def _counts(values: pd.Series | Sequence[str]) -> str:
    return ", ".join(f"{count} {value}" for value, count in Counter(values).most_common())


def _convergence(summary: Mapping[str, Any], errors: pd.DataFrame) -> str:
    if not summary["generations"]:
        return _paragraph(
            "Not tested by this run: without generations no structure was judged by the gate before production."
        )
    last = summary["generations"][-1]
    reasons, times_ps = last["end_reasons"].values(), last["survived_ps"].values()
    survived = sum(reason == SURVIVED for reason in reasons)
    verdict = (
        "Yes: the gate accepted"
        if last["status"] == GateStatus.CONVERGED
        else f"No ({last['status']}): the gate refused"
    )
    test = errors[(errors["set"] == "test") & (errors["member"].astype(str) == "ensemble")].copy()
    # Members trained on labels of the teacher alone are no generation of the loop.
    test["generation"] = pd.to_numeric(test["generation"], errors="coerce")
    test = test.dropna(subset="generation").sort_values("generation")
    change = ""
    if len(test) > 1:
        first, final = test["force_mae_eV_A"].iloc[[0, -1]]
        change = f"The force error on the test configurations went from {first:.3f} to {final:.3f} eV/Å."
    return _paragraph(
        f"{verdict} generation {last['generation']}: {survived} of {len(reasons)} explore runs survived "
        f"({_range(times_ps, ' ps')}), with {last['candidates_per_ps']:.3g} candidates per ps.",
        change,
    )


def _accuracy(summary: Mapping[str, Any]) -> str:
    rows = {row["set"]: row for row in summary["errors"]}
    unseen = "test configurations, which are not used in training"
    used = {"test": unseen, "validation": "validation configurations, which end the training"}
    if not summary["generations"]:
        used = {
            name: f"{name} configurations; whether the given ensemble was trained on them is unknown" for name in used
        }
    name = next((name for name in used if name in rows), None)
    sentences = ["No frames are left out of training, so the error on new configurations is unknown."]
    if name is not None:
        row = rows[name]
        sentences = [
            f"Mean absolute errors: {row['force_mae_eV_A']:.3f} eV/Å (forces) and {row['energy_mae_meV_atom']:.1f} "
            f"meV/atom on {row['n_frames']:.0f} frames of {used[name]}."
        ]
    if left_out := summary.get("left_out"):
        forces = [row["force_mae_eV_A"] for row in left_out]
        sentences.append(
            f"Cross-validation on {len(forces)} configurations: {np.mean(forces):.3f} eV/Å "
            f"({min(forces):.3f} to {max(forces):.3f})."
        )
    return _paragraph(*sentences)


def _diffusion(points: pd.DataFrame, fits: Sequence[Mapping[str, Any]]) -> str:
    """Table of D by x and temperature with Ea; a sentence instead if there is no jump in any trajectory."""
    if points.empty or not points["n_jumps"].sum():
        limits = [] if points.empty else sorted(points["D_jumps_limit_cm2_s"].dropna().tolist())
        ends = " to ".join(dict.fromkeys(f"{limit:.1e}" for limit in [*limits[:1], *limits[-1:]]))
        limit = f"; the 95 % upper limit of D is {ends} cm²/s" if ends else ""
        return _paragraph(f"No jump in any trajectory{limit}. There is no activation energy.")
    kelvins = sorted(points["temperature_K"].unique())
    lines = []
    for x, rows in points.groupby("x"):
        by_kelvin = {row["temperature_K"]: row for row in rows.to_dict("records")}
        cells = [_coefficient(by_kelvin[kelvin]) if kelvin in by_kelvin else "" for kelvin in kelvins]
        lines.append([f"{x:.4g}", *cells, *(_activation(fit) for fit in fits if fit["x"] == x)])
    header = ["x", *(f"D at {kelvin:g} K" for kelvin in kelvins), "Ea (eV)"]
    html = "".join(
        f"<tr>{''.join(f'<{kind}>{cell}</{kind}>' for cell in row)}</tr>"
        for row, kind in ((header, "th"), *((line, "td") for line in lines))
    )
    text = "D from jumps in cm²/s with the number of jumps, and Ea of its Arrhenius fit; in brackets: 95 % intervals."
    return f"{_paragraph(text)}<div><table>{html}</table></div>"


def _coefficient(row: Mapping[Any, Any]) -> str:
    """D of a point with its interval as HTML, or its limit."""
    jumps = f"{row['n_jumps']:.0f} jump{'' if row['n_jumps'] == 1 else 's'}"
    value, error, limit = (row[f"D_jumps{end}_cm2_s"] for end in ("", "_error", "_limit"))
    if limit > 0:
        power = math.floor(math.log10(limit))
        return f"&lt; {limit / 10**power:.1f}·{_power_of_ten(power)}; {jumps}"
    if not value > 0:
        return "no value"
    count = (value / error) ** 2
    low, high = (float(end) * value / count for end in count_interval(np.array(count)))
    power = math.floor(math.log10(value))
    value, low, high = (number / 10**power for number in (value, low, high))
    return f"{value:.1f} ({low:.1f} to {high:.1f})·{_power_of_ten(power)}; {jumps}"


def _power_of_ten(power: int) -> str:
    return f"10<sup>{power}</sup>".replace("-", "−")


def _activation(fit: Mapping[str, Any]) -> str:
    if not fit["fitted"]:
        return escape(f"no fit: {fit['reason']}")
    text = f"{fit['Ea_eV']:z.2f} ({fit['Ea_low_eV']:z.2f} to {fit['Ea_high_eV']:z.2f})"
    return text.replace("inf", "∞").replace("-", "−")


def _electrons(
    electrons: Mapping[str, Any] | None, redox: pd.DataFrame | None, rates: pd.DataFrame | None, element: str
) -> str:
    sentences = []
    if rates is not None:
        sentences.append(
            f"{rates['n_hops'].sum():.0f} electron hops in the MD, {rates['n_lasting'].sum():.0f} of them without "
            "rattling."
        )
    if electrons is None:
        return _paragraph("There is no density model, so no density or charge was computed.", *sentences)
    rows = electrons["nmae_percent"]
    name = next((name for name in ("test", "validation", "train") if name in rows), None)
    if name is not None:
        nmae, same = rows[name], electrons.get("same_state", {}).get(name)
        states = f"; {same[0]} of {same[1]} {element} have the oxidation state of the reference" if same else ""
        sentences.append(
            f"Density model on {name} densities: NMAE {nmae['nmae_total_percent']:.1f} % (total) and "
            f"{nmae['nmae_spin_percent']:.0f} % (spin){states}."
        )
    if redox is not None and len(redox):
        hops = redox["n_hops"].sum()
        sentences.append(f"{hops:.0f} electron hop{'' if hops == 1 else 's'} found by charges along the trajectories.")
    return _paragraph(*sentences)


def _named(rows: pd.DataFrame) -> str:
    """Points as text, the first few by name."""
    names = [f"x = {x:.4g} at {kelvin:g} K" for x, kelvin in rows[["x", "temperature_K"]].to_numpy()]
    return ", ".join(names[:MOST_NAMED]) + (", …" if len(names) > MOST_NAMED else "")


def _doubts_of_potentials(summary: Mapping[str, Any], dataset: DatasetRecord, trajectories: pd.DataFrame) -> list[str]:
    doubts, errors = [], {row["set"]: row["force_mae_eV_A"] for row in summary["errors"]}
    if not summary["generations"]:
        doubts.append("The errors are those of new configurations only if the given ensemble was not trained on them.")
    elif "test" not in errors:
        doubts.append("There is no test configuration: errors on new configurations are not known.")
    elif errors["test"] > LARGE_FACTOR * errors.get("train", math.inf):
        doubts.append(
            f"The force error on test configurations is {errors['test'] / errors['train']:.1f} times that on training "
            "frames: the training data do not cover new configurations."
        )
    scale = summary["calibration_scale"]
    if scale > LARGE_FACTOR:
        doubts.append(
            f"The spread between members underestimates the errors: they are {scale:.1f} times as large, also at the "
            "thresholds of the gate."
        )
    explored_ps = max((max(item["survived_ps"].values(), default=0.0) for item in summary["generations"]), default=0.0)
    if not summary["generations"]:
        doubts.append("The ensemble was given: no gate has tested it on structures like those of production.")
    longest_ps = trajectories["duration_ps"].max()
    if summary["generations"] and longest_ps > explored_ps:
        doubts.append(
            f"Production is {longest_ps:.3g} ps long, the gate was tested for {explored_ps:.3g} ps: later structures "
            "may lie outside the training data."
        )
    early = trajectories[trajectories["end_reason"] != COMPLETED]
    if len(early):
        reasons = _counts(early["end_reason"])
        doubts.append(f"Ended early: {len(early)} of {len(trajectories)} trajectories ({_named(early)}): {reasons}.")
    moving = trajectories[trajectories["diffusing_framework"].fillna("") != ""]
    if len(moving):
        elements = sorted({element for text in moving["diffusing_framework"] for element in text.split()})
        doubts.append(
            f"Atoms besides the mobile ion go farther than a jump ({', '.join(elements)}) in {len(moving)} of "
            f"{len(trajectories)} trajectories ({_named(moving)}): they diffuse, or the crystal melts or falls apart."
        )
    refused = Counter(item["reason"] for item in dataset.left_out if item["reason"] != "excluded")
    if refused:
        doubts.append(f"Labelled frames refused for training: {_counts(list(refused.elements()))}.")
    last = [item for item in summary["generations"] if item.get("labels_asked")]
    asked, found = (sum(item[name] for item in last) for name in ("labels_asked", "labels_as_asked"))
    if found < asked:
        doubts.append(f"{asked - found} of {asked} labels are in another electronic state than that asked for.")
    return doubts


def _doubts_of_diffusion(points: pd.DataFrame, fits: Sequence[Mapping[str, Any]]) -> list[str]:
    if points.empty:
        return ["There is no trajectory to compute D from."]
    doubts, count = [], len(points)
    few, limits = points[points["n_jumps"] < FEW_JUMPS], points[points["D_jumps_limit_cm2_s"] > 0]
    if not points["n_jumps"].any():
        doubts.append("There is no jump in any trajectory: every D is an upper limit.")
    elif len(few):
        least = few.loc[[few["n_jumps"].idxmin()]]
        doubts.append(
            f"Few jumps: {len(few)} of {count} values of D rest on fewer than {FEW_JUMPS} jumps (fewest: "
            f"{least['n_jumps'].iloc[0]:.0f}, {_named(least)}); upper limits: {len(limits)}."
        )
    undecided = points[points["msd_regime"] != "diffusive"]
    if len(undecided):
        doubts.append(
            f"Diffusion is not resolved: the MSD is not diffusive at {len(undecided)} of {count} points "
            f"({_counts(undecided['msd_regime'])})."
        )
    if (points["replicas"] == 1).any():
        single = int((points["replicas"] == 1).sum())
        doubts.append(f"{single} of {count} points have one trajectory: differences between orderings are not known.")
    missing = [f"{fit['x']:.4g}" for fit in fits if not fit["fitted"]]
    if missing:
        doubts.append(f"There is no activation energy at x = {', '.join(missing)}.")
    unsure = [f"{fit['x']:.4g}" for fit in fits if fit["fitted"] and not fit["Ea_low_eV"] > 0.5 * fit["Ea_eV"]]
    if unsure:
        doubts.append(f"The 95 % interval of Ea reaches below half of its value at x = {', '.join(unsure)}.")
    return doubts


def _doubts_of_electrons(summary: Mapping[str, Any], redox: pd.DataFrame | None, element: str) -> list[str]:
    electrons = summary.get("electrons")
    if electrons is None or redox is None:
        return []
    doubts, nmae = [], electrons["nmae_percent"]
    if "test" not in nmae:
        doubts.append("There is no test density: errors of the density model on new configurations are not known.")
    elif nmae["test"]["nmae_spin_percent"] > LARGE_SPIN_NMAE_PERCENT:
        doubts.append(
            f"The spin density of test frames is wrong by {nmae['test']['nmae_spin_percent']:.0f} %: orbitals of "
            f"{element} are assigned wrongly."
        )
    wrong = redox[(redox["n_high_mean"] - redox["n_high_expected"]).abs() > STATE_TOLERANCE]
    if len(wrong):
        worst = wrong.loc[[(wrong["n_high_mean"] - wrong["n_high_expected"]).abs().idxmax()]]
        doubts.append(
            f"Charges violate neutrality at {len(wrong)} of {len(redox)} points: {worst['n_high_mean'].iloc[0]:.2f} "
            f"{element} in the higher state where {worst['n_high_expected'].iloc[0]:g} are required ({_named(worst)})."
        )
    for row in electrons.get("same_state_along", []):
        if row["same_atoms_share"] - row["same_atoms_chance"] < 0.5 * (1 - row["same_atoms_chance"]):
            share, chance = (100 * row[f"same_atoms_{name}"] for name in ("share", "chance"))
            doubts.append(
                f"At x = {row['x']:.4g}, {row['temperature_K']:g} K charges give the state of the MD for {share:.0f} % "
                f"of the atoms (by chance {chance:.0f} %)."
            )
    return doubts
