"""Promises of the vendor route on the wire, for every route that asks a model."""

import json
import logging
from contextlib import closing, suppress

import pytest

from features import catalog, snapshot
from features.models import FeatureRule, VendorRoute
from gateway.api.vendor_route import PASSED_BACK
from gateway.audit.models import InferenceContent, InferenceRecord
from gateway.errors import StreamBroken
from tests.factories import make_api_key, make_group, make_model, make_rule, open_vendor_route
from tests.gateway.api.conftest import COMPLETIONS, component, post, start
from tests.gateway.api.samples import BODIES, VERTEX
from tests.gateway.conftest import answer_on_record, closed_record, record

SSE = ('event: stream_start\r\ndata: {"m": 1}\r\n\r\n', "event: stream_end\r\ndata: null\r\n\r\n")
NDJSON = ('{"type":"final_answer_delta","data":{"text":"a"}}\n', '{"type":"x"}\n')

FILE = {"file_name": "a.py", "content_above_cursor": "x = ", "content_below_cursor": ""}
FLAT = {"current_file": FILE, "model_provider": "gitlab", "model_name": ""}
METADATA = {"provider": "gitlab", "identifier": "", "feature_setting": "duo_chat"}
COMPONENTS = {"prompt_components": [component("generation")], "model_metadata": METADATA}
PROMPT = {"inputs": {"diff": "a b"}, "model_metadata": METADATA, "prompt_version": "^1.0.0"}

# Every route that asks a model, as GitLab calls it for a model of the vendor's.
ROUTES = {
    "/v2/code/completions": FLAT,
    "/v2/completions": FLAT,
    "/v2/code/generations": FLAT,
    "/v3/code/completions": COMPONENTS,
    "/v4/code/suggestions": COMPONENTS,
    "/v1/prompts/generate_commit_message": PROMPT,
    "/v2/prompts/generate_commit_message": PROMPT,
    **{
        path: BODIES[path] or {}
        for path in (
            *("/v2/chat/agent", "/v1/chat/agent", "/v1/embeddings/code_embeddings", VERTEX),
            *("/v1/x-ray/libraries", "/v1/proxy/anthropic/v1/messages"),
            *("/v1/proxy/openai/v1/chat/completions", "/v1/proxy/openai/v1/responses"),
        )
    },
}
# What GitLab says such a call is for, where the route asks for it.
PROXY = "ai_gateway_model_provider_proxy"
UNITS = {
    VERTEX: "generate_embeddings_codebase",
    "/v1/proxy/anthropic/v1/messages": PROXY,
    "/v1/proxy/openai/v1/chat/completions": PROXY,
    "/v1/proxy/openai/v1/responses": PROXY,
}
WHOLE = ("/v1/embeddings/code_embeddings", VERTEX, "/v1/x-ray/libraries")
STREAMS = [path for path in ROUTES if path not in WHOLE]


def streamed(path):
    """Return the body of a call that asks for a stream."""
    body = ROUTES[path]
    if path in ("/v3/code/completions", "/v4/code/suggestions"):
        return {**body, "prompt_components": [component("generation", stream=True)]}
    return {**body, "stream": True}


@pytest.fixture
def house(trusted, embedded, vendor, settings):
    """Every feature on, no model, and a vendor that nothing leads to yet."""
    for feature, _ in catalog.choices():
        make_rule(feature=feature)
    settings.GATEWAY_VENDOR_ROUTE_URL = vendor.url
    snapshot.refresh()
    return trusted


@pytest.fixture
def gitlab_asks(house):
    """A function that calls as GitLab does, with the vendor route open; it returns the answer."""
    open_vendor_route()
    snapshot.refresh()

    def send(path=COMPLETIONS, body=FLAT, **headers):
        if path in UNITS:
            headers["x_gitlab_unit_primitive"] = UNITS[path]
        return post(path, body, headers=house.headers(**headers))

    return send


