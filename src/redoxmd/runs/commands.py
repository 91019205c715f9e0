"""Commands for runs: `redoxmd new`, `check`, `status`, `path`, `retry`, `recover`, `trace`, `crate` and `schema`."""

# Imports of the commands are local, to keep the start of each command fast.
from __future__ import annotations

import argparse
from pathlib import Path

from redoxmd.config import load_config


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands of this module, each with the config of the run as its argument."""
    parsers = {}
    for name, function, text in (
        ("check", _check, "validate a config and print its plan"),
        ("status", _status, "show the progress of a run"),
        ("path", _path, "print the results folder of a run"),
        ("retry", _retry, "remove refused labels from the results, so that the next run repeats them"),
        (
            "recover",
            _recover,
            "clean up after a killed driver: locks, running jobs, incomplete outputs, temporary files",
        ),
        ("crate", _crate, "describe the results of a finished run as an RO-Crate, for publication"),
        ("trace", _trace, "print the files from which a figure (or any file) was made, with checksums and versions"),
    ):
        command = parsers[name] = commands.add_parser(name, help=text, description=text)
        if name == "trace":
            command.add_argument("figure", metavar="FIGURE", help="a figure's name, or a file of the run")
        command.add_argument("config", type=Path, metavar="CONFIG", nargs="?", default=Path("config/config.yaml"))
        command.set_defaults(command=function)
    text = "list instead the jobs that the next start would repeat, with reasons and costs"
    parsers["check"].add_argument("--changes", action="store_true", help=text)
    text = "show it again every SECONDS (default 10) until Ctrl-C; once if the output is no terminal"
    parsers["status"].add_argument("--watch", metavar="SECONDS", type=_seconds, nargs="?", const=10.0, help=text)
    text = "also test a site profile: ask Slurm about each kind of job and inspect a node in a short job"
    parsers["check"].add_argument("--profile", metavar="NAME", help=text)
    for name, option, text in (
        ("retry", "--anyway", "also if the engine section has not changed"),
        ("retry", "--partial", "also runs that ended early; their frames are lost"),
        ("recover", "--dry-run", "only list the leftovers"),
        ("recover", "--jobs-gone", "do not ask Slurm: no job of the run is in its queue"),
        ("trace", "--all", "list every file of every rule"),
    ):
        parsers[name].add_argument(option, action="store_true", help=text)
    text = "Citation File Format with the authors and the licence of the results (default: CITATION.cff)"
    parsers["crate"].add_argument("--citation", type=Path, default=Path("CITATION.cff"), metavar="FILE", help=text)
    text = "copy the workflow, its configs and starter data into a new folder"
    new = commands.add_parser("new", help=text, description=text)
    new.add_argument("folder", type=Path, metavar="FOLDER")
    new.set_defaults(command=_new)
    schema = commands.add_parser("schema", help="write the config's schema and documented defaults")
    schema.add_argument("--root", type=Path, default=Path(), help="the repository")
    schema.set_defaults(command=_schema)


def _new(options: argparse.Namespace) -> int:
    from redoxmd.runs.workflow_copy import copy_workflow

    copy_workflow(options.folder)
    print(f"{options.folder} is ready: cd {options.folder}; redoxmd check config/config.yaml; snakemake --cores 2")
    return 0


def _check(options: argparse.Namespace) -> int:
    config = load_config(options.config)
    if options.changes:
        from redoxmd.runs.changes import describe_changes, dry_run, planned_jobs
        from redoxmd.runs.mixing import refuse_mixing

        refuse_mixing(Path("results") / config.run, config)
        print(describe_changes(planned_jobs(dry_run(options.config)), config))
        return 0
    from redoxmd.runs.plan import describe_plan, make_plan

    plan = make_plan(config)
    print(describe_plan(config, plan))
    problems = list(plan.problems)
    if options.profile:
        from redoxmd.runs.site_check import check_site

        site_problems = check_site(options.config, options.profile)
        print(f"\nprofile {options.profile}")
        accepted = "  every kind of job is accepted, and the nodes have all that jobs need"
        print("\n".join(f"  ! {line}" for line in site_problems) or accepted)
        problems += site_problems
    return 1 if problems else 0


def _status(options: argparse.Namespace) -> int:
    from redoxmd.runs.status import describe_status, watch_status

    config = load_config(options.config)
    results = Path("results") / config.run
    if options.watch is None:
        print(describe_status(results, config))
    else:
        watch_status(results, config, options.watch)
    return 0


def _seconds(text: str) -> float:
    """Seconds between two looks at the status; a second at least."""
    value = float(text)
    if not 1.0 <= value <= 86400.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 86400 s")
    return value


def _path(options: argparse.Namespace) -> int:
    print(Path("results") / load_config(options.config).run)
    return 0


def _retry(options: argparse.Namespace) -> int:
    from redoxmd.runs.retry import retry_refused

    config = load_config(options.config)
    results = Path("results") / config.run
    removed, unchanged = retry_refused(results, config, anyway=options.anyway, partial=options.partial)
    for line in removed.values():
        print(f"removed: {line}")
    for line in unchanged:
        print(f"not removed, the engine section has not changed: {line}")
    print(f"{len(removed)} removed, to be repeated by the next run; {len(unchanged)} not removed")
    if removed:
        files = " ".join(map(str, removed))
        print(f"if later stages have used them:\nsnakemake --configfile {options.config} --forcerun {files}")
    return 0


def _recover(options: argparse.Namespace) -> int:
    from redoxmd.runs.recover import clean_up, find_leftovers

    leftovers = find_leftovers(load_config(options.config).run, jobs_gone=options.jobs_gone)
    lines = leftovers.lines()
    print("\n".join(lines or ["nothing left over"]))
    if options.dry_run:
        print(f"`redoxmd recover {options.config}` cleans this up" if lines else "nothing to clean up")
        return 0
    clean_up(leftovers)
    print(f"{len(lines)} cleaned up; start Snakemake again" if lines else "nothing to clean up")
    return 0


def _trace(options: argparse.Namespace) -> int:
    from redoxmd.files.records import read_json
    from redoxmd.runs.provenance import MAX_FILES_PER_RULE, describe_chain

    results = Path("results") / load_config(options.config).run
    figure = options.figure
    name = figure if "/" in figure else f"{results}/figures/{Path(figure).stem}.csv"
    manifest = read_json(results / "manifest.json")
    print(describe_chain(manifest, name, named=len(manifest["files"]) if options.all else MAX_FILES_PER_RULE))
    return 0


def _crate(options: argparse.Namespace) -> int:
    from redoxmd.runs.crate import write_crate

    print(write_crate(Path("results") / load_config(options.config).run, options.citation))
    return 0


def _schema(options: argparse.Namespace) -> int:
    from redoxmd.config.document import write_documents

    for path in write_documents(options.root):
        print(path)
    return 0
