"""A copy of the workflow in a folder of its own, for an installation without a clone of the repository."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from redoxmd.errors import DataError

# What a workflow consists of; `data-files` of pyproject.toml installs the same.
PARTS = ("Snakefile", "rules", "workflow", "config", "envs", "resources")
# Snakemake looks for profiles here.
LINKS = {"profiles": "workflow/profiles", "slurm": "workflow/profiles/slurm"}


def workflow_source() -> Path:
    """Folder with the workflow: the repository of an editable installation, or the data of an installed wheel.

    Raises:
        DataError: neither exists.
    """
    repository = Path(__file__).parents[3]
    if (repository / "Snakefile").is_file() and (repository / "rules").is_dir():
        return repository
    try:
        installed = files("redoxmd") or []
    except PackageNotFoundError:
        installed = []
    for path in installed:
        if path.parts[-2:] == ("redoxmd", "Snakefile"):
            return Path(str(path.locate())).resolve().parent
    raise DataError("the workflow is not part of this installation of redoxmd; install the wheel again with pip")


def copy_workflow(folder: Path) -> None:
    """Copy the workflow, its configs and data into a new or empty folder; a new one appears when it is complete.

    Raises:
        DataError: the folder exists and is not empty, or the installation has no workflow.
    """
    source, folder = workflow_source(), folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not empty; name a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        new = Path(temporary) / "new"
        new.mkdir()
        for part in PARTS:
            if (source / part).is_dir():
                shutil.copytree(source / part, new / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            else:
                shutil.copy2(source / part, new / part)
        for name, target in LINKS.items():
            (new / name).symlink_to(target)
        if not folder.exists():
            new.rename(folder)
            return
        # A shell may be in the empty folder, which therefore stays.
        for path in new.iterdir():
            path.rename(folder / path.name)
