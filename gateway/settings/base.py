"""Settings that hold everywhere, and ENV, the one table of environment variables.

To add a variable: one entry in ENV, one line in `.env.example` (a test compares the two), and one
name below that reads it. Durations end in _S, sizes in _BYTES, periods in _DAYS.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import django_stubs_ext
import environ
from django.urls import reverse_lazy

django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parents[2]

ENV: dict[str, tuple[type, object]] = {
    # Django and the processes
    "SECRET_KEY": (str, ""),
    "DEBUG": (bool, False),
    "ALLOWED_HOSTS": (list, ["127.0.0.1", "localhost", "[::1]"]),
    "DATABASE_URL": (str, ""),
    "REDIS_URL": (str, ""),
    "GATEWAY_DATA_DIR": (str, ""),
    "GATEWAY_ENCRYPTION_KEYS": (list, []),
    "GATEWAY_LOG_LEVEL": (str, "INFO"),
    "GATEWAY_SECURE_COOKIES": (bool, True),
    # GitLab and its tokens
    "GATEWAY_GITLAB_URL": (str, ""),
    "GATEWAY_OIDC_URLS": (list, []),
    "GATEWAY_TOKEN_AUDIENCE": (str, "gitlab-ai-gateway"),
    "GATEWAY_SIGNING_KEY_FILE": (str, ""),
    "GATEWAY_JWKS_REFETCH_S": (float, 60.0),
    "GATEWAY_JWKS_STALE_S": (float, 86_400.0),
    "GATEWAY_CORS_ORIGINS": (list, ["*"]),
    "GATEWAY_REGION": (str, "us-central1"),
    # The proof that the audit log was not changed
    "GATEWAY_AUDIT_SIGNING_KEY_FILE": (str, ""),
    "GATEWAY_AUDITOR_PUBLIC_KEY_FILE": (str, ""),
    "GATEWAY_AUDIT_CHECKPOINT_S": (float, 30.0),
    "GATEWAY_AUDIT_ANCHORS": (list, []),
    # Egress: what may be reached is deploy configuration
    "GATEWAY_EGRESS_ALLOW": (list, ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]),
    "GATEWAY_CA_BUNDLE": (str, ""),
    "GATEWAY_UNREGISTERED_MODELS": (str, "adopt"),
    "GATEWAY_CLIENT_MODEL_NAMES": (str, "any"),
    "GATEWAY_AZURE_API_VERSION": (str, "2025-02-01-preview"),
    "GATEWAY_BEDROCK_REGION": (str, ""),
    "GATEWAY_BEDROCK_ENDPOINT": (str, ""),
    "GATEWAY_BEDROCK_KEY": (str, ""),
    "GATEWAY_VENDOR_ROUTE_URL": (str, ""),
    # Where the log goes besides the database
    "GATEWAY_SIEM_URL": (str, ""),
    "GATEWAY_SIEM_AUTHORIZATION": (str, ""),
    # Limits
    "GATEWAY_BODY_MAX_BYTES": (int, 2 * 1024 * 1024),
    "GATEWAY_ANSWER_MAX_BYTES": (int, 10 * 1024 * 1024),
    "GATEWAY_BATCH_MAX_TEXTS": (int, 1_000),
    "GATEWAY_CODE_DEADLINE_S": (float, 53.0),
    "GATEWAY_PROMPT_DEADLINE_S": (float, 58.0),
    "GATEWAY_CHECK_DEADLINE_S": (float, 2.8),
    "GATEWAY_CONVERSATION_DEADLINE_S": (float, 600.0),
    "GATEWAY_CONNECT_S": (float, 3.0),
    "GATEWAY_FIRST_BYTE_S": (float, 60.0),
    "GATEWAY_IDLE_S": (float, 30.0),
    "GATEWAY_AUDIT_TIMEOUT_S": (float, 2.0),
    "GATEWAY_FLUSH_WINDOW_MS": (float, 5.0),
    "GATEWAY_SNAPSHOT_POLL_S": (float, 1.0),
    "GATEWAY_LEASE_S": (float, 15.0),
}

# Names that operators know from GitLab's own gateway; ours win when both are set.
ALIASES = {
    "GATEWAY_GITLAB_URL": ("AIGW_GITLAB_URL",),
    "GATEWAY_CA_BUNDLE": ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
    "GATEWAY_TOKEN_AUDIENCE": ("AIGW_CLOUD_CONNECTOR_SERVICE_NAME",),
    "GATEWAY_REGION": ("RUNWAY_REGION",),
    "GATEWAY_AZURE_API_VERSION": ("AZURE_API_VERSION",),
    "GATEWAY_BEDROCK_REGION": ("AWS_REGION", "AWS_REGION_NAME", "AWS_DEFAULT_REGION"),
    "GATEWAY_BEDROCK_ENDPOINT": ("AWS_ENDPOINT_URL_BEDROCK_RUNTIME",),
    "GATEWAY_BEDROCK_KEY": ("AWS_BEARER_TOKEN_BEDROCK",),
}

env = environ.Env(**ENV)


def read(name: str) -> object:
    """Return a variable by its own name or by the first alias that is set."""
    for candidate in (name, *ALIASES.get(name, ())):
        if candidate in env.ENVIRON:
            return env.get_value(candidate, cast=ENV[name][0])
    return ENV[name][1]


SECRET_KEY: str = env("SECRET_KEY")
DEBUG: bool = env("DEBUG")
ALLOWED_HOSTS: list[str] = env("ALLOWED_HOSTS")
GATEWAY_DATA_DIR = Path(env("GATEWAY_DATA_DIR") or BASE_DIR / "var")

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "models_registry",
    "features",
    "prompts",
    "gateway",
    "gateway.audit",
]

# The data plane runs without these (gateway/wsgi.py): they serve the admin.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "gateway.pages.ContentSecurityPolicy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "gateway.pages.ActingPerson",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "gateway.urls"
WSGI_APPLICATION = "gateway.wsgi.application"
APPEND_SLASH = True

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 5,
    "init_command": (
        # FULL: in WAL mode only FULL makes "committed" survive a power loss.
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000;"
        "PRAGMA mmap_size=134217728; PRAGMA temp_store=MEMORY;"
    ),
}
# A hung database must not hang a request: TCP gives up in seconds, statements too.
POSTGRESQL_OPTIONS = {
    "connect_timeout": 3,
    "tcp_user_timeout": 5000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "options": "-c statement_timeout=30000 -c lock_timeout=5000 -c synchronous_commit=on",
}


def database(url: str) -> dict[str, object]:
    """Return Django's settings for a database URL; empty means SQLite in the data directory."""
    config: dict[str, object] = environ.Env.db_url_config(
        url or f"sqlite:///{GATEWAY_DATA_DIR / 'enclave.sqlite3'}"
    )
    is_sqlite = "sqlite" in str(config["ENGINE"])
    config["OPTIONS"] = dict(SQLITE_OPTIONS if is_sqlite else POSTGRESQL_OPTIONS)
    socket_dir = dict(
        part.split("=", 1) for part in urlsplit(url).query.split("&") if "=" in part
    ).get("host")
    if socket_dir:
        config["HOST"] = unquote(socket_dir)
    # psycopg's server-side binding and Django's pool are not needed: the hot path has one writer
    # connection per process, and pages come and go.
    config["CONN_MAX_AGE"] = 0
    return config


