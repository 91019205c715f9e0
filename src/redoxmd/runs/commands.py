"""The command line around a run: `redoxmd recover`, `retry`, `trace`, and `check --changes`."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT = Path("config/config.yaml")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `recover`, `retry` and `trace`."""
    _add_retry(commands)
    text = "mend what a killed driver left: locks, jobs that run on, half-done outputs, temporary files"
    recover = commands.add_parser("recover", help=text, description=text)
    recover.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT)
    recover.add_argument("--dry-run", action="store_true", help="only name what is found")
    recover.add_argument(
        "--jobs-gone", action="store_true", help="do not ask Slurm: no job of the run is in its queue any more"
    )
    recover.set_defaults(command=_recover)
    text = "print the chain of files behind a figure (or any file), with checksums and versions"
    trace = commands.add_parser("trace", help=text, description=text)
    trace.add_argument("figure", metavar="FIGURE", help="a figure's name, or a file of the run")
    trace.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT)
    trace.add_argument("--all", action="store_true", help="name every file, however many a rule made")
    trace.set_defaults(command=_trace)


def _add_retry(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "take refused labels out of the results, so that the next run does them again"
    command = commands.add_parser("retry", help=text, description=text)
    command.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT)
    command.add_argument("--anyway", action="store_true", help="also where the engine section has not changed")
    command.add_argument(
        "--partial", action="store_true", help="also runs that ended early; their earlier frames are lost"
    )
    command.set_defaults(command=_retry)


def _retry(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.runs.retry import retry_refused

    config = load_config(options.config)
    found = retry_refused(Path("results") / config.run, config, anyway=options.anyway, partial=options.partial)
    for line in found.again:
        print(f"again: {line}")
    for line in found.unchanged:
        print(f"left, the engine section is what it was: {line}")
    print(f"{len(found.again)} to be done again by the next run, {len(found.unchanged)} left")
    if found.records:
        files = " ".join(map(str, found.records))
        print(f"where the run has gone on from them:\nsnakemake --configfile {options.config} --forcerun {files}")
    return 0


def _recover(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.runs.recover import find_leftovers, mend

    run = load_config(options.config).run
    found = find_leftovers(run, jobs_gone=options.jobs_gone)
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
    from redoxmd.files.records import read_json
    from redoxmd.runs.provenance import NAMED, describe_chain

    results = Path("results") / load_config(options.config).run
    name = options.figure
    if "/" not in name:
        name = f"{results}/figures/{Path(name).stem}.csv"
    manifest = read_json(results / "manifest.json")
    print(describe_chain(manifest, name, named=len(manifest["files"]) if options.all else NAMED))
    return 0


def check_changes(config_path: Path) -> int:
    """Print what the next start would do; `redoxmd check --changes`."""
    from redoxmd.config import load_config
    from redoxmd.runs.changes import describe_changes, dry_run, planned_jobs
    from redoxmd.runs.mixing import refuse_mixing

    config = load_config(config_path)
    refuse_mixing(Path("results") / config.run, config)
    print(describe_changes(planned_jobs(dry_run(config_path)), config))
    return 0


def site_problems(config_path: Path, profile: str) -> int:
    """Print what would fail at a site, and return how much that is; `redoxmd check --profile`."""
    from redoxmd.runs.site_check import check_site

    lines = check_site(config_path, profile)
    print(f"\nprofile {profile}")
    print(
        "\n".join(f"  ! {line}" for line in lines) or "  every kind of job is accepted, and a node has what they need"
    )
    return len(lines)
