"""Work in a process of its own: what it leaves in memory, or its crash, stays with it."""

import ctypes
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

PR_SET_PDEATHSIG = 1


class Ended(Exception):  # noqa: N818 - it is an event before it is an error
    """The process ended before its work was done; the message says how."""


def run_apart(work: Callable[..., None], *args: Any) -> list[Any]:
    """Run `work(send, *args)` in a process forked from this one, and wait for it.

    A fork shares what is imported; no thread or device may have been started yet.

    Args:
        work: calls `send` with anything that can be pickled, as often as it likes.
        args: its further arguments.

    Returns:
        What was sent, in order.

    Raises:
        Ended: if the process crashed or raised; `Ended.args[1]` holds what was sent until then.
    """
    context = multiprocessing.get_context("fork")
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


def _work(work: Callable[..., None], sender: Connection, args: tuple[Any, ...]) -> None:
    # man 2 prctl: if the parent is killed outright, so is this process.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    work(sender.send, *args)


def _exit_name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"status {code}"
