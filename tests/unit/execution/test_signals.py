"""Signals that ask an attack to stop."""

import os
import signal
import subprocess
import sys

import pytest

from dia.execution.signals import STOP_SIGNALS

SCRIPT = """
import os, signal, sys
from dia.execution.signals import StopRequest
# Whoever started the tests may have ignored it.
signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[2] == "nohup" else signal.SIG_DFL)
stop = StopRequest()
stop.install_handlers()
os.kill(os.getpid(), int(sys.argv[1]))
print(stop.reason)
"""


def reason(number: int, how: str = "") -> str:
    """The reason to stop, after a signal."""
    command = [sys.executable, "-c", SCRIPT, str(int(number)), how]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=True).stdout.strip()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_leaves_its_name(number: signal.Signals) -> None:
    assert reason(number) == number.name


def test_a_lost_terminal_stops_all_but_what_nohup_protects() -> None:
    assert signal.SIGHUP in STOP_SIGNALS
    assert reason(signal.SIGHUP, "nohup") == "None"
