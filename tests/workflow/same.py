"""Whether two finished runs of one config came to the same, file by file and bit by bit, apart from clocks."""

import gzip
import json

import h5py
import numpy as np
import torch

# Values measured by a clock, the only ones that may differ.
TIMINGS = {"ns_per_day", "steps_per_s", "spent_s"}
# Files of clocks throughout, or of checksums of files that hold some; the manifest is held by what it says of each
# file's making.
TIMED = ("logs", "benchmarks", "records", "checksums.json", "manifest.json")
MADE_FROM = ("rule", "input", "params")


def results_of(folder):
    """Every file of a run that holds results or what continues them, by its name below the run's folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path for name, path in named.items() if name.split("/")[0] not in TIMED}


def differences(one, other):
    """Names of files that one run has and the other lacks, or whose content differs."""
    first, second = results_of(one), results_of(other)
    found = [f"{name} is there in one only" for name in sorted(first.keys() ^ second.keys())]
    found += [name for name in sorted(first.keys() & second.keys()) if not same_file(first[name], second[name])]
    return found + ([] if _making(one) == _making(other) else ["manifest.json"])


def same_file(one, other):
    """Byte by byte; HDF5, archives of torch and NumPy, gzip and JSON value by value, without their clocks."""
    if one.read_bytes() == other.read_bytes():
        return True
    kinds = {
        ".h5": _hdf5,
        ".nc": _hdf5,
        ".pt": _torch,
        ".npz": _numpy,
        ".gz": lambda path: gzip.decompress(path.read_bytes()),
    }
    read = {**kinds, ".json": lambda path: json.loads(path.read_text())}.get(one.suffix)
    return read is not None and same(read(one), read(other))


def same(one, other):
    """Equality to the last bit through dicts and lists, clocks left out; not-a-number equals itself."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one.keys() - TIMINGS)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and same(one.numpy(), other.numpy())
    if isinstance(one, np.ndarray | np.generic) and isinstance(other, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and _bits(one) == _bits(other)
    return type(one) is type(other) and (one == other or (one != one and other != other))


def _bits(array):
    return array.tolist() if array.dtype == object else array.tobytes()


def _numpy(path):
    with np.load(path) as file:
        return dict(file)


def _torch(path):
    return torch.load(path, map_location="cpu", weights_only=False)


def _hdf5(path):
    """Every dataset and attribute of a file by its name."""
    content = {}

    def visit(name, item):
        values = item[()] if isinstance(item, h5py.Dataset) else None
        own = {"redoxmd": json.loads(item.attrs["redoxmd"])} if "redoxmd" in item.attrs else {}
        # References point into their own file.
        attributes = {
            key: value for key, value in item.attrs.items() if key not in ("REFERENCE_LIST", "DIMENSION_LIST")
        }
        content[name] = {"values": values, "attributes": {**attributes, **own}}

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return content


def _making(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    files = {name: {key: entry.get(key) for key in MADE_FROM} for name, entry in manifest["files"].items()}
    return {**manifest, "files": files}
