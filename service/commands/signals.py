"""What signals do to `serve`, from its first moment to its last (R13).

The handlers are set before anything else is loaded: a process 1 without a handler never gets SIGTERM. They are not left
to the event loop, which takes them away when it closes: the default action would then end an orderly stop. This module
imports nothing heavy.
"""

import os
import signal
from collections.abc import Callable

# As a shell reports a process that a second SIGINT or SIGTERM ended.
_STOPPED_AT_ONCE = 130


class Signals:
    """Hears SIGTERM and SIGINT, which ask for a stop, and SIGHUP, which asks for a reload.

    A stop that is asked for before `attach` ends the process with status 0: nothing is open yet. A second one ends it
    with status 130 at any moment, which loses nothing (R6).
    """

    def __init__(self) -> None:
        self._stops = 0
        self._stop: Callable[[], object] | None = None
        self._reload: Callable[[], object] | None = None
        self._is_reload_asked = False

    def listen(self) -> None:
        """Hear signals from now on."""
        signal.signal(signal.SIGTERM, self._hear_stop)
        signal.signal(signal.SIGINT, self._hear_stop)
        signal.signal(signal.SIGHUP, self._hear_reload)

    def attach(self, *, stop: Callable[[], object], reload: Callable[[], object]) -> None:
        """Call these from now on, between any two instructions of the main thread; a reload asked for before counts."""
        self._stop, self._reload = stop, reload
        if self._is_reload_asked:
            reload()

    @staticmethod
    def ignore() -> None:
        """Hear nothing more: the interpreter, on its way out, would give the signals their default actions back."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _hear_stop(self, _number: int, _frame: object) -> None:
        self._stops += 1
        if self._stops > 1:
            os._exit(_STOPPED_AT_ONCE)
        if self._stop is None:
            os._exit(0)
        self._stop()

    def _hear_reload(self, _number: int, _frame: object) -> None:
        self._is_reload_asked = True
        if self._reload is not None:
            self._reload()


# There is one process, and so one of these.
SIGNALS = Signals()
