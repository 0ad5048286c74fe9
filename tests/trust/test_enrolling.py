"""
Tests for enrolling many workers: C{decnet-syslog enroll --from} and C{--renew
--expiring}.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from contextlib import AbstractContextManager
from functools import partial
from unittest import mock

from decnet_syslog.trust._authority import Authority
from decnet_syslog.trust._bundles import Bundle, readCertificates
from decnet_syslog.trust._names import fingerprint

from ..homes import HomesTestCase, deaths


class ManyTestCase(HomesTestCase):
    """A master with a list of names."""

    def setUp(self) -> None:
        super().setUp()
        self.good(self.master, "ca", "init")
        self.list = self.top / "workers.txt"
        self.out = self.top / "bundles"

    def fromList(self, *words: str) -> str:
        return self.good(
            self.master,
            *("enroll", "--from", str(self.list), f"--out={self.out}"),
            *words,
        )

    def renew(self, *words: str) -> str:
        return self.good(self.master, "enroll", "--renew", *words)

    def enrolled(self) -> list[str]:
        """The names on the authority's list, in order."""
        return [
            entry["name"]
            for entry in Authority.open(self.ca).enrolled()
            if entry["role"] != "master"
        ]

    def serials(self) -> set[str]:
        """The fingerprints on the authority's list."""
        return {entry["fingerprint"] for entry in Authority.open(self.ca).enrolled()}

    def certificates(self) -> set[str]:
        """The fingerprints of all bundles outside the CA, complete or not."""
        return {
            fingerprint(readCertificates(path)[0])
            for path in self.top.rglob("worker.crt")
            if self.ca not in path.parents
        }


