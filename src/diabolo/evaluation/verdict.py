"""The verdict: what the numbers of a run mean, in plain words, and from the numbers alone."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

PROBES = {
    "knn": "kNN",
    "linear": "linear",
    "crop-linear": "linear on crops",
    "sgd-linear": "linear by SGD",
    "adam-linear": "linear by Adam",
    "attributes": "attributes",
}  # the probes a verdict rests on: cheap, and hard to tune wrong

# Fewer directions than this are a collapse at any width of 4 or more: the examples lie near one line.
COLLAPSED_RANK = 2.0
# Dimensional collapse begins to be worth a word where less than a tenth of the width is in use …
NARROW_SHARE = 0.1
# … unless the data or the architecture is itself that narrow: training must have lost half of what was there.
LOST_SHARE = 0.5
# Embeddings that spread by less than this share of their unit lie on one point but for noise, which may have
# any rank. Untrained projectors reach a third and more.
ONE_POINT = 0.1
# Two accuracies differ when they are this many standard errors apart: about 1 chance in 20 of a false word.
STANDARD_ERRORS = 2.0
FALSE_WORD = 0.05  # that chance, where it is counted exactly
# Fewer test examples can tell little apart: then nothing is called failed for being no better.
FEW = 100
# What labels would have brought is nearly reached.
NEAR_LABELS = 0.03
# Ranks this close are called alike, as those of untrained encoders with other seeds mostly are.
SAME_RANK = 0.1

UNTRAINED = {"random": "a random encoder", "pca": "PCA", "pixels": "raw pixels"}

Entry = Mapping[str, Any]


def verdict(scores: Mapping[str, Any]) -> list[str]:
    """Sentences on the representation `scores["encoder"]`, in the format of `scores.json`.

    It is set beside "random", "pca", "pixels" and "supervised" where `scores` has them; without labels, by
    its rank only.
    """
    encoder = scores["encoder"]
    dimensions, collapsed = _dimensions(scores)
    lines = [dimensions] if collapsed else []  # the first sentences are what matters most
    if PROBES.keys() & encoder.keys() and encoder["test_size"] < FEW:
        lines.append(f"too few test examples to tell most differences: {encoder['test_size']}")
    if "embedding" in encoder:
        lines += filter(None, [_behind(encoder["embedding"])])
    blind = _like_majority(encoder)
    if blind:
        lines.append(f"failed: {blind}" if encoder["test_size"] >= FEW else blind)
    if random := scores.get("random"):
        sides = compare(encoder, random)
        failed = bool(sides) and 1 not in sides.values() and encoder["test_size"] >= FEW
        line = _against(encoder, random, "a random encoder of the same architecture")
        if line:
            lines.append(f"failed: {line}" if failed and not blind else line)
    if not collapsed:
        lines.append(dimensions)
    if pca := scores.get("pca"):
        lines += filter(None, [_against(encoder, pca, f"PCA to {pca['width']} dimensions")])
    if pixels := scores.get("pixels"):
        lines += filter(None, [_against(encoder, pixels, "raw pixels")])
    if supervised := scores.get("supervised"):
        lines += filter(None, [_beside_supervised(encoder, supervised)])
    if attributes := encoder.get("attributes"):
        lines.append(
            f"reads attributes right in {100 * attributes['accuracy']:.1f} % on average; always giving the "
            f"commoner value would in {100 * attributes['base']:.1f} %"
        )
    if ridge := encoder.get("ridge"):
        beside = [
            f"{scores[name]['ridge']['r2']:.2f} from {words}"
            for name, words in UNTRAINED.items()
            if "ridge" in scores.get(name, {})
        ]
        line = f"ridge regression reads quantities with a mean R² of {ridge['r2']:.2f}"
        lines.append((line + (f" ({', '.join(beside)})" if beside else "")).replace("-", "−"))
    rebuilt = encoder.get("measures", {}).get("reconstruction", {})
    if rebuilt.get("mse", 0.0) > rebuilt.get("mse_of_mean", math.inf):
        figures = f"MSE {rebuilt['mse']:.4g} against {rebuilt['mse_of_mean']:.4g}"
        lines.append(f"rebuilds test images worse than the mean image of train does: {figures}")
    if "seen" in encoder and encoder["seen"] is None:
        lines.append("whether it was trained on some of the test examples is not known")
    if seen := encoder.get("seen"):
        lines.append(
            f"{seen} of {encoder['test_size']} test examples are among those that it was trained on: "
            "of others less may be right"
        )
    if unseen := encoder.get("unseen"):
        lines.append(
            f"{unseen} of {encoder['test_size']} test examples are of classes that train lacks: "
            "no probe can get them right"
        )
    if not PROBES.keys() & encoder.keys():
        others = [one for one in encoder.values() if isinstance(one, Mapping) and "accuracy" in one]
        judged = "" if ridge or attributes else ": judged by its rank only"
        rest = ", which a verdict rests on" if others else f"{judged}{_by_rank(scores)}"
        lines.append(f"not scored by kNN or a linear probe{rest}")
    return lines


def compare(one: Entry, other: Entry) -> dict[str, int]:
    """Per probe that both have: 1 where `one` is better, −1 where it is worse, 0 within the test set's error.

    The error is binomial, of two independent accuracies; of a few examples Fisher's exact test decides. They
    share their test set, so it errs towards 0, and so does that of attributes, whose mean is taken for a
    single one.
    """
    sides = {}
    for probe in PROBES:
        if probe in one and probe in other:
            p, q = one[probe]["accuracy"], other[probe]["accuracy"]
            told = differ(p, one["test_size"], q, other["test_size"])
            sides[probe] = int(math.copysign(1, p - q)) if told else 0
    return sides


def differ(p: float, m: int, q: float, n: int) -> bool:
    """Whether accuracies of p on m and q on n examples differ by more than the examples' choice explains."""
    if min(m, n) >= FEW:
        return abs(p - q) > STANDARD_ERRORS * math.sqrt(p * (1 - p) / m + q * (1 - q) / n)
    from scipy.stats import fisher_exact

    right = round(p * m), round(q * n)
    return bool(fisher_exact([right, (m - right[0], n - right[1])]).pvalue < FALSE_WORD)


