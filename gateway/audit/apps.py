"""The audit log: records, their content, and the processes that write them."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "gateway.audit"
    label = "audit"
    verbose_name = "Audit"
