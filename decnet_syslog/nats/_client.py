"""
The client library, nats-py, restricted for us.

What must be true:

* data is sent only to the servers in the options. Servers tell clients about other servers, whose
  addresses could be anywhere, and which TLS might not recognize;
* if TLS is configured, nothing is sent before the handshake, least of all a password. (The library
  continues without TLS if the server, or an attacker between, does not ask for TLS.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import nats.errors
from nats.aio.client import Client, RawCredentials

from ..boundaries import JSONObject
from ._access import Access

__all__ = ["RestrictedClient", "versionOf"]

# In a cluster, servers before 2.9.21 accept several messages with the same expected predecessor
# (nats-server issue 4320). Servers before 2.10.19 may store a first message on some nodes that
# other nodes refuse (pull request 5794). Servers before 2.10.23 can lose a whole stream when
# processes are killed (issue 6888; found by Jepsen, which names the release with the fix). A
# single server uses the same code to recover its store after a kill.
VERSION_MIN = (2, 10, 23)


def versionOf(info: Mapping[str, object]) -> tuple[int, ...]:
    """The numbers of a server's version; empty if the version has none."""
    return tuple(map(int, re.findall(r"\d+", str(info.get("version", ""))[:20])[:3]))


class RestrictedClient(Client):
    """
    nats-py, restricted to the configured servers, and to TLS if that is configured.

    @ivar prepare: called before each attempt to connect: see L{adopt}.
    """

    secure = False

    def prepare(self) -> None:
        """Do nothing."""

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
        Discard unsent octets when a connection breaks. Their callers get L{NoResponse}, and the
        stream may have another history when the next connection is made.
        """
        self._pending = []
        self._pending_data_size = 0

    async def _select_next_server(self) -> None:
        self.prepare()
        await super()._select_next_server()

    async def _process_info(
        self, info: JSONObject, initial_connection: bool = False
    ) -> None:
        info.pop("connect_urls", None)
        if isinstance(info.get("max_payload"), int):
            # Servers send INFO again, for example when their cluster changes.
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
