"""Recipe: everything that determines a run, as one typed and validated object that reads and writes YAML.

A recipe is laid together from below: defaults, what the method changes, a named or written recipe, options
of the command line, then each `--set key=value`. `complete_for` then fills in, from the shape of the
data, what was left open, so that the recipe kept in a run folder is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Gt, Le, Lt

from diabolo.components import complete, given_to, merge
from diabolo.differences import first_difference
from diabolo.errors import UserError
from diabolo.shelf import Shelf, parse
from diabolo.suffixes import without_suffix
from diabolo.tables import (
    DECODERS,
    ENCODERS,
    MEASURES,
    METHODS,
    OPTIMISERS,
    PROBES,
    SCHEDULES,
    VIEWS,
    MethodEntry,
)
from diabolo.views.sets import view_set

Spec = dict[str, Any]  # {"name": …, setting: …}, complete
Positive = Annotated[int, Gt(0)]
Share = Annotated[float, Gt(0), Lt(1)]
ViewSet = Literal["none", "simclr", "simvae"]

RECIPES = Shelf("recipe", "recipes")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which images, and how they are split.

    name: of a data set, or a path. limit: use only so many training images.
    validation: the share held out of train, on which every choice is made. test: likewise, where the data
    bring no test part. split_seed: of the split, which does not change with the run's seed.
    size: the side to resize to, in pixels; images of several sizes become 64 when none is given.
    colour: as the images have it, or made grey or rgb.
    classes: of images in folders: folder, the first below a part; path, all folders below it together; or
    the path of a .csv table with a heading, whose columns are an image's name and its class.
    labels: false goes without the classes that the data bring, such as folders that are none.
    strict: refuse unreadable files instead of skipping them.
    without: classes that train and validation go without, and test keeps.
    resident: pixels in memory, or else on disk; null: in memory where a quarter of it holds them.
    normalise: the network standardises each channel by train's mean and deviation.
    """

    name: str
    limit: Positive | None = None
    validation: Share = 0.1
    test: Share = 0.1
    split_seed: int = 0
    size: Annotated[int, Gt(0), Le(4096)] | None = None
    colour: Literal["as-is", "grey", "rgb"] = "as-is"
    classes: str = "folder"
    labels: bool = True
    strict: bool = False
    without: tuple[str, ...] = ()
    resident: bool | None = None
    normalise: bool = True

    @property
    def stem(self) -> str:
        """What folders are called after it: its name, of a path the last part without a file's suffix."""
        return without_suffix(Path(self.name).name).strip(".") or "data"


@dataclass(frozen=True, kw_only=True)
class Views:
    """The views of an example.

    count: how many. transforms: the augmentations, in their order, or the name of a set of them.
    """

    count: Positive = 1
    transforms: ViewSet | list[Annotated[Spec, VIEWS]] = "none"


