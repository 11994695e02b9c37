"""ClientEndpoint: the frame of the routes for programs other than GitLab, in a vendor's API.

They call with an API key, whose group's rules hold, and ask for a model by its registered name.
Everything has the vendor's shape, also the refusal of a key. See docs/clients.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from django.http.response import HttpResponseBase
from rest_framework.request import Request

from features import policy, snapshot
from features.catalog import OWN_CLIENTS
from features.errors import FeatureDisabled, ModelNotFound
from gateway.api.authentication import authenticate_client
from gateway.api.endpoint import get_caller
from gateway.api.errors import NotFound
from gateway.api.responses import json_response
from gateway.api.vendor_endpoint import VendorEndpoint, VendorShape
from gateway.api.vendors.formats import Body
from gateway.calls import Call
from gateway.pipeline import groups_of_caller
from models_registry.providers.types import ModelConfig, Prompt


class ClientShape(VendorShape):
    """A route that takes API keys, and nothing else."""

    plain = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate before anything else."""
        request.caller = authenticate_client(request.META)  # type: ignore[attr-defined]  # read by get_caller


def require_clients(request: Request) -> None:
    """Accept a caller whose group may use these routes at all.

    Raises:
        FeatureDisabled: it may not.
    """
    config = snapshot.current()
    group_ids = groups_of_caller(get_caller(request), config)
    policy.require(config, feature=OWN_CLIENTS, group_ids=group_ids)


class ClientEndpoint(ClientShape, VendorEndpoint):
    """A route for conversations."""

    def feature(self, request: Request) -> str:
        """Return the feature whose rules hold."""
        return OWN_CLIENTS

    def make_call(self, request: Request, body: Body, conversation: Prompt) -> Call:
        """Return the call, which asks for a model."""
        call = super().make_call(request, body, conversation)
        return replace(call, asked_model=body.model)

    def naming(self, body: Body, model: str) -> Body:
        """Return the body with the name of the model that answers, whatever was asked for."""
        return body.model_copy(update={"model": model})


class ModelsEndpoint(ClientShape):
    """The models that the key's group may ask for under `features`: all, or the one of a name."""

    features: ClassVar[tuple[str, ...]] = (OWN_CLIENTS,)

    def as_model(self, model: ModelConfig) -> dict[str, Any]:
        """Return a model as the vendor describes one."""
        raise NotImplementedError

    def as_list(self, models: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the vendor's list of these descriptions."""
        raise NotImplementedError

    def get(self, request: Request, name: str | None = None) -> HttpResponseBase:
        """Write what is asked for."""
        offered = self._offered(request)
        if name is None:
            return json_response(self.as_list([self.as_model(each) for each in offered.values()]))
        if name not in offered:
            raise ModelNotFound
        return json_response(self.as_model(offered[name]))

    def _offered(self, request: Request) -> dict[str, ModelConfig]:
        """Return the models by their names.

        Raises:
            FeatureDisabled: none of the features is on.
        """
        config = snapshot.current()
        group_ids = groups_of_caller(get_caller(request), config)
        offered: dict[str, ModelConfig] = {}
        refusals = []
        for feature in self.features:
            try:
                models = policy.offered_models(config, feature=feature, group_ids=group_ids)
            except FeatureDisabled as refusal:
                refusals.append(refusal)
            else:
                offered |= {model.name: model for model in models}
        if len(refusals) == len(self.features):
            raise refusals[0]
        return offered


class UnknownPath(ClientShape):
    """Every path of a vendor that is not served."""

    http_method_names = ("get", "head", "post", "put", "patch", "delete", "options")

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Say that there is nothing here, whatever the method."""
        raise NotFound
