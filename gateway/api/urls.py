"""Every route of the API, one line each. A slash in a prompt id may arrive as %2F."""

from django.urls import path, re_path

from gateway.api.endpoint import Unknown
from gateway.api.monitoring import Healthz, Ready
from gateway.api.v1.explain import Explain
from gateway.api.v1.prompts import Prompts
from gateway.api.v1.user_access_token import UserAccessToken
from gateway.api.v2.code_completions import CodeCompletions
from gateway.api.v2.code_generations import CodeGenerations
from gateway.api.v2.prompts import Prompts as PromptsV2
from gateway.api.v3.code_completions import CodeCompletions as CodeCompletionsV3
from gateway.api.v4.code_suggestions import CodeSuggestions

urlpatterns = [
    path("v2/code/completions", CodeCompletions.as_view()),
    path("v2/completions", CodeCompletions.as_view()),
    path("v2/code/generations", CodeGenerations.as_view()),
    path("v3/code/completions", CodeCompletionsV3.as_view()),
    path("v4/code/suggestions", CodeSuggestions.as_view()),
    re_path(r"^v1/prompts/(?P<prompt_id>.+?)/?$", Prompts.as_view()),
    re_path(r"^v2/prompts/(?P<prompt_id>.+?)/?$", PromptsV2.as_view()),
    path("v1/code/user_access_token", UserAccessToken.as_view()),
    path("v1/explain", Explain.as_view()),
    path("monitoring/healthz", Healthz.as_view()),
    path("monitoring/ready", Ready.as_view()),
    re_path(r"", Unknown.as_view()),
]
