"""Sentences that rows carry in their column ``notes`` and tables repeat below. Light to import."""

NOTED_SHIFT = 1e-3
"""A perfect match's matching distance from which on a row says that the cosine's epsilon hides it."""

HIDDEN_MATCH = (
    "small client gradient (gradient_norm): the absolute epsilon of the cosine gives even a perfect match a matching "
    f"distance above {NOTED_SHIFT:g}; cosine_epsilon: relative does not"
)

LABEL_UNCERTAIN = "the inferred label is a guess: the gradient does not tell it for certain"
