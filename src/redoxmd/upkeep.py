"""The command line around a run: `redoxmd recover`, `trace`, and `check --changes`."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT = Path("config/config.yaml")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `recover` and `trace`."""
    text = "mend what a killed driver left: locks, jobs that run on, half-done outputs, temporary files"
    recover = commands.add_parser("recover", help=text, description=text)
    recover.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT)
    recover.add_argument("--dry-run", action="store_true", help="only name what is found")
    recover.set_defaults(command=_recover)
    text = "print the chain of files behind a figure (or any file), with checksums and versions"
    trace = commands.add_parser("trace", help=text, description=text)
    trace.add_argument("figure", metavar="FIGURE", help="a figure's name, or a file of the run")
    trace.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT)
    trace.add_argument("--all", action="store_true", help="name every file, however many a rule made")
    trace.set_defaults(command=_trace)


def _recover(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.recover import find_leftovers, mend

    run = load_config(options.config).run
    found = find_leftovers(run)
    lines = found.lines()
    print("\n".join(lines or ["nothing left over"]))
    if options.dry_run:
        print(f"`redoxmd recover {options.config}` mends this" if lines else "nothing to mend")
        return 0
    mend(found)
    print(f"{len(lines)} mended; start Snakemake again" if lines else "nothing to mend")
    return 0


def _trace(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.provenance import NAMED, describe_chain
    from redoxmd.records import read_json

    results = Path("results") / load_config(options.config).run
    name = options.figure
    if "/" not in name:
        name = f"{results}/figures/{Path(name).stem}.csv"
    manifest = read_json(results / "manifest.json")
    print(describe_chain(manifest, name, named=len(manifest["files"]) if options.all else NAMED))
    return 0


def check_changes(config_path: Path) -> int:
    """Print what the next start would do; `redoxmd check --changes`."""
    from redoxmd.changes import describe_changes, dry_run, planned_jobs
    from redoxmd.config import load_config
    from redoxmd.mixing import refuse_mixing

    config = load_config(config_path)
    refuse_mixing(Path("results") / config.run, config)
    print(describe_changes(planned_jobs(dry_run(config_path)), config))
    return 0
