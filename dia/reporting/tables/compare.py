"""Paired comparisons: the same private batches and seeds under two attacks, or in two scenarios."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dia.reporting.intervals import bootstrap
from dia.reporting.tables.layout import Comparison, Key, Row
from dia.reporting.tables.spec import TableSpec

if TYPE_CHECKING:
    import pandas as pd

PAIRED = ("scenario", "dataset", "model", "dropout_rate", "attack", "seed")
BATCH = ("victims_sha256", "images")
"""A private batch: the victim set, and the indices of its images as a tuple."""


def with_comparisons(spec: TableSpec, groups: "Mapping[Key, pd.DataFrame]", rows: Sequence[Row]) -> list[Row]:
    """Compare each row with the one that differs in the compared axis alone.

    Args:
        spec: The declaration, with ``compare``.
        groups: The result rows of each row's key.
        rows: The table's rows, top down.
    """
    assert spec.compare is not None
    place = spec.rows.index(spec.compare.axis)
    keys = [name for name in PAIRED if name != spec.compare.axis]
    pairs: dict[Key, pd.DataFrame] = {}
    for key in (row.raw for row in rows):
        other = (*key[:place], spec.compare.to, *key[place + 1 :])
        if str(key[place]) == spec.compare.to or key not in groups or other not in groups:
            continue
        pairs[key] = paired_differences(groups[key], groups[other], keys, spec.compare.column)
    found = comparisons(pairs)
    return [replace(row, comparison=found.get(row.raw)) for row in rows]


def comparisons(pairs: "Mapping[Key, pd.DataFrame]") -> dict[Key, Comparison]:
    """The comparisons of one table, each from its pairs; none where there are no pairs.

    The mean difference has a hierarchical bootstrap interval over seeds and victims. The two-sided Wilcoxon signed-rank
    test is over victims, whose differences are averaged over seeds first: runs of a victim under several seeds are no
    independent pairs. Its p-values are corrected by Holm's method for the number of
    comparisons in the table.

    Args:
        pairs: The pairs of each row of the table; see :func:`paired_differences`.

    Source:
        Wilcoxon, Biometrics Bulletin 1 (1945); Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    found: dict[Key, Comparison] = {}
    for key, frame in pairs.items():
        if len(frame):
            victims = frame.groupby([*BATCH], sort=False)["difference"].mean().to_numpy()
            difference = bootstrap(frame["difference"], frame.get("seed"))
            found[key] = Comparison(difference, signed_rank(victims), len(victims))
    corrected = holm([c.p_value for c in found.values()])
    smallest = holm([smallest_signed_rank(c.pairs) for c in found.values()])  # it grows with each of them
    return {
        key: replace(comparison, p_value=p, smallest_p_value=least)
        for (key, comparison), p, least in zip(found.items(), corrected, smallest, strict=True)
    }


def paired_differences(
    these: "pd.DataFrame", others: "pd.DataFrame", keys: Sequence[str], column: str
) -> "pd.DataFrame":
    """Pair rows of the same private batch that agree in ``keys``.

    Returns:
        One line per pair: ``keys``, ``BATCH``, the score as ``column`` and ``COLUMN_other``, and ``difference``, this
        score less the other's. Rows without the score are left out.
    """
    both = [
        frame.assign(images=frame["source_indices"].map(tuple))[[*keys, *BATCH, column]].dropna(
            subset=[column]
        )
        for frame in (these, others)
    ]
    merged = both[0].merge(both[1], on=[*keys, *BATCH], suffixes=("", "_other"))
    return merged.assign(difference=merged[column].astype(float) - merged[f"{column}_other"].astype(float))


def signed_rank(differences: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test; 1 where there is no difference at all."""
    from scipy.stats import wilcoxon

    if not differences.any():
        return 1.0
    return float(wilcoxon(differences, zero_method="wilcox").pvalue)


def smallest_signed_rank(pairs: int) -> float:
    """The smallest p-value of the two-sided test: all differences have one sign, as 2 of 2^pairs do by chance."""
    return float(min(1.0, 2.0 ** (1 - pairs)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, p_values[number] * (len(p_values) - rank)))
        corrected[number] = largest
    return corrected
