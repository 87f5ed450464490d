"""Datasets made into fixed victim sets: one file a source, one stored set a dataset.

Importing this package imports no heavy library; ``store`` needs numpy, the sources import theirs when called.
"""
