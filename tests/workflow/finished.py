"""A finished toy campaign without its computing: what Snakemake remembers is real, the outputs are empty.

`snakemake --touch` walks the whole DAG, checkpoint by checkpoint, and records for every output the rule, inputs and
parameters as a real job's end does (same function, `persistence.finished`); only what the gates decided is given.
"""

import json
import os
import time

from redoxmd.config import load_config
from redoxmd.engines import settings_hash
from redoxmd.files.records import plain
from redoxmd.runs.job_records import decoded_name
from tests.workflow.test_workflow import TOY, repository, snakemake

KEPT = ("explore", "select", "gate")


def explored_with(config, phase):
    """Settings as the gate's script records them."""
    sections = {name: plain(getattr(config, name)) for name in KEPT}
    dropped = ("phases", "keep_labelled")
    sections["explore"] = {key: value for key, value in sections["explore"].items() if key not in dropped}
    return {**sections, "length_ps": phase.length_ps}


def finished_campaign(folder, path=TOY, labels=(2,)):
    """Folder with a run of so many labels in each generation but the last, which converged."""
    repository(folder)
    config = load_config(path)
    results = folder / "results" / config.run
    (results / "gate").mkdir(parents=True)
    last = len(labels)
    for gen in range(last + 1):
        phase = config.explore.phases[0 if gen == 0 else -1]
        decision = {
            "phase": phase.name,
            "status": "converged" if gen == last else "go_on",
            "next_phase": "" if gen == last else config.explore.phases[-1].name,
            "label_ids": [] if gen == last else [f"g{gen}f{i}" for i in range(labels[gen])],
            "settings": explored_with(config, phase),
        }
        (results / f"gate/gen{gen}.json").write_text(json.dumps(decision, sort_keys=True))
    touched = snakemake(folder, "--touch", "--cores", "2", "--configfile", str(path))
    assert touched.returncode == 0, touched.stdout[-1000:] + touched.stderr[-3000:]
    metadata = folder / ".snakemake/metadata"
    names = [decoded_name(record, metadata) for record in metadata.rglob("*") if record.is_file()]
    frame = f'1\nsettings_hash={settings_hash(config.engine)} pbc="F F F"\nNa 0 0 0\n'
    for name in names:
        output = folder / name
        output.parent.mkdir(parents=True, exist_ok=True)
        if not output.exists():
            output.write_text(frame if output.name == "frames.extxyz" else "")
    now = time.time()
    for file in results.rglob("*"):
        os.utime(file, (now, now))
    return folder
