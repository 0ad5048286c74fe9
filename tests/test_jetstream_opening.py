"""Tests for how the journal in JetStream is opened, with real servers."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from twisted.logger import capturedLogs

from decnet_syslog.errors import UserError
from decnet_syslog.nats import bus as buses
from decnet_syslog.nats import stream as streams
from decnet_syslog.nats.access import Access, parseServers
from decnet_syslog.nats.bus import Bus, Silent
from decnet_syslog.nats.journal import JetStreamJournal
from decnet_syslog.nats.outbox import Outbox
from decnet_syslog.nats.outputstate import OutputState
from decnet_syslog.nats.stream import NAME_TAKEN, NOT_YET, Layout

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

    def refuse(self, verb: str, code: int, count: int = 3) -> list[str]:
        """Have the first C{count} questions of a kind refused, with an error's number."""
        asked: list[str] = []
        api = Bus.api

        async def refusing(bus: Bus, what: str, **members: Any) -> dict[str, Any]:
            if what == verb:
                asked.append(what)
                if len(asked) <= count:
                    return {"error": {"err_code": code, "description": "not now"}}
            return await api(bus, what, **members)

        self.patch(Bus, "api", refusing)
        self.patch(streams, "OPENING_AGAIN_S", 0.01)
        return asked

    def test_notYet(self) -> None:
        """A cluster that says itself that it cannot do it yet is asked again."""
        for code in NOT_YET:
            asked = self.refuse("STREAM.CREATE.decnet", code)
            journal = self.open()
            self.assertGreater(len(asked), 3)
            self.api(journal, "STREAM.DELETE.decnet")

    def test_notThereYet(self) -> None:
        """Somebody else is just making it: it is waited for."""
        asked = self.refuse("STREAM.CREATE.decnet", NAME_TAKEN)
        self.open()
        self.assertGreater(len(asked), 3)

    def test_copiesOfTheBucket(self) -> None:
        """The bucket has as many copies as the stream, also when it cannot say it at first."""
        self.open()
        infos = self.refuse("STREAM.INFO.decnet", 10008, 0)
        made: list[int] = []
        api = Bus.api

        async def making(bus: Bus, what: str, **members: Any) -> dict[str, Any]:
            if what.startswith("STREAM.CREATE.KV"):
                made.append(members["num_replicas"])
            answer = await api(bus, what, **members)
            if what == "STREAM.INFO.decnet" and "error" not in answer:
                answer["config"]["num_replicas"] = 3
                if 1 < len(infos) < 5:
                    return {"error": {"err_code": 10008, "description": "not now"}}
            return answer

        self.patch(Bus, "api", making)
        bus = Bus.open(Access(parseServers(self.nats.url)))
        self.addCleanup(bus.close)
        layout = Layout("decnet", None, STREAM_OCTETS_MAX)
        state = OutputState.open(self.directory() / "o.db")
        self.addCleanup(state.close)
        self.patch(streams, "OPENING_S", 1.0)
        JetStreamJournal.open(bus, layout, 1000)
        # The single server refuses three copies; what matters is how many are asked for.
        outbox = Outbox(bus, layout, state, "test", time.monotonic)
        self.assertRaises(UserError, outbox.prepare)
        self.assertEqual(set(made), {3})

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