DATABASES = {"default": database(env("DATABASE_URL"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True

LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE: bool = env("GATEWAY_SECURE_COOKIES")
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "SAMEORIGIN"
DATA_UPLOAD_MAX_MEMORY_SIZE: int = env("GATEWAY_BODY_MAX_BYTES")

REST_FRAMEWORK: dict[str, object] = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": [],
    "UNAUTHENTICATED_USER": None,
}

# No REDIS_URL: the same Celery task runs eagerly inside the web process (docs/adr/0004).
REDIS_URL: str = env("REDIS_URL")
# redis-py says unix://, kombu says redis+socket://.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1) or "memory://"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False  # the claim in the database decides, not the acknowledgement
CELERY_TASK_ROUTES = {"gateway.tasks.*": {"queue": "inference"}}
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_DISABLE_RATE_LIMITS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 15,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "max_connections": 200,  # the default of 10 loses acknowledgements under gevent
    "health_check_interval": 25,
}

GATEWAY_ENCRYPTION_KEYS: list[str] = env("GATEWAY_ENCRYPTION_KEYS")
GATEWAY_GITLAB_URL = str(read("GATEWAY_GITLAB_URL"))
GATEWAY_OIDC_URLS: list[str] = env("GATEWAY_OIDC_URLS")
GATEWAY_TOKEN_AUDIENCE = str(read("GATEWAY_TOKEN_AUDIENCE"))
GATEWAY_SIGNING_KEY_FILE: str = env("GATEWAY_SIGNING_KEY_FILE")
GATEWAY_JWKS_REFETCH_S: float = env("GATEWAY_JWKS_REFETCH_S")
GATEWAY_JWKS_STALE_S: float = env("GATEWAY_JWKS_STALE_S")
GATEWAY_CORS_ORIGINS: list[str] = env("GATEWAY_CORS_ORIGINS")
GATEWAY_REGION = str(read("GATEWAY_REGION"))
GATEWAY_AUDIT_SIGNING_KEY_FILE: str = env("GATEWAY_AUDIT_SIGNING_KEY_FILE")
GATEWAY_AUDITOR_PUBLIC_KEY_FILE: str = env("GATEWAY_AUDITOR_PUBLIC_KEY_FILE")
GATEWAY_AUDIT_CHECKPOINT_S: float = env("GATEWAY_AUDIT_CHECKPOINT_S")
GATEWAY_AUDIT_ANCHORS: list[str] = env("GATEWAY_AUDIT_ANCHORS")
GATEWAY_EGRESS_ALLOW: list[str] = env("GATEWAY_EGRESS_ALLOW")
GATEWAY_CA_BUNDLE = str(read("GATEWAY_CA_BUNDLE"))
GATEWAY_UNREGISTERED_MODELS: str = env("GATEWAY_UNREGISTERED_MODELS")
GATEWAY_CLIENT_MODEL_NAMES: str = env("GATEWAY_CLIENT_MODEL_NAMES")
GATEWAY_BEDROCK_REGION = str(read("GATEWAY_BEDROCK_REGION"))
GATEWAY_BEDROCK_ENDPOINT = str(read("GATEWAY_BEDROCK_ENDPOINT"))
GATEWAY_BEDROCK_KEY = str(read("GATEWAY_BEDROCK_KEY"))
GATEWAY_AZURE_API_VERSION = str(read("GATEWAY_AZURE_API_VERSION"))
GATEWAY_VENDOR_ROUTE_URL: str = env("GATEWAY_VENDOR_ROUTE_URL")
GATEWAY_SIEM_URL: str = env("GATEWAY_SIEM_URL")
GATEWAY_SIEM_AUTHORIZATION: str = env("GATEWAY_SIEM_AUTHORIZATION")
# Made-up records are for experiments; only settings that say so take them.
GATEWAY_TAKES_SPECIMENS = False
GATEWAY_BODY_MAX_BYTES: int = env("GATEWAY_BODY_MAX_BYTES")
GATEWAY_ANSWER_MAX_BYTES: int = env("GATEWAY_ANSWER_MAX_BYTES")
GATEWAY_BATCH_MAX_TEXTS: int = env("GATEWAY_BATCH_MAX_TEXTS")
GATEWAY_CODE_DEADLINE_S: float = env("GATEWAY_CODE_DEADLINE_S")
GATEWAY_PROMPT_DEADLINE_S: float = env("GATEWAY_PROMPT_DEADLINE_S")
GATEWAY_CHECK_DEADLINE_S: float = env("GATEWAY_CHECK_DEADLINE_S")
GATEWAY_CONVERSATION_DEADLINE_S: float = env("GATEWAY_CONVERSATION_DEADLINE_S")
GATEWAY_CONNECT_S: float = env("GATEWAY_CONNECT_S")
GATEWAY_FIRST_BYTE_S: float = env("GATEWAY_FIRST_BYTE_S")
GATEWAY_IDLE_S: float = env("GATEWAY_IDLE_S")
GATEWAY_AUDIT_TIMEOUT_S: float = env("GATEWAY_AUDIT_TIMEOUT_S")
GATEWAY_FLUSH_WINDOW_MS: float = env("GATEWAY_FLUSH_WINDOW_MS")
GATEWAY_SNAPSHOT_POLL_S: float = env("GATEWAY_SNAPSHOT_POLL_S")
GATEWAY_LEASE_S: float = env("GATEWAY_LEASE_S")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "gateway.logs.JsonFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["stderr"], "level": env("GATEWAY_LOG_LEVEL")},
    "loggers": {
        # Its records carry request lines and tracebacks; our own access line replaces them.
        "django.request": {"level": "CRITICAL"},
        "urllib3": {"level": "CRITICAL"},
        # At DEBUG it writes down what it signs, the session's token included.
        "botocore": {"level": "WARNING"},
        # One line per inference is ours (`inference.closed`); Celery's would be a second.
        "celery": {"level": "WARNING"},
    },
}


