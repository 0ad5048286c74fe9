"""The part of decnet-syslog enroll that makes many bundles: --from and --expiring."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from ..errors import UserError
from ..options import Described, directory
from ..trust import (
    NAMES_OCTETS_MAX,
    Authority,
    Bundles,
    Holder,
    checkHolder,
    expiring,
    lockedOut,
    readInput,
    readNames,
)

__all__ = ["run"]


def _until(holder: Holder) -> str:
    days = (holder.until - datetime.now(timezone.utc)).days
    return f"{holder.until:%Y-%m-%d} ({days} days)"


def _fromList(options: Described, authority: Authority, bundles: Bundles) -> int:
    """Make the bundles that a list of names lacks."""
    names = readNames(
        readInput(options["from"], NAMES_OCTETS_MAX), str(options["from"])
    )
    role = options["role"]
    good = {
        entry["name"]: entry
        for entry in authority.good()
        if entry["name"] in names and entry["role"] != "master"
    }
    for name in names:
        checkHolder(name)
        if name in good and good[name]["role"] != role:
            raise UserError(
                f"{name} is enrolled as {good[name]['role']}: choose another name for the {role}"
            )
    locked = lockedOut(authority, set(names) - set(good))
    left = bundles.check([name for name in names if name not in locked])
    made = 0
    for name in names:
        if name in locked:
            print(
                f'revoked    {name}, left out: "decnet-syslog enroll {name}" enrolls it again'
            )
        elif name not in left:
            print(f"there      {bundles.place(name)}")
        elif name in good and not options["renew"] and not bundles.isInterrupted(name):
            print(
                f"enrolled   {name} until {good[name]['not_after'][:10]}: --renew makes another"
                " bundle"
            )
        else:
            bundles.make(name, role, options["days"])
            print(f"made       {bundles.place(name)}")
            made += 1
    print(f"{made} of {len(names)} made")
    return 0


def _expiring(options: Described, authority: Authority, bundles: Bundles | None) -> int:
    """Renew the certificates that expire soon, or list them."""
    limit = datetime.now(timezone.utc) + timedelta(days=options["expiring"])
    soon, gone = expiring(authority, limit)
    ends = authority.certificate.not_valid_after_utc
    if soon and ends <= limit:
        raise UserError(
            f"the CA itself expires on {ends:%Y-%m-%d}, and no certificate outlives it: replace"
            ' it with "decnet-syslog ca replace"'
        )
    if bundles is None:
        for holder in soon:
            print(f"expires    {holder.name} ({holder.role}) {_until(holder)}")
    else:
        every = [*soon, *bundles.interrupted(soon)]
        left = bundles.check([holder.name for holder in every], limit)
        for holder in every:
            place = bundles.place(holder.name)
            if holder.name not in left:
                print(f"there      {place}")
                continue
            bundles.make(holder.name, holder.role, options["days"])
            print(f"made       {place}")
    for holder in gone:
        print(
            f"expired    {holder.name} ({holder.role}) {holder.until:%Y-%m-%d}: not renewed;"
            f' "decnet-syslog enroll {holder.name}" enrolls it again'
        )
    if not (soon if bundles is None else every):
        print(f"none expires within {options['expiring']} days")
    elif bundles is None:
        print("next: --out DIR makes their bundles")
    else:
        print(
            'next: "decnet-syslog install" on each machine; the old certificates stay valid until'
            " they end"
        )
    return 0


def run(options: Described, authority: Authority) -> int:
    """Run the command. The exit status."""
    bundles = None
    if options["out"]:
        bundles = Bundles(authority, directory(options["out"]), bool(options["tar"]))
    if options["from"]:
        assert bundles is not None
        return _fromList(options, authority, bundles)
    return _expiring(options, authority, bundles)
