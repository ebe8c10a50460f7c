-- What flags and experiments refer to and are sorted by; soft deletion; what lists are filtered by; timed work.
-- Times are microseconds since 1970-01-01T00:00:00Z.

ALTER TABLE experiments ADD COLUMN deleted_at INTEGER;
ALTER TABLE metrics ADD COLUMN deleted_at INTEGER;
ALTER TABLE flags ADD COLUMN deleted_at INTEGER;

CREATE TABLE segments (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);

CREATE TABLE layers (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);

CREATE TABLE holdouts (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);

CREATE TABLE environments (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);

CREATE TABLE dimensions (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);

CREATE TABLE projects (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);

CREATE TABLE tags (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);

CREATE TABLE rollout_schedules (
    key        TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    discovered INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
);

-- What a list of definitions is filtered by: status, type, owner, project, tag, and the words of key, name and tags.
CREATE TABLE labels (
    kind  TEXT NOT NULL,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    key   TEXT NOT NULL,
    PRIMARY KEY (kind, label, value, key)
) WITHOUT ROWID;

CREATE INDEX labels_by_key ON labels (kind, key);

-- The id list of a segment: sorted 64-bit fingerprints, eight bytes each, the lowest first, in parts.
CREATE TABLE segment_ids (
    segment      TEXT    NOT NULL,
    part         INTEGER NOT NULL,
    fingerprints BLOB    NOT NULL,
    PRIMARY KEY (segment, part)
);

CREATE TABLE segment_lists (
    segment    TEXT    NOT NULL PRIMARY KEY,
    -- One more with each change of the list, so that readers know whether theirs is the newest.
    generation INTEGER NOT NULL,
    ids        INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);

-- Spans of an experiment in which weights and traffic stood still.
CREATE TABLE experiment_phases (
    experiment TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    cause      TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    document   TEXT    NOT NULL,
    PRIMARY KEY (experiment, number)
) WITHOUT ROWID;

-- What is to happen to a definition, and when. Whoever does it takes the row away or moves it on in the same
-- transaction, so that it happens once however many processes look.
CREATE TABLE timers (
    kind   TEXT    NOT NULL,
    key    TEXT    NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

CREATE INDEX timers_by_due ON timers (due_at);

-- The newest write of a kind: which version of the definitions this is.
CREATE INDEX audit_by_kind ON audit (kind, seq);

-- Settings of the whole platform, one row each.
CREATE TABLE settings (
    name       TEXT    NOT NULL PRIMARY KEY,
    document   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
);
