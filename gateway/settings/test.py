"""Tests: own keys, a database file of their own, and no Redis unless a test brings one."""

import atexit
import os
import shutil
import tempfile

# The tests bring their own services; what the developer's shell points at is not theirs.
TEST_DATA_DIR = tempfile.mkdtemp(prefix="enclave-test-")
atexit.register(shutil.rmtree, TEST_DATA_DIR, ignore_errors=True)
os.environ["GATEWAY_DATA_DIR"] = TEST_DATA_DIR
os.environ.pop("REDIS_URL", None)

from gateway.settings.base import *  # noqa: E402

SECRET_KEY = "test-" + "k" * 60
ALLOWED_HOSTS = ["*"]
GATEWAY_ENCRYPTION_KEYS = ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
GATEWAY_TAKES_SPECIMENS = True
GATEWAY_EGRESS_ALLOW = [*GATEWAY_EGRESS_ALLOW, "127.0.0.0/8", "::1/128"]
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# A file, not memory: the writer of the audit log has a connection of its own.
DATABASES["default"].setdefault("TEST", {})
if "sqlite" in str(DATABASES["default"]["ENGINE"]):
    DATABASES["default"]["TEST"] = {"NAME": f"{TEST_DATA_DIR}/test.sqlite3"}
