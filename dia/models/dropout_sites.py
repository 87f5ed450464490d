"""Where a model may drop, in plain words; the setting ``dropout_sites`` chooses. Light to import."""

import re
from collections.abc import Callable

from dia.utils.validation_errors import unknown_name_message

_VIT = {
    "positions": r"dropout",
    "attention": r".*\.mixing\.dropout",
    "projection": r".*\.to_out\.1",
    "hidden": r".*\.net\.2",
    "output": r".*\.net\.4",
}

SITES: dict[str, dict[str, str]] = {
    "mlp": {"activations": r"layers\.\d+\.dropout"},
    "lenet": {"convolutions": r"features\.\d+", "head": r"dropout"},
    "resnet18": {"stages": r"layer\d\.\d+", "head": r"fc\.0"},
    "vit": _VIT,
    "vit_b16": _VIT,
}
"""Architecture -> site -> the names of its dropout modules, as a regular expression."""

DEFAULT = {"lenet": "head", "resnet18": "head"}
"""What ``default`` stands for where it is not every site."""


def site_selector(model: str, sites: str) -> Callable[[str], bool]:
    """Which dropout modules of a model drop, by module name.

    Args:
        model: An architecture, or a user's own model.
        sites: ``default``, ``all``, or sites joined by ``+``; those of a user's own model are module names, which
            stand for all that is inside them.

    Raises:
        ValueError: The architecture has no such site.
    """
    if sites == "default":
        sites = DEFAULT.get(model, "all")
    if sites == "all":
        return lambda module: True
    known = SITES.get(model)
    if known is None:
        patterns = [rf"{re.escape(site)}(\..*)?" for site in sites.split("+")]
    else:
        for site in sites.split("+"):
            if site not in known:
                raise ValueError(
                    unknown_name_message(f"dropout site of {model}", site, ("default", "all", *known))
                )
        patterns = [known[site] for site in sites.split("+")]
    return lambda module: any(re.fullmatch(pattern, module) for pattern in patterns)
