"""Tests for the control of C{decnet-syslog prove}."""

from __future__ import annotations

from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.testing import deliveredNumbers, newDirectory, printTallies
from decnet_syslog.worker import _protocol as protocol

from . import control


class ControlTests(SynchronousTestCase):
    """The control makes the intended mistake, and the count finds its consequences."""

    def test_writtenCountsAsDelivered(self) -> None:
        """A forwarder in the control counts written octets as delivered."""
        self.patch(protocol, "kernelUnsent", protocol.kernelUnsent)
        exec(control.MISTAKE, {})
        connection = protocol.ForwarderProtocol()
        connection.factory = mock.Mock()
        connection.makeConnection(mock.Mock())
        self.assertEqual(connection.unsent(), 0)

    def test_lossIsCounted(self) -> None:
        """The count finds lines that were under way when their connections were cut."""
        directory = newDirectory(self.mktemp(), "control")
        trial = control.forgetful(directory, 1)
        self.addCleanup(trial.close)
        trial.begin()

        names = [worker.name for worker in trial.workers]

        def numbers() -> dict[str, list[int]]:
            return deliveredNumbers(trial.pair.logPath, names)

        def isLost() -> bool:
            trial.proxy.stall(True)
            wanted = trial.written + 100
            trial.pair.wait(lambda: trial.written >= wanted, "no line is written")
            trial.proxy.cut(True)
            trial.proxy.stall(False)
            later = dict(trial.writer.written)
            trial.pair.wait(
                lambda: all(
                    max(numbers()[name], default=-1) >= later[name] for name in names
                ),
                "no line arrives after the cut",
            )
            # Lines of a worker arrive in order, so a number that is missing now is lost.
            return any(len(set(own)) <= max(own) for own in numbers().values())

        trial.pair.wait(isLost, "nothing is lost")
        self.assertGreater(printTallies(trial.tallies()), 0)
