"""What the complete grid would hold: tables say n of N, and N comes from the config, not from the rows."""

from typing import TYPE_CHECKING, Any

from dia.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from dia.config import Config


def expected_cells(config: "Config") -> "pd.DataFrame":
    """One line per cell of the config: ``cell_id``, axes, settings; ``victims`` is the number of its rows."""
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for cell in config.cells:
        lines.append({"cell_id": cell.id, **cell.axes(), **config.settings(cell).model_dump(mode="json")})
    return pd.DataFrame(lines)


def unusual_settings(expected: "pd.DataFrame") -> str:
    """The settings that differ from the paper's: ``victims 16; max_iterations 300 (mlp), 900 (vit)``."""
    parts = []
    for name, default in Settings().model_dump(mode="json").items():
        values = expected[name].drop_duplicates().tolist()
        if values == [default]:
            continue
        if len(values) == 1:
            parts.append(f"{name} {values[0]}")
            continue
        by_model = expected.groupby("model", sort=False)[name].unique()
        shown = [f"{', '.join(map(str, found))} ({model})" for model, found in by_model.items()]
        parts.append(f"{name} {', '.join(shown)}")
    return "; ".join(parts)
