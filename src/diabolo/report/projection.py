"""Latents in the plane, and the thumbnails that show what each point is."""

from io import BytesIO

import numpy as np
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from diabolo.report.figures import Array
from diabolo.report.tiles import picture, shrink

POINTS = 2000  # more would take t-SNE long, and hide each other
FEWEST = 5  # that make a picture
SPRITE_COLUMNS = 50
SPRITE_TILE = 32  # largest side of a thumbnail, pixels


def choose(n: int) -> Array:
    """The positions of the points to show, in random order: at most `POINTS` of n."""
    return np.random.default_rng(0).permutation(n)[:POINTS]


def pca(features: Array) -> tuple[Array, Array]:
    """The first two principal components [n, 2], and each one's share of the variance [2].

    Features that do not vary have neither: both are zero.
    """
    points, share = np.zeros((len(features), 2)), np.zeros(2)
    if np.ptp(features, axis=0).max() > 0:
        fitted = PCA(min(2, *features.shape), random_state=0).fit(features)
        points[:, : fitted.n_components_] = fitted.transform(features)
        share[: fitted.n_components_] = fitted.explained_variance_ratio_
    return points, share


def tsne(features: Array, start: Array) -> Array:
    """t-SNE in the plane (van der Maaten & Hinton 2008) from a first layout [n, 2]: [n, D] → [n, 2]."""
    n, width = features.shape
    if width > 50:  # distances hardly change, and neighbours are found faster
        features = PCA(min(50, n), random_state=0).fit_transform(features)
    layout = (start / start[:, 0].std() * 1e-4).astype(np.float32)
    perplexity = min(30.0, (n - 1) / 3)
    # Its threads wait for each other at every step: on busy cores one thread is many times faster.
    with threadpool_limits(limits=1):
        return TSNE(perplexity=perplexity, init=layout, random_state=0).fit_transform(features)


def sprite(thumbnails: Array) -> bytes:
    """Thumbnails uint8 [n, C, H, W] in rows of `SPRITE_COLUMNS`, as one WebP image."""
    tiles = np.rint(picture(shrink(thumbnails, SPRITE_TILE))).astype(np.uint8)
    n, height, width, _ = tiles.shape
    rows = -(-n // SPRITE_COLUMNS)
    sheet = np.zeros((rows * SPRITE_COLUMNS, height, width, 3), dtype=np.uint8)
    sheet[:n] = tiles
    sheet = sheet.reshape(rows, SPRITE_COLUMNS, height, width, 3).transpose(0, 2, 1, 3, 4)
    file = BytesIO()
    image = Image.fromarray(sheet.reshape(rows * height, SPRITE_COLUMNS * width, 3))
    image.save(file, "webp", quality=80)
    return file.getvalue()
