"""Certificates and TLS, for both ends: names, bundles, the authority, contexts."""

from typing import TYPE_CHECKING

from .._lazy import lazily
from ._openssl import loadOpenSSL

# Runs before any module of ours imports cryptography: OpenSSL reads its configuration only then.
loadOpenSSL()

if TYPE_CHECKING:
    from ._admission import Admission
    from ._allowlist import readAllowList
    from ._alpn import (
        DELIVERY_PROTOCOLS,
        HISTORY_PROTOCOLS,
        LAG_PROTOCOL,
        STATE_PROTOCOLS,
    )
    from ._authority import PREVIOUS, Authority
    from ._bulk import (
        NAMES_OCTETS_MAX,
        Bundles,
        Holder,
        expiring,
        lockedOut,
        readNames,
    )
    from ._bundles import Bundle, BundleError, readCertificates
    from ._contexts import (
        ForwarderContext,
        Refusal,
        RefuseChain,
        chainOf,
        forwarderContext,
        isReported,
        listenerContext,
        operatorContext,
        turnedAway,
    )
    from ._filechanges import together
    from ._files import replaceFile
    from ._gathering import GatheringConnection
    from ._installing import REQUEST_KEY, install, requestKey
    from ._issuers import canonicalName, isIssued, keyId, keyIds
    from ._issuing import CERTIFICATE_DAYS
    from ._names import (
        MASTER_NAME,
        NameRefused,
        checkHolder,
        checkName,
        fingerprint,
        peerName,
    )
    from ._openssl import TICKETS_SENT, ticketsSent
    from ._parcels import readInput, readParcel
    from ._refusals import (
        KINDS,
        MASTER_KIND,
        MASTER_REFUSED,
        Told,
        alertOf,
        remedyFor,
        remedyOnMaster,
        toldByAlert,
        toldByCode,
    )
    from ._renewal import Renewal
    from ._replacement import (
        beginReplacement,
        finishReplacement,
        giveBundles,
        replacementProgress,
    )
    from ._revocation import CRL_FILE
    from ._roles import Objection, eventOf, refuseMaster, refuseWorker, role
    from ._signingrequest import REQUEST_OCTETS_MAX, makeRequest, readRequest
    from ._verification import describeCertificate

__all__ = [
    "CERTIFICATE_DAYS",
    "CRL_FILE",
    "DELIVERY_PROTOCOLS",
    "HISTORY_PROTOCOLS",
    "KINDS",
    "LAG_PROTOCOL",
    "MASTER_KIND",
    "MASTER_NAME",
    "MASTER_REFUSED",
    "NAMES_OCTETS_MAX",
    "PREVIOUS",
    "REQUEST_KEY",
    "REQUEST_OCTETS_MAX",
    "STATE_PROTOCOLS",
    "TICKETS_SENT",
    "Admission",
    "Authority",
    "Bundle",
    "BundleError",
    "Bundles",
    "ForwarderContext",
    "GatheringConnection",
    "Holder",
    "NameRefused",
    "Objection",
    "Refusal",
    "RefuseChain",
    "Renewal",
    "Told",
    "alertOf",
    "beginReplacement",
    "canonicalName",
    "chainOf",
    "checkHolder",
    "checkName",
    "describeCertificate",
    "eventOf",
    "expiring",
    "fingerprint",
    "finishReplacement",
    "forwarderContext",
    "giveBundles",
    "install",
    "isIssued",
    "isReported",
    "keyId",
    "keyIds",
    "listenerContext",
    "lockedOut",
    "makeRequest",
    "operatorContext",
    "peerName",
    "readAllowList",
    "readCertificates",
    "readInput",
    "readNames",
    "readParcel",
    "readRequest",
    "refuseMaster",
    "refuseWorker",
    "remedyFor",
    "remedyOnMaster",
    "replaceFile",
    "replacementProgress",
    "requestKey",
    "role",
    "ticketsSent",
    "together",
    "toldByAlert",
    "toldByCode",
    "turnedAway",
]

if not TYPE_CHECKING:
    # A forwarder must not load what only a master needs.
    __getattr__ = lazily(
        __name__,
        _admission="Admission",
        _authority="Authority PREVIOUS",
        _bulk="Bundles Holder NAMES_OCTETS_MAX expiring lockedOut readNames",
        _bundles="Bundle BundleError readCertificates",
        _alpn="DELIVERY_PROTOCOLS HISTORY_PROTOCOLS LAG_PROTOCOL STATE_PROTOCOLS",
        _contexts=(
            "ForwarderContext Refusal RefuseChain chainOf forwarderContext isReported "
            "listenerContext operatorContext turnedAway"
        ),
        _filechanges="together",
        _files="replaceFile",
        _gathering="GatheringConnection",
        _installing="REQUEST_KEY install requestKey",
        _issuers="canonicalName isIssued keyId keyIds",
        _issuing="CERTIFICATE_DAYS",
        _names="MASTER_NAME NameRefused checkHolder checkName fingerprint peerName",
        _openssl="TICKETS_SENT ticketsSent",
        _parcels="readInput readParcel",
        _refusals=(
            "KINDS MASTER_KIND MASTER_REFUSED Told alertOf remedyFor "
            "remedyOnMaster toldByAlert toldByCode"
        ),
        _renewal="Renewal",
        _replacement=(
            "beginReplacement finishReplacement giveBundles replacementProgress"
        ),
        _allowlist="readAllowList",
        _revocation="CRL_FILE",
        _roles="Objection eventOf refuseMaster refuseWorker role",
        _signingrequest="REQUEST_OCTETS_MAX makeRequest readRequest",
        _verification="describeCertificate",
    )
