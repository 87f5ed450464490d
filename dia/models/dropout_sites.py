"""The setting ``dropout_sites``: which dropout modules of a model drop. Light to import."""

import re
from collections.abc import Callable

from dia.models.registry import MODELS
from dia.utils.validation_errors import unknown_name_message


def site_selector(model: str | None, sites: str) -> Callable[[str], bool]:
    """Select the dropout modules of a model that drop, by module name.

    Args:
        model: A built-in architecture; None for a user's own.
        sites: ``default``, ``all``, or sites joined by ``+``; those of a user's own model are module names, which
            stand for all that is inside them.

    Raises:
        ValueError: The architecture has no such site.
    """
    architecture = None if model is None else MODELS[model]
    if sites == "default":
        sites = architecture.default_sites if architecture else "all"
    if sites == "all":
        return lambda module: True
    if architecture is None:
        patterns = [rf"{re.escape(site)}(\..*)?" for site in sites.split("+")]
    else:
        known = architecture.sites
        for site in sites.split("+"):
            if site not in known:
                raise ValueError(
                    unknown_name_message(f"dropout site of {model}", site, ("default", "all", *known))
                )
        patterns = [known[site] for site in sites.split("+")]
    return lambda module: any(re.fullmatch(pattern, module) for pattern in patterns)
