"""The pages of the control plane, one line each; they stand below /admin/."""

from django.urls import path

from gateway.control import configuration, explain, matrix, sync

app_name = "control"

urlpatterns = [
    path("configuration/", configuration.configuration, name="configuration"),
    path("configuration/export/", configuration.export, name="configuration_export"),
    path("explain/", explain.explain, name="explain"),
    path("matrix/", matrix.matrix, name="matrix"),
    path("matrix/rows/", matrix.rows, name="matrix_rows"),
    path("matrix/preview/", matrix.preview, name="matrix_preview"),
    path("matrix/rehearse/", matrix.rehearse, name="matrix_rehearse"),
    path("matrix/save/", matrix.save, name="matrix_save"),
    path("sync/", sync.sync, name="sync"),
    path("sync/progress/", sync.progress, name="sync_progress"),
    path("sync/start/", sync.start, name="sync_start"),
    path("sync/stop/", sync.stop, name="sync_stop"),
    path("sync/access/", sync.access, name="sync_access"),
    path("sync/file/", sync.from_file, name="sync_file"),
]
