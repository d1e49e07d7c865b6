"""What the hub checks before it believes an update."""

from __future__ import annotations

from common.aggregation import MAX_TOTAL_WEIGHT, Arrays, Update, norm
from common.errors import SiteCode
from common.messages import Refusal, TrainAnswer


def checked_update(
    answer: object, *, site: str, round_index: int, weight: int, arrays: Arrays, max_norm: float
) -> Update | Refusal:
    """Returns the update when it is exactly what was asked for, else a refusal that names the site.

    Exactly the expected keys and shapes, float32, finite, an L2 norm of at most ``max_norm``, this round, and the
    weight that the site declared when it enrolled.
    """
    bad = Refusal(site=site, code=SiteCode.BAD_UPDATE)
    if not isinstance(answer, TrainAnswer) or answer.site != site or answer.round_index != round_index:
        return bad
    if answer.weight != weight or not 0 < answer.weight <= MAX_TOTAL_WEIGHT:
        return bad
    if answer.arrays.keys() != arrays.keys():
        return bad
    if any(answer.arrays[name].shape != arrays[name].shape for name in arrays):
        return bad
    try:
        update = Update.of(answer.arrays, answer.weight)
    except ValueError:
        return bad
    return update if norm(answer.arrays) <= max_norm else bad
