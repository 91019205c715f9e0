import subprocess

import pytest

from redoxmd.jobs.job import job


def mount(*arguments):
    return subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)


class Disk:
    """A small file system of its own, to be filled or made read-only."""

    def __init__(self, folder):
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self):
        with self._ballast.open("ab", buffering=0) as file:
            for size in (1 << 16, 1 << 8, 1):
                while True:
                    try:
                        file.write(b"\0" * size)
                    except OSError:
                        break

    def make_room(self):
        self._ballast.unlink()

    def read_only(self, on=True):
        assert mount("-o", f"remount,{'ro' if on else 'rw'}", str(self.folder)).returncode == 0


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    made = mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder))
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here ({made.stderr.strip()})")
    yield Disk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def stopped_with(tmp_path, capsys):
    """Run something as a job that must fail: the one line of its log that says why."""

    def run(action, name="train", log=None):
        log = log or tmp_path / "job.log"
        log.unlink(missing_ok=True)
        with pytest.raises(SystemExit) as left, job(name, str(log)):
            action()
        assert left.value.code == 1
        told = capsys.readouterr().err
        assert "Traceback" not in told + log.read_text()
        (line,) = [line for line in told.splitlines() if not line.startswith(" ") and f"{name}: " in line][-1:]
        errors = [line for line in log.read_text().splitlines() if " ERROR " in line]
        assert len(errors) <= 1
        return line

    return run