class ListTests(ManyTestCase):
    """The command C{enroll --from}."""

    def test_bundleForEachName(self) -> None:
        """Each name gets one bundle with the right modes; comments are ignored."""
        self.list.write_text("# rack 1\ndecky-01\n\n  decky-02  \r\ndecky-03")
        said = self.fromList("--days=90")
        self.assertEqual(said.count("made "), 3)
        self.assertIn("3 of 3 made", said)
        for name in ("decky-01", "decky-02", "decky-03"):
            Bundle.load(self.out / name)
            mode = (self.out / name).stat().st_mode
            self.assertEqual(stat.S_IMODE(mode), 0o700)
        before = self.certificates()
        with self.list.open("a") as file:
            file.write("\ndecky-04\n")
        said = self.fromList()
        self.assertIn("1 of 4 made", said)
        self.assertEqual(
            self.enrolled(), ["decky-01", "decky-02", "decky-03", "decky-04"]
        )
        self.assertLess(before, self.certificates())

    def test_deliveredBundle(self) -> None:
        """
        A name whose bundle was moved away is not enrolled again without C{--renew}.
        """
        self.list.write_text("decky-01\n")
        self.fromList()
        shutil.rmtree(self.out / "decky-01")
        self.assertIn("--renew makes another", self.fromList())
        self.assertEqual(list(self.out.iterdir()), [])
        self.assertIn("1 of 1 made", self.fromList("--renew"))

    def test_tarFiles(self) -> None:
        """
        With C{--tar} each name gets one private file that C{install} accepts, and no
        other file is left.
        """
        self.list.write_text("decky-01\ndecky-02\n")
        self.assertIn("2 of 2 made", self.fromList("--tar"))
        self.assertIn("0 of 2 made", self.fromList("--tar"))
        tars = sorted(self.out.iterdir())
        self.assertEqual([p.name for p in tars], ["decky-01.tar", "decky-02.tar"])
        for path in tars:
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.good(self.worker, "install", str(tars[0]))
        Bundle.load(self.agent)

    def test_standardInput(self) -> None:
        """The list of names can come from standard input."""
        self.good(
            self.master,
            *("enroll", "--from=-", f"--out={self.out}"),
            stdin=b"decky-01\n",
        )
        Bundle.load(self.out / "decky-01")

    def test_mistakesInList(self) -> None:
        """A list with a mistake enrolls no name, and the error has the line."""
        self.good(
            self.master, "enroll", "alice", "--role=operator", f"--out={self.top}/a"
        )
        before = self.enrolled()
        for octets, words in (
            (b"decky-01\n../x\n", "line 2"),
            (b"decky-01\ndecky 02\n", "line 2"),
            (b"decky-01\n\ndecky-01\n", "line 3: decky-01 is on line 1"),
            (b"decky-01\ndecnet-master\n", "the master's own name"),
            (b"decky-01\nalice\n", "alice is enrolled as operator"),
            (b"decky-01\n\x1b[2J\n", "line 2"),
            (b"# nobody\n", "it has no names"),
            (b"\xff\xfe", "UTF-8"),
            (b"a\n" * 600_000, "longer than"),
        ):
            self.list.write_bytes(octets)
            error = self.refused(
                self.master,
                *("enroll", "--from", str(self.list), f"--out={self.out}"),
            )
            self.assertIn(words, error)
            self.assertTrue(error.rstrip("\n").isprintable())
        self.assertEqual(self.enrolled(), before)
        self.assertFalse(self.out.exists())

    def test_inTheWay(self) -> None:
        """Another object in place of a bundle is left unchanged."""
        self.list.write_text("decky-01\n")
        (self.out / "decky-01").mkdir(parents=True)
        thesis = self.out / "decky-01" / "thesis.tex"
        thesis.write_text("x")
        words = ("enroll", "--from", str(self.list), f"--out={self.out}")
        self.assertIn("thesis.tex", self.refused(self.master, *words))
        self.assertEqual(thesis.read_text(), "x")
        shutil.rmtree(self.out / "decky-01")
        self.fromList()
        elsewhere = ("--renew", "--revoke-old", f"--out={self.top}/elsewhere")
        self.good(self.master, "enroll", "decky-01", *elsewhere)
        self.assertIn("move it away", self.refused(self.master, *words))

    def test_revokedNameIsLeftOut(self) -> None:
        """
        A revoked name is left out, whether its bundle is there or not, with C{--renew} and
        C{--tar}, until it is enrolled by its name.
        """
        self.list.write_text("decky-01\ndecky-02\n")
        self.fromList()
        self.good(self.master, "revoke", "decky-01")
        for words in ((), ("--renew",), ("--tar", "--renew")):
            before = self.enrolled().count("decky-01")
            said = self.fromList(*words)
            self.assertIn("revoked    decky-01, left out", said)
            self.assertEqual(self.enrolled().count("decky-01"), before)
            shutil.rmtree(self.out)
        again = ("enroll", "decky-01", f"--out={self.top}/again")
        self.good(self.master, *again)
        said = self.fromList("--renew")
        self.assertIn("2 of 2 made", said)

    def test_masterNames(self) -> None:
        """No worker or operator gets a name of the master, written in any way."""
        shutil.rmtree(self.ca)
        self.good(
            self.master,
            *("ca", "init", "--san=m.example.org", "--san=192.0.2.7", "--san=::ffff:1"),
        )
        before = self.enrolled()
        for name in (
            *("decnet-master", "DECNET-master", "decnet-master.", "M.example.org"),
            *("*.example.org", "192.0.2.7", "0:0::ffff:1"),
        ):
            for role in ("worker", "operator"):
                error = self.refused(
                    self.master,
                    *("enroll", "decky-01", f"--san={name}", f"--role={role}"),
                    f"--out={self.out}",
                )
                self.assertIn("name of the master", error)
        self.assertEqual(self.enrolled(), before)
        self.assertFalse(self.out.exists())
        others = ("--san=w.example.org", "--san=127.0.0.1", "--san=*.w.example.org")
        self.good(self.master, "enroll", "decky-01", *others, f"--out={self.out}")

    def test_conflictingOptions(self) -> None:
        """Options that exclude each other are refused, and the error names both."""
        for words, said in (
            (("enroll", "a", "--from=x", "--out=y"), "NAME and --from"),
            (
                ("enroll", "--from=x", "--expiring=3", "--out=y"),
                "--from and --expiring",
            ),
            (("enroll", "--from=x"), "--out"),
            (("enroll", "--expiring=30d", "--out=y"), "needs --renew"),
            (("enroll", "--renew", "--expiring=soon"), "30d"),
            (("enroll", "--renew", "--expiring=30d", "--days=20"), "--days"),
            (("enroll", "--from=x", "--out=y", "--csr=z"), "--csr"),
            (("enroll", "--from=x", "--out=y", "--san=z"), "--san"),
            (("enroll", "--from=x", "--out=y", "--renew", "--revoke-old"), "--revoke"),
            (("enroll", "a", "--out=y", "--tar"), "--tar"),
        ):
            status, _, error = self.call(self.master, *words)
            self.assertEqual((status, error.count("\n")), (2, 1), words)
            self.assertIn(said, error)


class ExpiringTests(ManyTestCase):
    """The command C{enroll --renew --expiring}."""

    def setUp(self) -> None:
        super().setUp()
        for name, days, role in (
            ("soon", 20, "worker"),
            ("later", 40, "worker"),
            ("alice", 10, "operator"),
            ("gone", 15, "worker"),
        ):
            self.good(
                self.master,
                *("enroll", name, f"--days={days}", f"--role={role}"),
                f"--out={self.top}/{name}",
            )
        self.good(self.master, "revoke", "gone")

    def test_listedWithoutOut(self) -> None:
        """Without C{--out} the expiring certificates are listed, and none is made."""
        before = self.enrolled()
        said = self.renew("--expiring=30d")
        self.assertEqual(re.findall(r"expires +(\w+)", said), ["alice", "soon"])
        self.assertIn("none expires", self.renew("--expiring=5"))
        self.assertEqual(self.enrolled(), before)

    def test_renewedOnce(self) -> None:
        """
        Each expiring certificate is renewed once, in its role; revoked and other ones
        are not.
        """
        said = self.renew("--expiring=30d", f"--out={self.out}")
        self.assertEqual(said.count("made "), 2)
        self.assertEqual(
            sorted(path.name for path in self.out.iterdir()), ["alice", "soon"]
        )
        Bundle.load(self.out / "soon")
        self.good(self.worker, "install", f"{self.out}/alice", "--role=operator")
        said = self.renew("--expiring=30d", f"--out={self.out}")
        self.assertIn("none expires", said)

    def test_oldBundles(self) -> None:
        """An older bundle in the output directory is not taken for the new one."""
        self.list.write_text("decky-01\n")
        self.fromList("--days=20")
        words = ("enroll", "--renew", "--expiring=30d", f"--out={self.out}")
        self.assertIn("an old bundle", self.refused(self.master, *words))
        self.assertNotIn("soon", [path.name for path in self.out.iterdir()])

    def test_shortAuthority(self) -> None:
        """
        Certificates that expire together with the CA are not renewed again and again.
        """
        error = self.refused(
            self.master, "enroll", "--renew", "--expiring=4000d", "--days=5000"
        )
        self.assertIn("ca replace", error)


