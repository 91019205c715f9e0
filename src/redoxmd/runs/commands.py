"""Command line for runs: `redoxmd recover`, `retry`, `trace`, and `check --changes` and `--profile`."""

from __future__ import annotations

import argparse
from pathlib import Path

DEFAULT_CONFIG = Path("config/config.yaml")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `recover`, `retry` and `trace`."""
    _add_retry(commands)
    text = "clean up after a killed driver: locks, jobs that still run, incomplete outputs, temporary files"
    recover = commands.add_parser("recover", help=text, description=text)
    recover.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT_CONFIG)
    recover.add_argument("--dry-run", action="store_true", help="only list the leftovers")
    recover.add_argument("--jobs-gone", action="store_true", help="do not ask Slurm: no job of the run is in its queue")
    recover.set_defaults(command=_recover)
    text = "print the files from which a figure (or any file) was made, with checksums and versions"
    trace = commands.add_parser("trace", help=text, description=text)
    trace.add_argument("figure", metavar="FIGURE", help="a figure's name, or a file of the run")
    trace.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT_CONFIG)
    trace.add_argument("--all", action="store_true", help="list every file of every rule")
    trace.set_defaults(command=_trace)


def _add_retry(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "remove refused labels from the results, so that the next run repeats them"
    command = commands.add_parser("retry", help=text, description=text)
    command.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=DEFAULT_CONFIG)
    command.add_argument("--anyway", action="store_true", help="also if the engine section has not changed")
    command.add_argument("--partial", action="store_true", help="also runs that ended early; their frames are lost")
    command.set_defaults(command=_retry)


def _retry(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.runs.retry import retry_refused

    config = load_config(options.config)
    report = retry_refused(Path("results") / config.run, config, anyway=options.anyway, partial=options.partial)
    for line in report.removed:
        print(f"removed: {line}")
    for line in report.unchanged:
        print(f"not removed, the engine section has not changed: {line}")
    print(f"{len(report.removed)} removed, to be repeated by the next run; {len(report.unchanged)} not removed")
    if report.records:
        files = " ".join(map(str, report.records))
        print(f"if later stages have used them:\nsnakemake --configfile {options.config} --forcerun {files}")
    return 0


def _recover(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.runs.recover import clean_up, find_leftovers

    run = load_config(options.config).run
    leftovers = find_leftovers(run, jobs_gone=options.jobs_gone)
    lines = leftovers.lines()
    print("\n".join(lines or ["nothing left over"]))
    if options.dry_run:
        print(f"`redoxmd recover {options.config}` cleans this up" if lines else "nothing to clean up")
        return 0
    clean_up(leftovers)
    print(f"{len(lines)} cleaned up; start Snakemake again" if lines else "nothing to clean up")
    return 0


def _trace(options: argparse.Namespace) -> int:
    from redoxmd.config import load_config
    from redoxmd.files.records import read_json
    from redoxmd.runs.provenance import MAX_FILES_PER_RULE, describe_chain

    results = Path("results") / load_config(options.config).run
    name = options.figure
    if "/" not in name:
        name = f"{results}/figures/{Path(name).stem}.csv"
    manifest = read_json(results / "manifest.json")
    print(describe_chain(manifest, name, named=len(manifest["files"]) if options.all else MAX_FILES_PER_RULE))
    return 0


def check_changes(config_path: Path) -> int:
    """Print the jobs of the next start and their reasons (`redoxmd check --changes`)."""
    from redoxmd.config import load_config
    from redoxmd.runs.changes import describe_changes, dry_run, planned_jobs
    from redoxmd.runs.mixing import refuse_mixing

    config = load_config(config_path)
    refuse_mixing(Path("results") / config.run, config)
    print(describe_changes(planned_jobs(dry_run(config_path)), config))
    return 0


def report_site_problems(config_path: Path, profile: str) -> int:
    """Print the problems at a site and return their number (`redoxmd check --profile`)."""
    from redoxmd.runs.site_check import check_site

    lines = check_site(config_path, profile)
    print(f"\nprofile {profile}")
    print(
        "\n".join(f"  ! {line}" for line in lines)
        or "  every kind of job is accepted, and the nodes have all that jobs need"
    )
    return len(lines)
