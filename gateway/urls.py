"""All routes: the admin's pages, and the API that GitLab and editors call."""

from django.contrib import admin
from django.urls import include, path, re_path

urlpatterns = [
    path("admin/", include("gateway.control.urls")),
    path("admin/", admin.site.urls),
    # GitLab appends paths to a base URL as it is stored, so `//v1/...` arrives (gitlab-client 1.1);
    # newer clients use the base URL of the vendor's cloud, which ends in /ai.
    re_path(r"^(?:/+)?(?:ai/+)?", include("gateway.api.urls")),
]

handler500 = "gateway.api.errors.server_error"
handler404 = "gateway.api.errors.not_found"
