"""Every route of the API, one line each. A slash in a prompt id may arrive as %2F."""

from django.urls import path, re_path

from gateway.api.clients import anthropic, openai
from gateway.api.endpoint import Unknown
from gateway.api.monitoring import Healthz, Ready
from gateway.api.v1 import proxy_anthropic, proxy_openai
from gateway.api.v1.chat import Chat
from gateway.api.v1.code_embeddings import CodeEmbeddings
from gateway.api.v1.explain import Explain
from gateway.api.v1.model_definitions import ModelDefinitions
from gateway.api.v1.prompts import Prompts
from gateway.api.v1.proxy_vertex_ai import ProxyVertexAI
from gateway.api.v1.search_gitlab_docs import SearchGitLabDocs
from gateway.api.v1.user_access_token import UserAccessToken
from gateway.api.v1.x_ray_libraries import XRayLibraries
from gateway.api.v2.chat_agent import ChatAgent
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
    path("v2/chat/agent", ChatAgent.as_view()),
    re_path(r"^v1/chat/(?P<unit>[^/]+)$", Chat.as_view()),
    path("v1/search/gitlab-docs", SearchGitLabDocs.as_view()),
    path("v1/code/user_access_token", UserAccessToken.as_view()),
    re_path(r"^v1/embeddings/code_embeddings(?:/index|/search)?$", CodeEmbeddings.as_view()),
    re_path(r"^v1/proxy/vertex-ai/(?P<path>.+)$", ProxyVertexAI.as_view()),
    path("v1/x-ray/libraries", XRayLibraries.as_view()),
    path("v1/models/definitions", ModelDefinitions.as_view()),
    path("v1/proxy/anthropic/v1/messages", proxy_anthropic.Messages.as_view()),
    path("v1/proxy/anthropic/v1/messages/count_tokens", proxy_anthropic.CountTokens.as_view()),
    re_path(r"^v1/proxy/anthropic/", proxy_anthropic.Unknown.as_view()),
    path("v1/proxy/openai/v1/chat/completions", proxy_openai.ChatCompletions.as_view()),
    path("v1/proxy/openai/v1/responses", proxy_openai.Responses.as_view()),
    re_path(r"^v1/proxy/openai/", proxy_openai.Unknown.as_view()),
    path("v1/explain", Explain.as_view()),
    path("anthropic/v1/messages", anthropic.Messages.as_view()),
    path("anthropic/v1/messages/count_tokens", anthropic.CountTokens.as_view()),
    path("anthropic/v1/models", anthropic.Models.as_view()),
    re_path(r"^anthropic/v1/models/(?P<name>.+)$", anthropic.Models.as_view()),
    re_path(r"^anthropic/", anthropic.Unknown.as_view()),
    path("openai/v1/chat/completions", openai.ChatCompletions.as_view()),
    path("openai/v1/completions", openai.Completions.as_view()),
    path("openai/v1/responses", openai.Responses.as_view()),
    path("openai/v1/embeddings", openai.Embeddings.as_view()),
    path("openai/v1/models", openai.Models.as_view()),
    re_path(r"^openai/v1/models/(?P<name>.+)$", openai.Models.as_view()),
    re_path(r"^openai/", openai.Unknown.as_view()),
    path("monitoring/healthz", Healthz.as_view()),
    path("monitoring/ready", Ready.as_view()),
    re_path(r"", Unknown.as_view()),
]
