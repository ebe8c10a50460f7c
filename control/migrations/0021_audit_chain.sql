-- Each audit record carries the hash of itself and of the one before, so that no record can be changed, taken out or put in
-- without changing all that follow. Records from before get theirs once, when the store is opened.

ALTER TABLE audit ADD COLUMN hash BLOB;

DROP TRIGGER audit_is_never_changed;

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit WHEN OLD.hash IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'audit records are never changed');
END;
