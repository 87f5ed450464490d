"""What all figures share: colours and names of the attacks, sizes for print, saving."""

from pathlib import Path
from typing import TYPE_CHECKING

from dia.errors import ConfigError
from dia.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".pdf")

# Okabe and Ito (2008): distinguishable with every common colour blindness, and in print by their lightness.
COLOURS = {"ig": "#D55E00", "wiig": "#009E73", "dia": "#0072B2"}
OTHER_COLOUR = "#444444"
PALE = "#767676"  # the palest grey that is still readable on white

FONT_SIZE = 9.0  # points, readable when a figure is scaled down to the width of a page
SMALL = 8.0


def colour(attack: str) -> str:
    """The colour of an attack."""
    return COLOURS.get(attack, OTHER_COLOUR)


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in inches, in no window system."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rc("font", size=FONT_SIZE, family="DejaVu Sans")  # comes with matplotlib: everywhere the same
    matplotlib.rc("pdf", fonttype=42)  # embedded TrueType: text stays text
    return Figure(figsize=(width, height))


def save(figure: "Figure", path: str | Path) -> None:
    """Write a figure atomically, without dates in it: equal results give equal files.

    Raises:
        ConfigError: The suffix is not one of ``FORMATS``.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ConfigError(f"{path}: the suffix of a figure must be one of {', '.join(FORMATS)}")
    metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": None}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=220, metadata=metadata)
