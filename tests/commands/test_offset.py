"""Tests for taking turns with DECNET's own forwarder; its state is made as it makes it."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from decnet_syslog.cli import main
from decnet_syslog.files import readDecnetOffset
from decnet_syslog.testing import LocalCluster, LocalWorker

from ..conversations.test_processes import numbered
from ..peers import PairTestCase


def said(*words: str) -> tuple[object, str, str]:
    """The status of the command, its output and its errors."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(["offset", *words])
        except SystemExit as ended:
            return ended.code, out.getvalue(), err.getvalue()
    raise AssertionError("main() always exits")


def decnetWrites(path: Path, offset: object) -> None:
    """What DECNET 1.2.1 does when it has sent up to an offset."""
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS forwarder_offset ("
            " key TEXT PRIMARY KEY, offset INTEGER NOT NULL)"
        )
        db.execute(
            "INSERT INTO forwarder_offset(key, offset) VALUES(?, ?) "
            "ON CONFLICT(key) DO UPDATE SET offset=excluded.offset",
            ("default", offset),
        )
        db.commit()


class CommandTests(SynchronousTestCase):
    """The command alone."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.options = f"--agent-dir={self.directory}"

    def test_mistakesChangeNothing(self) -> None:
        """Each mistake is one line with the remedy, and changes nothing."""
        (self.directory / "text").write_text("no database")
        (self.directory / "sub").mkdir()
        for words, text in (
            ((), "give one of show, export, import"),
            (("shw",), "give one of show, export, import"),
            (("export", self.options), "nothing to export"),
            (("import", self.options), "nothing to import"),
            (("import", f"--decnet-db={self.directory}/text"), "cannot read DECNET's"),
            (("show", f"--state-db={self.directory}/sub"), "is a directory"),
        ):
            status, out, err = said(*words)
            self.assertIn(status, (1, 2), words)
            self.assertIn(text, err)
            self.assertEqual((out, err.count("\n")), ("", 1), err)
        self.assertEqual(
            sorted(path.name for path in self.directory.iterdir()), ["sub", "text"]
        )

    def test_onlyDecnet(self) -> None:
        """Before our first start, DECNET's offset is shown, and importing it is harmless."""
        path = self.directory / "forwarder.db"
        decnetWrites(path, 42)
        self.assertIn("DECNET:        42", said("show", self.options)[1])
        status, out, err = said("import", self.options)
        self.assertEqual((status or 0, err), (0, ""), out)
        self.assertEqual(readDecnetOffset(path), 42)

    def test_nonsenseIsRefused(self) -> None:
        """What is no offset is refused by each action, and nothing is changed."""
        path = self.directory / "forwarder.db"
        for nonsense in (-5, "rubbish", b"\xff", 1.5):
            path.unlink(missing_ok=True)
            decnetWrites(path, nonsense)
            before = path.read_bytes()
            for action in ("show", "export", "import"):
                status, out, err = said(action, self.options)
                self.assertEqual((status, out, err.count("\n")), (1, "", 1), err)
                self.assertIn("is no number of octets", err)
            self.assertEqual(path.read_bytes(), before)

    def test_beyondTheLog(self) -> None:
        """An offset beyond the end of the log is refused; without a log, import says so."""
        path, log = self.directory / "forwarder.db", self.directory / "log"
        log.write_bytes(b"x" * 42)
        decnetWrites(path, 43)
        before = path.read_bytes()
        for words, text in (
            ((f"--log-file={log}",), "(42 octets)"),
            ((f"--log-file={log}.other",), "cannot look at"),
        ):
            status, out, err = said("import", self.options, *words)
            self.assertEqual((status, out, err.count("\n")), (1, "", 1), err)
            self.assertIn(text, err)
        self.assertEqual(path.read_bytes(), before)
        status, out, err = said("import", self.options)
        self.assertEqual((status or 0, err), (0, ""))
        self.assertIn("not checked", out)
        decnetWrites(path, 42)
        status, out, err = said("import", self.options, f"--log-file={log}")
        self.assertEqual((status or 0, err), (0, ""))
        self.assertNotIn("not checked", out)

    def test_showAfterImport(self) -> None:
        """After an import, show says where our forwarder begins."""
        decnetWrites(self.directory / "forwarder.db", 42)
        options = (self.options, f"--state-db={self.directory}/state.db")
        self.assertEqual(said("import", *options)[0] or 0, 0)
        out = said("show", *options)[1]
        self.assertIn("decnet_syslog: begins at 42\n", out)
        self.assertIn("nothing to hand over", out)
        decnetWrites(self.directory / "forwarder.db", 50)
        out = said("show", *options)[1]
        self.assertIn("decnet_syslog: begins at 42\n", out)
        self.assertIn("8 octets ahead: import", out)


