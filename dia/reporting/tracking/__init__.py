"""MLflow: one run per cell, written after the results are on disk by one process."""

from dia.reporting.tracking.sync import SyncSummary, sync

__all__ = ["SyncSummary", "sync"]
