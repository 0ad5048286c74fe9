"""twistd decnet-listener: the service that its options describe."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.application.service import IService
from twisted.logger import Logger

from ..clock import useMonotonicClock
from ..errors import UserError
from ..journal import IJournal, Journal, available, fitting, journalFiles, providerOf
from ..monitoring import EnrolledList
from ..notify import managed
from ..options import directory
from ..outputs import ListenerLock, makeOutputs
from ..reactors import IReactor
from ..trust import (
    CRL_FILE,
    TICKETS_SENT,
    Admission,
    Bundle,
    Refusal,
    Renewal,
    eventOf,
    listenerContext,
    operatorContext,
    remedyOnMaster,
    ticketsSent,
    together,
)
from ._changes import rereadListener
from ._options import Options
from ._service import ListenerService
from ._settings import ListenerSettings
from ._status import watchListener

__all__ = ["Options", "makeService"]

_log = Logger()


def _refused(refusal: Refusal) -> None:
    _log.warn(
        "refused {address}: {reason}; certificate {subject} {fingerprint}; {remedy}",
        event=eventOf(refusal.code),
        address=refusal.address,
        reason=refusal.reason,
        subject=refusal.subject,
        fingerprint=refusal.fingerprint,
        remedy=remedyOnMaster(refusal.code, refusal.reason),
    )


def makeService(options: Options) -> IService:
    """
    Make the listener.

    @raise SystemExit: a file is missing or wrong; the text gives the remedy.
    """
    from twisted.internet import reactor as reactorModule

    reactor = cast(IReactor, reactorModule)
    useMonotonicClock(reactor)
    provider, limits = providerOf(options["journal"]), options.limits
    shared = provider is not None
    journal = Path(
        os.path.abspath(options.beside("listener.db") if shared else options["journal"])
    )
    saved = journal.with_name(journal.name + ".crl")
    authority = directory(options["ca-dir"])
    try:
        bundle = Bundle.load(authority / "master")
        allow = None if options["allow"] is None else directory(options["allow"])
        admission = Admission(bundle, authority / CRL_FILE, saved, allow)
        context = listenerContext(
            bundle, _refused, admission.refuse, admission.refuseIssuer
        )
        operators = operatorContext(
            bundle, _refused, admission.refuseOperator, admission.refuseIssuer
        )
    except UserError as error:
        raise SystemExit(f"decnet-listener: {error}") from None
    if ticketsSent():
        _log.warn(TICKETS_SENT)
    lock = ListenerLock(journal.with_name(journal.name + ".lock"))
    ours = list(map(str, journalFiles(journal)))
    openJournal: Callable[[], IJournal]
    if provider is None:
        limits = fitting(limits, available(journal))
        openJournal = partial(
            Journal.open, journal, limits.filesPerWorker, reserve=True
        )
    else:
        openJournal = provider.opener(options, limits.message, limits.filesPerWorker)
    listener = ListenerService(
        reactor,
        context,
        ListenerSettings(
            options["host"],
            options["port"],
            options["journal"] if shared else str(journal),
            limits,
            onHostnameMismatch=options["on-hostname-mismatch"],
            proxies=options.proxies,
            reusePort=bool(options["reuse-port"]),
        ),
        openJournal,
        makeOutputs(options, lock, ours),
        lock=None if shared else lock,
        refuseCertificate=admission.refuse,
    )

    def use(bundle: Bundle) -> None:
        # First, because it may refuse the bundle.
        admission.use(bundle)
        context.use(bundle)
        operators.use(bundle)
        sweep()

    def sweep() -> None:
        listener.sweep(admission.refuseOpen)
        watch.sweep(admission.refuseOpenOperator)

    renewal = Renewal(bundle, ExtendedKeyUsageOID.SERVER_AUTH, use)
    enrolled = EnrolledList(authority / "enrolled.jsonl", admission)
    watch = watchListener(
        reactor,
        listener,
        options.status,
        enrolled.read,
        lambda: admission.bundle,
        operators,
    )

    def look() -> None:
        if admission.reloadIfChanged():
            sweep()

    service = together(listener, reactor, renewal.reloadIfChanged, look)
    watch.setServiceParent(service)  # type: ignore[no-untyped-call]
    room = None if shared else partial(available, journal)
    listener.reread = rereadListener(options, listener, watch.useCommand, room)
    return managed(listener, service, reactor)