def _page(title: str, icon: str, app: str, model: str) -> dict[str, object]:
    """Return a link of the admin's sidebar, shown to those who may view what it leads to."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{app}_{model}_changelist"),
        "permission": lambda request: request.user.has_perm(f"{app}.view_{model}"),
    }


def _view(title: str, icon: str, name: str, *permissions: str) -> dict[str, object]:
    """Return a link of the sidebar to a page of the control plane."""
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"control:{name}"),
        "permission": lambda request: request.user.has_perms(permissions),
    }


UNFOLD = {
    "SITE_TITLE": "Enclave",
    "SITE_HEADER": "Enclave",
    "SITE_SUBHEADER": "AI gateway",
    "SITE_SYMBOL": "shield_lock",
    "SITE_URL": None,
    "SHOW_VIEW_ON_SITE": False,
    # An empty icon: without one, browsers ask for /favicon.ico, which is a route of the API.
    "SITE_FAVICONS": [{"rel": "icon", "href": lambda request: "data:,"}],
    "SIDEBAR": {
        "show_search": True,
        "navigation": [
            {
                "title": "Control plane",
                "items": [
                    _page("Models", "memory", "models_registry", "selfhostedmodel"),
                    _page("Groups", "account_tree", "features", "group"),
                    _page("Members", "group", "features", "membership"),
                    _view("Groups from GitLab", "sync", "sync", "features.view_group"),
                    _view("Feature matrix", "grid_on", "matrix", "features.view_featurerule"),
                    _page("Feature rules", "rule", "features", "featurerule"),
                    _view("Explain", "help", "explain", "features.view_featurerule"),
                    _page("API keys", "key", "features", "apikey"),
                    _page("Vendor route", "logout", "features", "vendorroute"),
                    _page("Egress", "output", "models_registry", "egressdestination"),
                    _view(
                        "Configuration file",
                        "data_object",
                        "configuration",
                        "models_registry.view_selfhostedmodel",
                        "features.view_featurerule",
                    ),
                    _page("Changes", "history", "models_registry", "configchange"),
                ],
            },
            {
                "title": "Audit",
                "items": [
                    _page("Inference records", "receipt_long", "audit", "inferencerecord"),
                    {
                        **_page("Readings", "visibility", "audit", "contentreading"),
                        # The superuser flag is no such right.
                        "permission": "gateway.audit.access.shows_readings",
                    },
                    _page("Processes", "dns", "audit", "process"),
                    _page("Background tasks", "sync", "audit", "chore"),
                ],
            },
            {
                "title": "People",
                "items": [
                    _page("Users", "person", "auth", "user"),
                    _page("Roles", "badge", "auth", "group"),
                ],
            },
        ],
    },
}
