"""Balanced selection: properties that hold for every list of labels, and a slow oracle."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dia.datasets.balanced_sampling import balanced_order, imbalance

LABELS = st.lists(st.integers(0, 6), max_size=60)


def round_robin(labels: list[int], count: int) -> list[int]:
    """The slow, obvious oracle: go round the classes, taking the next image of each that has one left."""
    queues = {label: [i for i, other in enumerate(labels) if other == label] for label in sorted(set(labels))}
    taken: list[int] = []
    while any(queues.values()):
        for queue in queues.values():
            if queue:
                taken.append(queue.pop(0))
    return taken[:count]


@given(LABELS, st.data())
def test_takes_turns(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(labels)))
    assert balanced_order(np.array(labels, dtype=np.int64), count).tolist() == round_robin(labels, count)


@given(LABELS)
def test_every_prefix_is_as_balanced_as_the_source_allows(labels: list[int]) -> None:
    supply = Counter(labels)
    order = balanced_order(np.array(labels, dtype=np.int64), len(labels))
    assert sorted(order.tolist()) == list(range(len(labels)))
    for count in range(len(labels) + 1):
        taken = Counter(labels[i] for i in order[:count])
        most = max(taken.values(), default=0)
        # A class is behind by more than one image only when it has no more.
        assert all(taken[label] >= most - 1 or taken[label] == supply[label] for label in supply)


@given(LABELS, st.data())
def test_smaller_selection_begins_a_larger_one(labels: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(labels)))
    array = np.array(labels, dtype=np.uint8)
    assert np.array_equal(balanced_order(array, count), balanced_order(array, len(labels))[:count])


@given(LABELS)
def test_order_of_the_source_is_kept_within_a_class(labels: list[int]) -> None:
    order = balanced_order(np.array(labels, dtype=np.int64), len(labels))
    for label in set(labels):
        mine = [i for i in order if labels[i] == label]
        assert mine == sorted(mine)


@pytest.mark.parametrize("count", [-1, 4])
def test_impossible_counts(count: int) -> None:
    with pytest.raises(ValueError, match="of 3 images cannot be selected"):
        balanced_order(np.array([0, 1, 2]), count)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([2, 2, 1], None),
        ([1, 0, 0], None),
        ([3, 1, 3], "not balanced: 1 to 3 images per class"),
        ([2, 0, 2], "not balanced: 2 to 2 images per class, 1 of 3 classes without any"),
    ],
)
def test_imbalance_is_said(counts: list[int], said: str | None) -> None:
    assert imbalance(np.array(counts)) == said
