"""The one error a user is meant to read: a single line that says what is wrong, where, and what to do."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

LISTED = 30  # names to choose from, at most


class UserError(Exception):
    """Something the user can put right. The command line prints it as one line and exits with code 2."""


class UnreadableError(UserError):
    """An image, an archive or a file of arrays cannot be decoded."""


class SettingsError(UserError):
    """The settings cannot be trained, however often they are tried: others are needed."""


class MemoryTooSmallError(SettingsError):
    """The settings do not fit into a device's memory, or what others leave of it."""


class Interrupted(Exception):  # noqa: N818 - it is a wish, not an error
    """The user asked for a stop; everything up to the last step is in a checkpoint."""


@contextmanager
def blaming_settings() -> Iterator[None]:
    """Raise each `UserError` as a `SettingsError`."""
    try:
        yield
    except UserError as error:
        raise SettingsError(str(error)) from None


def several(messages: Sequence[str]) -> str:
    """Many messages in one line: the first, and how many more there are."""
    more = len(messages) - 1
    return messages[0] + (f" (and {more} more)" if more else "")


def in_one_line(error: OSError) -> str:
    """What the system refused, and of which file."""
    return f"{error.filename or 'input or output'}: {error.strerror or error}"


def unknown(kind: str, name: str, valid: Iterable[str]) -> UserError:
    """The error for a name that is not in a list of valid ones; it offers the nearest."""
    valid = sorted(valid)
    nearest = get_close_matches(name, valid, n=1, cutoff=0.6)
    listed = ", ".join(valid[:LISTED]) + f", … ({len(valid)} in all)" * (len(valid) > LISTED)
    choice = f"choose from: {listed}" if valid else "there is nothing to choose from"
    hint = f"did you mean '{nearest[0]}'?" if nearest else choice
    return UserError(f"unknown {kind} '{name}': {hint}")
