"""The API without a server: WSGI calls into the product, and a GitLab that signs for it."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

from features import snapshot
from gateway.api import keys
from gateway.wsgi import application
from models_registry import egress
from tests.factories import make_api_key, make_group, make_model, make_rule
from tests.rig.gitlab import rsa_key

COMPLETIONS = "/v2/code/completions"
CONNECTION_TEST = "/v1/prompts/model_configuration%2Fcheck"
USER_TOKEN = "/v1/code/user_access_token"
ABOVE, BELOW = "def add(a, b):\n    ", "\n\nprint(add(1, 2))\n"


@dataclass
class Reply:
    """What a WSGI server would send; header names are lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self):
        return json.loads(self.body)


class Started:
    """An answer whose headers are there and whose body is read by the test."""

    def __init__(self, environ):
        self.reply = Reply()
        self.pieces = application(environ, self._start)

    def _start(self, status, headers, exc_info=None):
        self.reply.status = int(status.split()[0])
        self.reply.headers = {name.lower(): value for name, value in headers}

    def read(self):
        try:
            self.reply.body = b"".join(self.pieces)
        finally:
            self.pieces.close()
        return self.reply


def environ_of(method, path, *, headers=None, body=b"", **extra):
    """Return the environment that a WSGI server makes of a request."""
    path, _, query = path.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "enclave.example.com",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in (headers or {}).items():
        key = name.upper().replace("-", "_")
        plain = ("CONTENT_TYPE", "CONTENT_LENGTH")
        environ[key if key in plain else f"HTTP_{key}"] = value
    if body and "HTTP_TRANSFER_ENCODING" not in environ:
        environ["CONTENT_LENGTH"] = str(len(body))
    return {**environ, **extra}


def start(method, path, *, value=None, body=b"", **options):
    """Send a request and return when the headers are there; `value` is sent as JSON."""
    body = body if value is None else json.dumps(value).encode()
    return Started(environ_of(method, path, body=body, **options))


def send(method, path, **options):
    """Send a request and return the whole answer."""
    return start(method, path, **options).read()


def post(path, value, **options):
    """POST a value as JSON and return the whole answer."""
    return send("POST", path, value=value, **options)


def component(kind, **changes):
    """Return a component of /v3 and /v4: the file at the cursor, to be completed or generated."""
    payload = {
        "file_name": "app.py",
        "content_above_cursor": ABOVE,
        "content_below_cursor": BELOW,
        "language_identifier": "python",
        "stream": False,
    }
    return {"type": f"code_editor_{kind}", "payload": {**payload, **changes}}


def context(content="U = 1\n"):
    """Return a component of /v3 and /v4: a file of the repository."""
    return {"type": "code_context", "payload": {"type": "file", "name": "u.py", "content": content}}


