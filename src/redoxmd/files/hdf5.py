"""HDF5 and NetCDF files, written completely or not at all, also when the disk becomes full."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from redoxmd.errors import DataError, system_errno
from redoxmd.files.records import atomic_path, read_bytes

if TYPE_CHECKING:
    import xarray as xr


# What HDF5 says of a sound file that is open, in this process with other locks or in another for writing.
IN_USE = ("file locking flag values don't match", "already open")


class _Steady(io.FileIO):
    """A new file whose write never fails for HDF5.

    HDF5 crashes its process, at the latest at exit, once a write has failed. The first failure is therefore stored for
    `NewFile.check`, and later writes stay in memory, because HDF5 may read them again before it closes the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, "w+")
        self.target = name
        self.failure: OSError | None = None
        self._unwritten: list[tuple[int, bytes]] = []

    def write(self, data: Any) -> int:
        """Write all of `data`; `FileIO.write` may write only the beginning."""
        start, content = self.tell(), memoryview(data).cast("B")
        written = 0
        try:
            while self.failure is None and written < len(content):
                written += super().write(content[written:])
        except OSError as error:
            self.failure = OSError(error.errno, error.strerror, self.target)
        if self.failure is not None:
            self._unwritten.append((start, bytes(content)))
        return len(content)

    def readinto(self, buffer: Any) -> int:
        """Read from the file and from the writes kept in memory."""
        start, target = self.tell(), memoryview(buffer).cast("B")
        read = super().readinto(target)
        for offset, data in self._unwritten:
            first, last = max(offset, start), min(offset + len(data), start + len(target))
            if first < last:
                target[first - start : last - start] = data[first - offset : last - offset]
                read = max(read, last - start)
        return read


class NewFile(h5py.File):
    """An HDF5 file that is being written; see `hdf5_file`."""

    def __init__(self, raw: _Steady) -> None:
        super().__init__(raw, "w")
        self._raw = raw

    def check(self) -> None:
        """Raise the OSError of a failed write; call it between blocks, so that little data stays in memory."""
        if self._raw.failure is not None:
            raise self._raw.failure


@contextmanager
def hdf5_file(path: str | Path) -> Iterator[NewFile]:
    """A new HDF5 file, renamed to its path when the body has ended.

    Raises:
        OSError: the disk is full; the process continues.
    """
    with atomic_path(path) as temporary, _Steady(temporary, str(path)) as raw:
        with NewFile(raw) as file:
            yield file
        if raw.failure is not None:
            raise raw.failure


@contextmanager
def read_hdf5(path: str | Path, kind: str, remedy: str = "delete it and run again") -> Iterator[h5py.File]:
    """A file of a kind, open for reading without a lock, because our files are complete once they have their names.

    Raises:
        DataError: the file is missing, or the body cannot read its content.
        OSError: the file system fails now; the file need not be damaged.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; the stage that writes it has not finished") from error
    except (OSError, KeyError, RuntimeError) as error:
        if system_errno(error) is not None:
            raise
        if any(words in str(error) for words in IN_USE):
            raise DataError(f"{path}: open elsewhere ({error}); close it there, and keep the file") from error
        raise DataError(f"{path}: not a readable {kind} ({error}); {remedy}") from error


def write_dataset(path: str | Path, dataset: xr.Dataset) -> None:
    """Write a table with named dimensions as NetCDF, atomically."""
    content = dataset.to_netcdf(engine="h5netcdf")
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_dataset(path: str | Path) -> xr.Dataset:
    """Read a file of `write_dataset`.

    Raises:
        DataError: the file is missing or damaged.
        OSError: the file system fails now.
    """
    import xarray as xr

    try:
        content = read_bytes(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such table; the stage that writes it has not finished") from error
    try:
        return xr.load_dataset(io.BytesIO(content), engine="h5netcdf")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"{path}: not a readable table ({error}); delete it and run again") from error
