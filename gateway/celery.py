"""The Celery application; its worker runs with `-P gevent`."""

import os

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_shutdown

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings.production")

app = Celery("enclave")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["gateway"])


@setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Leave the logging as Django's settings have it; Celery would raise the level to WARNING."""


@worker_init.connect
def _start(**_: object) -> None:
    from gateway import runtime

    runtime.start_worker()


@worker_shutdown.connect
def _stop(**_: object) -> None:
    from gateway import runtime

    runtime.stop()
