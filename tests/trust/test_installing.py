"""
Tests for L{decnet_syslog.trust._installing}: a directory has the old bundle or the new
one, never a mixture.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from pathlib import Path
from unittest import SkipTest

from cryptography.x509.oid import ExtendedKeyUsageOID

from decnet_syslog.trust._bundles import BUNDLE_FILES, Bundle, readCertificates
from decnet_syslog.trust._installing import REQUEST_KEY
from decnet_syslog.trust._names import fingerprint, peerName
from decnet_syslog.trust._parcels import makeTar, readParcel
from decnet_syslog.trust._renewal import Renewal

from ..homes import HomesTestCase, deaths


class InstallTestCase(HomesTestCase):
    """A master with a CA, and a worker."""

    def setUp(self) -> None:
        super().setUp()
        self.good(self.master, "ca", "init")

    def request(self, *words: str) -> bytes:
        return self.good(self.worker, "request", "w1", *words).encode("ascii")

    def sign(self, request: bytes, out: str, *words: str) -> Path:
        """The bundle that answers a request."""
        where = self.top / out
        self.good(
            self.master,
            *("enroll", "w1", "--csr=-", f"--out={where}", *words),
            stdin=request,
        )
        return where

    def enroll(self, name: str, out: str, *words: str) -> Path:
        """A bundle whose key was made by the CA."""
        where = self.top / out
        self.good(self.master, "enroll", name, f"--out={where}", *words)
        return where

    def install(self, bundle: Path) -> str:
        return self.good(self.worker, "install", str(bundle))

    def installed(self) -> str:
        """The fingerprint of the installed bundle, which must be complete."""
        return fingerprint(Bundle.load(self.agent).certificate)

    def seen(self) -> dict[str, bytes]:
        """
        Every file below the worker's home directory, by its path, whatever links lead
        to it.
        """
        return {
            str(path): path.read_bytes()
            for path in sorted(self.worker.rglob("*"))
            if path.is_file()
        }


class WalkTests(InstallTestCase):
    """From a request to an installed bundle."""

    def test_twoHomes(self) -> None:
        """
        The key is made on the worker and never leaves it, and the files have the right
        modes.
        """
        request = self.request()
        key = (self.agent / REQUEST_KEY).read_bytes()
        self.assertNotIn(b"PRIVATE", request)
        bundle = self.sign(request, "bundle")
        self.assertFalse((bundle / "worker.key").exists())
        said = self.install(bundle)
        self.assertIn("valid until", said)
        self.assertEqual((self.agent / "worker.key").read_bytes(), key)
        self.assertFalse((self.agent / REQUEST_KEY).exists())
        for file, mode in (("worker.key", 0o600), ("worker.crt", 0o644)):
            found = (self.agent / file).stat().st_mode
            self.assertEqual(stat.S_IMODE(found), mode)
        self.assertEqual(peerName(Bundle.load(self.agent).certificate), "w1")
        for path in self.master.rglob("*"):
            if path.is_file():
                self.assertNotIn(key.splitlines()[1], path.read_bytes(), path)
        shown = self.good(self.master, "ca", "show")
        self.assertIn("worker   w1", shown)
        self.assertIn("was installed already", self.install(bundle))

    def test_repeatedRequest(self) -> None:
        """
        A request is repeated with the same key until it is answered, then with a new
        one.
        """
        self.sign(self.request(), "lost")
        key = (self.agent / REQUEST_KEY).read_bytes()
        bundle = self.sign(self.request(), "bundle", "--renew")
        self.assertEqual((self.agent / REQUEST_KEY).read_bytes(), key)
        self.install(bundle)
        before = self.installed()
        self.install(self.sign(self.request(), "new", "--renew"))
        self.assertNotEqual((self.agent / "worker.key").read_bytes(), key)
        self.assertNotEqual(self.installed(), before)

    def test_newKey(self) -> None:
        """The answer to a request whose key was discarded is refused."""
        bundle = self.sign(self.request(), "bundle")
        self.request("--new-key")
        error = self.refused(self.worker, "install", str(bundle))
        self.assertIn("it answers another request", error)
        self.assertIn(str(self.agent / REQUEST_KEY), error)

    def test_requestFile(self) -> None:
        """
        A request can be written to a file; an existing file is overwritten only if it
        is a request.
        """
        out = self.top / "w1.csr"
        for _ in range(2):
            said = self.good(self.worker, "request", "w1", f"--out={out}")
            self.assertIn("enroll w1 --csr w1.csr", said)
        self.sign(out.read_bytes(), "bundle")
        key = self.agent / REQUEST_KEY
        error = self.refused(self.worker, "request", "w1", f"--out={key}")
        self.assertIn("not overwritten", error)

    def test_runningForwarder(self) -> None:
        """
        A running forwarder uses the new bundle, whether it was installed through links
        or not.
        """
        shutil.copytree(self.enroll("w1", "plain"), self.agent)
        used: list[str] = []
        renewal = Renewal(
            Bundle.load(self.agent),
            ExtendedKeyUsageOID.CLIENT_AUTH,
            lambda bundle: used.append(fingerprint(bundle.certificate)),
        )
        for number in range(3):
            self.install(self.sign(self.request(), f"new{number}", "--renew"))
            # A change counts only once a second poll finds it unchanged.
            for _ in range(3):
                renewal.reloadIfChanged()
            self.assertEqual(used[number:], [self.installed()])

    def test_withKey(self) -> None:
        """
        A bundle with a key can be installed from a directory, a tar file, or a pipe.
        """
        bundle = self.enroll("w1", "bundle")
        self.assertIn("private key is in it", self.install(bundle))
        for number, name in enumerate(("./{}", "{}")):
            new = self.enroll("w1", f"new{number}", "--renew")
            made = io.BytesIO()
            with tarfile.open(fileobj=made, mode="w") as archive:
                if number == 0:
                    # As "tar -C DIR -c ." makes it.
                    archive.add(new, ".", recursive=False)
                for file in BUNDLE_FILES:
                    archive.add(new / file, name.format(file))
            tar = self.top / f"new{number}.tar"
            tar.write_bytes(made.getvalue())
            if number:
                self.install(tar)
            else:
                self.good(self.worker, "install", "-", stdin=made.getvalue())
            self.assertEqual(
                (self.agent / "worker.crt").read_bytes(),
                (new / "worker.crt").read_bytes(),
            )

    def test_modesMended(self) -> None:
        """
        Files copied with other modes get the right ones, even if the bundle is the
        same.
        """
        bundle = self.enroll("w1", "bundle")
        for path in bundle.iterdir():
            path.chmod(0o666)
        self.install(bundle)
        self.installed()
        (self.agent / "worker.crt").chmod(0o600)
        self.install(bundle)
        found = (self.agent / "worker.crt").stat().st_mode
        self.assertEqual(stat.S_IMODE(found), 0o644)

    def test_directoryNamed(self) -> None:
        """C{--agent-dir} names the directory, in both commands."""
        other = f"--agent-dir={self.top}/other"
        bundle = self.sign(self.request(other), "bundle")
        self.good(self.worker, "install", str(bundle), other)
        Bundle.load(self.top / "other")
        self.assertFalse(self.agent.exists())


class RefusedTests(InstallTestCase):
    """A bundle that does not fit changes nothing."""

    def assertStays(self, words: str, bundle: Path, *more: str) -> None:
        before = self.seen()
        error = self.refused(self.worker, "install", str(bundle), *more)
        self.assertIn(words, error)
        self.assertEqual(self.seen(), before)

    def test_noKey(self) -> None:
        """A certificate whose key is on another machine is refused."""
        bundle = self.sign(self.request(), "bundle")
        shutil.rmtree(self.worker / ".decnet")
        self.assertStays("make the request on this machine", bundle)
        self.agent.mkdir(parents=True)
        self.assertStays("make the request on this machine", bundle)
        self.request()
        self.assertStays("answers another request", bundle)

    def test_unfittingBundles(self) -> None:
        """
        A bundle with another name, role, CA or key, or an incomplete one, is refused,
        with and without an installed bundle.
        """
        w1 = self.enroll("w1", "w1")
        w2 = self.enroll("w2", "w2")
        alice = self.enroll("alice", "alice", "--role=operator")
        cases = [("operator", alice)]
        mixed = shutil.copytree(w1, self.top / "mixed")
        shutil.copy(w2 / "worker.key", mixed)
        cases.append(("is not the key of worker.crt", mixed))
        self.good(self.worker, "ca", "init")
        foreign = shutil.copytree(w1, self.top / "foreign")
        shutil.copy(self.worker / ".decnet" / "ca" / "ca.crt", foreign)
        cases.append(("is not signed by the CA", foreign))
        for file in ("ca.crt", "worker.crt"):
            part = shutil.copytree(w1, self.top / f"no {file}")
            (part / file).unlink()
            cases.append(("is missing: give the whole directory", part))
            odd = shutil.copytree(w1, self.top / f"odd {file}")
            (odd / file).write_bytes(b"hello")
            cases.append(("is not a certificate", odd))
            large = shutil.copytree(w1, self.top / f"large {file}")
            (large / file).write_bytes(bytes(1024 * 1024))
            cases.append(("is longer than", large))
        cases.append(("no such file", self.top / "nothing"))
        for words, bundle in cases:
            self.assertStays(words, bundle)
        self.install(w1)
        for words, bundle in [*cases, ("a running forwarder refuses", w2)]:
            self.assertStays(words, bundle)
        self.install(self.enroll("w1", "new", "--renew"))
        self.assertIn(
            "a running forwarder refuses", self.refused(self.worker, "request", "w2")
        )

    def test_operatorsBundle(self) -> None:
        """An operator's bundle is installed only as an operator's."""
        alice = self.enroll("alice", "alice", "--role=operator")
        self.assertStays("operator", alice)
        self.good(self.worker, "install", str(alice), "--role=operator")
        self.assertStays(
            "not an operator's", self.enroll("w1", "w1"), "--role=operator"
        )

    def test_invalidTarFiles(self) -> None:
        """
        A file that is not a tar file, or has anything except the three files, is
        refused.
        """
        files = readParcel(str(self.enroll("w1", "w1")))
        good = makeTar(files)

        def tar(*members: tuple[str, bytes, bytes]) -> bytes:
            made = io.BytesIO()
            with tarfile.open(fileobj=made, mode="w") as archive:
                for name, kind, octets in members:
                    member = tarfile.TarInfo(name)
                    member.type, member.size = kind, len(octets)
                    member.linkname = "/etc/passwd" if not octets else ""
                    archive.addfile(member, io.BytesIO(octets))
            return made.getvalue()

        three = [(name, tarfile.REGTYPE, octets) for name, octets in files.items()]
        compressed = io.BytesIO()
        with tarfile.open(fileobj=compressed, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo("ca.crt"))
        for words, octets in (
            ("more than the files", tar(*three, ("../worker.key", b"0", b"x"))),
            ("more than the files", tar(*three, ("/etc/cron.d/x", b"0", b"x"))),
            ("more than the files", tar(*three, ("sub/ca.crt", b"0", b"x"))),
            ("more than the files", tar(*[(".", tarfile.DIRTYPE, b"")] * 40)),
            ("twice", tar(*three, *three)),
            ("not a regular file", tar(("ca.crt", tarfile.SYMTYPE, b""))),
            ("not a regular file", tar(("ca.crt", tarfile.LNKTYPE, b""))),
            ("not a regular file", tar(("ca.crt", tarfile.FIFOTYPE, b""))),
            ("longer than", tar(("ca.crt", tarfile.REGTYPE, bytes(100_000)))),
            ("longer than", good + bytes(300_000)),
            ("missing", tar(*[one for one in three if one[0] != "ca.crt"])),
            ("missing", tar(*[one for one in three if one[0] != "worker.crt"])),
            ("neither", compressed.getvalue()),
            ("neither", b"hello"),
            ("neither", b""),
            ("neither", good[:700]),
        ):
            file = self.top / "bundle.tar"
            file.write_bytes(octets)
            before = self.seen()
            self.assertIn(words, self.refused(self.worker, "install", str(file)))
            error = self.refused(self.worker, "install", "-", stdin=octets)
            self.assertIn(words, error)
            self.assertEqual(self.seen(), before)

    def test_foreignLinks(self) -> None:
        """Foreign links to other files are not followed."""
        self.install(self.enroll("w1", "w1"))
        new = self.enroll("w1", "new", "--renew")
        secret = self.top / "secret"
        secret.mkdir()
        for file in BUNDLE_FILES:
            shutil.copy(self.agent / file, secret)
        key = self.agent / "worker.key"
        key.unlink()
        key.symlink_to(secret / "worker.key")
        self.assertStays("not one of ours", new)
        key.unlink()
        key.symlink_to(".bundle/worker.key")
        link = self.agent / ".bundle"
        target = os.readlink(link)
        (self.agent / "worker.crt").unlink()
        link.unlink()
        link.symlink_to(secret)
        self.assertStays("not a link of ours", new)
        link.unlink()
        link.symlink_to(target)
        self.install(new)
        self.assertEqual(self.installed(), fingerprint(Bundle.load(new).certificate))

    def test_rootInstallsForUser(self) -> None:
        """
        If root installs for another user, every file belongs to that user, and no file
        is read that only root can read.
        """
        if os.geteuid() != 0:
            raise SkipTest("only root can give files away")
        shutil.copytree(self.enroll("w1", "w1"), self.agent)
        for path in (self.agent, *self.agent.iterdir()):
            os.chown(path, 65534, 65534)
        new = self.enroll("w1", "new", "--renew")
        os.chown(self.agent / "worker.key", 0, 0)
        self.assertStays("does not belong to the owner", new)
        os.chown(self.agent / "worker.key", 65534, 65534)
        self.agent.chmod(0o750)
        self.install(new)
        self.good(self.worker, "request", "w1")
        found = [self.agent, *self.agent.rglob("*")]
        self.assertGreater(len(found), 8)
        for path in found:
            status = path.lstat()
            self.assertEqual((status.st_uid, status.st_gid), (65534, 65534), path)
        inner = (self.agent / ".bundle").stat().st_mode
        self.assertEqual(stat.S_IMODE(inner), 0o750)

    def test_worldWritableDirectory(self) -> None:
        """A directory in which every user may write is refused."""
        self.agent.mkdir(parents=True)
        self.agent.chmod(0o777)
        self.assertStays("chmod o-w", self.enroll("w1", "w1"))
        self.assertIn("chmod o-w", self.refused(self.worker, "request", "w1"))

    def test_missingArguments(self) -> None:
        """Missing and invalid arguments are named."""
        for words in (["install"], ["request"]):
            status, _, error = self.call(self.worker, *words)
            self.assertEqual((status, error.count("\n")), (2, 1))
        for name in ("a/b", "..", "decnet-master", "x" * 65):
            self.refused(self.worker, "request", name)
        self.assertFalse(self.agent.exists())


class KilledTests(InstallTestCase):
    """
    If the process dies before any change of the disk, the directory has the old bundle
    or the new one.
    """

    def setUp(self) -> None:
        super().setUp()
        self.old = self.enroll("w1", "old")
        self.start = self.top / "start"

    def kill(self, bundle: Path) -> None:
        """Install a bundle with a kill at each change, then repeat the installation."""
        new = fingerprint(readCertificates(bundle / "worker.crt")[0])
        before = self.state(self.start)
        seen = set()
        points = 0
        for number in deaths(
            lambda: self.good(self.worker, "install", str(bundle)), self.restore
        ):
            points += 1
            found = self.state(self.agent)
            self.assertIn(found, (before, new), number)
            seen.add(found)
            self.install(bundle)
            self.assertEqual(self.installed(), new)
            left = sorted(path.name for path in self.agent.iterdir())
            bundles = [name for name in left if name.startswith(".bundle")]
            self.assertEqual(len(bundles), 2, left)
            self.assertNotIn(REQUEST_KEY, left)
        self.assertEqual(self.state(self.agent), new)
        self.assertIn(before, seen)
        self.assertGreater(points, 12)

    def state(self, directory: Path) -> str | None:
        """The bundle in a directory; C{None} if there is none."""
        if not (directory / "worker.crt").exists():
            return None
        return fingerprint(Bundle.load(directory).certificate)

    def restore(self) -> None:
        shutil.rmtree(self.agent, ignore_errors=True)
        shutil.copytree(self.start, self.agent, symlinks=True)

    def test_overPlainFiles(self) -> None:
        """
        A killed installation over the plain files of an older version leaves one
        complete bundle.
        """
        shutil.copytree(self.old, self.start)
        self.kill(self.enroll("w1", "new", "--renew"))

    def test_overInstalledBundle(self) -> None:
        """A killed installation over an installed bundle leaves one complete bundle."""
        self.install(self.old)
        shutil.move(self.agent, self.start)
        self.kill(self.enroll("w1", "new", "--renew"))

    def test_unpackedOver(self) -> None:
        """
        A killed installation over a bundle that was unpacked onto the links of another
        leaves one complete bundle.
        """
        self.install(self.old)
        for path in self.enroll("w1", "over", "--renew").iterdir():
            (self.agent / path.name).unlink()
            shutil.copy(path, self.agent)
        shutil.move(self.agent, self.start)
        self.kill(self.enroll("w1", "new", "--renew"))

    def test_firstInstallation(self) -> None:
        """A killed first installation leaves no bundle or a complete one."""
        self.start.mkdir(mode=0o700)
        self.kill(self.enroll("w1", "new", "--renew"))

    def test_answerOverOldBundle(self) -> None:
        """
        A killed installation of the answer to a request leaves the older bundle or the
        new one.
        """
        self.install(self.old)
        bundle = self.sign(self.request(), "new", "--renew")
        shutil.move(self.agent, self.start)
        self.kill(bundle)

    def test_killedRequest(self) -> None:
        """
        A killed request leaves the installed bundle in place, and a repeated one can be
        answered.
        """
        self.install(self.old)
        shutil.move(self.agent, self.start)
        before = self.state(self.start)
        for number in deaths(self.request, self.restore):
            self.assertEqual(self.state(self.agent), before, number)
            out = f"answer{number}"
            self.install(self.sign(self.request(), out, "--renew"))
            self.assertNotEqual(self.installed(), before)
