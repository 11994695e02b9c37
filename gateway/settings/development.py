"""A first look on one machine: secrets made by `manage.py serve`, loopback models allowed.

`.env` is read here only, and the process environment wins. What `serve` generated on the first
start stands in `<data dir>/secrets.env`.
"""

import os
from pathlib import Path

import environ

_root = Path(__file__).resolve().parents[2]
environ.Env.read_env(_root / ".env")
environ.Env.read_env(Path(os.environ.get("GATEWAY_DATA_DIR") or _root / "var") / "secrets.env")

from gateway.settings.base import *  # noqa: E402

SECRET_KEY = SECRET_KEY or "development-only-and-never-on-a-network"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("GATEWAY_SECURE_COOKIES", default=False)
GATEWAY_TAKES_SPECIMENS = True
GATEWAY_EGRESS_ALLOW = [*GATEWAY_EGRESS_ALLOW, "127.0.0.0/8", "::1/128"]
