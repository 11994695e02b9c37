"""Which environment variables a deployment file may set."""

from gateway.settings.base import ENV

# Read by Django and by gunicorn themselves.
OTHERS = frozenset({"DJANGO_SETTINGS_MODULE", "WEB_CONCURRENCY"})


def is_known_variable(name: str) -> bool:
    """Test whether somebody reads the variable."""
    return name in ENV or name in OTHERS
