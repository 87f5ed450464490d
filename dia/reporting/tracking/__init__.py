"""MLflow: one run per cell, written after the results are on disk by one process."""

from dia.reporting.tracking.sync import Synced, sync

__all__ = ["Synced", "sync"]
