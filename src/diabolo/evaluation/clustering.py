"""Unsupervised probes: clusters found without labels, and how well they agree with the classes."""

from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from diabolo.errors import UserError
from diabolo.evaluation import mixtures
from diabolo.evaluation.features import Features, Part
from diabolo.evaluation.probes import (
    Needs,
    Outcome,
    Positive,
    PositiveFloat,
    count_classes,
    known,
    labelled_parts,
    outcome,
)
from diabolo.seeds import seed_for


class GMM:
    """A Gaussian mixture with full covariances; each test example goes to its likeliest component.

    Features are taken as they are. `components` is the number of classes where it is None. See `mixtures.fit`
    for `restarts`, `tolerance` (nats per example), `max_iter` and `ridge`, which scikit-learn calls
    `reg_covar`. SimVAE's paper has 200 restarts, its code 20. A covariance of D dimensions has ½ D² numbers:
    features wider than `max_width` are projected on so many principal components of train first.
    """

    needs: ClassVar[Needs] = "features"

    def __init__(
        self,
        *,
        components: Positive | None = None,
        restarts: Positive = 20,
        tolerance: PositiveFloat = 1e-4,
        max_iter: Positive = 200,
        ridge: PositiveFloat = 1e-6,
        max_width: Positive = 64,
    ) -> None:
        self.components, self.restarts, self.ridge = components, restarts, ridge
        self.tolerance, self.max_iter, self.max_width = tolerance, max_iter, max_width

    def __call__(self, features: Features, seed: int) -> Outcome:
        train, _, test = labelled_parts("gmm", features)
        if features.width > self.max_width:
            train, test = _narrowed(train, test, self.max_width)
        mixture, steps = mixtures.fit(
            train.values,
            self.components or count_classes(features.classes, known(train)),
            restarts=self.restarts,
            tolerance=self.tolerance,
            max_iter=self.max_iter,
            ridge=self.ridge,
            seed=seed,
        )
        joint = mixture.joint(train.values)
        likelihood = float(joint.logsumexp(dim=1).mean())
        found = joint.argmax(dim=1).numpy(), mixture.joint(test.values).argmax(dim=1).numpy()
        labels = known(train), known(test)
        return agreement(
            found, labels, {"steps": steps, "width": train.values.shape[1]}, {"log_likelihood": likelihood}
        )


def _narrowed(train: Part, test: Part, width: int) -> tuple[Part, Part]:
    """Both on the first principal components of train, as many as there are."""
    from sklearn.decomposition import PCA

    model = PCA(min(width, *train.values.shape), svd_solver="covariance_eigh").fit(train.values)
    first, second = (model.transform(part.values).astype(np.float32) for part in (train, test))
    return Part(first, train.labels), Part(second, test.labels)


class KMeans:
    """scikit-learn's k-means, the best of `n_init` runs; each test example goes to the nearest centre.

    Features are taken as they are. `clusters` is the number of classes where it is None.
    """

    needs: ClassVar[Needs] = "features"

    def __init__(
        self,
        *,
        clusters: Positive | None = None,
        n_init: Positive = 10,
        max_iter: Positive = 300,
        tolerance: Annotated[float, Ge(0)] = 1e-4,
    ) -> None:
        self.clusters, self.n_init, self.max_iter, self.tolerance = clusters, n_init, max_iter, tolerance

    def __call__(self, features: Features, seed: int) -> Outcome:
        from sklearn.cluster import KMeans as Clusters

        train, _, test = labelled_parts("kmeans", features)
        clusters = self.clusters or count_classes(features.classes, known(train))
        if len(train) < clusters:
            raise UserError(f"kmeans: there are {clusters} clusters, but only {len(train)} training examples")
        model = Clusters(
            clusters,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tolerance,
            random_state=seed_for("kmeans", seed) % 2**32,
        ).fit(train.values)
        found = model.labels_, model.predict(test.values)
        inertia = float(model.inertia_) / len(train)
        return agreement(found, (known(train), known(test)), {"steps": model.n_iter_}, {"inertia": inertia})


def agreement(
    clusters: tuple[np.ndarray, np.ndarray],
    labels: tuple[np.ndarray, np.ndarray],
    chosen: dict[str, Any],
    more: dict[str, float],
) -> Outcome:
    """Match the clusters of (train, test) to classes on train; read accuracy, NMI and ARI on test.

    NMI is normalised by the arithmetic mean of the two entropies. Neither NMI nor ARI needs the matching.
    """
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    classes = matching(clusters[0], labels[0], int(max(part.max() for part in clusters)) + 1)
    nmi = float(normalized_mutual_info_score(labels[1], clusters[1]))
    ari = float(adjusted_rand_score(labels[1], clusters[1]))
    return outcome(classes[clusters[1]], labels[1], chosen, {"nmi": nmi, "ari": ari} | more)


def matching(clusters: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The class of each of `count` clusters that makes most examples agree, no class twice: int64 [count].

    clusters, labels: int [N]. A cluster for which no class is left gets −1.
    """
    from scipy.optimize import linear_sum_assignment

    together = np.zeros((count, int(labels.max()) + 1), np.int64)
    np.add.at(together, (clusters, labels), 1)
    rows, columns = linear_sum_assignment(together, maximize=True)
    classes = np.full(count, -1)
    classes[rows] = columns
    return classes
