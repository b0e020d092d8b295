"""The calls that Schemathesis leaves out, each with the reason."""

from datetime import UTC, datetime, timedelta

import schemathesis
from schemathesis.core.parameters import ParameterLocation

#: What catalog.toml has. An app's variables are in the catalog, not in the description.
APPS_WITH_VARIABLES = {"firefox", "vnc-x11-firefox", "sage3-firefox", "firefox-audio", "vnc-connect"}


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
    return str(case.body.get("vm")) in APPS_WITH_VARIABLES and bool(case.body.get("env"))


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
    expires_at_another_time,
]


@schemathesis.hook
def filter_case(context, case):
    return not any(exception(case) for exception in EXCEPTIONS)
