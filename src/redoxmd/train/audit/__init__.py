"""Detection of silent label errors: a frame against its run (`run`) and against the ensemble (`parity`)."""

from redoxmd.train.audit.run import check_labelled, check_run, too_short, work_imbalances

__all__ = ["check_labelled", "check_run", "too_short", "work_imbalances"]
