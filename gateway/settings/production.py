"""Production: secrets have no default, cookies are secure, nothing is read from files."""

from gateway.settings.base import *

# Read without default: a production process does not start without them.
SECRET_KEY = env.str("SECRET_KEY")
GATEWAY_ENCRYPTION_KEYS = env.list("GATEWAY_ENCRYPTION_KEYS")
SECURE_HSTS_SECONDS = 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
SECURE_SSL_REDIRECT = False  # a redirect breaks GitLab's Workhorse; the proxy in front redirects
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SILENCED_SYSTEM_CHECKS = [
    "security.W008",
    "security.W019",  # the auditors' pages show content in frames of our own
]
