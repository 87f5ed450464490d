"""MLflow: one run per cell, written by one process after the results are on disk."""
