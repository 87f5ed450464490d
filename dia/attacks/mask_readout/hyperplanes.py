"""Hyperplanes that hold more of a matrix's rows than chance would put there.

Finding them is the sparse recovery step of exact batch inversion. SPEAR (Dimitrov et al. 2024, arXiv 2403.03945) draws
hyperplanes through random rows and keeps those on which a ReLU's zeros put many others; here the zeros may come from
dropout as well, and a hyperplane that was found is fitted again to all the rows that it holds.

Shapes: K rows of the matrix in the R dimensions that they span, of unit length; a hyperplane is its unit normal (R,).
"""

import math

import torch
from torch import Tensor

ZERO, NONZERO = 1e-6, 1e-5
"""A coefficient below the first fraction of its row is zero, above the second it is not, in between it is undecided.
Rounding to float32 leaves up to about 3e-7."""

REFIT_TOLERANCES = (1e-4, NONZERO, ZERO)
"""Distances within which rows count as lying in a hyperplane, while it is fitted to ever better known rows."""

RANK_TOLERANCE = 1e-6
"""Singular values below this fraction of the largest are rounding."""

MIN_TRIES, MAX_TRIES = 1024, 2**17
"""Fewest and most hyperplanes that are drawn through random rows."""

FALSE_PLANES = 1e-3
"""Hyperplanes expected among all those drawn that hold as many rows by chance as one that is taken."""

NEIGHBOURHOOD = 1e-2
"""Rows closer to a hyperplane than this, but not in it, tell how many would lie in it by chance."""

CHUNK = 4096
"""Hyperplanes drawn at once."""


def row_space(matrix: Tensor, max_rank: int) -> Tensor | None:
    """An orthonormal basis (in, R) of the rows of a matrix (out, in); None if their rank is 0 or above ``max_rank``."""
    if not bool(matrix.isfinite().all()):
        return None
    rng = torch.Generator().manual_seed(0)
    size = min(max_rank + 4, *matrix.shape)
    start = torch.randn(matrix.shape[1], size, generator=rng, dtype=torch.float64).to(matrix)
    columns = torch.linalg.qr(matrix @ start).Q
    columns = torch.linalg.qr(matrix @ (matrix.T @ columns)).Q
    values, vectors = torch.linalg.svd(columns.T @ matrix, full_matrices=False)[1:]
    rank = int((values > RANK_TOLERANCE * values[0]).sum())
    return vectors[:rank].T if 0 < rank <= max_rank else None


def find_hyperplanes(rows: Tensor, rate: float) -> Tensor | None:
    """Normals (R, R), one per column, of the R hyperplanes that hold the most of the rows (K, R).

    Args:
        rows: Without zero rows.
        rate: Fraction of the coefficients expected to be zero; decides how many hyperplanes are drawn.

    Returns:
        None unless there are R linearly independent ones.
    """
    dimensions = rows.shape[1]
    if dimensions == 1:
        return rows.new_ones(1, 1)
    if len(rows) < dimensions + 1:
        return None
    normals: list[Tensor] = []
    seen = rows.new_zeros(0, dimensions)
    for candidate in _most_promising(rows, rate):
        if bool(((seen @ candidate).abs() > 1 - 1e-6).any()):
            continue
        normal = _refit(rows, candidate)
        seen = torch.cat([seen, candidate[None], normal[None]])
        if _is_cyclic_flat(rows[(rows @ normal).abs() < ZERO]) and all(
            float((normal @ other).abs()) < 1 - 1e-9 for other in normals
        ):
            normals.append(normal)
        if len(normals) == dimensions:
            return _if_independent(normals)
    return None


