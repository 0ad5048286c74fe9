"""
Masters from the DNS: C{_syslog-tls._tcp} (service name of RFC 6012, records of RFC 2782).

The DNS is trusted only for the address of a master, never for its identity: whatever it answers,
the certificate must have --master-name. An answer without masters changes nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from twisted.internet.abstract import isIPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..addresses import checkName, isNumeric
from ..boundaries import Foreign
from ..untrusted import escapeUntrusted
from ._masterselector import Address

if TYPE_CHECKING:
    from twisted.names import dns

__all__ = ["SERVICE", "Directory", "checkDomain", "inOrder"]

SERVICE = "_syslog-tls._tcp"

# How long an answer is used, in seconds, whatever TTL it has.
FRESH_MIN_S = 30.0
FRESH_MAX_S = 3600.0

# The time until the next question after an answer without masters, in seconds.
RETRY_S = 30.0

# The timeout of each of three attempts, in seconds.
TIMEOUTS_S = (1, 3, 5)

# No fleet has more masters.
RECORDS_MAX = 64


def checkDomain(domain: str) -> None:
    """
    Check that a domain can be asked for its masters.

    @raise ValueError: it cannot be a domain; the text has the reason and the remedy.
    """
    if isIPv6Address(domain) or isNumeric(domain):
        raise ValueError(f"{domain!r} is an address: give it as --master-host")
    try:
        checkName(domain)
        checkName(f"{SERVICE}.{domain}")
    except ValueError as error:
        raise ValueError(
            f"{domain[:80]!r} is not a domain ({error}): write example.org"
        ) from None


def inOrder(
    records: Sequence[dns.Record_SRV], chance: Callable[[Address], float]
) -> list[Address]:
    """
    The targets by priority, and in random order by weight within one priority (RFC 2782).

    Each target has its own random number, so a slightly changed list gives a slightly changed
    order. Sorting by C{-log(chance) / weight} gives the same distribution as the drawing in RFC
    2782.

    @param chance: the random number of a target, in (0, 1].
    """
    found: list[tuple[int, float, Address]] = []
    for record in records:
        host = record.target.name.decode("ascii", "replace").rstrip(".")
        # The target "." means that the domain does not offer this service.
        if host and record.port:
            address = Address(host, record.port)
            # A target of weight 0 gets a small chance, too.
            drawn = -math.log(chance(address)) / (record.weight or 0.01)
            found.append((record.priority, drawn, address))
    return [address for _, _, address in sorted(found)]


class Directory:
    """Asks the DNS for the masters, and again when the answer has expired."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        resolver: Foreign,
        domain: str,
        use: Callable[[Sequence[Address]], None],
        seed: int | None = None,
    ) -> None:
        """
        @param seed: of the order of masters with the same priority. One seed for the life of the
            process: another order after each answer would move us between equal masters.
        @param resolver: L{twisted.names.client.Resolver}, or an object like it.
        @param use: called with the masters of each answer that has any.
        """
        self._clock = clock
        self._resolver = resolver
        self._name = f"{SERVICE}.{domain}"
        self._use = use
        self._seed = random.getrandbits(64) if seed is None else seed
        self._timer: IDelayedCall | None = None
        self._stopped = False

    def ask(self) -> Deferred[None]:
        """Ask now, and repeat later. Fires when the question is answered or has failed."""
        self._timer = None
        asked = maybeDeferred(
            self._resolver.lookupService, self._name, timeout=TIMEOUTS_S
        )
        done: Deferred[None] = asked.addCallbacks(self._answered, self._failed)
        return done

    def stop(self) -> None:
        """Stop asking."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _later(self, seconds: float) -> None:
        if not self._stopped:
            self._timer = self._clock.callLater(seconds, self.ask)

    def _answered(self, answer: tuple[list[dns.RRHeader], object, object]) -> None:
        # Imported here, because most forwarders ask no DNS for their masters.
        from twisted.names import dns

        payloads = [header.payload for header in answer[0]]
        found = [one for one in payloads if isinstance(one, dns.Record_SRV)]
        records = cast("list[dns.Record_SRV]", found)
        addresses = inOrder(records[:RECORDS_MAX], self.chance)
        if not addresses:
            self._log.warn(
                "the DNS has no masters at {service}; using the last known ones. Add SRV"
                " records there, or use --master-host",
                service=self._name,
            )
            self._later(RETRY_S)
            return
        fresh = min(record.ttl or 0 for record in records)
        self._later(min(max(fresh, FRESH_MIN_S), FRESH_MAX_S))
        self._log.debug(
            "{service}: {masters}",
            service=self._name,
            masters=escapeUntrusted(", ".join(map(str, addresses)), 500),
        )
        self._use(addresses)

    def chance(self, address: Address) -> float:
        """The random number of a master, in (0, 1]: always the same one."""
        return 1 - random.Random(f"{self._seed} {address}").random()

    def _failed(self, failure: Failure) -> None:
        self._log.warn(
            "cannot look up {service} in the DNS: {why}. Using the last known masters and"
            " asking again",
            service=self._name,
            why=failure.getErrorMessage() or type(failure.value).__name__,
        )
        self._later(RETRY_S)
