"""Dropout Inversion Attack: reconstruct a federated client's private images from a dropout gradient.

Importing this package imports no heavy library: every cluster job parses the workflow, and with it this package.
"""

__version__ = "0.1.0"
