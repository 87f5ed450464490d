"""Factors or the full matrix: which form of a layer's weight gradient costs less an iteration.

Counted per victim in multiply-adds, T positions, the received gradient as R outer products (or dense):

    factors:  T^2 (in + out) + T R (in + out)          Gram matrices with itself and with the received factors
              T^2 (in + out) + T in out + E in out     the same, the received gradient dense
    matrix:   T in out + E in out                      form G, then elementwise with a dense received gradient

``E`` stands for the elementwise passes over a full matrix (square, product, their backward): they are bound by
memory, and one pass costs about as much as four multiply-adds an entry on a CPU core; eight passes are made.
Backward repeats every matrix product twice, in both forms, so it does not enter the comparison.
"""

ELEMENTWISE = 32


def keep_factors(tokens: int, received_rank: int | None, fan_in: int, fan_out: int) -> bool:
    """Tell whether a layer is matched through its factors rather than through its full gradient.

    Args:
        tokens: Positions T summed over in one victim's gradient (images x tokens, or images x pixels).
        received_rank: Number R of outer products of the received gradient; None where it is dense.
        fan_in, fan_out: Sizes of the weight matrix (of one group).
    """
    both, product = fan_in + fan_out, fan_in * fan_out
    dense = tokens * product + ELEMENTWISE * product
    received = dense if received_rank is None else tokens * received_rank * both
    return tokens**2 * both + received < (tokens + ELEMENTWISE) * product
