"""Tests for L{decnet_syslog.trust._listnumbers}: revocations after the list was lost."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.errors import UserError
from decnet_syslog.trust import _revocation as revocation
from decnet_syslog.trust._authority import Authority
from decnet_syslog.trust._listfile import parseLists
from decnet_syslog.trust._listnumbers import NUMBERS_FILE


class LostListTests(SynchronousTestCase):
    """No list is issued that would omit earlier revocations."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.authority = Authority.create(self.directory / "ca")
        self.list = self.authority.directory / "crl.pem"
        self.serials = [
            self.authority.enroll(name, self.directory / name).serial_number
            for name in ("w1", "w2", "w3")
        ]

    def revoke(self, index: int) -> None:
        Authority.open(self.authority.directory).revoke([self.serials[index]])

    def refused(self, index: int) -> str:
        return str(self.assertRaises(UserError, self.revoke, index))

    def test_lostList(self) -> None:
        """
        After one or two revocations, a lost list is asked for, and nothing is written.
        """
        for index in (0, 1):
            self.revoke(index)
            octets = self.list.read_bytes()
            self.list.unlink()
            self.assertIn("listener.db.crl", self.refused(2))
            self.assertFalse(self.list.exists())
            self.list.write_bytes(octets)
        self.revoke(2)
        self.assertEqual(
            {
                serial
                for _, serial in Authority.open(self.authority.directory).revoked()
            },
            set(self.serials),
        )

    def test_outdatedList(self) -> None:
        """After one or two revocations, an outdated list from a backup is refused."""
        self.revoke(0)
        octets = self.list.read_bytes()
        self.revoke(1)
        self.list.write_bytes(octets)
        self.assertIn("number 2 exists", self.refused(2))

    def test_diedBetween(self) -> None:
        """
        If the process died before recording the number of the newest list, that list is
        accepted.
        """
        self.revoke(0)
        numbers = self.authority.directory / NUMBERS_FILE
        before = numbers.read_bytes()
        self.revoke(1)
        numbers.write_bytes(before)
        self.revoke(2)

    def test_damagedNumbers(self) -> None:
        """An unreadable file of list numbers is an error with a remedy."""
        self.revoke(0)
        (self.authority.directory / NUMBERS_FILE).write_bytes(b"[1]")
        self.assertIn("delete it", self.refused(1))

    def test_futureList(self) -> None:
        """A list that is not valid yet is not accepted, whatever its number."""
        later = datetime.now(timezone.utc) + timedelta(days=1)
        signer = self.authority.signers()[0]
        with mock.patch.object(revocation, "datetime") as clock:
            clock.now.return_value = later
            octets = revocation.makeList(signer.certificate, signer.key, {}, 9)
        error = self.assertRaises(
            UserError, parseLists, octets, self.authority.authorities()
        )
        self.assertIn("not valid before", str(error))
