"""The plan of a run: its stages, coarse to fine, with their sizes and steps.

The picture is painted in stages of about equally many steps, each half the size of the next. A large result would have
finer strokes than a small one that way, and nearly all of its time would go into the largest sizes. So sizes above a
limit only add detail: the picture is painted at half the size, or half of that, and each larger stage then paints the
fine structure of the strokes that are there, in few steps.

A larger plan with the steps for one stage more begins with the whole smaller plan. That is what lets a finished picture
be enlarged (`nst.enlargement`): it becomes what a larger run paints from its beginning.
"""

from dataclasses import dataclass

from nst.io.sizes import MIN_SIDE, fitted_size

SHORTEST_STAGE = 64  # px on the short side: in a coarser stage the deeper layers see almost nothing

SEAMLESS_GRID = 32  # px


@dataclass(frozen=True)
class Stage:
    """A part of the run, at one size.

    long_side: in px. steps: optimization steps. adds_detail: whether it keeps the strokes of the stage before.
    """

    long_side: int
    steps: int
    adds_detail: bool = False


def plan_stages(size: int, steps: int, scales: int, detail_above: int, shape: tuple[int, int]) -> tuple[Stage, ...]:
    """Return the stages of a run, coarse to fine, with `steps` steps in all.

    Steps left over go to the coarsest stages, where they cost least. If there are fewer steps than stages, the coarsest
    stages are left out.

    size: long side of the result in px. scales: the stages up to `detail_above` px, at most. shape: (width, height) in
    any unit. Painted stages whose short side would be under `SHORTEST_STAGE` are left out, and so are pictures to add
    detail to whose short side would be under `MIN_SIDE`.
    """
    details = _detail_sides(size, steps, detail_above, shape)
    each = _detail_steps(steps, len(details))
    steps -= len(details) * each
    sides = [_half(details[0]) if details else size]
    aspect = min(shape) / max(shape)
    while len(sides) < min(scales, steps) and _half(sides[0]) * aspect >= SHORTEST_STAGE:
        sides.insert(0, _half(sides[0]))
    share, extra = divmod(steps, len(sides))
    painted = (Stage(side, share + (i < extra)) for i, side in enumerate(sides))
    return (*painted, *(Stage(side, each, adds_detail=True) for side in details))


def detail_steps(steps: int) -> int:
    """Return the steps of a stage that adds detail to a picture painted in `steps` steps: 15 %, rounded up."""
    return -(-3 * steps // 20)


def seamless_side(side: int) -> int:
    """Return a side in px, near `side`, of which a border of an eighth is a whole number in all stages."""
    return max(1, round(side / SEAMLESS_GRID)) * SEAMLESS_GRID


def _detail_sides(size: int, steps: int, detail_above: int, shape: tuple[int, int]) -> list[int]:
    """Return the long sides of the stages that add detail, coarse to fine. One step is left for the stage below."""
    sides = []
    while size > detail_above and len(sides) + 1 < steps and min(fitted_size(shape, _half(size))) >= MIN_SIDE:
        sides.insert(0, size)
        size = _half(size)
    return sides


def _detail_steps(steps: int, stages: int) -> int:
    """Return the steps of each of `stages` that add detail, of `steps` in all.

    The stages below them have the most steps, n, that leave `detail_steps(n)` for each.
    """
    return next(detail_steps(n) for n in range(steps, 0, -1) if n == 1 or n + stages * detail_steps(n) <= steps)


def _half(side: int) -> int:
    return round(side / 2)
