-- What the engine knew of an experiment at each look that its plan decides at: results read it from here for good.
CREATE TABLE experiment_looks (
    experiment TEXT    NOT NULL,
    number     INTEGER NOT NULL,
    taken_at   INTEGER NOT NULL,
    units      INTEGER NOT NULL,
    summary    TEXT    NOT NULL,
    PRIMARY KEY (experiment, number)
) WITHOUT ROWID;
