"""RO-Crate 1.2 of a finished run: its results folder described by `ro-crate-metadata.json` (https://w3id.org/ro/crate)."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from redoxmd.errors import DataError
from redoxmd.files.records import file_sha256, read_json, write_json, write_text
from redoxmd.runs.provenance import changed_since

VERSION = "1.2"
METADATA = "ro-crate-metadata.json"
CONFIG = "crate-config.yaml"
CITATION = Path("CITATION.cff")
# Files of a run that the manifest does not list, with their descriptions.
PAGES = {
    CONFIG: "config of the run with all defaults",
    "manifest.json": "sha256, rule, inputs and parameters of every file behind the figures",
    "report.html": "report of Snakemake",
    "figures/*.svg": "figure",
    "figures/*.pdf": "figure",
    "figures/*.png": "figure",
}
RUN = "#run"
MEDIA_TYPES = {".extxyz": "chemical/x-xyz", ".yaml": "application/yaml", ".h5": "application/x-hdf5"}


def write_crate(results: Path, citation: Path = CITATION, root: Path = Path()) -> Path:
    """Make the results folder of a finished run an RO-Crate; the path of its metadata file.

    Every file of the manifest is listed with size, sha256 and rule; files outside the folder, such as given datasets,
    are listed by path as inputs of the run. No result is copied or read again if it is unchanged since the manifest.

    Args:
        results: results folder of the run.
        citation: CITATION.cff with authors and licence of the crate.
        root: folder to which the paths of the manifest refer.

    Raises:
        DataError: the run is not finished, a file has changed since the manifest, `citation` is missing or incomplete,
            or the library rocrate is not installed.
    """
    try:
        from rocrate.model.contextentity import ContextEntity
        from rocrate.rocrate import ROCrate
    except ImportError as error:
        raise DataError("a crate is written with the library rocrate; install it with pip install rocrate") from error
    manifest, rights = read_json(results / "manifest.json"), _read_citation(citation)
    files = {name: entry for name, entry in manifest["files"].items() if "sha256" in entry}
    if stale := [name for name, entry in files.items() if changed_since(root / name, entry)]:
        raise DataError(
            f"{stale[0]}: not as in {results / 'manifest.json'} ({len(stale)} such files); run snakemake again"
        )
    write_text(results / CONFIG, yaml.safe_dump(manifest["config"], sort_keys=False, allow_unicode=True))

    crate = ROCrate(version=VERSION)

    def context(identifier: str, kind: str, **properties: Any) -> Any:
        return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))

    outputs, inputs = [], []
    for name, entry in files.items():
        path = (root / name).absolute()
        described = {"contentSize": str(entry["size"]), "sha256": entry["sha256"]}
        if path.is_relative_to(results.absolute()):
            described["description"] = f"output of the rule {entry['rule']}" if "rule" in entry else "given"
            inside = path.relative_to(results.absolute())
            outputs.append(crate.add_file(dest_path=inside.as_posix(), properties=described | _named(inside)))
        else:
            inputs.append(context(f"#{name}", "CreativeWork", name=name, **described))
    for pattern, description in PAGES.items():
        unlisted = {path.absolute() for path in results.glob(pattern)} - {(root / name).absolute() for name in files}
        for path in sorted(unlisted):
            inside = path.relative_to(results.absolute())
            described = {
                "contentSize": str(path.stat().st_size),
                "sha256": file_sha256(path),
                "description": description,
            }
            outputs.append(crate.add_file(dest_path=inside.as_posix(), properties=described | _named(inside)))

    software = manifest["software"]
    libraries = {"Python": software["python"], **software["versions"]}
    programs = {
        name: context(f"#{name}-{version}", "SoftwareApplication", name=name, version=version, url=_page(name))
        for name, version in libraries.items()
    }
    own = programs["redoxmd"]
    own["softwareRequirements"] = [program for name, program in programs.items() if name != "redoxmd"]
    own["identifier"] = f"source {software['source']}, commit {software['commit'] or 'none'}"
    authors = [context(*_identity(author), name=_full_name(author)) for author in rights["authors"]]
    times = [manifest["files"][name][key] for name in files for key in ("starttime", "endtime") if key in files[name]]
    span = {"startTime": _iso(min(times)), "endTime": _iso(max(times))} if times else {}
    action = context(
        RUN, "CreateAction", name=f"redoxmd run {manifest['run']}", instrument=own, agent=_single(authors), **span
    )
    action["object"], action["result"] = _single(inputs), _single(outputs)

    licence = rights["license"]
    dataset = crate.root_dataset
    dataset["name"] = f"redoxmd run {manifest['run']}"
    dataset["description"] = (
        f"Molecular dynamics with redoxmd: reference {manifest['reference']['engine']}, settings "
        f"{manifest['reference']['settings_hash']}, seed {manifest['seed']}"
    )
    dataset["author"], dataset["mentions"] = _single(authors), action
    dataset["license"] = context(f"https://spdx.org/licenses/{licence}", "CreativeWork", name=licence)
    write_json(results / METADATA, crate.metadata.generate())
    return results / METADATA


def _named(path: Path) -> dict[str, str]:
    """Name and media type of a file."""
    guessed, coding = mimetypes.guess_type(path.name)
    kind = (
        MEDIA_TYPES.get(path.suffix) or (f"application/{coding}" if coding else guessed) or "application/octet-stream"
    )
    return {"name": path.name, "encodingFormat": kind}


def _page(program: str) -> str:
    """Web page of a program: that of PyPI; of redoxmd the paper whose method it follows."""
    pages = {"redoxmd": "https://doi.org/10.1016/j.ensm.2023.103023", "Python": "https://www.python.org"}
    return pages.get(program, f"https://pypi.org/project/{program}/")


def _single(values: list[Any]) -> Any:
    """One value for a list of one, as JSON-LD is compacted."""
    return values[0] if len(values) == 1 else values


def _read_citation(path: Path) -> Mapping[str, Any]:
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, yaml.YAMLError):
        record = None
    authors = record.get("authors") if isinstance(record, dict) else None
    named = isinstance(authors, list) and bool(authors) and all(isinstance(a, dict) and _full_name(a) for a in authors)
    if not named or not isinstance(record.get("license"), str):
        raise DataError(f"{path}: write a Citation File Format with authors and license (an SPDX name) of the results")
    return record


def _full_name(author: Mapping[str, str]) -> str:
    parts = ("given-names", "name-particle", "family-names", "name-suffix")
    return author.get("name") or " ".join(author[key] for key in parts if key in author) or author.get("alias", "")


def _identity(author: Mapping[str, str]) -> tuple[str, str]:
    """Identifier and type of an author: an ORCID if there is one."""
    slug = "-".join(_full_name(author).split())
    return author.get("orcid", f"#{slug}"), "Organization" if "name" in author else "Person"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
