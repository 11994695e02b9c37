"""InferenceRecord: one row per call, committed before a model is asked, closed in the end.

The life of a record; only `gateway.audit.store` changes one, and only along these arrows:

    queued ──claim──▶ running ──close──▶ answered | failed | cancelled | interrupted
       └──────────────close────────────▶ failed | cancelled | interrupted
    refused                              written closed: policy said no, nothing was sent

Content stands in a table of its own, so that lists never touch it and can be given to people who
may not read it.
"""

from __future__ import annotations

from django.db import models


class State(models.TextChoices):
    """Where a record is in its life. Only `queued` and `running` are open."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    ANSWERED = "answered", "Answered"
    FAILED = "failed", "Failed"
    REFUSED = "refused", "Refused"
    CANCELLED = "cancelled", "Cancelled by the client"
    INTERRUPTED = "interrupted", "Interrupted"


OPEN_STATES = (State.QUEUED, State.RUNNING)


class CallerKind(models.TextChoices):
    """Who called: GitLab itself, an editor with our own token, or an API key."""

    INSTANCE = "instance", "GitLab instance"
    USER = "user", "Editor, direct"
    API_KEY = "api_key", "API key"


class InferenceRecord(models.Model):
    """Who asked what, which model answered, when, and how it ended. Durations are milliseconds.

    Names are copied beside ids, without foreign keys: a record reads well after what it names is
    gone, and deleting configuration never touches the log.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    state = models.CharField(max_length=12, choices=State.choices)
    opened_at = models.DateTimeField()
    deadline_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)

    caller_kind = models.CharField(max_length=10, choices=CallerKind.choices)
    instance_id = models.CharField(max_length=255, blank=True)
    user_id = models.CharField("GitLab user id", max_length=255, blank=True)
    global_user_id = models.CharField(max_length=255, blank=True)
    api_key_id = models.BigIntegerField(null=True)
    api_key_name = models.CharField("API key", max_length=255, blank=True)
    namespace_ids = models.CharField("GitLab namespace ids", max_length=50, blank=True)
    group_id = models.BigIntegerField(null=True)
    group_path = models.CharField("group", max_length=255, blank=True)

    feature = models.CharField(max_length=100)
    endpoint = models.CharField(max_length=100)
    is_streamed = models.BooleanField("streamed")
    correlation_id = models.CharField(max_length=255, blank=True)
    policy = models.CharField(max_length=255, blank=True)
    config_version = models.BigIntegerField()

    model_id = models.BigIntegerField(null=True)
    model_name = models.CharField("model", max_length=255, blank=True)
    revision_id = models.BigIntegerField(null=True)
    prompt_version = models.CharField(max_length=255, blank=True)
    prompt_digest = models.CharField(max_length=64, blank=True)

    queue_ms = models.FloatField(null=True)
    first_token_ms = models.FloatField(null=True)
    total_ms = models.FloatField(null=True)
    prompt_tokens = models.IntegerField(null=True)
    completion_tokens = models.IntegerField(null=True)
    are_tokens_estimated = models.BooleanField("tokens estimated", default=False)
    model_calls = models.SmallIntegerField(default=0)

    error_code = models.CharField(max_length=50, blank=True)
    error_detail = models.CharField(max_length=500, blank=True)
    backend_status = models.SmallIntegerField(null=True)

    web_process = models.CharField(max_length=32)
    worker_process = models.CharField(max_length=32, blank=True)

    class Meta:
        verbose_name = "inference record"
        indexes = (
            models.Index(fields=["opened_at"], name="record_opened"),
            models.Index(fields=["feature", "opened_at"], name="record_feature_opened"),
            models.Index(
                fields=["opened_at"],
                name="record_still_open",
                condition=models.Q(state__in=["queued", "running"]),
            ),
            models.Index(
                fields=["correlation_id"],
                name="record_correlation",
                condition=~models.Q(correlation_id=""),
            ),
        )
        permissions = (("read_content", "Can read the prompts and answers of records"),)

    def __str__(self) -> str:
        return str(self.pk)


class ContentKind(models.IntegerChoices):
    """Which half of the pair a content row holds."""

    REQUEST = 1, "Request"
    ANSWER = 2, "Answer"


class InferenceContent(models.Model):
    """One half of the request/answer pair, as JSON text.

    Shape of a request: `{"inputs": {...}, "prompt": Prompt.as_dict()}`, without a prompt where no
    model was asked, and where the window was too small
    `"cut": {input: {"kept": characters, "of": characters}}`; of an answer:
    `{"text": "...", "finish_reason": "..."}`, and where the model called tools `"tool_calls":
    [ToolCall.as_dict(), ...]`. Where texts were embedded, the prompt is `Texts.as_dict()` and the
    answer's text `Embedding.as_text()`. Text, not jsonb: PostgreSQL's jsonb refuses NUL.
    """

    pk = models.CompositePrimaryKey("record_id", "kind")
    record_id = models.UUIDField()
    kind = models.SmallIntegerField(choices=ContentKind.choices)
    body = models.TextField()

    class Meta:
        verbose_name = "inference content"

    def __str__(self) -> str:
        return f"{self.record_id} {ContentKind(self.kind).label.lower()}"


class ProcessKind(models.TextChoices):
    """What a process does."""

    WEB = "web", "Web"
    WORKER = "worker", "Worker"


class Process(models.Model):
    """A running web or worker process; `seen_at` is its lease, renewed while it lives."""

    id = models.CharField(primary_key=True, max_length=32, editable=False)
    kind = models.CharField(max_length=10, choices=ProcessKind.choices)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "processes"

    def __str__(self) -> str:
        return f"{self.kind} {self.host}:{self.pid}"