@pytest.fixture(autouse=True)
def _connections_stay():
    """Let a call leave the test's own database connection alone, as Django's test client does."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture(autouse=True)
def _no_keys_of_earlier_tests():
    keys._key_sets.cache_clear()
    keys._load_signing_key.cache_clear()
    yield
    keys._key_sets.cache_clear()
    keys._load_signing_key.cache_clear()
    egress.close_connections()


@pytest.fixture
def trusted(gitlab, settings):
    """A GitLab whose tokens are believed."""
    settings.GATEWAY_GITLAB_URL = gitlab.url
    return gitlab


@pytest.fixture
def signing_key(settings, tmp_path):
    """The key that signs our own tokens; returns its name in the rig."""
    path = tmp_path / "signing_key.pem"
    path.write_bytes(
        rsa_key("enclave").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    settings.GATEWAY_SIGNING_KEY_FILE = str(path)
    return "enclave"


@pytest.fixture
def code_completion_is_on(embedded):
    """Code completion for everyone, and no model assigned."""
    make_rule()
    snapshot.refresh()


@pytest.fixture
def named(backend):
    """A function that returns a body which names a model of the scripted backend."""

    def body(behavior="stub", **changes):
        usual = {
            "prompt_version": 1,
            "current_file": {
                "file_name": "app.py",
                "content_above_cursor": "def add(a, b):\n    ",
                "content_below_cursor": "\n",
            },
            "model_provider": "litellm",
            "model_name": "codegemma",
            "model_endpoint": backend.endpoint,
            "model_api_key": "sk-canary-key",
            "model_identifier": f"custom_openai/{behavior}",
        }
        return {k: v for k, v in {**usual, **changes}.items() if v is not None}

    return body


@pytest.fixture
def unnamed(named):
    """A function that returns a body as an editor sends it: without model fields."""

    def body(**changes):
        gone = dict.fromkeys(
            ("model_provider", "model_name", "model_endpoint", "model_api_key", "model_identifier")
        )
        return named(**{**gone, **changes})

    return body


@pytest.fixture
def code_is_on(embedded):
    """Both code features for everyone, and no model assigned."""
    make_rule()
    make_rule(feature="code_generations")
    snapshot.refresh()


@pytest.fixture
def metadata(backend):
    """A function that returns how GitLab names a model of the scripted backend."""

    def of(behavior="stub", **changes):
        usual = {
            "provider": "openai",
            "name": "codestral",
            "endpoint": backend.endpoint,
            "api_key": "sk-canary-key",
            "identifier": f"custom_openai/{behavior}",
        }
        return {**usual, **changes}

    return of


class Proxied:
    """Sends conversations to the vendors' routes as GitLab's external agents do."""

    def __init__(self, gitlab, backend):
        self.gitlab, self.backend = gitlab, backend

    def use(self, behavior="stub", *, feature="model_provider_proxy", **facts):
        """Put a model of the scripted backend in charge."""
        usual = {"endpoint": self.backend.endpoint, "identifier": behavior, "family": "general"}
        make_rule(feature=feature, model=make_model(**{**usual, **facts}))
        snapshot.refresh()

    def headers(self, unit="ai_gateway_model_provider_proxy", **more):
        """Return GitLab's headers and the one that names the unit primitive."""
        named = {} if unit is None else {"X-Gitlab-Unit-Primitive": unit}
        return self.gitlab.headers(**named, **more)

    def __call__(self, path, body, *, unit="ai_gateway_model_provider_proxy", **options):
        """Send a body and return the whole answer."""
        return post(f"/v1/proxy/{path}", body, headers=self.headers(unit), **options)

    def start(self, path, body):
        """Send a body and return when the headers are there."""
        return start("POST", f"/v1/proxy/{path}", value=body, headers=self.headers())


@pytest.fixture
def proxied(trusted, embedded, backend):
    """A function that sends a conversation to a vendor's route; `use` puts a model in charge."""
    return Proxied(trusted, backend)


@pytest.fixture
def tiny(proxied, llama):
    """A function that sends a conversation to a vendor's route, answered by a real llama.cpp."""
    proxied.use(llama.model, endpoint=llama.endpoint, api_key=llama.api_key)
    return proxied


class OwnClient:
    """A program with an API key of a group, on the routes for clients that are not GitLab."""

    def __init__(self, backend):
        self.backend = backend
        self.group = make_group()
        self.key, self.text = make_api_key(self.group)
        self.headers = {"Authorization": f"Bearer {self.text}", "Content-Type": "application/json"}

    def use(self, behavior="stub", *, feature="own_clients", **facts):
        """Put a model of the scripted backend, named `house`, in charge of the group's clients."""
        usual = {"endpoint": self.backend.endpoint, "identifier": behavior, "name": "house"}
        model = make_model(**{"family": "general", **usual, **facts})
        make_rule(self.group, feature=feature, model=model)
        snapshot.refresh()
        return model

    def __call__(self, path, body, *, headers=None):
        """Send a body and return the whole answer."""
        return post(f"/{path}", body, headers=headers or self.headers)

    def get(self, path):
        """Send a GET and return the whole answer."""
        return send("GET", f"/{path}", headers=self.headers)


@pytest.fixture
def client(embedded, backend):
    """A function that sends a body as a program with an API key; `use` puts a model in charge."""
    return OwnClient(backend)


@pytest.fixture
def suggest(trusted, code_is_on, metadata):
    """A function that sends components as GitLab does and returns the answer."""

    def send(path, *components, model="stub", headers=None, **changes):
        body = {"prompt_components": list(components), "model_metadata": metadata(model)}
        body = {key: value for key, value in {**body, **changes}.items() if value is not None}
        return post(path, body, headers=headers or trusted.headers())

    return send
