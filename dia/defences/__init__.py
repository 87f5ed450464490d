"""Defences of a client besides dropout: one file each, applied in the order of :mod:`dia.defences.registry`."""