class TestRequest:
    @pytest.mark.parametrize("path", ROUTES)
    def test_leaves_unchanged_from_every_route(self, gitlab_asks, house, vendor, path):
        vendor.answer({"any": "thing"})

        answer = gitlab_asks(path, ROUTES[path])

        (call,) = vendor.calls
        assert (call.method, call.path) == ("POST", f"/ai{path}")
        assert call.body == json.dumps(ROUTES[path]).encode()
        assert (answer.status, answer.json) == (200, {"any": "thing"})
        assert record().state == "answered"

    @pytest.mark.parametrize("path", ["/ai/v2/code/completions", "//v2/code/completions"])
    def test_leaves_without_what_stands_before_the_route(self, gitlab_asks, vendor, path):
        gitlab_asks(path)

        assert vendor.calls[0].path == "/ai/v2/code/completions"

    def test_leaves_with_the_path_as_it_was_written(self, house, vendor):
        open_vendor_route()
        snapshot.refresh()
        path = "/v1/prompts/code_suggestions%2Fgenerations?a=b%20c"
        raw = {"RAW_URI": f"/ai{path}"}

        start("POST", path, value=PROMPT, headers=house.headers(), **raw).read()

        assert vendor.calls[0].path == f"/ai{path}"

    def test_leaves_with_the_headers_that_the_vendor_needs(self, gitlab_asks, house, vendor):
        token = house.token()

        gitlab_asks(
            authorization=f"Bearer {token}",
            x_request_id="01J/1",
            x_gitlab_feature_enabled_by_namespace_ids="1,2",
            anthropic_version="2023-06-01",
            accept="text/event-stream",
        )

        sent = vendor.calls[0].headers
        assert sent["authorization"] == f"Bearer {token}"
        assert sent["x-request-id"] == "01J/1"
        assert sent["x-gitlab-feature-enabled-by-namespace-ids"] == "1,2"
        assert sent["x-gitlab-realm"] == "self-managed"
        assert sent["anthropic-version"] == "2023-06-01"
        assert (sent["content-type"], sent["user-agent"]) == ("application/json", "Ruby")
        assert sent["accept"] == "text/event-stream"

    def test_leaves_without_any_other_header(self, gitlab_asks, vendor):
        gitlab_asks(
            cookie="sessionid=secret",
            x_forwarded_for="10.1.2.3",
            forwarded="for=10.1.2.3",
            proxy_authorization="Basic secret",
            te="trailers",
            upgrade="h2c",
            referer="https://gitlab.example.com/secret",
            bypass_auth="true",
            accept_encoding="gzip",
            if_none_match="x",
        )

        sent = vendor.calls[0].headers
        known = {name for name in sent if not name.startswith("x-gitlab-")}
        assert known <= {
            *("authorization", "accept", "accept-encoding", "content-length", "content-type"),
            *("host", "user-agent", "x-request-id"),
        }
        assert sent["accept-encoding"] == "identity"
        assert "secret" not in str(sent.values())

    @pytest.mark.parametrize("value", ["é", "a\x0bb", "\x1b[0m"])
    def test_leaves_without_a_header_that_could_not_stand_on_a_line(
        self, gitlab_asks, vendor, value
    ):
        gitlab_asks(user_agent=value, x_gitlab_interface=value)

        assert vendor.calls[0].headers["user-agent"] == "Enclave"
        assert "x-gitlab-interface" not in vendor.calls[0].headers


