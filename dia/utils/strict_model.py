"""The ground of every part of the config: closed models and strict numbers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Strict

StrictInt = Annotated[int, Strict()]
"""A whole number that must be written as one (``300``, not ``300.0`` or ``"300"``)."""

StrictFloat = Annotated[float, Strict()]
"""A number that must be written as one (``0.1`` or ``1``, not ``"0.1"``, nor ``true``)."""

StrictBool = Annotated[bool, Strict()]
"""``true`` or ``false``."""


class StrictModel(BaseModel):
    """A frozen block of the config that refuses unknown keys and non-finite numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
