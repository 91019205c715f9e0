"""Every refusal has a name, says what was wrong and what to do about it."""

from __future__ import annotations

import re
from enum import StrEnum


def system_errno(error: BaseException) -> int | None:
    """Number of the system's error behind an exception: the file was not delivered, and is not thereby damaged.

    None where the content is at fault: gzip, ASE and h5py raise OSErrors for that too. h5py may give the number in its
    text alone.
    """
    number: int | None = getattr(error, "errno", None)
    told = re.search(r"errno = (\d+)", str(error))
    return int(told[1]) if number is None and told else number


class RedoxmdError(Exception):
    """Base of all errors a user can mend; the command line prints it without a traceback."""


class ConfigError(RedoxmdError):
    """A configuration value is missing, unknown or impossible; the message names the key in full."""


class StructureError(RedoxmdError):
    """A requested structure cannot exist (more ions than sites, a fraction that is no whole number of ions)."""


class DataError(RedoxmdError):
    """A file does not hold what its name or its sidecar promises."""


class EngineMissing(RedoxmdError):
    """The reference engine named in the config is not installed here."""


class LabelRefusal(StrEnum):
    """Reasons why a label is refused; the word stands in its record."""

    DID_NOT_START = "did_not_start"
    STALE_OUTPUT = "stale_output"
    UNFINISHED = "unfinished"
    UNCONVERGED = "unconverged"
    CORRUPTED = "corrupted"
    NOT_FINITE = "not_finite"
    WRONG_STRUCTURE = "wrong_structure"
    WRONG_SETTINGS = "wrong_settings"
    NOT_SELF_CONSISTENT = "not_self_consistent"
    WRONG_MOMENT = "wrong_moment"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    FORCE_CEILING = "force_ceiling"


class LabelRefused(RedoxmdError):
    """A reference result that must never become data.

    Args:
        reason: kept in the record.
        detail: for the reader: step or file, and the values found.
    """

    def __init__(self, reason: LabelRefusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = LabelRefusal(reason)
        self.detail = detail


class DensityRefusal(StrEnum):
    """Reasons why a density is refused; the word stands in its record."""

    UNREADABLE = "unreadable"
    NO_SPIN = "no_spin"
    WRONG_SHAPE = "wrong_shape"
    NOT_FINITE = "not_finite"
    WRONG_ELECTRONS = "wrong_electrons"


class DensityRefused(RedoxmdError):
    """A density that must never become data.

    Args:
        reason: kept in the record.
        detail: for the reader: file or frame, and the values found.
    """

    def __init__(self, reason: DensityRefusal, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = DensityRefusal(reason)
        self.detail = detail


class OneOxidationState(RedoxmdError):
    """The reference charges show one oxidation state where two are needed; the message says what to add."""


class LabelBudgetExceeded(RedoxmdError):
    """More labels of a generation failed than the failure budget allows."""


class NotConverged(RedoxmdError):
    """The active-learning loop used up its generations."""


class Interrupted(RedoxmdError):
    """The job was asked to stop (SIGTERM, walltime); its state is written and the next start goes on from it.

    Attributes:
        further: whether this start came further than the one before, so that another is worth its time.
    """

    def __init__(self, message: str, further: bool = False) -> None:
        super().__init__(message)
        self.further = further


class TrainingDiverged(RedoxmdError):
    """The loss of a training is no number any more; the message names the training, the step and the remedy."""


class DriverAlive(RedoxmdError):
    """Another process drives the run; the message says which, and where."""


class SchedulerSilent(RedoxmdError):
    """Slurm does not answer where its answer is needed; nothing was changed."""


def reason_of(error: BaseException) -> str:
    """First line of an exception's message; its name where it has none, as assertions of some readers have."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
