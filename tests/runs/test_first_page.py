"""The first page of a run: every number against tables read by csv and json, and a sentence for whatever is missing."""

import base64
import csv
import json
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from ase import Atoms
from ase.io import write
from scipy.stats import chi2

from redoxmd.config import parse_config
from redoxmd.figures.catalogue import first_page_figures
from redoxmd.runs import first_page
from redoxmd.runs.captions import captions_of
from redoxmd.runs.first_page import write_first_page
from tests.scripts import execute

FACTS = {"run": "r", "ion": "Na", "element": "V", "engine": "gpaw"}
SVG = '<svg xmlns="http://www.w3.org/2000/svg"/>'
KELVINS = (800.0, 1000.0)
JUMPS = {800.0: 1, 1000.0: 4}


def diffusivities(jumps):
    """Rows as in diffusivities.csv: a limit for fewer than two jumps."""
    return [
        {
            "x": 2.5,
            "temperature_K": kelvin,
            "n_jumps": jumps[kelvin],
            "D_jumps_cm2_s": 0.5e-6 * jumps[kelvin],
            "D_jumps_error_cm2_s": 0.5e-6 * jumps[kelvin] ** 0.5,
            "D_jumps_limit_cm2_s": 3.1e-6 if jumps[kelvin] < 2 else "nan",
            "replicas": 1,
            "msd_regime": "diffusive" if kelvin > 900 else "subdiffusive",
        }
        for kelvin in KELVINS
    ]


def errors(name, force, frames):
    row = {"member": -1, "set": name, "force_mae_eV_A": force, "energy_mae_meV_atom": 10 * force, "n_frames": frames}
    return [row]


def summary(jumps=JUMPS, **more):
    fit = {"x": 2.5, "fitted": True, "Ea_eV": 0.31, "Ea_low_eV": -0.001, "Ea_high_eV": "inf", "reason": "nan"}
    generation = {"phase": "small", "candidates_per_ps": 3.25, "survived_ps": {"a": 2.0, "b": 1.5}}
    ends = {"end_reasons": {"a": "survived", "b": "close_contact"}}
    return {
        "errors": errors("train", 0.1, 124) + errors("test", 0.348, 28),
        "calibration_scale": 2.8,
        "generations": [
            {"generation": 0, "status": "go_on", "labels": 4, **generation, **ends},
            {"generation": 1, "status": "converged", "labels": 0, **generation, **ends},
        ],
        "diffusivities": diffusivities(jumps),
        "arrhenius": [fit],
        "left_out": [{"force_mae_eV_A": force} for force in (0.2, 0.4)],
        "electrons": {
            "nmae_percent": {"test": {"nmae_total_percent": 2.52, "nmae_spin_percent": 65.4}},
            "same_state": {"test": [6, 8]},
            "same_state_along": [
                {"x": 2.5, "temperature_K": 800.0, "same_atoms_share": 0.55, "same_atoms_chance": 0.5},
                {"x": 2.5, "temperature_K": 1000.0, "same_atoms_share": "nan", "same_atoms_chance": "nan"},
            ],
        },
        **more,
    }


def put_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def files(folder, record, **without):
    """The files that the rule passes, of a run with 2 trajectories of 10 ps in a cell of 2 × Na2.5V2P3O12."""
    atoms = Atoms("Na5P6O24V4", [[i, 0, 0] for i in range(39)], cell=[40, 9, 9], pbc=True)
    write(folder / "x2.500_preferred0_1x1x1.extxyz", atoms)
    (folder / "summary.json").write_text(json.dumps(record))
    left_out = [{"reason": "excluded"}] * 3 + [{"reason": "corrupted"}] * 2
    (folder / "dataset.json").write_text(json.dumps({"left_out": left_out, "train": 640}))
    ends = ("spread_above_high", "completed")
    rows = [
        {"x": 2.5, "temperature_K": kelvin, "duration_ps": 10.0, "end_reason": end, "diffusing_framework": moving}
        for kelvin, end, moving in zip(KELVINS, ends, ("O V", ""), strict=True)
    ]
    learning = [
        {"generation": number, "set": "test", "member": member, "force_mae_eV_A": force}
        for number, force in ((0, 0.335), (1, 0.345))
        for member in ("ensemble", "0")
    ]
    redox = [
        {"x": 2.5, "temperature_K": kelvin, "n_high_mean": mean, "n_high_expected": 1.0, "n_hops": 1}
        for kelvin, mean in zip(KELVINS, (0.9, 0.25), strict=True)
    ]
    for name in ("learning_curve", "fig8_arrhenius", "fig3c_histogram"):
        (folder / f"{name}.svg").write_text(SVG)
    return {
        "summary": str(folder / "summary.json"),
        "dataset": str(folder / "dataset.json"),
        "errors": put_csv(folder / "learning_curve.csv", learning),
        "trajectories": put_csv(folder / "trajectories.csv", rows),
        "structure": str(folder / "x2.500_preferred0_1x1x1.extxyz"),
        "redox": put_csv(folder / "redox.csv", redox),
        "figures": [str(folder / f"{name}.svg") for name in ("learning_curve", "fig8_arrhenius", "fig3c_histogram")],
    } | without


