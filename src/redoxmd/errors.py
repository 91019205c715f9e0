"""Exceptions of the package, whose messages name the file or key and the remedy; reasons that records give."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Generic, TypeVar

Reason = TypeVar("Reason", bound=StrEnum)


def system_errno(error: BaseException) -> int | None:
    """The errno of an exception: a failure of the file system, which does not mean that the file is damaged.

    None if the content is at fault; gzip, ASE and h5py raise OSErrors without errno for that. h5py may give the errno
    in its text only.
    """
    number: int | None = getattr(error, "errno", None)
    match = re.search(r"errno = (\d+)", str(error))
    return int(match[1]) if number is None and match else number


class RedoxmdError(Exception):
    """Base of all errors that a user can correct; the command line prints them without a traceback."""


class ConfigError(RedoxmdError):
    """A configuration value is missing, unknown or impossible; the message names the key in full."""


class StructureError(RedoxmdError):
    """A requested structure cannot exist (more ions than sites, a fraction that is no whole number of ions)."""


class DataError(RedoxmdError):
    """A file is missing, damaged, or inconsistent with its name, card or record."""


class EngineMissing(RedoxmdError):
    """The reference engine named in the config is not installed here."""


class LabelRefusal(StrEnum):
    """Reasons why a label is refused, as written in its record."""

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
    WRONG_ELECTRONIC_STATE = "wrong_electronic_state"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    FORCE_CEILING = "force_ceiling"


class DensityRefusal(StrEnum):
    """Reasons why a density is refused, as written in its record."""

    UNREADABLE = "unreadable"
    NO_SPIN = "no_spin"
    WRONG_SHAPE = "wrong_shape"
    NOT_FINITE = "not_finite"
    WRONG_ELECTRONS = "wrong_electrons"


class FrameRefusal(StrEnum):
    """Reasons why gate or guards refuse a frame of MD or a relaxed structure, as written in records and tables."""

    SPREAD_ABOVE_HIGH = "spread_above_high"
    NOT_FINITE = "not_finite"
    TEMPERATURE_RUNAWAY = "temperature_runaway"
    CLOSE_CONTACT = "close_contact"
    NOT_RELAXED = "not_relaxed"


# Ends of MD without a refused frame: of an explore run, and of a trajectory.
SURVIVED, COMPLETED = "survived", "completed"


class PathEnd(StrEnum):
    """How the search for a path ended."""

    CONVERGED = "converged"
    NOT_RELAXED = "not_relaxed"
    LEFT_ITS_SITE = "left_its_site"
    SAME_SITES = "same_sites"
    NOT_FINITE = "not_finite"
    NOT_CONVERGED = "not_converged"


class Refused(RedoxmdError, Generic[Reason]):
    """A result that must never become data; its reason, and the step or file with the values found, are recorded."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class LabelRefused(Refused[LabelRefusal]):
    """A refused reference result."""


class DensityRefused(Refused[DensityRefusal]):
    """A refused density."""


class OneOxidationState(RedoxmdError):
    """The reference charges show one oxidation state where two are needed; the message names the data to add."""


class LabelBudgetExceeded(RedoxmdError):
    """More labels of a generation failed than the failure budget allows."""


class NotConverged(RedoxmdError):
    """The active-learning loop used up its generations."""


class Interrupted(RedoxmdError):
    """The job was asked to stop (SIGTERM, walltime); its state is written and the next start continues from it.

    Attributes:
        further: whether this start made progress, so that another one is worthwhile.
    """

    def __init__(self, message: str, further: bool = False) -> None:
        super().__init__(message)
        self.further = further


class TrainingDiverged(RedoxmdError):
    """The training loss became NaN or infinite; the message names the training, the step and the remedy."""


class DriverAlive(RedoxmdError):
    """Another process drives the run; the message names the process and its machine."""


class SchedulerSilent(RedoxmdError):
    """Slurm does not answer; nothing was changed."""


def reason_of(error: BaseException) -> str:
    """First line of an exception's message, or the name of its class if it has no message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
