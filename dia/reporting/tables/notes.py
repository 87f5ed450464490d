"""The sentences below a table: completeness, intervals, settings, sources."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dia.attacks.stop_reasons import LIMIT, NOT_APPLICABLE, WITHOUT_ATTACK, is_scored
from dia.evaluation.row_notes import HIDDEN_MATCH
from dia.reporting.expected_cells import non_default_settings
from dia.reporting.tables.cells import SIGNIFICANT
from dia.reporting.tables.spec import TableSpec
from dia.utils.text import shorten

if TYPE_CHECKING:
    import pandas as pd

NOTED = (
    "dataset",
    "source",
    "code_fingerprint",
    "attack",
    "stop_reason",
    "victim_id",
    "ssim",
    "ssim_mean_image",
    "notes",
)
"""Columns of the results that the notes speak of."""

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class _Context:
    """Everything that a note may speak of: see :func:`notes`."""

    spec: TableSpec
    expected: "pd.DataFrame"
    rows: "pd.DataFrame"
    reason: Callable[[str], str]
    published: Sequence[str]


def notes(
    spec: TableSpec,
    expected: "pd.DataFrame",
    rows: "pd.DataFrame",
    reason: Callable[[str], str],
    published: Sequence[str] = (),
) -> tuple[str, ...]:
    """The notes that apply, in the order of ``_NOTES``.

    Args:
        spec: The table's declaration.
        expected: Its cells in the complete grid.
        rows: The rows behind it, one per victim, without chance levels.
        reason: Why a cell, given by its id, is missing.
        published: Who published the numbers that are shown beside ours.
    """
    context = _Context(spec, expected, rows, reason, published)
    return tuple(text for note in _NOTES if (text := note(context)) is not None)


def _completeness(table: _Context) -> str:
    here = set(table.rows["cell_id"])
    missing = [cell for cell in table.expected["cell_id"] if cell not in here]
    done = f"{len(table.expected) - len(missing)} of {len(table.expected)} cells"
    if not missing:
        return f"{done}."

    def describe(cell: str) -> str:
        why = table.reason(cell)
        return f"{cell} ({why})" if why else cell

    return f"{done}; missing: {shorten(missing, _MOST_NAMED, describe=describe)}."


def _intervals(table: _Context) -> str:
    kinds = {metric.interval for metric in table.spec.metrics}
    texts = {
        "bootstrap": "95% bootstrap interval over seeds and victims",
        "wilson": "95% Wilson interval over images for the success rate",
    }
    counted = "n: victims times seeds" + (", of all columns together." if table.spec.columns else ".")
    shown = [text for kind, text in texts.items() if kind in kinds]
    return f"In brackets: {'; '.join(shown)}. {counted}" if shown else counted


def _comparison(table: _Context) -> str | None:
    if table.spec.compare is None:
        return None
    return (
        f"{table.spec.compare.label}: mean difference on the same private batches and seeds, its 95% bootstrap "
        "interval over seeds and victims, and the p-value of a two-sided Wilcoxon signed-rank test over victims, "
        "corrected by Holm's method for this table. n too small: no scores of so many victims could give a p-value "
        f"of {SIGNIFICANT:g} or less."
    )


def _bold(table: _Context) -> str | None:
    if (rule := table.spec.best) is None:
        return None
    values = table.spec.values
    names = [
        shorten([values.get(axis, {}).get(name, name) for name in among], _MOST_NAMED)
        for axis, among in rule.among.items()
    ]
    same = ", ".join(table.spec.labels.get(axis, axis).replace("_", " ") for axis in rule.within)
    return (
        f"Bold: the best value as printed among {'; '.join(names) or 'all'}"
        + (f", for the same {same}" if same else "")
        + "; equal as printed are all bold, unless all are equal. It is no test: see the intervals."
    )


def _not_converged(table: _Context) -> str | None:
    """Searches that ended at the limit before their learning rate could have fallen once."""
    settings = [
        "cell_id",
        "max_iterations",
        "plateau_patience",
        "learning_rate_schedule",
        "lbfgs_start_iteration",
    ]
    limits = table.rows[["cell_id", "stop_reason"]].merge(table.expected[settings], on="cell_id")
    limits = limits[limits["stop_reason"].str.endswith(LIMIT)]
    early = limits[
        (limits["max_iterations"] <= limits["plateau_patience"] + 1)
        & (limits["learning_rate_schedule"] == "plateau")
        & limits["lbfgs_start_iteration"].isna()
    ]
    if not len(early):
        return None
    pairs = early[["max_iterations", "plateau_patience"]].drop_duplicates().itertuples(index=False)
    shown = "; ".join(f"{most} iterations, plateau_patience {patience}" for most, patience in pairs)
    return (
        f"Not converged: {len(early)} of {len(table.rows)} victims ended at max_iterations before their learning rate "
        f"could fall once ({shown})."
    )


def _undefended_below_chance(table: _Context) -> str | None:
    """Cells of ig without dropout that are below the mean image: their budget recovers nothing, dropout or not."""
    plain = table.rows[(table.rows["attack"] == "ig") & (table.rows["dropout_rate"].astype(float) == 0)]
    means = plain.groupby("cell_id", sort=False)[["ssim", "ssim_mean_image"]].mean()
    below = means[means["ssim"] < means["ssim_mean_image"]]
    if not len(below):
        return None
    texts = [f"{cell}: {ssim:.3f}, mean image {chance:.3f}" for cell, ssim, chance in below.itertuples()]
    return (
        "Without dropout ig is below the mean image's SSIM, so these settings recover too little to say what dropout "
        f"does ({shorten(texts, _MOST_NAMED, '; ')})."
    )


def _not_applicable(table: _Context) -> str | None:
    """Attacks that could not be used somewhere, and why."""
    reasons = table.rows[["attack", "stop_reason"]].drop_duplicates()
    reasons = reasons[reasons["stop_reason"].str.startswith(NOT_APPLICABLE)]
    start = len(NOT_APPLICABLE) + 2  # and a colon and a space
    texts = [f"{attack}: {reason[start:]}" for attack, reason in reasons.itertuples(index=False)]
    return f"A dash: the attack does not apply ({shorten(texts, _MOST_NAMED, '; ')})." if texts else None


def _failed(table: _Context) -> str | None:
    """Victims without a reconstruction because a number was not finite or an update was refused, and which."""
    failed = table.rows[table.rows["stop_reason"].str.startswith(WITHOUT_ATTACK)]
    if not len(failed):
        return None
    texts = [
        f"{row.cell_id}, victim {row.victim_id} ({row.stop_reason.split(': ', 1)[1].split(';')[0]})"
        for row in failed.itertuples()
    ]
    return (
        f"{len(failed)} of {len(table.rows)} victims failed and are left out: "
        f"{shorten(texts, _MOST_NAMED, '; ')}."
    )


def _unscored(table: _Context) -> str | None:
    """Reconstructions that nobody can compare with private images."""
    here = table.rows[table.rows["stop_reason"].map(is_scored).astype(bool)]
    unscored = int(here["ssim"].isna().sum())
    if not unscored:
        return None
    return (
        f"Scores are over {len(here) - unscored} of the {len(here)} victims with a reconstruction: nobody has the "
        "private images of the others."
    )


def _hidden_matches(table: _Context) -> str | None:
    """Victims whose gradient is so small that the cosine's epsilon hides a match."""
    hidden = table.rows["notes"].str.contains(HIDDEN_MATCH, regex=False)
    return f"{hidden.sum()} of {len(table.rows)} victims have a {HIDDEN_MATCH}." if hidden.any() else None


def _published(table: _Context) -> str | None:
    sources = "; ".join(dict.fromkeys(table.published))
    return f"Published numbers, not ours: {sources}." if sources else None


def _settings(table: _Context) -> str | None:
    settings = non_default_settings(table.expected) if len(table.expected) else ""
    return f"Settings other than the paper's: {settings}." if settings else None


def _images(table: _Context) -> str | None:
    sources = table.rows[["dataset", "source"]].drop_duplicates().itertuples(index=False)
    images = "; ".join(f"{dataset} from {source}" for dataset, source in sources)
    return f"Images: {images}." if images else None


def _code_versions(table: _Context) -> str | None:
    versions = table.rows["code_fingerprint"].nunique()
    return f"The cells were computed by {versions} versions of the code." if versions > 1 else None


_NOTES: tuple[Callable[[_Context], str | None], ...] = (
    _completeness, _intervals, _bold, _comparison, _not_applicable, _failed, _unscored, _hidden_matches,
    _not_converged, _undefended_below_chance,
    _published, _settings, _images, _code_versions,
)  # fmt: skip