class TestAnswer:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 421, 422, 429, 500, 503])
    @pytest.mark.parametrize("path", [COMPLETIONS, "/v1/prompts/generate_commit_message"])
    def test_comes_back_with_its_status(self, gitlab_asks, vendor, status, path):
        vendor.answer({"detail": "the vendor's words"}, status=status, Retry_After="9")

        answer = gitlab_asks(path, ROUTES[path])

        assert (answer.status, answer.json) == (status, {"detail": "the vendor's words"})
        assert answer.headers["retry-after"] == "9"
        assert record().error_code == "vendor_failed"

    def test_comes_back_to_the_byte(self, gitlab_asks, vendor):
        vendor.answer(b"<html>\xff</html>", status=502, Content_Type="text/html; charset=x")

        answer = gitlab_asks()

        assert (answer.status, answer.body) == (502, b"<html>\xff</html>")
        assert answer.headers["content-type"] == "text/html; charset=x"

    def test_comes_back_without_any_other_header(self, gitlab_asks, vendor):
        vendor.answer({}, Set_Cookie="a=b", Server="vendor", Via="1.1 x", X_Request_ID="theirs")

        answer = gitlab_asks(x_request_id="ours")

        ours = {"content-length", "x-request-id", "x-process-time"}
        assert answer.headers.keys() <= ours | {name.lower() for name in PASSED_BACK}
        assert answer.headers["x-request-id"] == "ours"

    @pytest.mark.parametrize(
        ("pieces", "media", "format_"),
        [
            (SSE, "text/event-stream; charset=utf-8", "sse"),
            (NDJSON, "application/x-ndjson", None),
            (("def ", "add"), "text/event-stream", None),
        ],
    )
    @pytest.mark.parametrize("path", STREAMS)
    def test_is_streamed_as_it_comes(self, gitlab_asks, vendor, path, pieces, media, format_):
        headers = {"Content_Type": media} | ({"X_Streaming_Format": format_} if format_ else {})
        vendor.stream(*pieces, **headers)

        answer = gitlab_asks(path, streamed(path))

        assert (answer.status, answer.body) == (200, "".join(pieces).encode())
        assert answer.headers["content-type"] == media
        assert answer.headers.get("x-streaming-format") == format_
        assert answer.headers["x-accel-buffering"] == "no"
        assert "content-length" not in answer.headers
        row = record()
        assert (row.state, row.is_streamed) == ("answered", True)
        assert answer_on_record() == "".join(pieces)

    def test_that_breaks_off_is_cut(self, gitlab_asks, house, vendor):
        vendor.stream("one", then="cut")
        begun = start("POST", COMPLETIONS, value=streamed(COMPLETIONS), headers=house.headers())

        with pytest.raises(StreamBroken):
            list(begun.pieces)

        begun.pieces.close()
        assert begun.reply.status == 200
        assert (closed_record().state, answer_on_record()) == ("failed", "one")

    def test_ends_with_its_client(self, gitlab_asks, house, vendor):
        vendor.stream("one", then="hang")
        begun = start("POST", COMPLETIONS, value=streamed(COMPLETIONS), headers=house.headers())
        next(iter(begun.pieces))

        begun.pieces.close()

        vendor.wait_for_departure(within_s=2)
        assert closed_record().state == "cancelled"


class TestFailure:
    def test_is_a_clear_error_where_nobody_is_there(self, gitlab_asks, vendor):
        vendor.close()

        answer = gitlab_asks()

        assert (answer.status, answer.json["code"]) == (503, "backend_unreachable")
        assert "127.0.0.1" not in answer.json["detail"]

    @pytest.mark.parametrize("path", [path for path in UNITS if path != VERTEX])
    def test_has_the_vendors_shape_where_the_route_speaks_it(self, gitlab_asks, vendor, path):
        vendor.close()

        answer = gitlab_asks(path, ROUTES[path])

        assert answer.status == 503
        assert answer.json["error"]["message"] == closed_record().error_detail

    def test_is_an_event_where_the_chats_agent_asks(self, gitlab_asks, house, vendor):
        vendor.close()
        path = "/v2/chat/agent"
        begun = start("POST", path, value=ROUTES[path], headers=house.headers())

        got = []
        with closing(begun.pieces), pytest.raises(StreamBroken):
            got.extend(begun.pieces)

        (event,) = map(json.loads, got)
        assert (event["type"], event["data"]["retryable"]) == ("error", True)
        assert event["data"]["message"] == closed_record().error_detail

    def test_is_421_where_gitlab_reads_that(self, gitlab_asks, vendor):
        vendor.close()

        answer = gitlab_asks("/v1/prompts/generate_commit_message", PROMPT)

        assert answer.status == 421

    def test_is_the_egress_lists_to_cause(self, gitlab_asks, vendor, settings):
        settings.GATEWAY_VENDOR_ROUTE_URL = "http://192.0.2.1/ai"

        answer = gitlab_asks()

        assert (answer.status, answer.json["code"]) == (503, "egress_denied")
        assert vendor.calls == []
        assert closed_record().error_code == "egress_denied"

    def test_follows_no_redirect(self, gitlab_asks, vendor):
        vendor.answer({}, status=307, Location="http://127.0.0.1:1/")

        answer = gitlab_asks()

        assert (answer.status, answer.json["code"]) == (503, "backend_rejected")

    def test_of_a_body_that_does_not_fit_stays_in_the_house(self, gitlab_asks, vendor):
        assert gitlab_asks(body={"current_file": {}}).status == 422
        assert vendor.calls == []


