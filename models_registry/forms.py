"""The form of a model. The key is write-only; the CA bundle may be pasted or come from a file."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldBooleanSwitchWidget,
)

from models_registry import certificates
from models_registry.fields import CannotDecrypt, clear_text
from models_registry.models import SelfHostedModel

BUNDLE_MAX_BYTES = 512 * 1024


class SelfHostedModelForm(forms.ModelForm):  # type: ignore[type-arg]  # generic only in the stubs
    """A model's form, with the key as a field that is always empty."""

    new_api_key = forms.CharField(
        label="API key",
        required=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )
    remove_api_key = forms.BooleanField(
        label="Remove the stored key", required=False, widget=UnfoldBooleanSwitchWidget
    )

    ca_bundle_file = forms.FileField(
        label="CA bundle from a file",
        required=False,
        widget=UnfoldAdminFileFieldWidget,
        help_text="PEM or DER. It replaces the bundle above.",
    )

    class Meta:
        model = SelfHostedModel
        fields = ("name", "state", *SelfHostedModel.COLUMNS)
        help_texts = {
            "endpoint": "Base URL. OpenAI-compatible servers want it with /v1 at the end; for AWS"
            " Bedrock it may be empty."
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_api_key"].help_text = (
            "A key is stored. Leave this blank to keep it."
            if self.instance.api_key
            else "No key is stored. Leave this blank if the backend wants none."
        )

    def clean_ca_bundle_file(self) -> str:
        """Return the certificates of the file as PEM, or nothing where there is no file."""
        file = self.cleaned_data["ca_bundle_file"]
        if not file:
            return ""
        if file.size > BUNDLE_MAX_BYTES:
            raise forms.ValidationError(f"The file is larger than {BUNDLE_MAX_BYTES} bytes.")
        try:
            return certificates.as_pem(file.read())
        except ValueError:
            raise forms.ValidationError("This file holds no certificate, PEM or DER.") from None

    def clean(self) -> dict[str, Any] | None:
        """Put the key where it belongs; a key that cannot be read any more cannot be kept."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("ca_bundle_file"):
            cleaned["ca_bundle"] = cleaned["ca_bundle_file"]
        typed, is_removed = cleaned.get("new_api_key"), cleaned.get("remove_api_key")
        if typed and is_removed:
            self.add_error("remove_api_key", "Either type a new key or remove the stored one.")
        elif typed or is_removed:
            self.instance.api_key = typed or ""
        elif not self._can_keep_key():
            self.add_error(
                "new_api_key",
                "The stored key cannot be decrypted with GATEWAY_ENCRYPTION_KEYS. "
                "Type it again or remove it.",
            )
        return cleaned

    def _can_keep_key(self) -> bool:
        try:
            clear_text(self.instance.api_key)
        except CannotDecrypt:
            return False
        return True
