-- Definitions as JSON documents, who changed them, and what was queued because of it.
-- Times are microseconds since 1970-01-01T00:00:00Z.

CREATE TABLE experiments (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

CREATE TABLE metrics (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

CREATE TABLE flags (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

-- Retired guardrails stay: their looks and rollbacks are the record of what was decided. That is why the flag is no
-- foreign key; a flag that a guardrail watches cannot be deleted, one that a retired guardrail watched can.
CREATE TABLE guardrails (
    id         TEXT    NOT NULL PRIMARY KEY,
    flag       TEXT    NOT NULL,
    event      TEXT    NOT NULL,
    control    TEXT    NOT NULL,
    treatment  TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER
);

CREATE UNIQUE INDEX guardrails_watched ON guardrails (flag, event, control, treatment) WHERE retired_at IS NULL;

CREATE TABLE guardrail_states (
    guardrail  TEXT    NOT NULL PRIMARY KEY REFERENCES guardrails (id),
    armed      INTEGER NOT NULL,
    phase      INTEGER NOT NULL,
    last_epoch INTEGER,
    -- The evidence of the present phase, absent before its first look.
    state      TEXT
);

CREATE TABLE guardrail_looks (
    guardrail TEXT    NOT NULL REFERENCES guardrails (id),
    phase     INTEGER NOT NULL,
    epoch     INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    -- The error budget in force, which depends on how many guardrails the flag had at that time.
    alpha     REAL    NOT NULL,
    cohorts   TEXT    NOT NULL,
    evidence  TEXT    NOT NULL,
    PRIMARY KEY (guardrail, phase, epoch)
) WITHOUT ROWID;

CREATE TABLE rollbacks (
    id        TEXT    NOT NULL PRIMARY KEY,
    flag      TEXT    NOT NULL,
    guardrail TEXT REFERENCES guardrails (id),
    phase     INTEGER,
    at        INTEGER NOT NULL,
    document  TEXT    NOT NULL
);

CREATE INDEX rollbacks_by_flag ON rollbacks (flag, id);

-- A phase of a guardrail ends with its first rollback.
CREATE UNIQUE INDEX rollbacks_once ON rollbacks (guardrail, phase) WHERE guardrail IS NOT NULL;

CREATE TABLE webhook_endpoints (
    id                    TEXT    NOT NULL PRIMARY KEY,
    url                   TEXT    NOT NULL,
    secret                BLOB    NOT NULL,
    previous_secret       BLOB,
    previous_secret_until INTEGER,
    enabled               INTEGER NOT NULL,
    failing_since         INTEGER,
    created_at            INTEGER NOT NULL
);

CREATE TABLE outbox (
    id         TEXT    NOT NULL PRIMARY KEY,
    type       TEXT    NOT NULL,
    payload    TEXT    NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE TABLE deliveries (
    endpoint        TEXT    NOT NULL REFERENCES webhook_endpoints (id) ON DELETE CASCADE,
    message         TEXT    NOT NULL REFERENCES outbox (id),
    state           TEXT    NOT NULL CHECK (state IN ('pending', 'delivered', 'exhausted')),
    attempts        INTEGER NOT NULL,
    next_attempt_at INTEGER,
    last_status     INTEGER,
    last_error      TEXT,
    PRIMARY KEY (endpoint, message)
) WITHOUT ROWID;

CREATE INDEX deliveries_due ON deliveries (endpoint, next_attempt_at) WHERE state = 'pending';
CREATE INDEX deliveries_by_message ON deliveries (message);

CREATE TABLE audit (
    seq    INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    action TEXT    NOT NULL,
    kind   TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    before TEXT,
    after  TEXT,
    reason TEXT,
    origin TEXT
);

CREATE INDEX audit_by_object ON audit (kind, key, seq);

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit records are never changed');
END;

-- A creation repeated with the same key within a day is answered with what the first one made.
CREATE TABLE idempotency_keys (
    key         TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    object      TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (actor, key)
) WITHOUT ROWID;

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
