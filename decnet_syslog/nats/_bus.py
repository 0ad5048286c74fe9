"""
Requests to NATS and their answers, for code that blocks.

What must be true: every call ends. A request without an answer within C{ANSWER_S} raises
L{NoResponse}. The server may have executed the request or not, and the caller finds out which.

Chosen: nats-py, in a separate thread with its own event loop. The journal's calls block in the
journal's thread anyway. Set aside: the asyncio reactor for all of Twisted, which is slower for the
workers' connections.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TypeVar

import nats.errors
from nats.aio.msg import Msg

from ..boundaries import JSONObject
from ..errors import UserError
from ._access import Access
from ._client import RestrictedClient
from ._connection import FAILURES, Connection

__all__ = ["Bus", "NatsMessage", "NoResponse"]

T = TypeVar("T")

# Maximum time until an answer, in seconds. A cluster needs a few seconds to elect a leader.
ANSWER_S = 5.0

# Maximum time at the start to find a server that accepts us, in seconds.
CONNECT_S = 10.0

# Maximum number of unread messages of a subscription.
UNREAD_MAX = 4096


class NoResponse(Exception):
    """No answer came. The text gives the reason, if it is known."""


@dataclass(frozen=True, slots=True)
class NatsMessage:
    """
    A received message.

    @ivar reply: the subject for an answer. In a delivery of JetStream it contains the sequence.
    """

    headers: Mapping[str, str]
    data: bytes
    reply: str = ""

    @property
    def status(self) -> str | None:
        """The status number of a message that the server itself has made; otherwise C{None}."""
        return self.headers.get("Status")


def _message(msg: Msg) -> NatsMessage:
    return NatsMessage(dict(msg.headers or {}), msg.data, msg.reply)


class Bus:
    """Requests over one connection, and the thread in which it lives."""

    def __init__(self, access: Access) -> None:
        """Use L{open} instead."""
        self._connection = Connection(access, self._listenAgain)
        self._listeners: list[tuple[str, Callable[[], None]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="nats", daemon=True
        )

    @property
    def _client(self) -> RestrictedClient:
        return self._connection.client

    @property
    def breaks(self) -> int:
        """
        The number of broken connections and unanswered requests. Afterwards another server, or
        another state, may answer.
        """
        return self._connection.breaks

    @property
    def payloadMax(self) -> int:
        """The longest message that the server accepts now, including headers."""
        return self._client.max_payload

    @classmethod
    def open(cls, access: Access) -> Bus:
        """
        Connect.

        @raise UserError: no server accepts us.
        """
        bus = cls(access)
        bus._thread.start()
        try:
            bus.run(bus._connection.connect(), CONNECT_S)
        except NoResponse:
            bus.close()
            raise UserError(
                f"no NATS server of {access} accepts us: {bus._connection.why or 'no answer'};"
                " start one, or correct --journal, --journal-ca or --journal-credentials"
            ) from None
        return bus

    def run(self, work: Coroutine[object, None, T], patience: float | None = None) -> T:
        """
        Run a coroutine in the connection's thread, and wait for its result.

        @param patience: maximum time in seconds, for work that may not end by itself.
        @raise NoResponse: it did not end in time, or there was no answer.
        """

        async def bounded() -> T:
            return await asyncio.wait_for(work, patience)

        try:
            return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()
        except FAILURES as error:
            raise NoResponse(str(error) or "no answer in time") from error

    async def ask(
        self,
        subject: str,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> NatsMessage:
        """
        Send a request, and wait for the answer.

        @raise NoResponse: no answer came. The server may have received the request.
        """
        await self._connection.comeAgain(ANSWER_S)
        if not self._client.is_connected:
            why = self._connection.why
            raise NoResponse(f"no connection to NATS{': ' * bool(why)}{why}")
        asked = self._client.request(
            subject, data, ANSWER_S, headers=dict(headers) if headers else None
        )
        try:
            # The library's time limit begins when the request is sent, which can take for ever.
            answer = await asyncio.wait_for(asked, 2 * ANSWER_S)
        except nats.errors.NoRespondersError:
            self._connection.breaks += 1
            raise NoResponse("no responders: JetStream has no leader") from None
        except FAILURES as error:
            self._connection.breaks += 1
            raise NoResponse(str(error) or "no answer in time") from error
        return _message(answer)

    async def api(self, verb: str, **members: object) -> JSONObject:
        """
        Send a request to JetStream's API.

        @return: the answer, which may be an error: C{{"error": {"err_code": ...}}}.
        @raise NoResponse: no answer came.
        """
        answer = await self.ask(f"$JS.API.{verb}", json.dumps(members).encode())
        try:
            said: JSONObject = json.loads(answer.data)
        except ValueError:
            raise NoResponse("the answer is not JSON") from None
        return said

    async def stream(
        self, subject: str, data: bytes, isAll: Callable[[list[NatsMessage]], bool]
    ) -> list[NatsMessage]:
        """
        Send a request, and collect answers until they are complete.

        @raise NoResponse: an answer did not come.
        """
        if not self._client.is_connected:
            raise NoResponse("no connection to NATS")
        inbox = self._client.new_inbox()
        answers: list[NatsMessage] = []
        try:
            subscription = await self._client.subscribe(
                inbox, pending_msgs_limit=UNREAD_MAX, pending_bytes_limit=-1
            )
            try:
                await asyncio.wait_for(
                    self._client.publish(subject, data, inbox), ANSWER_S
                )
                while not answers or not isAll(answers):
                    answers.append(_message(await subscription.next_msg(ANSWER_S)))
            finally:
                await asyncio.wait_for(subscription.unsubscribe(), ANSWER_S)
        except FAILURES as error:
            raise NoResponse(str(error) or "no answer in time") from error
        return answers

    async def tell(self, subject: str, data: bytes = b"") -> None:
        """Publish a message whose loss does not matter."""
        if self._client.is_connected:
            try:
                await asyncio.wait_for(self._client.publish(subject, data), ANSWER_S)
            except FAILURES:
                pass

    async def listen(self, subject: str, heard: Callable[[], None]) -> None:
        """Call C{heard}, in the connection's thread, for each message of a subject."""
        self._listeners.append((subject, heard))
        await self._listen(subject, heard)

    async def _listenAgain(self) -> None:
        for subject, heard in self._listeners:
            await self._listen(subject, heard)

    async def _listen(self, subject: str, heard: Callable[[], None]) -> None:
        async def got(_: Msg) -> None:
            heard()

        await self._client.subscribe(subject, cb=got)

    def close(self) -> None:
        """Close the connection and end its thread."""
        try:
            self.run(self._connection.close(), CONNECT_S)
        except NoResponse:
            pass
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
