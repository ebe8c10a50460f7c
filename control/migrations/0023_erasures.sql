-- Users that were erased or are to be, each known by a salted hash of the id.
CREATE TABLE erasures (
    id           TEXT    NOT NULL PRIMARY KEY,
    requested_at INTEGER NOT NULL,
    salt         TEXT    NOT NULL,
    user_sha256  TEXT    NOT NULL,
    done_at      INTEGER,
    erased       TEXT
) WITHOUT ROWID;