def _dimensions(scores: Mapping[str, Any]) -> tuple[str, bool]:
    """How many dimensions carry information, in words, and whether that is a collapse."""
    encoder = scores["encoder"]
    rank, width = encoder["centred_rank"], encoder["width"]
    most = _most(encoder)
    few = f", of {most:.0f} that {most + 1:.0f} train examples can span" if most < width else ""
    count = f"{rank:.0f} of {width} dimensions carry information{few}"
    if active := encoder.get("active_units"):
        count += f"; {active} of {width} units are active"
    inactive = active == 0  # a rank knows no scale: noise may have any
    collapsed = _on_a_line(encoder) or inactive
    before = [min(scores[name]["centred_rank"], width) for name in ("random", "pixels") if name in scores]
    narrow = rank < NARROW_SHARE * most and rank < LOST_SHARE * min(before, default=math.inf)
    if not collapsed and not narrow:
        return count, False
    sides = compare(encoder, scores["random"]) if "random" in scores else {}
    if sides and set(sides.values()) == {1}:
        found = "no unit is active" if inactive else "narrow"
        return f"{count}: {found}, yet better than a random encoder", False
    if inactive:
        return f"collapsed: none of {width} units of the code is active, it hardly depends on the image", True
    return (f"collapsed: {count}" if collapsed else f"{count}: likely collapse"), True


def _by_rank(scores: Mapping[str, Any]) -> str:
    """How the rank compares with those of the references: ", like that of a random encoder (60)"."""
    rank = scores["encoder"]["centred_rank"]
    sides: dict[str, list[str]] = {"like": [], "above": [], "below": []}
    for name, words in UNTRAINED.items():
        if name in scores:
            other = scores[name]["centred_rank"]
            alike = abs(rank - other) <= SAME_RANK * other
            side = "like" if alike else "above" if rank > other else "below"
            sides[side].append(f"{words} ({other:.0f})")
    return "".join(f", {side} that of {' and '.join(found)}" for side, found in sides.items() if found)