def fit_hyperplanes(rows: Tensor, inside: Tensor) -> Tensor | None:
    """Normals (R, R) of hyperplanes through rows that are known to lie in them.

    Args:
        rows: (K, R).
        inside: (K, R) bool, the rows that each hyperplane (column) holds, a few of them mistaken.

    Returns:
        None unless each hyperplane is determined by its rows, and all of them are linearly independent.
    """
    if rows.shape[1] == 1:
        return rows.new_ones(1, 1)
    normals = []
    for members in inside.T:
        given = rows[members & (rows != 0).any(1)]
        if len(given) < rows.shape[1]:
            return None
        candidates, chance = _random_hyperplanes(given, MIN_TRIES // 8, torch.Generator().manual_seed(0))
        normal = _refit(rows, candidates[chance.argmin()])
        if not _is_cyclic_flat(rows[(rows @ normal).abs() < ZERO]):
            return None
        normals.append(normal)
    return _if_independent(normals)


def _most_promising(rows: Tensor, rate: float) -> list[Tensor]:
    """Normals through random rows that hold more further rows than chance explains, the least likely first."""
    rng = torch.Generator().manual_seed(0)
    tries = remaining = _tries(rate, rows.shape[1])
    promising = []
    while remaining > 0:
        normals, chance = _random_hyperplanes(rows, min(remaining, CHUNK), rng)
        better = torch.nonzero(chance <= math.log(FALSE_PLANES / tries)).flatten()
        promising += list(zip(chance[better].tolist(), normals[better], strict=True))
        remaining -= CHUNK
    return [normal for _, normal in sorted(promising, key=lambda pair: pair[0])]


def _tries(rate: float, dimensions: int) -> int:
    """The number of hyperplanes to draw so that each one sought is hit several times, within the limits."""
    in_one = (rate - rate**dimensions) / (
        1 - rate**dimensions
    )  # fraction of the nonzero rows in one hyperplane
    wanted = 4 * math.log(1000) / in_one ** (dimensions - 1) if in_one else 0
    return int(min(max(wanted, MIN_TRIES), MAX_TRIES))


def _random_hyperplanes(rows: Tensor, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Normals (count, R) of hyperplanes through R - 1 random rows each, and how likely their other rows are there by
    chance: the logarithms (count,) of a bound.

    Of n other rows, each in a plane by chance with probability q, at least m are with a probability of at most
    ``(n q)^m / m!``. The neighbourhood of the plane tells n q, one row being added for the case that it is empty.
    """
    drawn = rows.shape[1] - 1
    chosen = torch.randint(len(rows), (count, drawn), generator=rng).to(rows.device)
    normals = torch.linalg.qr(rows[chosen].transpose(1, 2), mode="complete").Q[..., -1]
    distance = (normals.float() @ rows.float().T).abs_()
    further = (distance < NONZERO).float().sum(1) - drawn
    chance = torch.zeros_like(further)
    some = further > 0
    near = (distance[some] < NEIGHBOURHOOD).float().sum(1) - further[some] - drawn
    expected = (near + 1) * (NONZERO / NEIGHBOURHOOD)
    chance[some] = further[some] * expected.log() - torch.lgamma(further[some] + 1)
    return normals, chance


def _refit(rows: Tensor, normal: Tensor) -> Tensor:
    """The normal (R,) of the hyperplane through the rows that lie close to the one given."""
    for tolerance in REFIT_TOLERANCES:
        inside = rows[(rows @ normal).abs() < tolerance]
        if len(inside) < len(normal) - 1:
            return normal
        normal = torch.linalg.svd(inside)[2][-1]
    return normal


def _is_cyclic_flat(rows: Tensor) -> bool:
    """Tell whether rows (K, R) span a hyperplane and no single one of them is needed for that.

    A plane through the few dimensions that one image's rows share and any other row holds many rows as well; that
    other row is then indispensable. In general position only the planes of one image each have no such row (the
    cyclic hyperplanes of a transversal matroid: their rank is the number of images in them).
    """
    vectors, values, _ = torch.linalg.svd(rows, full_matrices=False)
    span = rows.shape[1] - 1
    if len(rows) <= span or values[span - 1] < 1e-4 * values[0]:
        return False
    return bool(vectors[:, :span].square().sum(1).max() < 0.999)


def _if_independent(normals: list[Tensor]) -> Tensor | None:
    """The normals as columns (R, R), or None where they are linearly dependent."""
    together = torch.stack(normals, dim=1)
    return together if float(torch.linalg.svdvals(together)[-1]) > RANK_TOLERANCE else None
