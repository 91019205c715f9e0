"""Silent label errors made visible: by the run a frame belongs to (`run`) and by the ensemble (`parity`)."""

from redoxmd.audit.run import check_labelled, check_run

__all__ = ["check_labelled", "check_run"]
