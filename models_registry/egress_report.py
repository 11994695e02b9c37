"""The egress report: what may be reached, what was reached, what was refused and how to allow it.

Every process writes down what its `egress_ledger` noted, every few seconds (`gateway.maintenance`);
a command does so before it ends. Source: product.md 2.7.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseError  # InterfaceError too
from django.db import transaction
from django.db.models import DateTimeField, F, Value
from django.db.models.functions import Coalesce

from models_registry import egress, egress_ledger
from models_registry.egress_ledger import OTHERS, Destination, Tally, as_entry
from models_registry.models import EgressDestination

SETTING = "GATEWAY_EGRESS_ALLOW"
# A caller may name addresses; what comes beyond this many is counted together.
ROWS_MAX = 5_000


# Writing


def flush() -> None:
    """Write down what this process noted since the last time; one transaction, none for nothing.

    Raises:
        DatabaseError: it stays noted.
    """
    tallies = egress_ledger.take()
    if not tallies:
        return
    try:
        with transaction.atomic():
            for destination, tally in sorted(tallies.items(), key=lambda item: item[0]):
                _write(destination, tally)
    except DatabaseError:
        egress_ledger.put_back(tallies)
        raise


def _write(destination: Destination, tally: Tally) -> None:
    if _row(destination).update(**_changes(tally)):
        return
    if EgressDestination.objects.count() >= ROWS_MAX:
        destination = Destination(OTHERS, 0, destination.purpose)
    EgressDestination.objects.get_or_create(**destination._asdict())
    _row(destination).update(**_changes(tally))


def _row(destination: Destination) -> Any:
    return EgressDestination.objects.filter(**destination._asdict())


def _changes(tally: Tally) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if tally.reached:
        first = Value(_moment(tally.first_at), output_field=DateTimeField())
        changes |= {
            "reached": F("reached") + tally.reached,
            "first_at": Coalesce(F("first_at"), first),
            "last_at": _moment(tally.last_at),
        }
    if tally.refused:
        changes |= {
            "refused": F("refused") + tally.refused,
            "refused_at": _moment(tally.refused_at),
            "reason": tally.reason,
        }
    return changes


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


# Reading


def allowed() -> dict[str, list[str]]:
    """Return what may be reached and what never may, as whoever deploys Enclave decided."""
    return {
        SETTING: list(settings.GATEWAY_EGRESS_ALLOW),
        "never": [str(network) for network in egress.NEVER],
    }


def to_allow(row: EgressDestination) -> str:
    """Return what to change so that a refused destination is reached."""
    if row.host == OTHERS:
        return "These were more destinations than the report keeps apart."
    if row.reason == egress.NOT_LISTED:
        return f"Add {as_entry(row.host, row.port)} to {SETTING} and restart Enclave."
    if row.reason == egress.NEVER_DIALED:
        return "No setting opens it: link-local, cloud metadata, multicast or unspecified."
    return "Something on the way answers in its place: look for a proxy."


def as_json() -> dict[str, Any]:
    """Return the whole report."""
    rows = list(EgressDestination.objects.order_by("host", "port", "purpose"))
    return {
        "allowed": allowed(),
        "reached": [_reached(row) for row in rows if row.reached],
        "refused": [_refused(row) for row in rows if row.refused],
    }


def as_lines() -> Iterator[str]:
    """Yield the report for a terminal."""
    report = as_json()
    yield f"May be reached ({SETTING}):"
    yield from (f"  {entry}" for entry in report["allowed"][SETTING])
    yield "Was reached:" if report["reached"] else "Nothing was reached."
    for row in report["reached"]:
        yield f"  {row['destination']}  {row['purpose']}, {row['times']}x"
        yield f"      {row['first']} to {row['last']}"
    yield "Was refused:" if report["refused"] else "Nothing was refused."
    for row in report["refused"]:
        yield f"  {row['destination']}  {row['purpose']}, {row['times']}x, last {row['last']}"
        yield f"      {row['fix']}"


def _reached(row: EgressDestination) -> dict[str, Any]:
    return {
        "destination": as_entry(row.host, row.port),
        "purpose": row.purpose,
        "first": _written(row.first_at),
        "last": _written(row.last_at),
        "times": row.reached,
    }


def _refused(row: EgressDestination) -> dict[str, Any]:
    return {
        "destination": as_entry(row.host, row.port),
        "purpose": row.purpose,
        "last": _written(row.refused_at),
        "times": row.refused,
        "reason": row.reason,
        "setting": SETTING if row.reason == egress.NOT_LISTED else "",
        "fix": to_allow(row),
    }


def _written(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""
