"""Regular expressions of the texts that name files on users' disks."""

NAME = r"[a-z0-9][a-z0-9_-]*"
"""A name of a config, scenario, dataset or model: each becomes a folder."""

RATE = r"0(?:\.[0-9]+)?"
"""A dropout rate in [0, 1) as text: the config's own spelling names the file, so it is never a float."""

LONGEST_NAME = 100
"""Characters of a name or a rate: a file name has 255 at most, and temporary files add to it."""
