"""The cells of the complete grid: a table says n of N, and N comes from the config, not from the rows."""

from typing import TYPE_CHECKING, Any

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

    Those of training are left out where nothing is trained, and a model is named where models differ.
    """
    parts, trained = [], bool(expected["federated_rounds"].any())
    for name, default in Settings().model_dump(mode="json").items():
        values = expected[name].drop_duplicates().tolist()
        if values == [default] or (name in TrainingSettings.model_fields and not trained):
            continue
        if len(values) == 1:
            parts.append(f"{name} {_format_setting(values[0])}")
            continue
        by_model = expected.groupby("model", sort=False)[name].unique()
        texts = {model: ", ".join(map(_format_setting, found)) for model, found in by_model.items()}
        alike = len(set(texts.values())) == 1
        shown = set(texts.values()) if alike else [f"{text} ({model})" for model, text in texts.items()]
        parts.append(f"{name} {', '.join(shown)}")
    return "; ".join(parts)


def _format_setting(value: Any) -> str:
    """A setting as text: pandas turns an unset one into ``nan``, and an integer beside it into a float."""
    if value is None or value != value:
        return "null"
    return f"{value:g}" if isinstance(value, float) else str(value)
