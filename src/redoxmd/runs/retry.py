"""Another go at what the reference refused, once something has changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from redoxmd.config.sections import Config
from redoxmd.engines import attempt_hash
from redoxmd.files.records import read_json

# Outputs of a label and of a reference MD, beside their record.
LABEL_SUFFIXES = (".json", ".extxyz", ".densities.h5")
AIMD_FILES = ("record.json", "frames.extxyz", "densities.h5")


@dataclass
class Retry:
    """What was taken out of the results, and what was left because nothing has changed: names with reasons.

    Attributes:
        records: those taken out; Snakemake must be told of them where the run has gone on, for it does not miss a file
            whose successors are there.
    """

    again: list[str] = field(default_factory=list)
    records: list[Path] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)


def retry_refused(results: Path, config: Config, *, anyway: bool = False, partial: bool = False) -> Retry:
    """Remove outputs of refused labels and reference MDs, so that the next run does them again.

    A refusal is final as long as the engine section is the one it happened under. What explains a refusal stays in
    results/<run>/refused.

    Args:
        results: folder of the run.
        config: of the run, as it is now.
        anyway: also where nothing has changed.
        partial: also runs that ended early with frames before the refused one, which are lost with them.
    """
    now = attempt_hash(config.engine)
    found = Retry()
    labels = [(path, path.stem) for path in sorted(results.glob("label/gen*/g*f*.json"))]
    runs = [(path, path.parent.name) for path in sorted(results.glob("aimd/*/record.json"))]
    for path, name in labels + runs:
        record = read_json(path)
        refusal = record.get("refusal")
        if refusal is None or (record["n_frames"] and not partial):
            continue
        line = f"{name}: {refusal['reason']} at step {refusal['step']}, {refusal['detail']}"
        if record.get("attempt") == now and not anyway:
            found.unchanged.append(line)
            continue
        found.again.append(line)
        found.records.append(path)
        for output in _outputs(path):
            output.unlink(missing_ok=True)
    return found


def _outputs(record: Path) -> list[Path]:
    if record.name == "record.json":
        return [record.parent / name for name in AIMD_FILES]
    return [record.with_name(record.stem + suffix) for suffix in LABEL_SUFFIXES]
