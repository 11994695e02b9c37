"""InferenceRecord: one row per call, committed before a model is asked, closed in the end.

The life of a record; only `gateway.audit.store` changes one, and only along these arrows:

    queued ──claim──▶ running ──close──▶ answered | failed | cancelled | interrupted
       └──────────────close────────────▶ failed | cancelled | interrupted
    refused                              written closed: policy said no, nothing was sent

Content stands in a table of its own, so that lists never touch it and can be given to people who
may not read it.

Every opening and closing is also an entry in the chain (`gateway.audit.chain`): lanes of links, and
signed checkpoints over them. What is chained is never changed or deleted: the database refuses it
(`gateway.audit.chain.guards`).
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

    # Which links of the chain hold its entries, and the salts of what they commit to.
    opened_link = models.BigIntegerField(null=True, editable=False)
    closed_link = models.BigIntegerField(null=True, editable=False)
    opening_salt = models.CharField(max_length=32, null=True, editable=False)
    outcome_salt = models.CharField(max_length=32, null=True, editable=False)

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

    Shape of a request: `{"inputs": {...}, "prompt": Prompt.as_dict()}`, and where the window was
    too small `"cut": {input: {"kept": characters, "of": characters}}`; of an answer:
    `{"text": "...", "finish_reason": "..."}`. Text, not jsonb: PostgreSQL's jsonb refuses NUL.
    """

    pk = models.CompositePrimaryKey("record_id", "kind")
    record_id = models.UUIDField()
    kind = models.SmallIntegerField(choices=ContentKind.choices)
    body = models.TextField()
    # Goes with the content: without it nobody can test a guess against the chain.
    salt = models.CharField(max_length=32, null=True, editable=False)

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


class Lane(models.Model):
    """What one writer wrote, in order. The statement begins the chain; see `formats.Statement`."""

    id = models.BigIntegerField(primary_key=True)
    statement = models.TextField()
    signature = models.CharField(max_length=128)
    signed_by = models.CharField(max_length=64)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"lane {self.pk}"


class Link(models.Model):
    """What one commit appended to a lane; the id is the lane's, times 2^32, plus its number.

    `at` is in microseconds since 1970; `lost` and `entries` are packed as `formats` says.
    """

    id = models.BigIntegerField(primary_key=True)
    at = models.BigIntegerField()
    lost = models.BinaryField()
    entries = models.BinaryField()
    hash = models.BinaryField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"link {self.pk >> 32}/{self.pk & 0xFFFFFFFF}"


class LaneHead(models.Model):
    """How far a living lane is covered by checkpoints, -1 for not at all.

    A note, not evidence: it may be changed.
    """

    lane = models.BigIntegerField(primary_key=True)
    number = models.BigIntegerField()
    seen_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"lane {self.lane} up to {self.number}"


class Checkpoint(models.Model):
    """A signed statement of what the lanes held at a moment: `formats.checkpoint_statement`."""

    number = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField(db_index=True)
    statement = models.TextField()
    signature = models.CharField(max_length=128)
    signed_by = models.CharField(max_length=64)

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"checkpoint {self.number}"


class Anchor(models.Model):
    """How far the checkpoints were delivered to a place outside. A note, not evidence."""

    address = models.CharField(primary_key=True, max_length=255)
    number = models.BigIntegerField()
    delivered_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.address} up to {self.number}"


class EventKind(models.TextChoices):
    """What may lawfully be missing, and why."""

    ERASED = "erased", "Content of one record erased"
    EXPIRED = "expired", "Content past its retention erased"
    PURGED = "purged", "Records past their retention deleted"


class Event(models.Model):
    """Something that was done to the log itself, by whom; chained like a record. An `EventKind`.

    `detail` is a JSON object: for a rule `{"below": record id, "kept": [record ids]}`, and for
    everything `"reason"`.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    kind = models.CharField(max_length=20)
    at = models.DateTimeField()
    by = models.CharField(max_length=255)
    record_id = models.UUIDField(null=True, db_index=True)
    detail = models.TextField()
    salt = models.CharField(max_length=32, editable=False)
    link = models.BigIntegerField(editable=False)

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.kind} by {self.by}"
