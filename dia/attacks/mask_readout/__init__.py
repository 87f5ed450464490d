"""Dropout masks read in a gradient's zeros, for one image and for the images of a batch: see README.md."""
