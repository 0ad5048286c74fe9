"""
The connection to NATS: made, lost, and made again.

What must be true: nothing is sent to other servers than the configured ones, and no password before
TLS (L{decnet_syslog.nats._client}).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import nats.errors
from twisted.logger import Logger

from ..boundaries import JSONObject
from ..errors import UserError
from ..untrusted import escapeUntrusted
from ._access import Access
from ._client import RestrictedClient

__all__ = ["FAILURES", "Connection"]

# Interval of the attempts to connect after a server has ended the connection, in seconds.
COME_AGAIN_S = 5.0

# Interval of pings, in seconds; two missing answers mean that the server is gone.
PING_S = 5

# The errors of a connection, and of a request on it.
FAILURES = (nats.errors.Error, OSError, asyncio.TimeoutError)


class Connection:
    """
    One connection, made again whenever it breaks. All coroutines run in the bus's thread.

    @ivar client: the present client of the library.
    @ivar breaks: as of L{decnet_syslog.nats._bus.Bus.breaks}.
    @ivar why: the last error; empty after a success.
    """

    _log = Logger()

    def __init__(
        self, access: Access, resubscribe: Callable[[], Awaitable[None]]
    ) -> None:
        """
        @param resubscribe: called for each new client, which has no subscriptions.
        """
        self._access = access
        self._resubscribe = resubscribe
        self.client = RestrictedClient()
        self.breaks = 0
        self.why = ""
        # The library reconnects after a break, but not after the server has ended the connection.
        self._isSentAway = self._isClosing = False
        self._comeAgainAt = 0.0

    async def connect(self) -> None:
        """Make a new client, and connect it."""
        access = self._access
        client = self.client = RestrictedClient()
        client.secure = access.tls is not None
        client.prepare = self._renew  # type: ignore[method-assign]
        options: JSONObject = {}
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
            # The library must not resend by itself: our callers decide on retries.
            pending_size=0,
            **options,
        )
        await self._resubscribe()

    def _renew(self) -> None:
        """Read the files of L{Access} again, before each attempt to connect."""
        try:
            if self._access.renewed is not None:
                self._access = self._access.renewed()
        except UserError as error:
            self._say(f"{error}; keeping the previous credentials")
        try:
            self.client.adopt(self._access)
        except Exception as error:
            self._say(f"cannot use --journal-credentials: {error!r}")

    async def _closed(self) -> None:
        self.breaks += 1
        self._isSentAway = not self._isClosing

    async def comeAgain(self, patience: float) -> None:
        """
        Connect again after a server has ended the connection: the cause may be corrected.

        @param patience: maximum time in seconds.
        """
        now = asyncio.get_running_loop().time()
        if self.client.is_connected:
            self._isSentAway = False
        if not self._isSentAway or now < self._comeAgainAt:
            return
        self._comeAgainAt = now + COME_AGAIN_S
        try:
            await asyncio.wait_for(self.connect(), patience)
        except FAILURES:
            await self.client.close()
            self._isSentAway = True
        else:
            self._isSentAway = False
            await self._reconnected()

    async def _failed(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        if "Authorization" in text:
            text += "; correct --journal-credentials, each attempt reads the file again"
        self._say(text)

    def _say(self, text: str) -> None:
        if text != self.why:
            self._log.warn("NATS: {why}", why=escapeUntrusted(text, 300))
        self.why = text

    async def _disconnected(self) -> None:
        self.breaks += 1
        self.client.forgetUnsent()
        if not self.client.is_closed:
            self._log.warn("the connection to NATS is lost; reconnecting")

    async def _reconnected(self) -> None:
        self.why = ""
        self._log.info("connected to NATS again")

    async def close(self) -> None:
        """Close the connection, for good."""
        self._isClosing = True
        await self.client.close()
