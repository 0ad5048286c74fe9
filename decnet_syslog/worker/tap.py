"""twistd decnet-forwarder: the service that its options describe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.application.service import IService
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator

from ..clock import useMonotonicClock
from ..configuration import Reread
from ..errors import UserError
from ..notify import managed
from ..options import directory
from ..reactors import IReactor
from ..trust import (
    Bundle,
    NameRefused,
    Renewal,
    forwarderContext,
    peerName,
    remedyFor,
    together,
)
from ._masterselector import MasterSelector
from ._options import Options
from ._service import ForwarderService
from ._settings import ForwarderSettings
from ._srv import Directory
from ._status import watchForwarder

__all__ = ["Options", "makeService"]


def _nameOf(bundle: Bundle) -> str:
    """The name that the master knows us by; C{?}: a master would refuse this certificate."""
    try:
        return peerName(bundle.certificate)
    except NameRefused:
        return "?"


def makeService(options: Options) -> IService:
    """
    Make the forwarder.

    @raise SystemExit: the certificates are missing or unusable; one line gives the remedy.
    """
    from twisted.internet import reactor as reactorModule

    reactor = cast(IReactor, reactorModule)
    useMonotonicClock(reactor)
    offer = options["delivery"] != "plain"
    try:
        bundle = Bundle.load(directory(options["agent-dir"]))
        if _nameOf(bundle) == "?":
            raise UserError(
                f"the certificate in {options['agent-dir']} has no name that a master accepts"
                " (exactly one CN of letters, digits, dot, hyphen or underscore): enroll this"
                " worker again (decnet-syslog enroll NAME on the master)"
            )
        context = forwarderContext(bundle, options["master-name"], offer)
    except UserError as error:
        raise SystemExit(f"decnet-forwarder: {error}") from None

    def current() -> IOpenSSLClientConnectionCreator:
        return context

    def refusal() -> str | None:
        last = context.lastRefusal
        if last is None:
            return None
        return f"{last}; {remedyFor(last, options['master-name'])}"

    masters = MasterSelector(options.masters, reactor)
    records = None
    if options["master-domain"] is not None:
        # Imported here, because it costs memory and most forwarders do not need it.
        from twisted.names.client import Resolver

        resolver = Resolver(resolv="/etc/resolv.conf", reactor=reactor)
        records = Directory(reactor, resolver, options["master-domain"], masters.use)
    forwarder = ForwarderService(
        reactor,
        current,
        refusal,
        masters,
        ForwarderSettings(
            options.logFiles,
            Path(os.path.abspath(options["state-db"])),
            delivery=options["delivery"],
            pollSeconds=options["poll-interval"],
            messageOctetsMax=options["max-message"],
            lagOctetsMax=options["max-lag-bytes"] or None,
            filesMax=options["max-files"],
            rotated=options.rotated,
            chunkOctets=options["batch-bytes"],
            resendToNewMaster=options["on-new-master"] == "resend",
            decnetPath=directory(options["agent-dir"]) / "forwarder.db",
        ),
        directory=records,
        workerName=lambda: _nameOf(renewal.bundle),
    )
    renewal = Renewal(bundle, ExtendedKeyUsageOID.CLIENT_AUTH, context.use)
    service = together(forwarder, reactor, renewal.reloadIfChanged)
    watch = watchForwarder(reactor, forwarder, options.status, lambda: renewal.bundle)
    watch.setServiceParent(service)  # type: ignore[no-untyped-call]
    forwarder.reread = Reread(
        options,
        (
            (
                frozenset({"master-host", "master-port"}),
                lambda new: forwarder.useMasters(new.masters),
            ),
            (
                frozenset({"poll-interval"}),
                lambda new: forwarder.usePollSeconds(new["poll-interval"]),
            ),
            (
                frozenset({"on-event"}),
                lambda new: watch.useCommand(new.status.command),
            ),
        ),
    )
    return managed(forwarder, service, reactor)
