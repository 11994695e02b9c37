"""The app that knows which features exist and who may use them."""

from django.apps import AppConfig


class FeaturesConfig(AppConfig):
    name = "features"
    verbose_name = "Groups and features"
