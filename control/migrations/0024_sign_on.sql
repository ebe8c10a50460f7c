-- Logins by the identity provider that were begun and not finished. Of the secret that the browser keeps there is a digest.
CREATE TABLE begun_sign_ons (
    digest     BLOB    NOT NULL PRIMARY KEY,
    -- The path that the login ends at.
    return_to  TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
);

CREATE INDEX begun_sign_ons_by_age ON begun_sign_ons (expires_at);
