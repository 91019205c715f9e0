"""What became of every file and frame of an archive."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SHOWN = 20
COLUMNS = ("file", "step", "reason", "detail")


@dataclass(frozen=True)
class Refusal:
    """A file or a frame left out, or a note on one.

    Attributes:
        step: the frame's number in its file, None for what is wrong with the whole file.
        reason: a `LabelRefusal`, a `DensityRefusal`, duplicate, not_read or note.
    """

    path: Path
    step: int | None
    reason: str
    detail: str


@dataclass
class ImportReport:
    """What an import found.

    Attributes:
        files: files read.
        others: files passed over, since they hold no calculation.
        accepted: frames of each configuration.
        densities: keys of the densities accepted.
        refused: files and frames.
        refused_densities: CHGCARs; the frames they belong to stay.
        notes: what was left out of accepted frames, or assumed of them.
        spin_unknown: frames accepted whose file gives no moments, though a spin state was asked for.
    """

    files: int = 0
    others: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    densities: list[str] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    refused_densities: list[Refusal] = field(default_factory=list)
    notes: list[Refusal] = field(default_factory=list)
    spin_unknown: int = 0

    @property
    def frames(self) -> int:
        """Frames accepted."""
        return self.accepted.total()

    def counts(self) -> dict[str, int]:
        """Refusals of frames and files by reason."""
        return dict(sorted(Counter(str(refusal.reason) for refusal in self.refused).items()))

    def refuse(self, path: Path, step: int | None, reason: str, detail: str) -> None:
        """Note a file or frame left out."""
        self.refused.append(Refusal(path, step, reason, detail))

    def note(self, path: Path, sentences: Mapping[str, int]) -> None:
        """Note what was left out of a file or assumed of it, and of how many frames."""
        for sentence, count in sentences.items():
            self.notes.append(Refusal(path, None, "note", sentence + (f" ({count} frames)" if count > 1 else "")))

    def csv(self) -> str:
        """All refusals and notes as a table."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        for item in self.refused + self.refused_densities + self.notes:
            writer.writerow([item.path, "" if item.step is None else item.step, item.reason, item.detail])
        return table.getvalue()

    def lines(self) -> Iterator[str]:
        """The report as printed: configurations, the first refusals and notes, sums."""
        for config_id, count in self.accepted.items():
            yield f"{config_id}: {count} frames"
        for item in [*self.refused, *self.refused_densities][:SHOWN]:
            yield _line(item)
        unseen = len(self.refused) + len(self.refused_densities) - SHOWN
        if unseen > 0:
            yield f"… and {unseen} more, all in refused.csv"
        for item in self.notes[:SHOWN]:
            yield f"note: {item.path}: {item.detail}"
        if len(self.notes) > SHOWN:
            yield f"… and {len(self.notes) - SHOWN} more notes, all in refused.csv"
        if self.spin_unknown:
            yield (
                f"{self.spin_unknown} of the frames accepted give no magnetic moments; their spin state was not judged "
                "by structures.moments_*"
            )
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.counts().items())
        yield (
            f"{self.files} files read, {self.others} passed over; {self.frames} frames accepted, "
            f"{len(self.refused)} refused" + (f" ({reasons})" if reasons else "")
        )
        if self.densities or self.refused_densities:
            yield f"{len(self.densities)} densities accepted, {len(self.refused_densities)} refused"


def _line(item: Refusal) -> str:
    """A refusal in a line; readers begin with the file or step already."""
    place, detail = str(item.path), item.detail
    if item.step is not None:
        place += f" step {item.step}"
        detail = detail.removeprefix(f"step {item.step}: ")
    for start in (f"{item.path}: ", f"{item.path}, ", f"{item.path} "):
        detail = detail.removeprefix(start)
    return f"refused, {item.reason}: {place}: {detail}"
