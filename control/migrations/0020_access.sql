-- Who may come in, and who may change what. Of passwords, keys, links and sessions only digests are kept.

CREATE TABLE accounts (
    name          TEXT    NOT NULL PRIMARY KEY,
    role          TEXT    NOT NULL,
    -- Absent until its holder has chosen a password by a one-time link.
    password_hash TEXT,
    disabled_at   INTEGER,
    created_at    INTEGER NOT NULL
);

-- Failed logins in a row, also under names that no account has, so that the delay does not tell which do.
CREATE TABLE login_failures (
    name         TEXT    NOT NULL PRIMARY KEY,
    failures     INTEGER NOT NULL,
    locked_until INTEGER,
    at           INTEGER NOT NULL
);

CREATE TABLE one_time_links (
    digest     BLOB    NOT NULL PRIMARY KEY,
    -- Absent for the link that makes the first administrator.
    account    TEXT REFERENCES accounts (name),
    expires_at INTEGER NOT NULL
);

CREATE TABLE sessions (
    digest     BLOB    NOT NULL PRIMARY KEY,
    -- The local account, or absent for somebody whom the identity provider vouched for with a role.
    account    TEXT REFERENCES accounts (name),
    actor      TEXT    NOT NULL,
    role       TEXT,
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL
);

CREATE INDEX sessions_by_account ON sessions (account);
CREATE INDEX sessions_by_age ON sessions (created_at);

CREATE TABLE api_keys (
    selector     TEXT    NOT NULL PRIMARY KEY,
    -- Rotated keys share the slot of the first one.
    slot         TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    scopes       TEXT    NOT NULL,
    environment  TEXT,
    digest       BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL,
    expires_at   INTEGER,
    revoked_at   INTEGER,
    last_used_at INTEGER
);

CREATE INDEX api_keys_by_slot ON api_keys (slot);

-- Objects that stand here belong to somebody; all others belong to nobody, and every developer may change them.
CREATE TABLE owners (
    kind  TEXT NOT NULL,
    key   TEXT NOT NULL,
    owner TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;

CREATE TABLE grants (
    kind    TEXT NOT NULL,
    key     TEXT NOT NULL,
    grantee TEXT NOT NULL,
    PRIMARY KEY (kind, key, grantee)
) WITHOUT ROWID;

-- Grows with every change of who may come in, whichever process makes it; all processes look at it.
CREATE TABLE access_version (
    version INTEGER NOT NULL
);

INSERT INTO access_version (version) VALUES (1);

CREATE TRIGGER access_changed_by_new_account AFTER INSERT ON accounts
BEGIN
    UPDATE access_version SET version = version + 1;
END;

CREATE TRIGGER access_changed_by_account AFTER UPDATE OF role, disabled_at ON accounts
BEGIN
    UPDATE access_version SET version = version + 1;
END;

CREATE TRIGGER access_changed_by_new_key AFTER INSERT ON api_keys
BEGIN
    UPDATE access_version SET version = version + 1;
END;

CREATE TRIGGER access_changed_by_key AFTER UPDATE OF expires_at, revoked_at ON api_keys
BEGIN
    UPDATE access_version SET version = version + 1;
END;
