"""What criteria mean in SQL: conditions on a record, and which of them an index answers.

Written out for `gateway.audit.listing`, whose statement Django cannot make. Values are always
bound; names are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection

from gateway.audit.criteria import BELOW, Criteria
from gateway.audit.models import OPEN_STATES, InferenceRecord, State

RECORD = InferenceRecord._meta.db_table
# The index of what has a cause answers for these: none of them is written without one.
TROUBLE_STATES = (State.FAILED, State.REFUSED, State.CANCELLED, State.INTERRUPTED)
EQUAL = {
    "state": "state",
    "cause": "error_code",
    "feature": "feature",
    "endpoint": "endpoint",
    "kind": "caller_kind",
    "key": "api_key_name",
    "model": "model_name",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """SQL over the columns of a record called `{r}`, and the values in it."""

    sql: str
    values: tuple[Any, ...] = ()
    columns: tuple[str, ...] = ()


def conditions(criteria: Criteria) -> tuple[Condition, ...]:
    """Return what a record must fulfil beside its time; the words are the content index's."""
    found = [
        _equal(column, value)
        for name, column in EQUAL.items()
        if (value := getattr(criteria, name))
    ]
    if criteria.q:
        found.append(_either(_call(criteria.q)))
    if criteria.user:
        found.append(_either(_user(criteria.user)))
    if criteria.group:
        found.append(_group(criteria.group))
    for column, low, high in (
        (("total_ms",), criteria.ms_from, criteria.ms_to),
        (("prompt_tokens", "completion_tokens"), criteria.tokens_from, criteria.tokens_to),
    ):
        value = " + ".join(f"{{r}}.{name}" for name in column)
        for sign, bound in ((">=", low), ("<=", high)):
            if bound is not None:
                found.append(Condition(sql=f"{value} {sign} %s", values=(bound,), columns=column))
    return tuple(found)


def which_hold(asked: Sequence[Criteria], record_id: UUID) -> list[bool]:
    """Tell for each criteria whether a record fulfils them, apart from their words."""
    parts = [joined((*between(criteria), *conditions(criteria)), "r") for criteria in asked]
    if not parts:
        return []
    columns = ", ".join(f"CASE WHEN {sql} THEN 1 ELSE 0 END" for sql, _ in parts)
    values = [value for _, found in parts for value in found]
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {columns} FROM {RECORD} AS r WHERE r.id = %s",  # noqa: S608  # names of ours
            [*values, _id(record_id)],
        )
        row = cursor.fetchone()
    return [False] * len(parts) if row is None else [bool(value) for value in row]


def arms(criteria: Criteria) -> tuple[tuple[Condition, ...], tuple[Condition, ...]]:
    """Return the indexes to walk along, merged, and the conditions they leave open."""
    if criteria.q:
        return _call(criteria.q), conditions(replace(criteria, q=""))
    if criteria.user:
        return _user(criteria.user), conditions(replace(criteria, user=""))
    if criteria.key:
        return (_indexed("api_key_name", criteria.key),), conditions(replace(criteria, key=""))
    if criteria.cause or criteria.state in TROUBLE_STATES:
        return (Condition(sql="NOT ({r}.error_code = '')"),), conditions(criteria)
    if criteria.state in OPEN_STATES:
        return (Condition(sql="{r}.state IN ('queued', 'running')"),), conditions(criteria)
    if criteria.group and not criteria.group.endswith(BELOW):
        return (_indexed("group_path", criteria.group),), conditions(replace(criteria, group=""))
    if criteria.feature:
        return (_equal("feature", criteria.feature),), conditions(replace(criteria, feature=""))
    return (Condition(sql="1 = 1"),), conditions(criteria)


def _call(term: str) -> tuple[Condition, ...]:
    """Return the ways to find one call: by its correlation id, and by its id if it can be one."""
    by_id: list[Condition] = []
    with suppress(ValueError):
        value = _id(UUID(term))
        by_id.append(Condition(sql="{r}.id = %s", values=(value,), columns=("id",)))
    return (_indexed("correlation_id", term), *by_id)


def _user(user: str) -> tuple[Condition, ...]:
    return (_indexed("global_user_id", user), _indexed("user_id", user))


def _group(group: str) -> Condition:
    if not group.endswith(BELOW):
        return _equal("group_path", group)
    path = group.rstrip(BELOW)
    return Condition(
        sql="({r}.group_path = %s OR substr({r}.group_path, 1, %s) = %s)",
        values=(path, len(path) + 1, f"{path}{BELOW}"),
        columns=("group_path",),
    )


def _equal(column: str, value: Any) -> Condition:
    return Condition(sql=f"{{r}}.{column} = %s", values=(value,), columns=(column,))


def _indexed(column: str, value: str) -> Condition:
    """Return an equality that says what the partial index of the column says."""
    return Condition(
        sql=f"{{r}}.{column} = %s AND NOT ({{r}}.{column} = '')", values=(value,), columns=(column,)
    )


def _either(choices: Sequence[Condition]) -> Condition:
    return Condition(
        sql="(" + " OR ".join(f"({choice.sql})" for choice in choices) + ")",
        values=tuple(value for choice in choices for value in choice.values),
        columns=tuple(name for choice in choices for name in choice.columns),
    )


def between(criteria: Criteria) -> tuple[Condition, ...]:
    """Return when a record must have been opened."""
    bounds = ((">=", criteria.since, _earliest), ("<=", criteria.until, _latest))
    return tuple(
        Condition(sql=f"{{r}}.opened_at {sign} %s", values=(stored(at),))
        for sign, at, stored in bounds
        if at is not None
    )


def beyond(opened_at: datetime, record_id: UUID, *, is_forward: bool) -> Condition:
    """Return that a record comes after a place: later, or earlier, or by its id."""
    sign = ">" if is_forward else "<"
    # In this order, both forms of a whole second are at the place and neither is beyond it.
    bounds = (_earliest(opened_at), _latest(opened_at))
    first, then = bounds if is_forward else bounds[::-1]
    return Condition(
        sql=f"{{r}}.opened_at {sign}= %s AND ({{r}}.opened_at {sign} %s OR {{r}}.id {sign} %s)",
        values=(first, then, _id(record_id)),
    )


def joined(found: Sequence[Condition], name: str) -> tuple[str, list[Any]]:
    """Return all conditions on a record of this name as SQL, and their values."""
    if not found:
        return "1 = 1", []
    sql = " AND ".join(condition.sql.format(r=name) for condition in found)
    return sql, [value for condition in found for value in condition.values]


def _id(record_id: UUID) -> Any:
    return record_id.hex if connection.vendor == "sqlite" else record_id


# SQLite compares times as text. A whole second stands there as Django writes it, without a
# fraction, or as `gateway.audit.store` does, with six zeros.


def _earliest(at: datetime) -> Any:
    """Return the form of a time that sorts first."""
    is_whole = connection.vendor == "sqlite" and at.microsecond == 0
    return _latest(at)[: -len(".000000")] if is_whole else _latest(at)


def _latest(at: datetime) -> Any:
    """Return the form of a time that sorts last."""
    if connection.vendor != "sqlite":
        return at
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