class Reader(HTMLParser):
    """Text of a page by heading, cells separated by |, and the data of its images."""

    def __init__(self, page):
        super().__init__()
        self.sections, self.images, self.tag = {"": ""}, [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tag = tag
        if tag == "h2":
            self.sections[""] = ""
        if tag == "img":
            self.images.append(dict(attrs)["src"])

    def handle_endtag(self, tag):
        self.tag = ""
        if tag in ("td", "li", "p"):
            self.sections[list(self.sections)[-1]] += "|"

    def handle_data(self, data):
        if self.tag == "h2":
            self.sections[data] = ""
        elif self.tag not in ("title", "h1", "style"):
            self.sections[list(self.sections)[-1]] += data


def page_of(folder, record, **without):
    write_first_page(folder / "summary.html", files(folder, record, **without), FACTS)
    return Reader((folder / "summary.html").read_text(encoding="utf-8"))


def test_every_number_is_that_of_the_tables(tmp_path):
    given = files(tmp_path, summary(teacher="chgnet.model.dynamics.CHGNetCalculator"))
    target = str(tmp_path / "summary.html")
    execute("first_page", tmp_path, {"caption": FACTS}, given, {"page": target})
    page = Reader((tmp_path / "summary.html").read_text(encoding="utf-8"))
    record = json.loads((tmp_path / "summary.json").read_text())
    with (tmp_path / "trajectories.csv").open() as table:
        trajectories = list(csv.DictReader(table))
    with (tmp_path / "redox.csv").open() as table:
        redox = list(csv.DictReader(table))
    total_ns = sum(float(row["duration_ps"]) for row in trajectories) / 1000
    # Garwood's interval from the chi-square distribution.
    jumps, D = 4, record["diffusivities"][1]["D_jumps_cm2_s"]
    low, high = (D * chi2.ppf(share, degrees) / 2 / jumps for share, degrees in ((0.025, 8), (0.975, 10)))
    rows = {row["set"]: row for row in record["errors"]}
    expected = {
        "What material?": ["NaxV2P3O12, x = 2.5.", "2 formula units (39 atoms at x = 2.5)"],
        "What was run?": [
            "gpaw as the reference: 640 training frames, 4 labels requested",
            "Their training started from networks trained on labels of chgnet.model.dynamics.CHGNetCalculator.",
            f"{len(trajectories)} trajectories at 800, 1000 K, {total_ns:g} ns in total.",
        ],
        "Is it converged?": [
            "Yes: the gate accepted generation 1: 1 of 2 explore runs survived (1.5, 2 ps), with 3.25 candidates",
            "from 0.335 to 0.345 eV/Å",
        ],
        "How good is it?": [
            f"{rows['test']['force_mae_eV_A']:.3f} eV/Å (forces) and 3.5 meV/atom on 28 frames of test",
            "Cross-validation on 2 configurations: 0.300 eV/Å (0.200 to 0.400)",
        ],
        "D and activation energy": [
            "2.5|< 3.1·10−6; 1 jump|",
            f"|{D * 1e6:.1f} ({low * 1e6:.1f} to {high * 1e6:.1f})·10−6; 4 jumps|",
            "|0.31 (0.00 to ∞)|",
        ],
        "The electrons": [
            "NMAE 2.5 % (total) and 65 % (spin); 6 of 8 V",
            f"{sum(int(row['n_hops']) for row in redox)} electron hops found",
        ],
        "What to distrust": [
            "3.5 times that on training frames",
            "they are 2.8 times as large",
            "Production is 10 ps long, the gate was tested for 2 ps",
            "Ended early: 1 of 2 trajectories (x = 2.5 at 800 K): 1 spread_above_high",
            "farther than a jump (O, V) in 1 of 2 trajectories (x = 2.5 at 800 K)",
            "refused for training: 2 corrupted",
            "2 of 2 values of D rest on fewer than 10 jumps (fewest: 1, x = 2.5 at 800 K); upper limits: 1.",
            "the MSD is not diffusive at 1 of 2 points (1 subdiffusive)",
            "2 of 2 points have one trajectory",
            "The 95 % interval of Ea reaches below half of its value at x = 2.5",
            "spin density of test frames is wrong by 65 %",
            "at 1 of 2 points: 0.25 V in the higher state where 1 are required (x = 2.5 at 1000 K)",
            "At x = 2.5, 800 K charges give the state of the MD for 55 % of the atoms (by chance 50 %)",
        ],
    }
    missing = [text for section, texts in expected.items() for text in texts if text not in page.sections[section]]
    assert missing == []
    assert page.sections["What to distrust"].count("|") == len(expected["What to distrust"])
    assert [base64.b64decode(source.partition(",")[2]).decode() for source in page.images] == [SVG] * 3
    assert re.findall(r'(?:src|href)="(?!data:)', (tmp_path / "summary.html").read_text(encoding="utf-8")) == []


def test_a_run_without_jumps_density_test_set_and_convergence_says_so(tmp_path):
    record = summary(dict.fromkeys(KELVINS, 0), errors=errors("train", 0.1, 124))
    del record["electrons"], record["left_out"]
    record["generations"] = record["generations"][:1]
    record["arrhenius"] = [{"x": 2.5, "fitted": False, "reason": "jumps at 0 of 2 temperatures"}]
    page = page_of(tmp_path, record, redox=None)
    assert "networks trained on labels" not in page.sections["What was run?"]
    for section, text in {
        "Is it converged?": "No (go_on): the gate refused generation 0",
        "How good is it?": "the error on new configurations is unknown",
        "D and activation energy": "No jump in any trajectory; the 95 % upper limit of D is 3.1e-06 cm²/s.",
        "What was run?": "1 generation of active learning with gpaw",
        "The electrons": "There is no density model",
    }.items():
        assert text in page.sections[section]
    doubts = [text.strip() for text in page.sections["What to distrust"].split("|")]
    for text in (
        "There is no test configuration: errors on new configurations are not known.",
        "There is no jump in any trajectory: every D is an upper limit.",
        "There is no activation energy at x = 2.5.",
    ):
        assert text in doubts


def test_a_solid_electrolyte_whose_engine_is_a_calculator_of_ASE(tmp_path):
    """Facts from a config without redox element, and x of an eleventh, which has no short decimal form."""
    config = parse_config(
        {
            "run": "r",
            "structures": {
                "source": "Na3PS4.cif",
                "mobile_ion": "Na",
                "redox_element": None,
                "formula_units": 2,
                "preferred_site": "Na1",
            },
            "engine": {"name": "ase", "ase": {"calculator": "ase.calculators.emt.EMT"}},
            "density": {"enabled": False},
        }
    )
    record = summary(arrhenius=[{"x": 28 / 11, "fitted": False, "reason": "few temperatures"}])
    del record["electrons"]
    write_first_page(tmp_path / "r.html", files(tmp_path, record, redox=None), captions_of(config)["first_page"])
    sections = Reader((tmp_path / "r.html").read_text(encoding="utf-8")).sections
    assert "Na is mobile, no element is the redox element." in sections["What material?"]
    assert "2 generations of active learning with EMT as the reference" in sections["What was run?"]
    assert "There is no activation energy at x = 2.545." in sections["What to distrust"]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        # Twice the smallest unit, as a config may count; three metals on one site; no ion in the cell.
        (
            "x0.750_preferred0_1x1x1",
            "Mg3Cr8O16",
            "MgxCr2O4, x = 2.5. Mg is mobile, Cr is the redox element. Cells of "
            "production have 4 formula units (27 atoms at x = 0.75).",
        ),
        (
            "x0.666667_random0_1x1x1",
            "Mg6Cr3Mn3Co3O18",
            "MgxCr1/3Mn1/3Co1/3O2, x = 2.5. Mg is mobile, Cr is the redox "
            "element. Cells of production have 9 formula units (33 atoms at x = 0.6667).",
        ),
        (
            "x0.000_random0_1x1x1",
            "Cr8O16",
            "MgxCrO2, x = 2.5. Mg is mobile, Cr is the redox element. Cells of "
            "production have 8 formula units (24 atoms at x = 0).",
        ),
    ],
)
def test_the_formula_unit_is_that_of_x(tmp_path, name, content, text):
    atoms = Atoms(content, cell=[9, 9, 9], pbc=True)
    write(tmp_path / f"{name}.extxyz", atoms)
    given = files(tmp_path, summary(), structure=str(tmp_path / f"{name}.extxyz"))
    write_first_page(tmp_path / "r.html", given, FACTS | {"ion": "Mg", "element": "Cr"})
    page = Reader((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.sections["What material?"].strip().strip("|") == text


def test_a_good_run_has_nothing_to_distrust(tmp_path):
    record = summary(dict.fromkeys(KELVINS, 400), calibration_scale=1.1)
    record["errors"] = errors("train", 0.1, 124) + errors("test", 0.12, 28)
    record["arrhenius"][0] |= {"Ea_low_eV": 0.28, "Ea_high_eV": 0.34}
    record["generations"][-1]["survived_ps"] = {"a": 20.0}
    for row in record["diffusivities"]:
        row |= {"replicas": 3, "msd_regime": "diffusive"}
    del record["electrons"]
    given = files(tmp_path, record, redox=None)
    (tmp_path / "dataset.json").write_text(json.dumps({"left_out": [], "train": 640}))
    text = (tmp_path / "trajectories.csv").read_text()
    (tmp_path / "trajectories.csv").write_text(text.replace("spread_above_high,O V", "completed,"))
    write_first_page(tmp_path / "summary.html", given, FACTS)
    page = Reader((tmp_path / "summary.html").read_text(encoding="utf-8"))
    assert page.sections["What to distrust"].strip().startswith("None of the checks of this page found a reason.|")


def test_a_run_of_states_counts_the_hops_of_its_MD(tmp_path):
    rates = put_csv(tmp_path / "rates.csv", [{"n_hops": 9, "n_lasting": 4}, {"n_hops": 3, "n_lasting": 1}])
    page = page_of(tmp_path, summary(), rates=rates)
    assert "12 electron hops in the MD, 5 of them without rattling." in page.sections["The electrons"]


def test_the_change_of_the_error_is_that_of_the_loop():
    """From generation 0 to 11, which as text comes before 2; the teacher's members are no generation."""
    rows = [("teacher", 0.9), *((str(number), 0.2 - 0.01 * number) for number in range(12))]
    table = pd.DataFrame(rows, columns=["generation", "force_mae_eV_A"]).assign(set="test", member="ensemble")
    assert "went from 0.200 to 0.090 eV/Å" in first_page._convergence(summary(), table)
    assert "went from" not in first_page._convergence(summary(), table[:2])


@pytest.mark.parametrize(
    ("more", "third"),
    [
        ({}, "fig3c_histogram"),
        ({"density": {"enabled": False}}, "fig3a_errors"),
        (
            {
                "train": {"states": "aware"},
                "electrons": {"levels": {"V": {3: {"moment_muB": 1.9}, 4: {"moment_muB": 1.1}}}},
            },
            "electron_hops",
        ),
    ],
)
def test_the_figures_are_convergence_diffusion_and_electrons(more, third):
    assert first_page_figures(parse_config({"run": "r", **more})) == ("learning_curve", "fig8_arrhenius", third)
