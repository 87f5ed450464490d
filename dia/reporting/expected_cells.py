"""The cells of the complete grid: a table says n of N, and N comes from the config, not from the rows."""

from typing import TYPE_CHECKING, Any

from dia.attacks.registry import ATTACKS
from dia.settings.federated import TrainingSettings
from dia.settings.scenario import Settings

if TYPE_CHECKING:
    import pandas as pd

    from dia.config.config import Config


def expected_cells(config: "Config") -> "pd.DataFrame":
    """One line per cell of the config: ``cell_id``, axes, settings; ``victims`` is the number of its rows."""
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for cell in config.cells:
        lines.append({"cell_id": cell.id, **cell.axes(), **config.settings(cell).model_dump(mode="json")})
    return pd.DataFrame(lines)


def non_default_settings(expected: "pd.DataFrame") -> str:
    """The settings that differ from the paper's: ``victims 16; max_iterations 300 (mlp), 900 (vit)``.

    Those of training are left out where nothing is trained, and a model is named where models differ. Settings for
    which an attack has its own defaults follow under its name: ``dia_lbfgs: mask_init mean, ...``.
    """
    own = {name: set(ATTACKS[name].defaults) for name in expected["attack"].unique() if name in ATTACKS}
    special: set[str] = set().union(*own.values())
    parts = _deviations(expected, set(Settings.model_fields) - special)
    parts += _deviations(expected[~expected["attack"].isin([name for name in own if own[name]])], special)
    for attack in (name for name in own if own[name]):
        if found := _deviations(expected[expected["attack"] == attack], special):
            parts.append(f"{attack}: {', '.join(found)}")
    return "; ".join(parts)


def _deviations(cells: "pd.DataFrame", names: "set[str]") -> list[str]:
    """Those of the settings ``names`` that differ from the paper's in some of the cells, with their values."""
    parts: list[str] = []
    trained = bool(cells["federated_rounds"].any())
    for name, default in Settings().model_dump(mode="json").items():
        # In a column of numbers pandas makes nan of null.
        values = [None if value != value else value for value in cells[name].drop_duplicates()]
        if name not in names or values in ([], [default]):
            continue
        if name in TrainingSettings.model_fields and not trained:
            continue
        if len(values) == 1:
            parts.append(f"{name} {_format_setting(values[0])}")
            continue
        by_model = cells.groupby("model", sort=False)[name].unique()
        texts = {model: ", ".join(map(_format_setting, found)) for model, found in by_model.items()}
        alike = len(set(texts.values())) == 1
        shown = set(texts.values()) if alike else [f"{text} ({model})" for model, text in texts.items()]
        parts.append(f"{name} {', '.join(shown)}")
    return parts


def _format_setting(value: Any) -> str:
    """A setting as text: pandas turns an unset one into ``nan``, and an integer beside it into a float."""
    if value is None or value != value:
        return "null"
    return f"{value:g}" if isinstance(value, float) else str(value)
