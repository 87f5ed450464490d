"""Gradient matching for all victims at once, without forming a victim's weight gradient."""
