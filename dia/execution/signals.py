"""Being told to stop: signals that let an attack finish its iteration, save and end."""

import signal
from typing import Any

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""Slurm sends SIGTERM on preemption, scancel and at the time limit, and SIGUSR1 before it where asked to; SIGHUP comes
from a terminal that is lost."""


class StopRequest:
    """Tell whether to stop, and why.

    Attributes:
        reason: The signal's name; None while nobody asked.
    """

    def __init__(self) -> None:
        self.reason: str | None = None

    def install_handlers(self) -> None:
        """From now on the stop signals only leave their name here; a second Ctrl-C ends the process at once.

        Slurm may repeat SIGTERM while the state is being saved, so that one may not end it.
        """

        def stop(number: int, frame: Any) -> None:
            self.reason = signal.Signals(number).name
            if number == signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)

        for number in STOP_SIGNALS:
            # `nohup` has SIGHUP ignored: that is to stay.
            if not (number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN):
                signal.signal(number, stop)
