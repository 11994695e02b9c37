"""What to do about a fault that a connection test met: one entry per fault, for a person to act on.

A fault is looked up by the step and the word that names it (`reason` or `code` of an error in
`errors.py`), then by the word alone. `change` names the field of the model or the setting to
change; empty means that the fault lies on the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """The fix, and what of ours to change for it."""

    text: str
    change: str = ""


NO_STREAM = Advice(
    text="Switch streaming on in the model server, and buffering off in a proxy before it (nginx: "
    "proxy_buffering off). Without it people see nothing until the answer is whole."
)
NO_FIM = Advice(
    change="has_native_fim",
    text="Switch 'native fill-in-the-middle' off, and Enclave asks this model by chat. Or serve it "
    "with text /completions (vLLM, llama.cpp and TGI do).",
)
ANOTHER_PROTOCOL = Advice(
    change="endpoint",
    text="Something else than a model server listens on port {port}. Correct the port in the "
    "endpoint.",
)

ADVICE: dict[str, Advice] = {
    # the address
    "not_listed": Advice(
        change="GATEWAY_EGRESS_ALLOW",
        text="Ask whoever deploys Enclave to add {entry} to GATEWAY_EGRESS_ALLOW and to restart "
        "it, or enter an address that is listed (page Egress).",
    ),
    "never_dialed": Advice(
        change="endpoint", text="Enter another address: no setting opens this one."
    ),
    "other_peer": Advice(
        text="A proxy between answers in the server's place. Take it out of the way to {host}."
    ),
    "model_misconfigured": Advice(
        change="endpoint",
        text="Correct it. An endpoint looks like https://vllm.example.com:8000/v1.",
    ),
    # DNS, TCP
    "unknown_name": Advice(
        change="endpoint",
        text="Correct the host name {host} in the endpoint, or let the DNS server of Enclave's "
        "machine know it. Inside Kubernetes write all of it: service.namespace.svc.cluster.local.",
    ),
    "dns.backend_unreachable": Advice(
        text="The DNS server of Enclave's machine did not answer in time. Check it there: "
        "getent hosts {host}."
    ),
    "refused": Advice(
        change="endpoint",
        text="Nothing listens on port {port} of {host}. Start the model server, let it listen "
        "beyond its own machine (vLLM, llama.cpp: --host 0.0.0.0), or correct the port.",
    ),
    "no_route": Advice(
        text="Enclave's machine has no way to {host}. Ask for a route, or put both in one network."
    ),
    "tcp.backend_unreachable": Advice(
        text="{host} keeps silent on port {port}: it is down, or a firewall drops the packets. Ask "
        "for the way from Enclave's machine to {entry} to be opened."
    ),
    # TLS
    "unknown_authority": Advice(
        change="ca_bundle",
        text="Add the certificate of the authority '{missing}' under CA bundle; for every model at "
        "once, in the file of GATEWAY_CA_BUNDLE.",
    ),
    "self_signed": Advice(
        change="ca_bundle",
        text="The server signed its certificate itself. Compare it with the one on the server, "
        "then add it under CA bundle.",
    ),
    "expired": Advice(
        text="Renew the certificate '{ended}' on the server, or correct the clock here."
    ),
    "not_yet_valid": Advice(text="Correct the clock of Enclave's machine, or of whoever signs."),
    "revoked": Advice(text="Have a new certificate made for the server."),
    "wrong_name": Advice(
        change="endpoint",
        text="The certificate is made for {names}. Write one of these in the endpoint, or have a "
        "certificate made for {host}.",
    ),
    "not_tls": Advice(
        change="endpoint",
        text="Port {port} speaks no TLS. Write http:// instead of https://, or switch TLS on in "
        "the server.",
    ),
    "old_tls": Advice(text="Switch TLS 1.2 or 1.3 on in the server."),
    "tls.backend_tls": Advice(
        text="Look at the server's log. It may ask for a client certificate, which Enclave has "
        "not, or port {port} may speak another protocol."
    ),
    # HTTP, the list of models
    "needs_tls": Advice(
        change="endpoint", text="Port {port} speaks TLS. Write https:// instead of http://."
    ),
    "http.backend_timed_out": Advice(
        text="{host} takes connections on port {port} and does not answer. Wait until the model is "
        "loaded, look at the server's log, or restart it."
    ),
    "http.backend_unreachable": ANOTHER_PROTOCOL,
    "http.malformed_reply": ANOTHER_PROTOCOL,
    "redirect": Advice(
        change="endpoint",
        text="Enter the address that the redirect leads to: often https:// instead of http://, or "
        "the model server itself instead of a login in front of it.",
    ),
    "web_page": Advice(
        change="endpoint",
        text="A web page answers instead of the model server. Enter the server's own address, "
        "which usually ends in /v1, or let Enclave past the login in front of it.",
    ),
    "backend_auth": Advice(
        change="new_api_key",
        text="The stored key is not the one that the model server expects (vLLM, llama.cpp: "
        "--api-key). Enter it again under API key.",
    ),
    "no_key": Advice(
        change="new_api_key",
        text="The model server wants a key, and none is stored. Enter it under API key.",
    ),
    "backend_failed": Advice(
        text="Look at the model server's log for X-Request-ID {request_id}. It may be loading the "
        "model, or out of memory."
    ),
    "backend_rate_limited": Advice(
        text="Wait, or raise the limit on the model server or on the proxy before it."
    ),
    "absent": Advice(change="identifier", text="Take one of the names that the server lists."),
    # answers
    "backend_not_found": Advice(
        change="identifier",
        text="Enter the name under which the server serves the model (vLLM: --served-model-name), "
        "and the endpoint up to /v1 without /chat/completions.",
    ),
    "no_deployment": Advice(
        change="identifier",
        text="Enter the deployment's name as Azure's portal shows it under Deployments, and as the "
        "endpoint https://<resource>.openai.azure.com without a path.",
    ),
    "not_bedrock": Advice(change="provider", text="Choose AWS Bedrock as the provider."),
    "no_region": Advice(
        change="GATEWAY_BEDROCK_REGION",
        text="Set GATEWAY_BEDROCK_REGION (or AWS_REGION) where Enclave is deployed, or enter an "
        "endpoint like https://bedrock-runtime.eu-west-1.amazonaws.com.",
    ),
    "bedrock_key": Advice(
        change="new_api_key",
        text="Enter access:secret, access:secret:session or a Bedrock API key under API key.",
    ),
    "no_botocore": Advice(
        text="Have requirements-bedrock.txt installed where Enclave runs, or enter a Bedrock API "
        "key instead of access keys."
    ),
    "no_bedrock_model": Advice(
        change="identifier",
        text="Enter the model's id as the Bedrock console shows it for this region.",
    ),
    "needs_profile": Advice(
        change="identifier",
        text="Put the profile's region in front of the model's id: us., eu., apac. or global.; or "
        "enter the ARN of an inference profile.",
    ),
    "needs_form": Advice(
        text="Fill in the model's use case form in the Bedrock console of the AWS account."
    ),
    "no_prefill": Advice(change="takes_prefill", text="Switch 'continues a prefilled answer' off."),
    "no_access": Advice(
        text="Ask for access to the model in the Bedrock console, and let the key's policy allow "
        "bedrock:InvokeModel and bedrock:InvokeModelWithResponseStream."
    ),
    "backend_rejected": Advice(
        text="Look at the model server's log for X-Request-ID {request_id}. Often the model has no "
        "chat template (vLLM: --chat-template), or needs 'reasoning parameters' switched on."
    ),
    "context_too_long": Advice(
        text="The server refuses even a short prompt. Raise its context length (vLLM: "
        "--max-model-len)."
    ),
    "backend_timed_out": Advice(
        change="first_byte_s",
        text="The first answer after a start loads the model: test again. If it stays slow, allow "
        "more under 'first byte within', or look at the load of the server.",
    ),
    "empty": Advice(
        text="The model says nothing. Check the chat template of the server, and that it serves a "
        "chat model under this name."
    ),
    "malformed_reply": Advice(
        change="provider",
        text="The server does not speak the format of this provider. Choose another one, or put a "
        "server with OpenAI's API in front of it.",
    ),
    "answer_too_large": Advice(
        text="Look at what answers under this address: a model's answer is much smaller."
    ),
    "backend_unreachable": Advice(
        text="The server hung up. Look at its log for X-Request-ID {request_id}."
    ),
    "whole": NO_STREAM,
    **{
        f"stream.{word}": NO_STREAM
        for word in ("backend_rejected", "backend_failed", "malformed_reply", "empty")
    },
    **{
        f"fim.{word}": NO_FIM
        for word in (
            "backend_not_found",
            "backend_rejected",
            "backend_failed",
            "malformed_reply",
            "model_misconfigured",
            "empty",
        )
    },
}
UNKNOWN = Advice(text="Look at the model server's log for X-Request-ID {request_id}.")


def advice(step: str, *words: str, facts: Mapping[str, str]) -> Advice:
    """Return what to do about the first of these words that has an entry, with the facts put in."""
    keys = [key for word in words if word for key in (f"{step}.{word}", word)]
    found = next((ADVICE[key] for key in keys if key in ADVICE), UNKNOWN)
    return replace(found, text=found.text.format_map(facts))
