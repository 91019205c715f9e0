"""HDF5 files, whole or absent on a disk that becomes full as well; tables as NetCDF."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

from redoxmd.errors import DataError, system_errno
from redoxmd.records import atomic_path, read_bytes

if TYPE_CHECKING:
    import xarray as xr


# What HDF5 says of a sound file that is open, in this process with other locks or in another for writing.
IN_USE = ("file locking flag values don't match", "already open")


class _Steady(io.FileIO):
    """A new file to which HDF5 can always write.

    HDF5 crashes its process, at the latest at exit, once a write has failed. So the first failure is kept for
    `NewFile.check`, and from then on what HDF5 writes stays in memory, for it may read it again before it has closed
    the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        super().__init__(path, "w+")
        self.target = name
        self.failure: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []

    def write(self, data: Any) -> int:
        """All of `data`, where `FileIO.write` may stop half-way."""
        start, whole = self.tell(), memoryview(data).cast("B")
        done = 0
        try:
            while self.failure is None and done < len(whole):
                done += super().write(whole[done:])
        except OSError as error:
            self.failure = OSError(error.errno, error.strerror, self.target)
        if self.failure is not None:
            self._kept.append((start, bytes(whole)))
        return len(whole)

    def readinto(self, buffer: Any) -> int:
        """Read what was written, wherever it went."""
        start, wanted = self.tell(), memoryview(buffer).cast("B")
        read = super().readinto(wanted)
        for place, data in self._kept:
            first, last = max(place, start), min(place + len(data), start + len(wanted))
            if first < last:
                wanted[first - start : last - start] = data[first - place : last - place]
                read = max(read, last - start)
        return read


class NewFile(h5py.File):
    """A file being written; see `hdf5_file`."""

    def __init__(self, raw: _Steady) -> None:
        super().__init__(raw, "w")
        self._raw = raw

    def check(self) -> None:
        """Raise the OSError of a write that failed; between blocks, so that what is left unwritten stays small."""
        if self._raw.failure is not None:
            raise self._raw.failure


@contextmanager
def hdf5_file(path: str | Path) -> Iterator[NewFile]:
    """A new HDF5 file, which stands under its name once the body is done and not before.

    Raises:
        OSError: the disk is full; the process lives on.
    """
    with atomic_path(path) as temporary, _Steady(temporary, str(path)) as raw:
        with NewFile(raw) as file:
            yield file
        if raw.failure is not None:
            raise raw.failure


@contextmanager
def read_hdf5(path: str | Path, kind: str, remedy: str = "delete it and run again") -> Iterator[h5py.File]:
    """A file of that kind, open for reading; without a lock, for our files are whole once they have their names.

    Raises:
        DataError: it is missing, or what it holds is not what the body reads.
        OSError: the file system does not deliver it now; it is not thereby damaged.
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
    """Read back what `write_dataset` wrote.

    Raises:
        DataError: the file is missing or damaged.
        OSError: the file system does not deliver it now.
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
