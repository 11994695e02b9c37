"""The product: the Django project and the only app that knows HTTP, Celery and the audit log."""

from gateway.celery import app as celery_app

__all__ = ["celery_app"]
__version__ = "0.1.0"
