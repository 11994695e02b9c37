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

    `policy_ms` and `render_ms` passed before `opened_at`; `queue_ms`, `first_token_ms` and
    `total_ms` count from it; `connect_ms` is the time one connect took, 0 for a kept connection.
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
    ladder_digest = models.CharField(max_length=64, blank=True, default="", db_default="")
    config_version = models.BigIntegerField()

    model_id = models.BigIntegerField(null=True)
    model_name = models.CharField("model", max_length=255, blank=True)
    revision_id = models.BigIntegerField(null=True)
    prompt_version = models.CharField(max_length=255, blank=True)
    prompt_digest = models.CharField(max_length=64, blank=True)

    policy_ms = models.FloatField(null=True)
    render_ms = models.FloatField(null=True)
    queue_ms = models.FloatField(null=True)
    connect_ms = models.FloatField(null=True)
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
        # What a page of the list may begin at; docs/adr/0018 has what each costs to write.
        indexes = (
            models.Index(fields=["opened_at"], name="record_opened"),
            models.Index(fields=["feature", "opened_at"], name="record_feature_opened"),
            models.Index(
                fields=["opened_at"],
                name="record_still_open",
                condition=models.Q(state__in=["queued", "running"]),
            ),
            # With what the filters ask of it: these records stand far apart in the table.
            models.Index(
                fields=["opened_at", "id", "state", "error_code"],
                name="record_trouble",
                condition=~models.Q(error_code=""),
            ),
            *(
                models.Index(
                    fields=[column, "opened_at"], name=name, condition=~models.Q(**{column: ""})
                )
                for column, name in (
                    ("correlation_id", "record_correlation"),
                    ("user_id", "record_user"),
                    ("global_user_id", "record_global_user"),
                    ("api_key_name", "record_api_key"),
                    ("group_path", "record_group"),
                )
            ),
        )
        permissions = (
            ("read_content", "Can read the prompts and answers of records"),
            ("export_records", "Can export records"),
        )

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


class PolicyLadder(models.Model):
    """The rungs that led to decisions of policy, kept once however many records name them.

    `steps` is JSON: a list of `features.policy.Step`. A record names its ladder by the digest.
    """

    digest = models.CharField(primary_key=True, max_length=64, editable=False)
    steps = models.TextField()

    def __str__(self) -> str:
        return self.digest


class ReadingKind(models.TextChoices):
    """What somebody did with content, or took out of the log."""

    CONTENT = "content", "Opened a record"
    SEARCH = "search", "Searched content"
    EXPORT = "export", "Exported records"


class ContentReading(models.Model):
    """Who read what, when and why: committed before anything is shown.

    `record_id` is set where one record was opened. `criteria` is the filter of a search or an
    export as JSON, `count` how many records it showed or took, None while an export runs.
    """

    at = models.DateTimeField()
    reader_id = models.BigIntegerField(null=True)
    reader = models.CharField(max_length=255)
    kind = models.CharField("what", max_length=10, choices=ReadingKind.choices)
    reason = models.CharField(max_length=255)
    record_id = models.UUIDField("record", null=True)
    criteria = models.TextField("filter", blank=True)
    has_content = models.BooleanField("with content", default=True)
    count = models.BigIntegerField("records", null=True)

    class Meta:
        verbose_name = "reading"
        indexes = (
            models.Index(fields=["at"], name="reading_at"),
            models.Index(fields=["reader_id", "at"], name="reading_reader"),
            models.Index(
                fields=["record_id", "at"],
                name="reading_record",
                condition=models.Q(record_id__isnull=False),
            ),
        )
        permissions = (("view_all_readings", "Can see what everybody read"),)

    def __str__(self) -> str:
        return f"{self.reader} {self.kind} {self.at:%Y-%m-%d %H:%M}"


class Chore(models.Model):
    """Work that one process does for all: who does it, until when, and how far it came.

    Every record opened before `reached` is done with.
    """

    name = models.CharField(primary_key=True, max_length=20, editable=False)
    holder = models.CharField(max_length=32, blank=True)
    held_until = models.DateTimeField(null=True)
    reached = models.DateTimeField(null=True)
    is_behind = models.BooleanField(default=False)
    looked_at = models.DateTimeField(null=True)
    trouble = models.CharField(max_length=255, blank=True)

    class Meta:
        verbose_name = "background task"

    def __str__(self) -> str:
        return self.name


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
