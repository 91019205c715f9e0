"""Silent label errors made visible: by the run a frame belongs to (`run`) and by the ensemble (`parity`)."""

from redoxmd.train.audit.run import check_labelled, check_run
from redoxmd.train.audit.short import too_short

__all__ = ["check_labelled", "check_run", "too_short"]