@dataclass(frozen=True, kw_only=True)
class Training:
    """The budget, and how the step is computed.

    epochs: passes over the training images; 0 leaves the encoder as it was initialised.
    batch_size: examples, over all processes. accumulate: batches of an optimiser step.
    lr_batch: the batch that optimiser.lr is for: another one scales the rate and the warm-up.
    clip: the largest norm of the gradient. precision: auto takes turns for a second, and keeps the faster.
    compile: make one graph of a step; graphs: on CUDA, replayed without launches from Python.
    channels_last: the layout of images in memory. log_every: steps. checkpoint_every: seconds.
    """

    epochs: Annotated[int, Ge(0)] = 20
    batch_size: Positive = 128
    accumulate: Positive = 1
    lr_batch: Positive | None = None
    clip: Annotated[float, Gt(0)] | None = None
    precision: Literal["float32", "bf16", "auto"] = "float32"
    compile: bool | Literal["graphs"] = False
    channels_last: bool = True
    log_every: Positive = 50
    checkpoint_every: Annotated[float, Ge(0)] = 30.0


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the representation is scored.

    space: h, z or map; null: the method's own. also: further spaces to score.
    probes: on frozen features; null: linear, MLP and kNN where there are labels. measures: of the method.
    live: epochs between points of the live curve; null: about 20 points.
    references: raw pixels, PCA and the random encoder beside it. supervised: beside these the same encoder
    trained with labels, which takes as long again.
    """

    space: str | None = None
    also: tuple[str, ...] = ()
    probes: list[Annotated[Spec, PROBES]] | None = None
    measures: list[Annotated[Spec, MEASURES]] | None = None
    live: Annotated[int, Ge(0)] | None = None
    references: bool = True
    supervised: bool = False


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run. Made by `compose` or `from_yaml`, which validate; components are complete mappings."""

    data: Data
    method: Annotated[Spec, METHODS]
    views: Views = Views()
    local_views: Views | None = None  # smaller crops, for methods that take two sizes
    encoder: Annotated[Spec, ENCODERS] | None = None  # None: chosen from the shape of the data
    decoder: Annotated[Spec, DECODERS] | None = None  # None: the encoder's mirror
    optimiser: Annotated[Spec, OPTIMISERS] = "adam"  # type: ignore[assignment]
    schedule: Annotated[Spec, SCHEDULES] = "constant"  # type: ignore[assignment]
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    seed: Annotated[int, Ge(0), Le(2**31)] = 0
    init: str | None = None  # a run folder whose weights to start from

    @property
    def lr_scale(self) -> float:
        """What the learning rate and the epochs of warm-up are multiplied by: linear in the images of a step
        (Goyal et al. 2017; AAVAE, section 4.1)."""
        of = self.training.lr_batch
        return 1.0 if of is None else self.training.batch_size * self.training.accumulate / of

    @property
    def encodings(self) -> int:
        """How often an epoch encodes each image: once for each view, and for the original where it does."""
        local = self.local_views.count if self.local_views else 0
        views = self.views.count + local + bool(self.method.get("with_original"))
        return views * METHODS.load(self.method["name"]).needs.encoded

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries and lists of plain values."""
        return _plain(asdict(self))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def from_dict(values: Mapping[str, Any]) -> Recipe:
    """Validate a nested mapping. Raises `UserError`: one line, with the nearest valid key."""
    recipe = Recipe(**complete(Recipe, values))
    needs = METHODS.load(recipe.method["name"]).needs
    if needs.local_views is not None and needs.local_views != (recipe.local_views is not None):
        verb = "needs" if needs.local_views else "does not take"
        raise UserError(
            f"local_views: method '{recipe.method['name']}' {verb} smaller views beside the others"
        )
    fewest, most = needs.views
    if recipe.views.count < fewest or (most is not None and recipe.views.count > most):
        wanted = (
            f"{fewest} to {most}" if most and most > fewest else f"{'at least ' * (most is None)}{fewest}"
        )
        raise UserError(
            f"views.count: method '{recipe.method['name']}' takes {wanted} views of an example, "
            f"got {recipe.views.count}"
        )
    if recipe.training.batch_size < needs.batch:
        raise UserError(
            f"training.batch_size: method '{recipe.method['name']}' measures the examples of a batch by "
            f"one another: it takes at least {needs.batch}, got {recipe.training.batch_size}"
        )
    if recipe.training.compile == "graphs" and recipe.training.accumulate > 1:
        raise UserError(
            "training.compile=graphs: a graph's gradients do not outlast its next batch: "
            "set training.accumulate=1 or training.compile=true"
        )
    measures = [spec["name"] for spec in recipe.evaluation.measures or ()]
    if twice := next((name for name in measures if measures.count(name) > 1), None):
        raise UserError(f"evaluation.measures: '{twice}' is named twice: scores hold one of each")
    return recipe


def from_yaml(text: str, where: str = "recipe") -> Recipe:
    """The recipe in a YAML text. Raises `UserError`, which begins with `where`, for what is not valid."""
    return from_dict(parse(text, where))


def compose(layers: Sequence[Mapping[str, Any]], settings: Sequence[str] | Mapping[str, Any] = ()) -> Recipe:
    """Lay partial recipes over one another, then the settings, and validate the whole.

    settings: "key=value" with dots for depth and YAML values, or a mapping of the same.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        values = merge(values, layer)
    for key, value in (settings if isinstance(settings, Mapping) else pairs(settings)).items():
        values = merge(values, nested(key, value))
    spec = values.get("method")
    name = spec.get("name") if isinstance(spec, Mapping) else spec
    if not isinstance(name, str):
        raise UserError(
            "which method? name one with --method or a recipe with --recipe (see 'diabolo methods'), "
            "or the run to continue with --out RUN --resume"
        )
    if "data" not in values:
        raise UserError("which data? name a data set or a path; see 'diabolo datasets'")
    entry = METHODS[name]
    assert isinstance(entry, MethodEntry)
    return from_dict(merge(entry.recipe, values))


