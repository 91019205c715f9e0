import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from redoxmd.config import parse_config
from redoxmd.runs.plan import make_plan

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_of_another_material_can_run():
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    config = parse_config(yaml.safe_load(example))
    plan = make_plan(config, ROOT)
    assert [problem for problem in plan.problems if "engine" not in problem] == []
    assert plan.jobs["aimd"] == 3


def test_the_picture_shows_the_rules_of_the_loop():
    (picture,) = re.findall(r"```mermaid\n(.*?)```", README, re.DOTALL)
    rules = set()
    for path in (ROOT / "rules").glob("*.smk"):
        if path.stem != "figures":
            rules |= set(re.findall(r"^(?:rule|checkpoint) (\w+):", path.read_text(), re.MULTILINE))
    # One box for all structures.
    assert rules - {"structure"} <= set(re.findall(r"\w+", picture))


def test_times_are_those_of_the_jobs():
    """Against the benchmark files of the runs (docs/quickstart/times.csv, written by `python -m benchmarks.times`)."""
    table = pd.read_csv(ROOT / "docs/quickstart/times.csv")
    totals = table.groupby("run")["cpu_minutes"].sum()
    stages = table[table["run"] == "quickstart"].set_index("stage")["cpu_minutes"]
    ((total, listed),) = re.findall(r"(\d+) CPU-minutes in jobs \(([^;]+);", README)
    assert int(total) == round(totals["quickstart"])
    named = re.findall(r"(\w+) (\d+)", listed)
    assert len(named) >= 5 and all(int(minutes) == round(stages[stage]) for stage, minutes in named)
    for name, run in (("config", "quickstart"), ("demo", "demo")):
        first, _ = (ROOT / f"config/{name}.yaml").read_text(encoding="utf-8").split("\n", 1)
        (about,) = re.findall(r"about (\d+) CPU-minutes", first)
        assert int(about) == pytest.approx(totals[run], abs=2)


def anchors(page):
    """Anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "config/README.md"]
    for page in [*pages, *(ROOT / "docs").rglob("*.md")]:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                linked = page.parent / target if target else page
                assert linked.exists(), f"{page.name}: {target}"
                assert not anchor or anchor in anchors(linked), f"{page.name}: {target}#{anchor}"


def test_commands_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?<!\w)make ([a-z][a-z-]*)", README)) <= targets
