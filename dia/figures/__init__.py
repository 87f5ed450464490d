"""Figures, one idea a file: each takes results and returns a matplotlib figure."""

from dia.figures.reconstructions import reconstructions
from dia.figures.style import FORMATS, save

__all__ = ["FORMATS", "reconstructions", "save"]
