"""Repeat refused labels and reference MDs after the settings of the engine or of the electronic states have changed."""

from __future__ import annotations

from pathlib import Path

from redoxmd.config.sections import Config
from redoxmd.engines import attempt_hash
from redoxmd.files.records import read_json


def retry_refused(
    results: Path, config: Config, *, anyway: bool = False, partial: bool = False
) -> tuple[dict[Path, str], list[str]]:
    """Remove outputs of refused labels and reference MDs, so that the next run repeats them.

    A refusal stands as long as the section engine and the levels and tries of electrons are unchanged. The files that
    explain a refusal stay in results/<run>/refused.

    Args:
        anyway: also if these settings have not changed.
        partial: also runs that ended early; their frames before the refused one are lost.

    Returns:
        Removed records → name and reason, and names and reasons of those not removed because these settings have not
        changed. Snakemake needs `--forcerun` for the records if later stages have used them, because it does not remake
        a missing file whose dependents exist.
    """
    current = attempt_hash(config.engine, config.electrons)
    labels = [
        (path, path.stem, [path.with_suffix(".extxyz"), path.with_suffix(".densities.h5")])
        for path in sorted(results.glob("label/gen*/g*f*.json"))
    ]
    runs = [
        (path, path.parent.name, [path.with_name("frames.extxyz"), path.with_name("densities.h5")])
        for path in sorted(results.glob("aimd/*/record.json"))
    ]
    removed, unchanged = {}, []
    for path, name, data in labels + runs:
        record = read_json(path)
        refusal = record.get("refusal")
        if refusal is None or (record["n_frames"] and not partial):
            continue
        line = f"{name}: {refusal['reason']} at step {refusal['step']}, {refusal['detail']}"
        if record.get("attempt") == current and not anyway:
            unchanged.append(line)
            continue
        removed[path] = line
        for output in (path, *data):
            output.unlink(missing_ok=True)
    return removed, unchanged