class TurnsTests(PairTestCase):
    """A worker changes to our forwarder, back to DECNET's, and to ours again."""

    def stop(self, worker: LocalWorker) -> None:
        """Stop our forwarder when everything is saved."""
        worker.forwarder.stop()

    def deliver(
        self, pair: LocalCluster, worker: LocalWorker, lines: list[int]
    ) -> None:
        """Run our forwarder until the master has these lines, no more and no less."""
        worker.forwarder.start()
        self.waitForLines(pair, len(lines))
        self.stop(worker)
        expected = b"".join(numbered(number, 1) for number in lines)
        self.assertEqual(pair.logPath.read_bytes(), expected)

    def test_eachContinuesTheOther(self) -> None:
        """
        With DECNET's database in the bundle's directory and ours elsewhere, each change continues
        where the other forwarder ended: no line is repeated, none is lost.
        """
        pair = self.pair()
        state = self.directory / "state.db"
        worker = pair.enroll("decky-01", [f"--state-db={state}"])
        decnet = worker.bundle / "forwarder.db"
        options = (f"--agent-dir={worker.bundle}", f"--state-db={state}")
        pair.startListener()
        # DECNET has shipped ten lines to a master of its own.
        worker.append(numbered(0, 20))
        decnetWrites(decnet, len(numbered(0, 10)))
        self.deliver(pair, worker, [*range(10, 20)])
        # Back: DECNET continues where we ended.
        status, out, err = said("export", *options)
        self.assertEqual((status or 0, err), (0, ""), out)
        self.assertEqual(readDecnetOffset(decnet), worker.file.stat().st_size)
        # DECNET ships two lines; one more is written before we are there again.
        worker.append(numbered(20, 2))
        decnetWrites(decnet, worker.file.stat().st_size)
        worker.append(numbered(22, 1))
        self.assertIn("import before decnet_syslog runs", said("show", *options)[1])
        status, _, err = said("export", *options)
        self.assertEqual(status, 1)
        self.assertIn("Use import", err)
        status, out, err = said("import", *options)
        self.assertEqual((status or 0, err), (0, ""), out)
        self.assertIn("our old state is kept as", out)
        self.deliver(pair, worker, [*range(10, 20), 22])
        # Nothing more to hand over, and a restart repeats nothing.
        self.assertIn("nothing to do", said("import", *options)[1])
        worker.append(numbered(23, 1))
        self.deliver(pair, worker, [*range(10, 20), 22, 23])

    def test_sameDatabase(self) -> None:
        """Both forwarders take turns with one database, as by default."""
        pair = self.pair()
        worker = pair.enroll("decky-01")
        decnet = worker.bundle / "forwarder.db"
        options = (f"--agent-dir={worker.bundle}",)
        pair.startListener()
        worker.append(numbered(0, 4))
        decnetWrites(decnet, len(numbered(0, 2)))
        self.deliver(pair, worker, [2, 3])
        self.assertEqual(said("export", *options)[0] or 0, 0)
        self.assertEqual(readDecnetOffset(decnet), worker.file.stat().st_size)
        worker.append(numbered(4, 1))
        decnetWrites(decnet, worker.file.stat().st_size)
        worker.append(numbered(5, 1))
        self.assertEqual(said("import", *options)[0] or 0, 0)
        self.deliver(pair, worker, [2, 3, 5])

    def test_runningForwarderIsRefused(self) -> None:
        """While our forwarder runs, nothing is handed over."""
        pair = self.pair()
        worker = pair.enroll("decky-01")
        pair.startListener()
        worker.append(numbered(0, 1))
        worker.forwarder.start()
        self.waitForLines(pair, 1)
        for action in ("export", "import", "show"):
            status, _, err = said(action, f"--agent-dir={worker.bundle}")
            self.assertEqual(status, 1)
            self.assertEqual(err.count("\n"), 1, err)
            self.assertIn("is another decnet-forwarder running?", err)
