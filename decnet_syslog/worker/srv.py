"""
Masters as the DNS has them: C{_syslog-tls._tcp} (RFC 6012's service, RFC 2782's records).

The DNS is believed about where a master may be, never about who it is: whatever it says, the
certificate must have --master-name. An answer that says nothing changes nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.names import dns
from twisted.python.failure import Failure

from ..trust.names import showText
from .masters import Address

__all__ = ["SERVICE", "Directory", "inOrder"]

SERVICE = "_syslog-tls._tcp"

# How long an answer is good for, whatever it says itself, in seconds.
FRESH_MIN_S = 30.0
FRESH_MAX_S = 3600.0

# When there was none.
RETRY_S = 30.0

# How long each of three questions may take, in seconds.
TIMEOUTS_S = (1, 3, 5)

# More are not masters of one fleet.
RECORDS_MAX = 64


def inOrder(
    records: Sequence[dns.Record_SRV], chance: Callable[[Address], float]
) -> list[Address]:
    """
    The targets by priority; those of one priority at random by weight, RFC 2782.

    Each target has a chance of its own, so a list that has changed a little gives an order
    that has changed a little. Sorted by C{-log(chance) / weight} they are in the order in
    which RFC 2782 would have drawn them.

    @param chance: of a target, in (0, 1].
    """
    found: list[tuple[int, float, Address]] = []
    for record in records:
        host = record.target.name.decode("ascii", "replace").rstrip(".")
        # A target of "." says that there is no such service.
        if host and record.port:
            address = Address(host, record.port)
            # One of weight 0 has a small chance, too.
            drawn = -math.log(chance(address)) / (record.weight or 0.01)
            found.append((record.priority, drawn, address))
    return [address for _, _, address in sorted(found)]


class Directory:
    """Asks the DNS, again when its answer is stale."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        resolver: Any,
        domain: str,
        use: Callable[[Sequence[Address]], None],
        seed: int | None = None,
    ) -> None:
        """
        @param seed: of our order of those that have one priority. It stays ours for as long
            as we run: another order for each answer would send us from one equal to another.
        @param resolver: L{twisted.names.client.Resolver}, or like it.
        @param use: told the masters when there are any.
        """
        self._clock = clock
        self._resolver = resolver
        self._name = f"{SERVICE}.{domain}"
        self._use = use
        self._seed = random.getrandbits(64) if seed is None else seed
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def ask(self) -> Deferred[None]:
        """Ask now, and again later. Fires when there is an answer, or none."""
        self._timer = None
        asked = self._resolver.lookupService(self._name, timeout=TIMEOUTS_S)
        done: Deferred[None] = asked.addCallbacks(self._answered, self._failed)
        return done

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = self._clock.callLater(seconds, self.ask)

    def _answered(self, answer: tuple[list[dns.RRHeader], Any, Any]) -> None:
        payloads = [header.payload for header in answer[0]]
        found = [one for one in payloads if isinstance(one, dns.Record_SRV)]
        records = cast("list[dns.Record_SRV]", found)
        addresses = inOrder(records[:RECORDS_MAX], self._chance)
        if not addresses:
            self._log.warn("the DNS has no masters at {service}", service=self._name)
            self._later(RETRY_S)
            return
        fresh = min(record.ttl or 0 for record in records)
        self._later(min(max(fresh, FRESH_MIN_S), FRESH_MAX_S))
        self._log.debug(
            "{service}: {masters}",
            service=self._name,
            masters=showText(", ".join(map(str, addresses)), 500),
        )
        self._use(addresses)

    def _chance(self, address: Address) -> float:
        return 1 - random.Random(f"{self._seed} {address}").random()

    def _failed(self, failure: Failure) -> None:
        self._log.warn(
            "cannot ask the DNS for {service}: {why}",
            service=self._name,
            why=failure.getErrorMessage() or type(failure.value).__name__,
        )
        self._later(RETRY_S)
