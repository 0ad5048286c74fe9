"""Tests for how the journal in JetStream is opened, with real servers."""

from __future__ import annotations

import base64
import json
from typing import Any

from twisted.logger import capturedLogs

from decnet_syslog.errors import UserError
from decnet_syslog.nats import bus as buses
from decnet_syslog.nats import stream as streams
from decnet_syslog.nats.access import Access, parseServers
from decnet_syslog.nats.bus import Bus, Silent
from decnet_syslog.nats.journal import JetStreamJournal
from decnet_syslog.nats.stream import Layout

from .natsserver import STREAM_OCTETS_MAX, openJetStream
from .test_jetstream import SingleTestCase


class EarlyTests(SingleTestCase):
    """Whoever comes before JetStream can answer waits, and not for ever."""

    def silence(self, count: int, verb: str) -> list[str]:
        """Have the first C{count} questions of a kind find no leader; what was asked."""
        asked: list[str] = []
        ask = Bus.ask

        async def early(bus: Bus, subject: str, *rest: Any) -> Any:
            if subject.startswith(f"$JS.API.{verb}"):
                asked.append(subject)
                if len(asked) <= count:
                    raise Silent("nobody answers: JetStream has no leader")
            return await ask(bus, subject, *rest)

        self.patch(Bus, "ask", early)
        self.patch(streams, "OPENING_AGAIN_S", 0.01)
        return asked

    def test_stream(self) -> None:
        """No leader at first: it is said, once, and the stream is there afterwards."""
        asked = self.silence(5, "STREAM.INFO.decnet")
        with capturedLogs() as events:
            journal = self.open()
        self.assertGreater(len(asked), 5)
        self.assertEqual(len(journal.identity), 32)
        said = [e["why"] for e in events if "cannot be opened yet" in e["log_format"]]
        self.assertEqual(len(said), 1)
        self.assertIn("no leader", said[0])

    def test_answerLost(self) -> None:
        """Nobody hears that the stream was made: the one that is there is used."""
        made = self.open()
        self.silence(1, "STREAM.INFO.decnet")
        self.assertEqual(self.open().identity, made.identity)

    def test_making(self) -> None:
        """A leader that is elected while the stream, or the bucket, is made."""
        asked = [
            self.silence(3, f"STREAM.CREATE.{name}")
            for name in ("decnet", "KV_decnet-outputs")
        ]
        self.open(state=self.directory() / "o.db")
        self.assertGreater(min(map(len, asked)), 3)

    def test_givesUp(self) -> None:
        """A server that never answers ends it, with what to do."""
        self.patch(streams, "OPENING_S", 0.2)
        self.silence(10**6, "STREAM")
        error = self.assertRaises(UserError, openJetStream, self.nats.url)
        self.assertIn("the journal decnet cannot be opened", str(error))
        self.assertIn("most of its servers run", str(error))


class OpenTests(SingleTestCase):
    """A stream that could lose what it took is not used."""

    def open_(self, **config: Any) -> str:
        """What is wrong with a stream of this configuration."""
        made: dict[str, Any] = {
            "name": "decnet",
            "description": f"decnet_syslog journal {'a' * 32}",
            "subjects": ["decnet.>"],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": 1,
            **config,
        }
        bus = Bus.open(Access(parseServers(self.nats.url)))
        try:
            answer = bus.run(bus.api("STREAM.CREATE.decnet", **made))
            self.assertNotIn("error", answer)
            layout = Layout("decnet", None, STREAM_OCTETS_MAX)
            try:
                JetStreamJournal.open(bus, layout, 1000)
            except UserError as error:
                return str(error)
            finally:
                bus.run(bus.api("STREAM.DELETE.decnet"))
            return ""
        finally:
            bus.close()

    def test_refused(self) -> None:
        """Each setting that could lose is named."""
        self.assertEqual(self.open_(), "")
        faults: list[tuple[dict[str, Any], str]] = [
            ({"discard": "old"}, "discard is not new"),
            ({"max_age": 10**12, "duplicate_window": 10**9}, "max_age is set"),
            ({"storage": "memory"}, "storage is not file"),
            ({"retention": "workqueue"}, "retention is not limits"),
            ({"max_msgs_per_subject": 5}, "max_msgs_per_subject is set"),
            ({"max_msg_size": 5000}, "max_msg_size is set"),
            ({"deny_purge": True}, "deny_purge is set"),
            ({"description": "x"}, "description is not"),
            ({"subjects": ["decnet.*"]}, "subjects are not"),
        ]
        for config, said in faults:
            self.assertIn(said, self.open_(**config))

    def test_replicas(self) -> None:
        """Copies that the server cannot make are refused, not made fewer."""
        error = self.assertRaises(UserError, openJetStream, self.nats.url, replicas=3)
        self.assertIn("--journal-replicas", str(error))

    def test_payload(self) -> None:
        """A line that the server would refuse for ever is not accepted from a worker."""
        error = self.assertRaises(
            UserError, openJetStream, self.nats.url, messageOctetsMax=3 << 20
        )
        self.assertIn("max_payload", str(error))

    def test_noJetStream(self) -> None:
        """A server without JetStream, or none at all, is said in one line."""
        self.nats.kill()
        self.patch(buses, "CONNECT_S", 0.5)
        error = self.assertRaises(UserError, openJetStream, self.nats.url)
        self.assertIn("no NATS server", str(error))

    def test_identity(self) -> None:
        """The bucket and the stream can be looked at with the tools of NATS."""
        journal = self.open(state=self.directory() / "o.db")
        journal.useOutputs(["a"])
        got = self.api(
            journal,
            "STREAM.MSG.GET.KV_decnet-outputs",
            last_by_subj="$KV.decnet-outputs.outputs",
        )
        value = json.loads(base64.b64decode(got["message"]["data"]))
        self.assertEqual(value["cursors"], {"a": 0})
