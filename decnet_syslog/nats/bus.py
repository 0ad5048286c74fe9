"""
The connection to NATS: questions and answers, for code that blocks.

What must be true:

* a call ends. What is not answered in C{ANSWER_S} is L{Silent}: it may have happened or
  not, and who asked finds out;
* nothing is sent but to the servers that were named. Servers tell clients of others: those
  could be anywhere, also where TLS would not recognise them;
* where TLS is wanted, nothing, least of all a password, is sent before the handshake. (The
  library goes on in the clear when a server, or somebody on the way, does not ask for it.)

Chosen: nats-py, in a thread of its own with its own event loop. The journal's calls block
in the journal's thread anyway. Set aside: asyncio's reactor for all of Twisted, which is
slower for the workers' connections.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from twisted.logger import Logger

from ..errors import UserError
from .access import Access

__all__ = ["Bus", "Message", "Silent"]

T = TypeVar("T")

# How long an answer may take, in seconds: a cluster that elects a leader needs a few.
ANSWER_S = 5.0

# How long we look for a server that lets us in before we give up at the start, in seconds.
CONNECT_S = 10.0

# How often one who was sent away tries to come again, in seconds.
COME_AGAIN_S = 5.0

# A server that is gone shows within so many seconds.
PING_S = 5

# In a cluster, servers before 2.9.21 take several messages that are to be behind the same
# one (nats-server issue 4320), those before 2.10.19 may store on some nodes a first message
# that others refuse (pull request 5794). Those before 2.10.23 can lose a whole stream when
# processes are killed (issue 6888, found by Jepsen, which names the release with the mends).
# A single server has the same code for recovering its store after a kill.
VERSION_MIN = (2, 10, 23)

# Messages that come and are not looked at yet, of all subscriptions.
UNREAD_MAX = 4096


class Silent(Exception):
    """No answer. Its text says why, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Message:
    """
    What came.

    @ivar reply: where an answer would go; of JetStream's deliveries, what they are.
    """

    headers: Mapping[str, str]
    data: bytes
    reply: str = ""

    @property
    def status(self) -> str | None:
        """Of one that the server has made itself, its number."""
        return self.headers.get("Status")


def _message(msg: Msg) -> Message:
    return Message(dict(msg.headers or {}), msg.data, msg.reply)


def versionOf(info: Mapping[str, Any]) -> tuple[int, ...]:
    """The numbers of a server's version; none of one that has no numbers."""
    return tuple(map(int, re.findall(r"\d+", str(info.get("version", ""))[:20])[:3]))


class _Client(Client):
    """
    nats-py, which goes nowhere it was not sent, and not in the clear if it must not.

    @ivar prepare: called before each attempt to connect: see L{adopt}.
    """

    secure = False

    def prepare(self) -> None:
        """Nothing to prepare."""

    def adopt(self, access: Access) -> None:
        """Use these secrets for the next connection."""
        if access.tls is not None:
            self.options["tls"] = access.tls
        self.options["user"], self.options["password"] = access.user or (None, None)
        creds, seed = access.credentials, access.seed
        self._user_credentials = None if creds is None else RawCredentials(creds)
        self._nkeys_seed_str = seed
        self._signature_cb = self._user_jwt_cb = self._public_nkey = None
        if creds is not None or seed is not None:
            self._setup_nkeys_connect()

    def forgetUnsent(self) -> None:
        """
        Discard unsent octets when a connection breaks. Their callers get L{Silent}, and the stream
        may have another history when the next connection is made.
        """
        self._pending = []
        self._pending_data_size = 0

    async def _select_next_server(self) -> None:
        self.prepare()
        await super()._select_next_server()

    async def _process_info(
        self, info: dict[str, Any], initial_connection: bool = False
    ) -> None:
        info.pop("connect_urls", None)
        if isinstance(info.get("max_payload"), int):
            # Sent when the server has reloaded its configuration.
            self._max_payload = info["max_payload"]
        await super()._process_info(info, initial_connection)

    def _connect_command(self) -> bytes:
        info = self._server_info
        if self.secure and not info.get("tls_required"):
            raise nats.errors.Error("the server does not speak TLS")
        if versionOf(info) < VERSION_MIN:
            raise nats.errors.Error(
                f"nats-server {info.get('version')} has known faults that lose messages or accept"
                f" conflicting ones; {'.'.join(map(str, VERSION_MIN))} is the first version"
                " without them: upgrade it"
            )
        try:
            return super()._connect_command()
        except (nats.errors.Error, OSError):
            raise
        except Exception as error:
            # A key that cannot sign, for example: the library would stop reconnecting.
            raise nats.errors.Error(
                f"cannot use --journal-credentials: {error or type(error).__name__}"
            ) from error


