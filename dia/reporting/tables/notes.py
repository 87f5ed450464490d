"""The sentences below a table: completeness, intervals, settings, sources."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dia.attacks import NOT_APPLICABLE
from dia.reporting.expected_cells import non_default_settings
from dia.reporting.tables.spec import TableSpec

if TYPE_CHECKING:
    import pandas as pd

NOTED = ("dataset", "source", "code_fingerprint", "attack", "stop_reason")
"""Columns of the results that the notes speak of."""

_MOST_NAMED = 10


def notes(
    spec: TableSpec,
    expected: "pd.DataFrame",
    rows: "pd.DataFrame",
    reason: Callable[[str], str],
    published: Sequence[str] = (),
) -> tuple[str, ...]:
    """Completeness, what the intervals are, which settings are not the paper's, where the images are from."""
    here = set(rows["cell_id"])
    missing = [cell for cell in expected["cell_id"] if cell not in here]
    done = f"{len(expected) - len(missing)} of {len(expected)} cells"
    if missing:
        named = [f"{cell} ({why})" if (why := reason(cell)) else cell for cell in missing[:_MOST_NAMED]]
        more = len(missing) - _MOST_NAMED
        done += f"; missing: {', '.join(named)}" + (f" and {more} more" if more > 0 else "")
    said = [f"{done}."]
    kinds = {metric.interval for metric in spec.metrics}
    texts = {
        "bootstrap": "95% bootstrap interval over seeds and victims",
        "wilson": "95% Wilson interval over images for the success rate",
    }
    counted = "n: victims times seeds" + (", of all columns together." if spec.columns else ".")
    shown = [text for kind, text in texts.items() if kind in kinds]
    said.append(f"In brackets: {'; '.join(shown)}. {counted}" if shown else counted)
    if spec.compare:
        said.append(
            f"{spec.compare.label}: mean difference on the same private batches and seeds, and the p-value of a "
            "two-sided Wilcoxon signed-rank test over victims, corrected by Holm's method for this table."
        )
    if unfit := _placeholders(rows):
        said.append(f"A dash: the attack does not apply ({unfit}).")
    if published:
        said.append(f"Published numbers, not ours: {'; '.join(dict.fromkeys(published))}.")
    if len(expected) and (unusual := non_default_settings(expected)):
        said.append(f"Settings other than the paper's: {unusual}.")
    sources = rows[["dataset", "source"]].drop_duplicates().itertuples(index=False)
    if images := "; ".join(f"{dataset} from {source}" for dataset, source in sources):
        said.append(f"Images: {images}.")
    if (versions := rows["code_fingerprint"].nunique()) > 1:
        said.append(f"The cells were computed by {versions} versions of the code.")
    return tuple(said)


def _placeholders(rows: "pd.DataFrame") -> str:
    """Attacks that could not be used somewhere, and why."""
    reasons = rows[["attack", "stop_reason"]].drop_duplicates()
    reasons = reasons[reasons["stop_reason"].str.startswith(NOT_APPLICABLE)]
    start = len(NOT_APPLICABLE) + 2  # and a colon and a space
    told = [f"{attack}: {reason[start:]}" for attack, reason in reasons.itertuples(index=False)]
    more = len(told) - _MOST_NAMED
    return "; ".join(told[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")
