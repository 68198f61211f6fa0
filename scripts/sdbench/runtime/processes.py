"""Work in a process of its own: what it leaves in memory, or its crash, stays with it."""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from sdbench.runtime.errors import UserError
from sdbench.runtime.files import storage_named

PR_SET_PDEATHSIG = 1

DEADLINE = "SDBENCH_DEADLINE"
"""The variable that says when all measuring of a run must have ended, in seconds of the machine's
monotonic clock, which nobody sets: a machine that is rented by the hour is gone after it."""

START = "spawn" if sys.platform == "darwin" else "fork"
"""How a process is begun. Metal does not work in a fork; what is spawned imports all again."""


class Ended(Exception):  # noqa: N818 - it is an event before it is an error
    """The process ended before its work was done; `args`: how, and what was sent until then."""

    def reason(self, doing: str) -> str:
        """Return what a record says of it, `doing` being what was done: `it was measured`."""
        return f"while {doing} {self.args[0]}"


class TimedOut(Ended):
    """The process was killed, since nothing had come of it for longer than it may take."""

    def reason(self, doing: str) -> str:
        """Return the same, and where the limit stands."""
        return f"timeout: {super().reason(doing)} (measuring.case_time_limit_s in the config)"


class OutOfTime(TimedOut):
    """The process was killed, or not begun, since the run must end now."""

    REASON = "timeout: the time of the run was over"

    def reason(self, doing: str) -> str:
        """Return what a record says of it, whatever was done."""
        return self.REASON


def time_left_s() -> float | None:
    """Return the seconds until all measuring must have ended, 0 after that; None for any number."""
    told = os.environ.get(DEADLINE)
    return None if told is None else max(0.0, float(told) - time.monotonic())


class UnfitError(Exception):
    """This process cannot go on, such as after its GPU was lost; what it sent stands. It ends at
    once: nothing of it is torn down, which might fail too."""


def run_in_subprocess(
    work: Callable[..., None], *args: Any, limit_s: float | None = None
) -> list[Any]:
    """Run `work(send, *args)` in a process of its own, and wait for it.

    A fork shares what is imported; no thread or device may have been started yet. Arguments, and
    what the work sends, as often as it likes, can be pickled. After `limit_s` seconds without
    anything sent, or without an end, the process is killed with all that it has started.

    Return what was sent, in order; less than all of it if the work raised `UnfitError`. Raise
    `Ended` if the process crashed or raised, `OutOfTime` if the run must end before it, or a
    `UserError` that the work raised.
    """
    context: Any = multiprocessing.get_context(START)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(work, sender, args))
    process.start()
    sender.close()
    sent: list[Any] = []
    try:
        while True:
            _wait_for(receiver, limit_s, sent)
            sent.append(receiver.recv())
    except EOFError:
        process.join()
    except BaseException:
        # Told to stop, or stuck: nothing may go on measuring next to whatever comes next.
        _kill_group(process.pid)
        process.join()
        raise
    finally:
        receiver.close()
    if sent and isinstance(sent[-1], UserError):
        raise sent[-1]
    if process.exitcode:
        raise Ended(_how(process), sent)
    return sent


class WorkerProcess:
    """A process that stays, does what it is asked, and else waits: blocked, and not in a loop.

    It calls `make(*args)` first, and what that returns for every question. Leaving the context ends
    it; what `run_in_subprocess` says of forks holds.
    """

    def __init__(
        self, make: Callable[..., Callable[..., Any]], *args: Any, limit_s: float | None = None
    ) -> None:
        """Start it; `limit_s` is how many seconds an answer may take, None for any number."""
        context: Any = multiprocessing.get_context(START)
        self._limit_s = limit_s
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_answer, args=(make, theirs, args))
        self._process.start()
        theirs.close()

    def __enter__(self) -> "WorkerProcess":
        return self

    def __exit__(self, *_: object) -> None:
        # It has nothing to bring to an end, and may be in the middle of minutes of work.
        _kill_group(self._process.pid)
        self._process.join()
        self._connection.close()

    def ask(self, *question: Any) -> Any:
        """Return the answer to a question; both can be pickled. Raises what ended the process."""
        try:
            self._connection.send(question)
            _wait_for(self._connection, self._limit_s, [])
            return self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            raise Ended(_how(self._process), []) from None


def _wait_for(connection: Connection, limit_s: float | None, sent: list[Any]) -> None:
    """Wait until something comes, or the other side has ended; raise `TimedOut` if that takes
    longer than `limit_s`, and `OutOfTime` if the run must end before."""
    left_s = time_left_s()
    if left_s is not None and (limit_s is None or left_s < limit_s):
        if not connection.poll(left_s):
            raise OutOfTime("the time of the run was over", sent)
    elif not connection.poll(limit_s):  # by a clock that nobody sets
        raise TimedOut(f"the process did not respond for {limit_s:g} s and was killed", sent)


def _answer(make: Callable[..., Any], connection: Connection, args: tuple[Any, ...]) -> None:
    _begin()
    answer = make(*args)
    while True:
        connection.send(answer(*connection.recv()))


def _begin() -> None:
    # What was imported before the fork stays: to look through it takes a collection 0.2 s or more,
    # and writes to every page of it that is shared.
    gc.freeze()
    # A group of its own, so that it can be killed with all that it starts.
    os.setpgid(0, 0)
    # man 2 prctl: if the parent is killed outright, so is this process.
    with contextlib.suppress(AttributeError):  # another system than Linux
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)  # it was killed before that was asked for


def _work(work: Callable[..., None], sender: Connection, args: tuple[Any, ...]) -> None:
    _begin()
    try:
        with storage_named("a file of a measuring process"):
            work(sender.send, *args)
    except UserError as error:
        sender.send(error)
    except UnfitError:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _kill_group(pid: int) -> None:
    """Kill a process of `_work` and all that it started, blocked or stopped as they may be."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)  # it may not have a group yet
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _how(ended: Any) -> str:
    code = ended.exitcode
    return f"the process ended with {signal.Signals(-code).name if code < 0 else f'status {code}'}"
