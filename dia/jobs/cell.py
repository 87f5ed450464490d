"""A cell: one point of the evaluation grid, its canonical id and its place among the results."""

import re
from typing import Annotated, ClassVar, Self

from pydantic import Field
from pydantic.dataclasses import dataclass

from dia.errors import ConfigError
from dia.utils.patterns import NAME, RATE

Name = Annotated[str, Field(pattern=f"^(?:{NAME})$")]

_ID = re.compile(
    rf"(?P<scenario>{NAME})/(?P<dataset>{NAME})/(?P<model>{NAME})/p(?P<dropout_rate>{RATE})"
    rf"/(?P<attack>{NAME})/seed(?P<seed>0|[1-9][0-9]*)"
)


# A dataclass, not a StrictModel: it hashes and sorts, and a grid has thousands of cells.
@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One (scenario, dataset, model, dropout rate, attack, seed).

    Attributes:
        scenario: Name of the config's block of client and attacker settings.
        dataset: Name of the config's dataset.
        model: Name of the architecture.
        dropout_rate: The rate p in [0, 1), spelt as in the config (``"0.50"`` stays ``"0.50"``).
        attack: Name of the attack.
        seed: Where all randomness of the cell starts.
    """

    AXES: ClassVar[tuple[str, ...]] = ("scenario", "dataset", "model", "dropout_rate", "attack", "seed")

    scenario: Name
    dataset: Name
    model: Name
    dropout_rate: Annotated[str, Field(pattern=f"^(?:{RATE})$")]
    attack: Name
    seed: Annotated[int, Field(strict=True, ge=0)]

    @property
    def id(self) -> str:
        """The canonical name, e.g. ``default/mnist/mlp/p0.50/dia/seed0``."""
        return (
            f"{self.scenario}/{self.dataset}/{self.model}/p{self.dropout_rate}/{self.attack}/seed{self.seed}"
        )

    @property
    def path(self) -> str:
        """The result file, relative to the folder ``cells/`` of a config's results."""
        return f"{self.id}.parquet"

    @property
    def p(self) -> float:
        """The dropout rate as a number."""
        return float(self.dropout_rate)

    @classmethod
    def parse(cls, cell_id: str) -> Self:
        """Read a canonical id back.

        Raises:
            ConfigError: The text is not an id.
        """
        match = _ID.fullmatch(cell_id)
        if match is None:
            raise ConfigError(
                f"{cell_id!r} is not a cell id: expected scenario/dataset/model/pRATE/attack/seedN, "
                "for example default/mnist/mlp/p0.50/dia/seed0"
            )
        scenario, dataset, model, dropout_rate, attack, seed = match.groups()
        return cls(scenario, dataset, model, dropout_rate, attack, int(seed))

    def axes(self) -> dict[str, str | int]:
        """The six axes by name, in the order of the id."""
        return {axis: getattr(self, axis) for axis in self.AXES}
