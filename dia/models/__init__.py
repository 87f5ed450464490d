"""Model architectures, their dropout, and users' own models."""
