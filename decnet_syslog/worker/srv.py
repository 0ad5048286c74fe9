"""
Masters as the DNS has them: C{_syslog-tls._tcp} (RFC 6012's service, RFC 2782's records).

The DNS is believed about where a master may be, never about who it is: whatever it says, the
certificate must have --master-name. An answer that says nothing changes nothing.
"""

from __future__ import annotations

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
    records: Sequence[dns.Record_SRV], random: Callable[[], float] = random.random
) -> list[Address]:
    """
    The targets by priority; those of one priority at random by weight, RFC 2782.

    @param random: in [0, 1).
    """
    found: list[Address] = []
    left = sorted(records, key=lambda record: record.priority)
    while left:
        same = [record for record in left if record.priority == left[0].priority]
        # One of weight 0 has a small chance, too.
        at = random() * sum([record.weight or 0.01 for record in same])
        chosen = same[-1]
        for record in same:
            at -= record.weight or 0.01
            if at < 0:
                chosen = record
                break
        left.remove(chosen)
        host = chosen.target.name.decode("ascii", "replace").rstrip(".")
        # A target of "." says that there is no such service.
        if host and chosen.port:
            found.append(Address(host, chosen.port))
    return found


class Directory:
    """Asks the DNS, again when its answer is stale."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        resolver: Any,
        domain: str,
        use: Callable[[Sequence[Address]], None],
    ) -> None:
        """
        @param resolver: L{twisted.names.client.Resolver}, or like it.
        @param use: told the masters when there are any.
        """
        self._clock = clock
        self._resolver = resolver
        self._name = f"{SERVICE}.{domain}"
        self._use = use
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
        addresses = inOrder(records[:RECORDS_MAX])
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

    def _failed(self, failure: Failure) -> None:
        self._log.warn(
            "cannot ask the DNS for {service}: {why}",
            service=self._name,
            why=failure.getErrorMessage() or type(failure.value).__name__,
        )
        self._later(RETRY_S)
