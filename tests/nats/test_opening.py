"""Tests for opening the journal in JetStream, with real servers."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from twisted.logger import capturedLogs

from decnet_syslog.errors import UserError
from decnet_syslog.nats import _bus as buses
from decnet_syslog.nats import _opening as openings
from decnet_syslog.nats._access import Access, parseServers
from decnet_syslog.nats._answers import NAME_TAKEN, NOT_YET
from decnet_syslog.nats._bus import Bus, NoResponse
from decnet_syslog.nats._journal import JetStreamJournal
from decnet_syslog.nats._layout import Layout
from decnet_syslog.nats._outbox import Outbox
from decnet_syslog.nats._outputstate import OutputState

from ..natsserver import STREAM_OCTETS_MAX, openJetStream
from .test_journal import SingleTestCase


class EarlyTests(SingleTestCase):
    """A process that starts before JetStream is ready waits, but not forever."""

    def silence(self, count: int, verb: str) -> list[str]:
        """
        Make the first C{count} requests of a kind fail for want of a leader. Returns
        the requests.
        """
        asked: list[str] = []
        ask = Bus.ask

        async def early(bus: Bus, subject: str, *rest: Any) -> Any:
            if subject.startswith(f"$JS.API.{verb}"):
                asked.append(subject)
                if len(asked) <= count:
                    raise NoResponse("nobody answers: JetStream has no leader")
            return await ask(bus, subject, *rest)

        self.patch(Bus, "ask", early)
        self.patch(openings, "OPENING_AGAIN_S", 0.01)
        return asked

    def test_noLeaderYet(self) -> None:
        """
        Without a leader at first, the journal waits and logs this once, and then opens
        the stream.
        """
        asked = self.silence(5, "STREAM.INFO.decnet")
        with capturedLogs() as events:
            journal = self.open()
        self.assertGreater(len(asked), 5)
        self.assertEqual(len(journal.identity), 32)
        said = [e["why"] for e in events if "cannot be opened yet" in e["log_format"]]
        self.assertEqual(len(said), 1)
        self.assertIn("no leader", said[0])

    def test_answerLost(self) -> None:
        """If the answer to the first request is lost, the existing stream is used."""
        made = self.open()
        self.silence(1, "STREAM.INFO.decnet")
        self.assertEqual(self.open().identity, made.identity)

    def test_leaderElectedDuringCreation(self) -> None:
        """Creating the stream and the bucket waits for a leader to be elected."""
        asked = [
            self.silence(3, f"STREAM.CREATE.{name}")
            for name in ("decnet", "KV_decnet-outputs")
        ]
        self.openOutputs(state=self.directory() / "o.db")
        self.assertGreater(min(map(len, asked)), 3)

    def refuse(self, verb: str, code: int, count: int = 3) -> list[str]:
        """
        Make the server refuse the first C{count} requests of a kind with an error code.
        """
        asked: list[str] = []
        api = Bus.api

        async def refusing(bus: Bus, what: str, **members: Any) -> dict[str, Any]:
            if what == verb:
                asked.append(what)
                if len(asked) <= count:
                    return {"error": {"err_code": code, "description": "not now"}}
            return await api(bus, what, **members)

        self.patch(Bus, "api", refusing)
        self.patch(openings, "OPENING_AGAIN_S", 0.01)
        return asked

    def test_notYet(self) -> None:
        """A cluster that answers that it is not ready yet is asked again."""
        for code in NOT_YET:
            asked = self.refuse("STREAM.CREATE.decnet", code)
            journal = self.open()
            self.assertGreater(len(asked), 3)
            self.api(journal, "STREAM.DELETE.decnet")

    def test_notThereYet(self) -> None:
        """If another process is just creating the stream, it is waited for."""
        asked = self.refuse("STREAM.CREATE.decnet", NAME_TAKEN)
        self.open()
        self.assertGreater(len(asked), 3)

    def test_copiesOfTheBucket(self) -> None:
        """
        The bucket has as many replicas as the stream, even if the number is not known
        at first.
        """
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
        self.patch(openings, "OPENING_S", 1.0)
        JetStreamJournal.open(bus, layout, 1000)
        # The single server refuses three replicas; the number requested is what
        # matters.
        outbox = Outbox(bus, layout, state, "test", time.monotonic)
        self.assertRaises(UserError, outbox.prepare)
        self.assertEqual(set(made), {3})

    def test_givesUp(self) -> None:
        """A server that never answers ends the start, with a remedy."""
        self.patch(openings, "OPENING_S", 0.2)
        self.silence(10**6, "STREAM")
        error = self.assertRaises(UserError, openJetStream, self.nats.url)
        self.assertIn("the journal decnet cannot be opened", str(error))
        self.assertIn("most of its servers run", str(error))


class OpenTests(SingleTestCase):
    """A stream whose settings could lose messages is not used."""

    def open_(self, **config: Any) -> str:
        """The error for a stream with this configuration."""
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

    def test_unsafeSettingsAreNamed(self) -> None:
        """Each setting that could lose messages is named in the error."""
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

    def test_tooFewReplicas(self) -> None:
        """
        If the server cannot provide the number of replicas, the journal is refused, not
        created with fewer.
        """
        error = self.assertRaises(UserError, openJetStream, self.nats.url, replicas=3)
        self.assertIn("--journal-replicas", str(error))

    def test_payloadBelowMessageLimit(self) -> None:
        """
        A message limit above the server's max_payload is refused, because such a line
        could never be stored.
        """
        error = self.assertRaises(
            UserError, openJetStream, self.nats.url, messageOctetsMax=3 << 20
        )
        self.assertIn("max_payload", str(error))

    def test_noJetStream(self) -> None:
        """A server without JetStream, or no server at all, gives a one-line error."""
        self.nats.kill()
        self.patch(buses, "CONNECT_S", 0.5)
        error = self.assertRaises(UserError, openJetStream, self.nats.url)
        self.assertIn("no NATS server", str(error))

    def test_readableWithNatsTools(self) -> None:
        """The bucket and the stream can be inspected with NATS's own tools."""
        journal = self.openOutputs(state=self.directory() / "o.db")
        journal.useOutputs(["a"])
        got = self.api(
            journal,
            "STREAM.MSG.GET.KV_decnet-outputs",
            last_by_subj="$KV.decnet-outputs.outputs",
        )
        value = json.loads(base64.b64decode(got["message"]["data"]))
        self.assertEqual(value["cursors"], {"a": 0})
