"""Report of an import: frames accepted, files and frames refused, notes."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field
from pathlib import Path

SHOWN = 20


@dataclass(frozen=True)
class ReportEntry:
    """A file or a frame left out, or a note on one.

    Attributes:
        step: number of the frame in its file; None if the whole file is concerned.
        reason: a `LabelRefusal`, a `DensityRefusal`, duplicate, not_read or note.
    """

    path: Path
    step: int | None
    reason: str
    detail: str


@dataclass
class ImportReport:
    """Result of an import of calculations.

    Attributes:
        files: number of files read.
        unrelated_files: number of files without a calculation.
        accepted: configuration → number of frames.
        densities: keys of the densities accepted.
        refused: refused files and frames.
        refused_densities: refused CHGCARs; their frames stay accepted.
        notes: omissions and assumptions for accepted frames.
        spin_unknown: number of accepted frames without moments, although a spin state was requested.
        state_unknown: number of accepted frames without local moments, although oxidation states were to be judged.
    """

    files: int = 0
    unrelated_files: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    densities: list[str] = field(default_factory=list)
    refused: list[ReportEntry] = field(default_factory=list)
    refused_densities: list[ReportEntry] = field(default_factory=list)
    notes: list[ReportEntry] = field(default_factory=list)
    spin_unknown: int = 0
    state_unknown: int = 0

    @property
    def frames(self) -> int:
        """Number of accepted frames."""
        return self.accepted.total()

    def counts(self) -> dict[str, int]:
        """Refusals of frames and files by reason."""
        return dict(sorted(Counter(str(refusal.reason) for refusal in self.refused).items()))

    def refuse(self, path: Path, step: int | None, reason: str, detail: str) -> None:
        """Record a refused file or frame."""
        self.refused.append(ReportEntry(path, step, reason, detail))

    def note(self, path: Path, sentences: Mapping[str, int]) -> None:
        """Record omissions and assumptions for a file, with the number of frames concerned."""
        for sentence, count in sentences.items():
            self.notes.append(ReportEntry(path, None, "note", sentence + (f" ({count} frames)" if count > 1 else "")))

    def csv(self) -> str:
        """All refusals and notes as a CSV table."""
        entries = self.refused + self.refused_densities + self.notes
        rows = [("file", "step", "reason", "detail"), *map(astuple, entries)]
        table = io.StringIO()
        csv.writer(table, lineterminator="\n").writerows(rows)
        return table.getvalue()

    def lines(self) -> Iterator[str]:
        """Lines of the printed report: configurations, the first refusals and notes, totals."""
        for config_id, count in self.accepted.items():
            yield f"{config_id}: {count} frames"
        for item in [*self.refused, *self.refused_densities][:SHOWN]:
            # A file or step at the start of the detail is not repeated.
            location, detail = str(item.path), item.detail
            if item.step is not None:
                location += f" step {item.step}"
                detail = detail.removeprefix(f"step {item.step}: ")
            for start in (f"{item.path}: ", f"{item.path}, ", f"{item.path} "):
                detail = detail.removeprefix(start)
            yield f"refused, {item.reason}: {location}: {detail}"
        omitted = len(self.refused) + len(self.refused_densities) - SHOWN
        if omitted > 0:
            yield f"… and {omitted} more, all in refused.csv"
        for item in self.notes[:SHOWN]:
            yield f"note: {item.path}: {item.detail}"
        if len(self.notes) > SHOWN:
            yield f"… and {len(self.notes) - SHOWN} more notes, all in refused.csv"
        if self.spin_unknown:
            yield (
                f"{self.spin_unknown} of the frames accepted give no magnetic moments; their spin state was not judged "
                "by structures.moments_*"
            )
        if self.state_unknown:
            yield (
                f"{self.state_unknown} of the frames accepted give no local moments; they have no oxidation states, "
                "and their electronic state was not judged"
            )
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.counts().items())
        yield (
            f"{self.files} files read, {self.unrelated_files} skipped; {self.frames} frames accepted, "
            f"{len(self.refused)} refused" + (f" ({reasons})" if reasons else "")
        )
        if self.densities or self.refused_densities:
            yield f"{len(self.densities)} densities accepted, {len(self.refused_densities)} refused"
