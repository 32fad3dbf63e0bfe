"""Data sets known by name: one entry each, importable without PyTorch.

Checksums are those the publishers print (CIFAR) or torchvision checks (the others).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from diabolo.components import Entry, Table


@dataclass(frozen=True)
class Download:
    """One published file, and which of the needed files it brings."""

    url: str
    checksum: str  # "md5:…" or "sha256:…"
    brings: tuple[str, ...]  # one name: the file itself, or several: members of a tar archive


@dataclass(frozen=True)
class DataSetEntry(Entry):
    """One line of the catalog: `path` names the function that reads the files in `folder`."""

    folder: str = ""  # below the cache folder; empty: nothing to download
    downloads: tuple[Download, ...] = ()
    classes: tuple[str, ...] = ()
    source: str = ""  # where it comes from, and its terms


def _mnist_files(base: str, checksums: Mapping[str, str]) -> tuple[Download, ...]:
    return tuple(Download(f"{base}/{name}.gz", md5, (f"{name}.gz",)) for name, md5 in checksums.items())


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _drive(identity: str) -> str:
    return f"https://drive.usercontent.google.com/download?id={identity}&export=download&confirm=t"


DIGITS = tuple("0123456789")
GARMENTS = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)

CATALOG: Mapping[str, DataSetEntry] = {
    "digits": DataSetEntry(
        "diabolo.data.layouts:digits",
        "1,797 handwritten digits, 8×8 grey; with scikit-learn, nothing to download",
        classes=DIGITS,
        source="https://archive.ics.uci.edu/dataset/80 (Alpaydin & Kaynak 1998), CC BY 4.0",
    ),
    "mnist": DataSetEntry(
        "diabolo.data.layouts:mnist",
        "60,000 + 10,000 handwritten digits, 28×28 grey",
        folder="mnist",
        downloads=_mnist_files(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            {
                "train-images-idx3-ubyte": "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "train-labels-idx1-ubyte": "md5:d53e105ee54ea40749a09fcbcd1e9432",
                "t10k-images-idx3-ubyte": "md5:9fb629c4189551a2d022fa330f9573f3",
                "t10k-labels-idx1-ubyte": "md5:ec29112dd5afa0611ce80d1b7f02629c",
            },
        ),
        classes=DIGITS,
        source="http://yann.lecun.com/exdb/mnist (LeCun et al. 1998)",
    ),
    "fashion-mnist": DataSetEntry(
        "diabolo.data.layouts:mnist",
        "60,000 + 10,000 garments, 28×28 grey",
        folder="fashion-mnist",
        downloads=_mnist_files(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            {
                "train-images-idx3-ubyte": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte": "md5:25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte": "md5:bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte": "md5:bb300cfdad3c16e7a12a480ee83cd310",
            },
        ),
        classes=GARMENTS,
        source="https://github.com/zalandoresearch/fashion-mnist (Xiao et al. 2017), MIT licence",
    ),
    "cifar10": DataSetEntry(
        "diabolo.data.layouts:cifar10",
        "50,000 + 10,000 photographs in 10 classes, 32×32 colour",
        folder="cifar-10-batches-bin",
        downloads=(
            Download(
                "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
                "md5:c32a1d4ab5d03f1284b67883e8d87530",
                (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
            ),
        ),
        classes=_words("airplane automobile bird cat deer dog frog horse ship truck"),
        source="https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky 2009)",
    ),
    "cifar100": DataSetEntry(
        "diabolo.data.layouts:cifar100",
        "50,000 + 10,000 photographs in 100 classes, 32×32 colour",
        folder="cifar-100-binary",
        downloads=(
            Download(
                "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
                "md5:03b5dce01913d631647c71ecec9e9cb8",
                ("train.bin", "test.bin"),
            ),
        ),
        classes=_words(
            """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
                butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach
                couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster
                house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
                motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
                pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket
                rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
                sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
                turtle wardrobe whale willow_tree wolf woman worm"""
        ),
        source="https://www.cs.toronto.edu/~kriz/cifar.html (Krizhevsky 2009)",
    ),
    "stl10": DataSetEntry(
        "diabolo.data.layouts:stl10",
        "100,000 unlabelled photographs, 5,000 + 8,000 labelled in 10 classes, 96×96 colour (2.6 GB)",
        folder="stl10_binary",
        downloads=(
            Download(
                "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz",
                "md5:91f7769df0f17e558f3565bffb0c7dfb",
                ("unlabeled_X.bin", "train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin"),
            ),
        ),
        classes=_words("airplane bird car cat deer dog horse monkey ship truck"),
        source="https://cs.stanford.edu/~acoates/stl10 (Coates et al. 2011), after ImageNet",
    ),
    "celeba": DataSetEntry(
        "diabolo.data.layouts:celeba",
        "202,599 faces, 64×64 colour, with 40 attributes; the label is the hair colour (1.4 GB)",
        folder="celeba",
        downloads=(
            Download(
                _drive("0B7EVK8r0v71pZjFTYXZWM3FlRnM"),
                "md5:00d2c5bc6d35e252742224ab0c1e8fcb",
                ("img_align_celeba.zip",),
            ),
            Download(
                _drive("0B7EVK8r0v71pblRyaVFSWGxPY0U"),
                "md5:75e246fa4810816ffd6ee81facbd244c",
                ("list_attr_celeba.txt",),
            ),
            Download(
                _drive("0B7EVK8r0v71pY0NSMzRuSXJEVkk"),
                "md5:d32c9cbf5e040fd4025c592c306e6668",
                ("list_eval_partition.txt",),
            ),
        ),
        classes=("Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair"),
        source="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Liu et al. 2015), non-commercial research",
    ),
}

DATASETS = Table("data set", CATALOG)
