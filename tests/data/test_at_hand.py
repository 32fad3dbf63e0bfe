"""What a user has at hand in Python, as images."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import diabolo
from diabolo.data.at_hand import images_at_hand
from diabolo.data.images import Images
from diabolo.errors import UserError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (7, 5, 6, 3), np.uint8)  # [N, H, W, C]
FIRST = torch.from_numpy(COLOUR.transpose(0, 3, 1, 2).copy())
LABELS = [2, 0, 2, 1, 0, 1, 2]


class Items(Dataset):
    """Whatever is given, one by one."""

    def __init__(self, items: list[Any], **attributes: Any) -> None:
        self.items = items
        vars(self).update(attributes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(COLOUR)


def test_arrays_may_have_labels_beside_them():
    for labels in (LABELS, np.array(LABELS), torch.tensor(LABELS)):
        images = images_at_hand((COLOUR, labels))
        assert torch.equal(images.pixels, FIRST)
        assert images.labels.tolist() == LABELS
        assert images.classes == ("0", "1", "2")
    named = images_at_hand((FIRST, ["dog", "cat", "dog", "dog", "cat", "cat", "dog"]))
    assert named.classes == ("cat", "dog")
    assert named.labels.tolist() == [1, 0, 1, 1, 0, 0, 1]
    assert images_at_hand((COLOUR, [-1, 0, 1, 1, 0, 0, 1])).labels.tolist()[0] == -1
    own = Images(FIRST)
    assert images_at_hand(own) is own
    assert torch.equal(images_at_hand(COLOUR).pixels, FIRST)


def test_labels_may_be_objects_as_a_column_of_pandas_is():
    """None and NaN are no label."""
    for low, high in (("cat", "dog"), (3, 7.0)):
        images = images_at_hand((COLOUR, np.array([high, None, low, float("nan"), low, high, high], object)))
        assert images.labels.tolist() == [1, -1, 0, -1, 0, 1, 1]
        assert images.classes == (str(low), "dog" if high == "dog" else "7")
    assert images_at_hand((COLOUR, np.array([None] * 7))).classes == ()
    gaps = images_at_hand((COLOUR, np.array([7, np.nan, 3, np.nan, 3, 7, 7])))
    assert (gaps.labels.tolist(), gaps.classes) == ([1, -1, 0, -1, 0, 1, 1], ("3", "7"))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_tensors_may_be_of_half_precision(kind):
    pixels = (FIRST > 127).to(kind)
    images = images_at_hand((pixels, torch.tensor(LABELS).to(kind)))
    assert torch.equal(images.pixels, (FIRST > 127).to(torch.uint8) * 255)
    assert images.labels.tolist() == LABELS
    assert images_at_hand(TensorDataset(pixels)).shape == (3, 5, 6)
    vectors = torch.randn(4, 5).to(kind)
    assert torch.equal(images_at_hand(vectors).pixels, vectors.float())


@pytest.mark.parametrize(
    "items",
    [
        [(Image.fromarray(image), label) for image, label in zip(COLOUR, LABELS, strict=True)],
        [(image, np.int64(label)) for image, label in zip(COLOUR, LABELS, strict=True)],
        [[image.float() / 255, torch.tensor(label)] for image, label in zip(FIRST, LABELS, strict=True)],
        [(image, label, "more") for image, label in zip(FIRST, LABELS, strict=True)],
    ],
    ids=["pillow", "numpy", "floats", "three entries"],
)
def test_a_data_set_of_pytorch_is_read_whole(items):
    images = images_at_hand(Items(items, classes=["plane", "car", "bird", "cat"]))
    assert torch.equal(images.pixels, FIRST)
    assert [images.classes[label] for label in images.labels] == [["plane", "car", "bird"][i] for i in LABELS]


def test_a_data_set_may_have_no_labels_or_none_that_are_named():
    assert images_at_hand(Items(list(COLOUR))).labels is None
    assert images_at_hand(TensorDataset(FIRST)).labels is None
    images = images_at_hand(Subset(TensorDataset(FIRST, torch.tensor(LABELS)), [3, 1]))
    assert torch.equal(images.pixels, FIRST[[3, 1]])
    assert images.classes == ("0", "1")
    assert images_at_hand(Items([(FIRST[0], "b"), (FIRST[1], "a")])).classes == ("a", "b")
    grey = Items([Image.fromarray(image[..., 0]) for image in COLOUR])
    assert images_at_hand(grey).shape == (1, 5, 6)


def test_items_without_a_label_have_none_and_the_others_keep_theirs():
    for given in ([2, None, 0, None], ["b", None, "a", None]):
        images = images_at_hand(Items(list(zip(COLOUR[:4], given, strict=True))))
        assert images.labels.tolist() == [1, -1, 0, -1]
        assert images.classes == tuple(str(name) for name in sorted(set(given) - {None}))
    assert images_at_hand(Items([(image, None) for image in COLOUR])).labels is None


def test_images_of_pillow_are_read_as_files_are():
    """On white where they are transparent; of 16 bits the upper 8."""
    clear = Image.fromarray(np.zeros((4, 5, 4), np.uint8), "RGBA")
    assert (images_at_hand(Items([clear])).pixels == 255).all()
    deep = Image.fromarray(np.full((4, 5), 40_000, np.uint16))
    assert (images_at_hand(Items([deep])).pixels == 40_000 >> 8).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TensorDataset(FIRST, torch.tensor([0.2, 0.7, 0.9, 1.4, 2, 3, 4])), "whole numbers or class names"),
        ((COLOUR, LABELS, LABELS), "a tuple is (images, labels), this one has 3 entries"),
        ((COLOUR, LABELS[:3]), "7 images but 3 labels"),
        ((COLOUR, [[0, 1]] * 7), "expected one per image"),
        ((COLOUR, np.array([*"abc", 0, 1, 2, 3], object)), "whole numbers or class names, and not both"),
        (Items([(COLOUR[0], "a"), (COLOUR[1], 1)]), "whole numbers or class names, and not both"),
        (Stream(), "without a length and positions cannot be split"),
        (Items([]), "the data set is empty"),
        (Items([COLOUR[0], COLOUR[1, :4]]), "images of [3, 5, 6] and [3, 4, 6]: set data.size"),
        (Items([{"image": COLOUR[0]}]), "item 0 is of type dict, and no image or array"),
        (Items([(COLOUR[0], float("nan"))]), "whole numbers or class names, not nan"),
        (Items([(COLOUR[0], {"boxes": []})]), "whole numbers or class names, not of type dict"),
    ],
)
def test_what_cannot_be_read_is_refused(data, message):
    with pytest.raises(UserError) as refusal:
        images_at_hand(data)
    assert message in str(refusal.value)


def test_it_is_trained_on_and_looked_at(tmp_path, capsys):
    """As the same images are from a file; a run knows them again by what they are."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x * 255 / 16).round().astype(np.uint8).reshape(-1, 8, 8)
    settings = {"evaluation.live": 0, "evaluation.references": False}
    options: dict[str, Any] = {"method": "ae", "epochs": 1, "settings": settings}
    run = diabolo.fit((x, y), out=tmp_path / "arrays", **options)
    said = capsys.readouterr().err
    assert re.search(r"10 classes to train on: 0 \(\d+\), .*, … \(data\.labels=false leaves them out\)", said)
    assert "labelled test image" not in said
    items = Items([(Image.fromarray(image), int(label)) for image, label in zip(x, y, strict=True)])
    other = diabolo.fit(items, out=tmp_path / "items", quiet=True, **options)
    assert run.facts == other.facts
    assert run.scores["encoder"]["knn"]["accuracy"] == other.scores["encoder"]["knn"]["accuracy"]
    reopened = diabolo.Run.open(run.folder, data=items)
    assert len(diabolo.predict(reopened, (x[:9], y[:9]), quiet=True)["labels"]) == 9
    with pytest.raises(UserError, match="of type list: give a name, a path, an array, \\(array, labels\\)"):
        diabolo.fit([x], "ae")  # type: ignore[arg-type]