class FullTests(ManyTestCase):
    """A full disk, detected at any of the syncs."""

    def fill(self, number: int) -> AbstractContextManager[object]:
        """Let every sync of a file fail after a number of successful ones."""
        left = [None] * number

        def fsync(descriptor: int) -> None:
            if not left:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left.pop()

        return mock.patch.object(os, "fsync", fsync)

    def test_fromList(self) -> None:
        """
        A full disk is reported with one line; the list stays readable, and the same
        command can be repeated later.
        """
        words = ("enroll", "--from", str(self.list), f"--out={self.out}")
        for number in range(100):
            names = (f"decky-{number}-1", f"decky-{number}-2")
            self.list.write_text("\n".join(names))
            with self.fill(number):
                status, _, error = self.call(self.master, *words)
            self.assertLessEqual(self.certificates(), self.serials())
            if not status:
                break
            self.assertIn("No space left", error)
            self.assertEqual((status, error.count("\n")), (1, 1), error)
            self.good(self.master, *words)
            for name in names:
                Bundle.load(self.out / name)
            shutil.rmtree(self.out)
        self.assertGreater(number, 7)

    def test_installOnFullDisk(self) -> None:
        """
        On a full disk either the installed bundle stays, or the new one is in place.
        """
        bundles = []
        for number in range(2):
            bundles.append(self.top / f"b{number}")
            more = ["--renew"] * number
            self.good(self.master, "enroll", "w1", f"--out={bundles[-1]}", *more)
        for number in range(100):
            shutil.rmtree(self.agent, ignore_errors=True)
            self.good(self.worker, "install", str(bundles[0]))
            with self.fill(number):
                status, _, error = self.call(self.worker, "install", str(bundles[1]))
            installed = (self.agent / "worker.crt").read_bytes()
            staged = [path.name for path in self.agent.glob(".bundle-*")]
            self.assertLessEqual(
                len(staged), 2, "one is in use; one may be the old one"
            )
            Bundle.load(self.agent)
            if not status:
                break
            self.assertEqual((status, error.count("\n")), (1, 1), error)
            self.assertIn(
                installed, [(one / "worker.crt").read_bytes() for one in bundles]
            )
        self.assertGreater(number, 4)


class KilledTests(ManyTestCase):
    """A killed run is continued by the same command."""

    def holds(self, number: int) -> None:
        """Check that every certificate is on the list, and so can be revoked."""
        self.assertLessEqual(self.certificates(), self.serials(), number)

    def fresh(self) -> None:
        for path in (self.out, self.ca):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(self.top / "ca", self.ca)

    def test_fromList(self) -> None:
        """A killed C{--from} is continued, with directories and with tar files."""
        shutil.copytree(self.ca, self.top / "ca")
        self.list.write_text("decky-01\ndecky-02\n")
        for words in ((), ("--tar",)):
            points = 0
            for number in deaths(partial(self.fromList, *words), self.fresh):
                points += 1
                self.holds(number)
                self.fromList(*words)
                self.complete(["decky-01", "decky-02"], bool(words))
            self.assertGreater(points, 12)

    def test_killedRenewal(self) -> None:
        """
        After a killed renewal is repeated, no name has only an expiring certificate.
        """
        self.list.write_text("decky-01\ndecky-02\n")
        self.fromList("--days=9")
        shutil.move(self.out, self.top / "before")
        shutil.copytree(self.ca, self.top / "ca")
        words = ("--expiring=30d", f"--out={self.out}")
        for number in deaths(lambda: self.renew(*words), self.fresh):
            self.holds(number)
            self.renew(*words)
            self.complete(["decky-01", "decky-02"], False)

    def complete(self, names: list[str], tar: bool) -> None:
        """
        Check that every bundle is complete, its certificate is on the list, and there
        are no other files.
        """
        found = sorted(path.name for path in self.out.iterdir())
        self.assertEqual(found, [f"{name}.tar" if tar else name for name in names])
        for path in self.out.iterdir():
            home = self.top / "home"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir()
            self.good(home, "install", str(path))
            made = Bundle.load(home / ".decnet" / "agent").certificate
            self.assertIn(fingerprint(made), self.serials())
            shutil.rmtree(home)
