"""What the names of files that can be read end in. Imports nothing, for whoever only names things."""

RASTER = (".bmp", ".gif", ".png", ".tga", ".tif", ".tiff", ".webp")
JPEG = (".jfif", ".jp2", ".jpeg", ".jpg")
NETPBM = (".pbm", ".pgm", ".pnm", ".ppm")
IMAGES = frozenset((*RASTER, *JPEG, *NETPBM))
TARS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
ARRAYS = (".npy", ".npz")
PUBLISHED = (".bin", ".idx", ".gz", ".xz")  # IDX and CIFAR files
KNOWN = (".zip", *TARS, *ARRAYS, *PUBLISHED, *IMAGES)


def without_suffix(name: str) -> str:
    """A file's name without what says how to read it; any other dot belongs to the name."""
    ending = max((known for known in KNOWN if name.lower().endswith(known)), key=len, default="")
    return name[: len(name) - len(ending)]