def complete_for(recipe: Recipe, shape: tuple[int, ...]) -> Recipe:
    """Fill in what depends on the data's shape: networks and augmentations."""
    encoder = recipe.encoder or _encoder_for(shape)
    decoder = recipe.decoder
    if decoder is None and "decoder" in given_to(METHODS.load(recipe.method["name"])):
        decoder = decoder_for(shape, encoder)
    return replace(
        recipe,
        encoder=encoder,
        decoder=decoder,
        views=_with_transforms(recipe.views, shape),
        local_views=recipe.local_views and _with_transforms(recipe.local_views, shape),
    )


def decoder_for(shape: tuple[int, ...], encoder: dict[str, Any] | None = None) -> dict[str, Any]:
    """The decoder when the recipe names none, completed: the mirror of the encoder, from its completed
    specification, or where that has none, of the default encoder for the shape."""
    from diabolo.networks import mirror

    spec = None if encoder is None else mirror(encoder)
    return DECODERS.complete(spec or mirror(_encoder_for(shape)), "decoder")


def _encoder_for(shape: tuple[int, ...]) -> dict[str, Any]:
    from diabolo.networks import default_encoder

    return ENCODERS.complete(default_encoder(shape), "encoder")


def difference(old: Recipe, new: Recipe) -> str | None:
    """The first key in which two recipes differ, in words: "training.epochs = 5, not 6".

    How often a run is saved is no difference.
    """
    training = replace(old.training, checkpoint_every=new.training.checkpoint_every)
    return first_difference(replace(old, training=training).to_dict(), new.to_dict())


def departs(kept: Recipe, asked: Recipe, shape: tuple[int, ...] | None, scored: bool = True) -> str | None:
    """`difference` of the recipe of a run from one that leaves open what its data and its machine decide.

    shape: of the data; None where the kept recipe was never completed. scored: count how a run is scored as
    well, and not only how it is trained and watched meanwhile.
    """
    asked = asked if shape is None else complete_for(asked, shape)
    training, evaluation = asked.training, asked.evaluation
    if training.precision == "auto":
        training = replace(training, precision=kept.training.precision)
    if not scored:
        evaluation = replace(kept.evaluation, live=evaluation.live, space=evaluation.space)
    return difference(kept, replace(asked, training=training, evaluation=evaluation))


def read_recipe(name: str, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of a named recipe, or of a YAML file of the user's.

    A recipe may say `extends: NAME` and then give only what differs. below: the recipes that extend this one.
    """
    if name in below:
        raise UserError(f"recipe {name} extends itself: {' → '.join((*below, name))}")
    values = RECIPES.read(name)
    base = values.pop("extends", None)
    return values if base is None else merge(read_recipe(str(base), (*below, name)), values)


def _with_transforms(views: Views, shape: tuple[int, ...]) -> Views:
    if not isinstance(views.transforms, str):
        return views
    specs = view_set(views.transforms, shape)
    return replace(views, transforms=[VIEWS.complete(spec, "views.transforms") for spec in specs])


def pairs(texts: Sequence[str], option: str = "--set", example: str = "training.epochs=5") -> dict[str, Any]:
    """ "key=value" texts as a mapping; of a key that is given twice, the last."""
    return dict(_pair(text, option, example) for text in texts)


def _pair(text: str, option: str, example: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"{option} {text}: write it as key=value, for example {option} {example}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"{option} {text}: the value is not valid YAML") from None


def nested(key: str, value: Any) -> dict[str, Any]:
    """`a.b=1` as {"a": {"b": 1}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _plain(value: Any) -> Any:
    """Tuples as lists, so that YAML and JSON read back what was written."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
