"""The calls that Schemathesis leaves out, each with the reason."""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import schemathesis
from schemathesis.core.parameters import ParameterLocation

CATALOG = tomllib.loads((Path(__file__).parents[2] / "catalog.toml").read_text())["app"]
APPS = {name for app, entry in CATALOG.items() for name in [app, *entry.get("aliases", [])]}


def is_negative(case, location):
    """Whether this part of the call violates the description on purpose."""
    return case.meta is not None and case.meta.is_negative_at(location)


def follows_a_log(case):
    """The answer goes on until the desktop ends."""
    follow = (case.query or {}).get("follow")
    values = follow if isinstance(follow, list) else [follow]
    return case.operation.path.endswith("/logs") and any(str(value).lower() == "true" for value in values)


def is_of_the_catalog(case):
    """Which variables an app takes is in the catalog."""
    if case.operation.path != "/api/vm/any/{uid}" or not isinstance(case.body, dict):
        return False
    return str(case.body.get("vm")) in APPS and bool(case.body.get("env"))


def continues_a_list(case):
    """What a list continues after is what its last page said, which no schema can say."""
    return "after" in (case.query or {}) and not is_negative(case, ParameterLocation.QUERY)


def expires_at_another_time(case):
    """A share ends within a year from now, which no schema can say."""
    expires = case.body.get("expires") if isinstance(case.body, dict) else None
    if not case.operation.path.endswith("/shares") or not isinstance(expires, str):
        return False
    try:
        at = datetime.fromisoformat(expires)
        return not datetime.now(UTC) < at < datetime.now(UTC) + timedelta(days=365)
    except (ValueError, TypeError):
        return not is_negative(case, ParameterLocation.BODY)


EXCEPTIONS = [
    follows_a_log,
    is_of_the_catalog,
    continues_a_list,
    expires_at_another_time,
]


@schemathesis.hook
def filter_case(context, case):
    return not any(exception(case) for exception in EXCEPTIONS)
