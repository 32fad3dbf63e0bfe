"""Duplicates: images that are the same, or that a representation can hardly tell apart, and their groups."""

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch

from diabolo.data.images import CHUNK, Images
from diabolo.errors import UserError
from diabolo.evaluation.neighbours import nearest

LINKS = 10  # other images that an image can be paired with: its nearest
SHARE = 1 / 5  # of the usual distance to the last of these: nearer images are near-duplicates


class Duplicates(NamedTuple):
    """pairs: int64 [P, 2], positions, most alike first. cosines: float64 [P], theirs. above: the threshold.

    groups: int64 [N], the group of each example, −1 where it has none; 0 holds the most alike pair.
    """

    pairs: np.ndarray
    cosines: np.ndarray
    groups: np.ndarray
    above: float

    def members(self) -> list[np.ndarray]:
        """The positions of each group's examples."""
        order = np.argsort(self.groups, kind="stable")
        return np.split(order, np.searchsorted(self.groups[order], np.arange(self.groups.max() + 1)))[1:]


def near_duplicates(features: np.ndarray, above: float | None = None, least: int = 0) -> Duplicates:
    """Pairs of rows [N, D] whose cosine is `above` or more, and in any case the `least` most alike.

    Without `above`, a pair is near-duplicate where its distance, of vectors of length 1, is at most a fifth
    of the usual one to the tenth nearest neighbour, the median over all rows. So the threshold follows how
    crowded the representation is, and holds while fewer than half of the rows have ten copies. Groups are the
    connected components of the pairs above the threshold, each row being paired with its ten nearest.
    """
    n = len(features)
    if n < 2:
        raise UserError("duplicates: one image has nothing to be compared with")
    if above is not None and not -1 <= above <= 1:
        raise UserError(f"duplicates: above is a cosine, from −1 to 1, got {above}")
    distances, found = nearest(features, features, min(LINKS + 1, n), "cosine")
    cosine = 1 - distances.astype(np.float64) ** 2 / 2
    if above is None:
        above = 1 - SHARE**2 * float(1 - np.median(cosine[:, -1]))
        if above > 1 - np.finfo(np.float32).eps:
            raise UserError(
                "duplicates: most images cannot be told from ten others here: give the cosine, with --above"
            )
    row = np.arange(n)[:, None]
    code = np.minimum(row, found) * n + np.maximum(row, found)  # of a pair, in either order
    other = found != row
    codes, first = np.unique(code[other], return_index=True)
    cosines = cosine[other][first]
    order = np.argsort(-cosines, kind="stable")
    pairs, cosines = np.stack(np.divmod(codes[order], n), axis=1), cosines[order]
    close = int((cosines >= above).sum())
    kept = max(close, least)
    return Duplicates(pairs[:kept], cosines[:kept], _groups(pairs[:close], n), above)


def identical(images: Images, among: Images) -> np.ndarray:
    """Which of the images are, pixel for pixel, among others as well: bool [N]."""
    known = set(_digests(among))
    return np.array([digest in known for digest in _digests(images)])


def _digests(images: Images) -> Iterator[bytes]:
    at_once = max(1, CHUNK // max(1, images.pixels[:1].nbytes))
    for few in torch.arange(len(images)).split(at_once):
        for pixels in images.pixels[few].numpy():
            yield blake2b(pixels.tobytes(), digest_size=16).digest()


def _groups(pairs: np.ndarray, n: int) -> np.ndarray:
    """The connected components of pairs [P, 2] among n, ordered by their first pairs; −1 for the rest."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, component = connected_components(coo_array((np.ones(len(pairs)), pairs.T), (n, n)), directed=False)
    linked, first = np.unique(component[pairs[:, 0]], return_index=True)
    number = np.full(count, -1)
    number[linked[np.argsort(first)]] = np.arange(len(linked))
    return number[component]