def _most(entry: Entry) -> float:
    """The rank that a representation could have: a few examples span fewer dimensions than there are."""
    return min(entry["width"], entry.get("train_size", math.inf) - 1)


def _on_a_line(entry: Entry) -> bool:
    """Whether all examples lie near one line; of what can have few dimensions, whether on one point."""
    return entry["centred_rank"] < (COLLAPSED_RANK if _most(entry) >= 2 * COLLAPSED_RANK else 1.0)


def _behind(embedding: Entry) -> str | None:
    """A sentence where the embedding or code that the loss acts on has collapsed, whatever h looks like.

    A low rank alone is none: classes that contract, or as many logits as classes, are few dimensions too.
    """
    width = embedding["width"]
    if embedding.get("active_units") == 0:
        return (
            f"collapsed behind h: none of {width} units of the code is active, it hardly depends on the image"
        )
    if _on_a_line(embedding):
        count = f"{embedding['centred_rank']:.0f} of {width} dimensions"
        return f"collapsed behind h: {count} of z carry information"
    if embedding.get("spread", 1.0) < ONE_POINT:
        return (
            f"collapsed behind h: all embeddings lie near one point (spread {embedding['spread']:.3f} of 1)"
        )
    return None


def _like_majority(encoder: Entry) -> str | None:
    """A sentence where no probe does better than a guess that looks at no image.

    The guess is taken as a fixed number, which a probe exceeds where a binomial test gives less than 0.025.
    """
    from scipy.stats import binomtest

    found = {
        probe: encoder[probe]["accuracy"] for probe in PROBES if probe in encoder and probe != "attributes"
    }
    guess, n = encoder.get("majority"), encoder["test_size"]
    if not found or guess is None:
        return None
    best = max(found.values())
    if best > guess and binomtest(round(best * n), n, guess, "greater").pvalue < FALSE_WORD / 2:
        return None
    figures = " and ".join(f"{PROBES[probe]} ({100 * p:.1f} %)" for probe, p in found.items())
    return f"no better than always giving the commonest class ({100 * guess:.1f} %) on {figures}"


def _against(encoder: Entry, reference: Entry, words: str) -> str:
    """One sentence on the probes that both have, such as "beats PCA to 64 dimensions on kNN (91.0 % …)"."""
    verbs = {1: "beats", 0: "cannot be told apart from", -1: "does not beat"}
    found = {probe: verbs[side] for probe, side in compare(encoder, reference).items()}
    return _sentence(encoder, reference, words, found, verbs.values())


def _beside_supervised(encoder: Entry, supervised: Entry) -> str:
    """One sentence on how near it comes to labels: here a few points behind are no failure."""
    verbs = {1: "ahead of", 0: "cannot be told apart from", -1: "behind"}
    near = f"within {100 * NEAR_LABELS:.0f} points of"
    found = {}
    for probe, side in compare(encoder, supervised).items():
        gap = abs(encoder[probe]["accuracy"] - supervised[probe]["accuracy"])
        found[probe] = near if side < 1 and gap <= NEAR_LABELS else verbs[side]
    order = (verbs[1], near, verbs[0], verbs[-1])
    return _sentence(encoder, supervised, "the same encoder trained with labels", found, order)


def _sentence(
    encoder: Entry, reference: Entry, words: str, found: Mapping[str, str], verbs: Iterable[str]
) -> str:
    """The probes of each verb with their figures. found: the verb of each probe; verbs: their order."""
    clauses: list[str] = []
    for verb in verbs:
        figures = [
            f"{PROBES[probe]} ({100 * encoder[probe]['accuracy']:.1f} % against "
            f"{100 * reference[probe]['accuracy']:.1f} %)"
            for probe in found
            if found[probe] == verb
        ]
        if figures:
            clauses.append(f"{verb} {'it' if clauses else words} on {' and '.join(figures)}")
    return "; ".join(clauses)
