"""Figures, one per file: each takes results and returns a matplotlib figure."""
