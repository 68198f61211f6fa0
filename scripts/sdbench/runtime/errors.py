"""The ways in which a person is told that something is not as it should be."""

import contextlib
import sys
import traceback
from typing import NoReturn


class UserError(Exception):
    """Something that the user can put right: one line, shown without a traceback, that names the
    file and key, what was found, what is allowed and what to do. The exit status is not zero."""


class WrongDeviceError(Exception):
    """The device is not the one that the config promises; the message has both names."""


class UnsupportedError(Exception):
    """A case that cannot exist on this machine or backend; the message is the reason in its row."""


def refuse(error: UserError) -> NoReturn:
    """End with one line, before any job starts."""
    sys.stderr.write(f"error: {error}\n")
    sys.exit(1)


def explain(error: Exception) -> str:
    """Return what a person is told of a failure; print the traceback of one that is unexpected."""
    if isinstance(error, UserError):
        return str(error)
    with contextlib.suppress(OSError):  # such as a full disk
        traceback.print_exception(error)
    return f"unexpected: {type(error).__name__}: {one_line(error)}"


def one_line(error: BaseException, longest: int = 300) -> str:
    """Return what an exception says in one line of at most `longest` characters."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def plain(text: object, longest: int = 60) -> str:
    """Return a text of others as one line can hold it: at most `longest` characters, with an escape
    for what turns the direction of writing or ends a line."""
    shown = str(text)
    shown = shown if shown.isprintable() else repr(shown)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."