class TestPolicy:
    @pytest.mark.parametrize(
        "metadata",
        [
            {"provider": "gitlab", "name": "claude_sonnet_4", "identifier": "claude_sonnet_4"},
            {"provider": "fireworks_ai", "name": "codestral_2501"},
            {"provider": "amazon_q", "name": "amazon_q", "role_arn": "arn:aws:iam::1:role/q"},
        ],
    )
    def test_sends_a_model_away_whatever_the_vendor_calls_it(self, gitlab_asks, vendor, metadata):
        vendor.answer({})
        path = "/v4/code/suggestions"

        answer = gitlab_asks(path, {**ROUTES[path], "model_metadata": metadata})

        assert (answer.status, len(vendor.calls)) == (200, 1)

    def test_keeps_everything_in_the_house_while_the_route_is_off(self, house, vendor):
        answer = post(COMPLETIONS, FLAT, headers=house.headers())

        assert (answer.status, answer.json["code"]) == (503, "no_model_assigned")
        assert "GATEWAY_VENDOR_ROUTE_URL" in answer.json["detail"]
        assert record().state == "refused"
        assert vendor.calls == []

    def test_keeps_everything_in_the_house_where_no_address_is_set(self, house, vendor, settings):
        open_vendor_route()
        settings.GATEWAY_VENDOR_ROUTE_URL = ""
        snapshot.refresh()

        answer = post(COMPLETIONS, FLAT, headers=house.headers())

        assert answer.json["code"] == "no_model_assigned"

    def test_keeps_everything_in_the_house_once_it_is_switched_off(self, gitlab_asks, vendor):
        VendorRoute.objects.update(is_on=False)
        snapshot.refresh()

        assert gitlab_asks().json["code"] == "no_model_assigned"
        assert vendor.calls == []

    def test_wins_where_the_feature_is_off(self, gitlab_asks, vendor):
        group = make_group("payments", gitlab_id=7)
        make_rule(group, state="off")
        snapshot.refresh()

        answer = gitlab_asks(x_gitlab_namespace_id="7")

        assert (answer.status, answer.json["code"]) == (403, "feature_disabled")
        assert record().state == "refused"
        assert vendor.calls == []

    @pytest.mark.parametrize("at", ["instance", "group"])
    def test_prefers_a_model_that_is_assigned(self, gitlab_asks, vendor, backend, at):
        model = make_model(endpoint=backend.endpoint, identifier="stub")
        if at == "instance":
            FeatureRule.objects.filter(feature="code_completions").update(model=model)
        else:
            make_rule(make_group("payments", gitlab_id=7), model=model)
        snapshot.refresh()

        answer = gitlab_asks(x_gitlab_namespace_id="7")

        assert (answer.status, len(backend.calls)) == (200, 1)
        assert vendor.calls == []

    def test_prefers_a_model_that_is_named(self, gitlab_asks, vendor, backend, named):
        answer = gitlab_asks(body=named())

        assert (answer.status, len(backend.calls)) == (200, 1)
        assert vendor.calls == []

    def test_sends_nothing_away_for_a_model_that_is_disabled(self, gitlab_asks, vendor):
        model = make_model(state="disabled")
        FeatureRule.objects.filter(feature="code_completions").update(model=model)
        snapshot.refresh()

        assert gitlab_asks().json["code"] == "no_active_model"
        assert vendor.calls == []

    def test_sends_no_call_of_an_api_key_away(self, gitlab_asks, vendor):
        _, key = make_api_key()
        snapshot.refresh()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

        answer = post(COMPLETIONS, FLAT, headers=headers)

        assert (answer.status, answer.json["code"]) == (503, "no_model_assigned")
        assert "only calls that GitLab itself sends" in answer.json["detail"]
        assert record().state == "refused"
        assert vendor.calls == []


SCRIPTS = {
    "whole": lambda vendor: vendor.answer({}),
    "stream": lambda vendor: vendor.stream("one"),
    "error": lambda vendor: vendor.answer({}, status=401),
    "cut": lambda vendor: vendor.stream("one", then="cut"),
    "nobody": lambda vendor: vendor.close(),
}


class TestToken:
    @pytest.mark.parametrize("script", SCRIPTS)
    def test_is_in_no_record_and_no_line_of_the_log(
        self, gitlab_asks, house, vendor, script, caplog
    ):
        token = house.token(jti="canary")
        SCRIPTS[script](vendor)

        with caplog.at_level(logging.DEBUG), suppress(StreamBroken):
            headers = house.headers(token)
            start("POST", COMPLETIONS, value=streamed(COMPLETIONS), headers=headers).read()
        closed_record()

        (row,) = InferenceRecord.objects.values()
        contents = list(InferenceContent.objects.values_list("body", flat=True))
        assert token.split(".")[2] not in f"{row} {contents} {caplog.text}"
