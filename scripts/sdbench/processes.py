"""Work in a process of its own: what it leaves in memory, or its crash, stays with it."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PR_SET_PDEATHSIG = 1

START = "spawn" if sys.platform == "darwin" else "fork"
"""How a process is begun. Metal does not work in a fork; what is spawned imports all anew."""


class Ended(Exception):  # noqa: N818 - it is an event before it is an error
    """The process ended before its work was done; the message says how."""


class UnfitError(Exception):
    """This process cannot go on, such as after its GPU was lost; what it sent stands.

    Raised by work, it ends the process at once: nothing of it is torn down, which might fail too.
    """


def run_apart(work: Callable[..., None], *args: Any) -> list[Any]:
    """Run `work(send, *args)` in a process of its own, and wait for it.

    A fork shares what is imported; no thread or device may have been started yet.

    Args:
        work: calls `send` with anything that can be pickled, as often as it likes.
        args: its further arguments; they too can be pickled.

    Returns:
        What was sent, in order; less than all of it if the work raised `UnfitError`.

    Raises:
        Ended: if the process crashed or raised; `Ended.args[1]` holds what was sent until then.
    """
    context: Any = multiprocessing.get_context(START)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, sender, args))
    process.start()
    sender.close()
    sent = []
    try:
        while True:
            sent.append(receiver.recv())
    except EOFError:
        process.join()
    except BaseException:
        # Told to stop: nothing may go on measuring beside whatever comes next.
        process.terminate()
        process.join()
        raise
    finally:
        receiver.close()
    if process.exitcode:
        raise Ended(f"the process ended with {_exit_name(process.exitcode)}", sent)
    return sent


class Partner:
    """A process that stays, does what it is asked, and else waits: blocked, and not in a loop.

    It calls `make(*args)` first, and what that returns for every question. Leaving the context ends
    it; what `run_apart` says of forks holds.
    """

    def __init__(self, make: Callable[..., Callable[..., Any]], *args: Any) -> None:
        context: Any = multiprocessing.get_context(START)
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(make, theirs, args))
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Partner":
        return self

    def __exit__(self, *_: object) -> None:
        # It has nothing to bring to an end, and may be in the middle of minutes of work.
        self._process.kill()
        self._process.join()
        self._connection.close()

    def ask(self, *question: Any) -> Any:
        """Return the process's answer; question and answer are anything that can be pickled.

        Raises:
            Ended: if the process crashed or raised.
        """
        try:
            self._connection.send(question)
            return self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            how = _exit_name(self._process.exitcode)
            raise Ended(f"the process ended with {how}", []) from None


def _answer(make: Callable[..., Any], connection: Connection, args: tuple[Any, ...]) -> None:
    _end_with_parent()
    answer = make(*args)
    while True:
        connection.send(answer(*connection.recv()))


def _end_with_parent() -> None:
    # man 2 prctl: if the parent is killed outright, so is this process.
    with contextlib.suppress(AttributeError):  # another system than Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _work(work: Callable[..., None], sender: Connection, args: tuple[Any, ...]) -> None:
    _end_with_parent()
    try:
        work(sender.send, *args)
    except UnfitError:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _exit_name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"