class Bus:
    """
    One connection, mended whenever it breaks.

    @ivar breaks: number of broken connections and unanswered requests. Afterwards another server,
        or another state, may answer.
    """

    _log = Logger()

    def __init__(self, access: Access) -> None:
        """L{open} is how to get one."""
        self._access = access
        self._client = _Client()
        self._listeners: list[tuple[str, Callable[[], None]]] = []
        # The library mends a connection that breaks; not one that a server has ended.
        self._isSentAway = self._isClosing = False
        self._comeAgainAt = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="nats", daemon=True
        )
        self._why = ""
        self.breaks = 0

    @property
    def payloadMax(self) -> int:
        """The longest message that the server takes now, headers included."""
        return self._client.max_payload

    @classmethod
    def open(cls, access: Access) -> Bus:
        """
        Connect.

        @raise UserError: nobody lets us in.
        """
        bus = cls(access)
        bus._thread.start()
        try:
            bus.run(bus._connect(), CONNECT_S)
        except Silent:
            bus.close()
            raise UserError(
                f"no NATS server of {access} lets us in: {bus._why or 'no answer'}; start"
                " one, or mend --journal, --journal-ca or --journal-credentials"
            ) from None
        return bus

    async def _connect(self) -> None:
        access = self._access
        client = self._client = _Client()
        client.secure = access.tls is not None
        client.prepare = self._renew  # type: ignore[method-assign]
        options: dict[str, Any] = {}
        if access.tls is not None:
            options["tls"] = access.tls
        servers = [
            f"nats://[{host}]:{port}" if ":" in host else f"nats://{host}:{port}"
            for host, port in access.servers
        ]
        await client.connect(
            servers,
            name="decnet_syslog",
            error_cb=self._failed,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._closed,
            connect_timeout=3,
            reconnect_time_wait=1,
            max_reconnect_attempts=-1,
            ping_interval=PING_S,
            max_outstanding_pings=2,
            # The library must not send anything later by itself: our callers decide on retries.
            pending_size=0,
            **options,
        )
        for subject, heard in self._listeners:
            await self._listen(subject, heard)

    def _renew(self) -> None:
        """Read the files of L{Access} again, before each attempt to connect."""
        try:
            if self._access.renewed is not None:
                self._access = self._access.renewed()
        except UserError as error:
            self._say(f"{error}; keeping the previous credentials")
        try:
            self._client.adopt(self._access)
        except Exception as error:
            self._say(f"cannot use --journal-credentials: {error!r}")

    async def _closed(self) -> None:
        self.breaks += 1
        self._isSentAway = not self._isClosing

    async def _comeAgain(self) -> None:
        """Connect anew when a server has sent us away: it may have been mended there."""
        now = self._loop.time()
        if self._client.is_connected:
            self._isSentAway = False
        if not self._isSentAway or now < self._comeAgainAt:
            return
        self._comeAgainAt = now + COME_AGAIN_S
        try:
            await asyncio.wait_for(self._connect(), ANSWER_S)
        except (nats.errors.Error, OSError, asyncio.TimeoutError):
            await self._client.close()
            self._isSentAway = True
        else:
            self._isSentAway = False
            await self._reconnected()

    async def _failed(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if "Authorization" in text:
            text += "; correct --journal-credentials, it is read again at each attempt"
        self._say(text)

    def _say(self, text: str) -> None:
        if text != self._why:
            self._log.warn("NATS: {why}", why=ascii(text[:300]))
        self._why = text

    async def _disconnected(self) -> None:
        self.breaks += 1
        self._client.forgetUnsent()
        if not self._client.is_closed:
            self._log.warn("the connection to NATS is gone")

    async def _reconnected(self) -> None:
        self._why = ""
        self._log.info("connected to NATS again")

    def run(self, work: Coroutine[Any, Any, T], patience: float | None = None) -> T:
        """
        Do something in the connection's thread, and wait for it.

        @param patience: for work that may not end by itself.
        @raise Silent: it did not.
        """

        async def bounded() -> T:
            return await asyncio.wait_for(work, patience)

        try:
            return asyncio.run_coroutine_threadsafe(bounded(), self._loop).result()
        except (asyncio.TimeoutError, nats.errors.Error, OSError) as error:
            raise Silent(str(error) or "no answer in time") from error

    async def ask(
        self,
        subject: str,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Message:
        """
        Ask, and wait for the answer.

        @raise Silent: there was none. It may have been heard.
        """
        await self._comeAgain()
        if not self._client.is_connected:
            raise Silent(f"no connection to NATS{': ' * bool(self._why)}{self._why}")
        asked = self._client.request(
            subject, data, ANSWER_S, headers=dict(headers) if headers else None
        )
        try:
            # The library waits for the answer so long, and for ever until it has sent it.
            answer = await asyncio.wait_for(asked, 2 * ANSWER_S)
        except nats.errors.NoRespondersError:
            self.breaks += 1
            raise Silent("nobody answers: JetStream has no leader") from None
        except (nats.errors.Error, OSError, asyncio.TimeoutError) as error:
            self.breaks += 1
            raise Silent(str(error) or "no answer in time") from error
        return _message(answer)

    async def api(self, verb: str, **members: Any) -> dict[str, Any]:
        """
        Ask JetStream.

        @return: the answer, which may be an error: C{{"error": {"err_code": ...}}}.
        @raise Silent: there was none.
        """
        answer = await self.ask(f"$JS.API.{verb}", json.dumps(members).encode())
        try:
            said: dict[str, Any] = json.loads(answer.data)
        except ValueError:
            raise Silent("an answer that is no JSON") from None
        return said

    async def stream(
        self, subject: str, data: bytes, isAll: Callable[[list[Message]], bool]
    ) -> list[Message]:
        """
        Ask, and take every answer until these are all.

        @raise Silent: it did not come.
        """
        if not self._client.is_connected:
            raise Silent("no connection to NATS")
        inbox = self._client.new_inbox()
        answers: list[Message] = []
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
        except (nats.errors.Error, OSError, asyncio.TimeoutError) as error:
            raise Silent(str(error) or "no answer in time") from error
        return answers

    async def tell(self, subject: str, data: bytes = b"") -> None:
        """Say something that nobody has to hear."""
        if self._client.is_connected:
            try:
                await asyncio.wait_for(self._client.publish(subject, data), ANSWER_S)
            except (nats.errors.Error, OSError, asyncio.TimeoutError):
                pass

    async def listen(self, subject: str, heard: Callable[[], None]) -> None:
        """Call C{heard}, in the connection's thread, whenever something is said there."""

        self._listeners.append((subject, heard))
        await self._listen(subject, heard)

    async def _listen(self, subject: str, heard: Callable[[], None]) -> None:
        async def got(_: Msg) -> None:
            heard()

        await self._client.subscribe(subject, cb=got)

    def close(self) -> None:
        """Close the connection and end its thread."""
        self._isClosing = True
        try:
            self.run(self._client.close(), CONNECT_S)
        except Silent:
            pass
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
