"""Figures, one idea a file: each takes results and returns a matplotlib figure.

Light to import: the workflow asks here which figures a config has, and matplotlib is loaded only to draw one.
"""

from dia.reporting.figures.kinds import KINDS, figure_groups

__all__ = ["KINDS", "figure_groups"]
