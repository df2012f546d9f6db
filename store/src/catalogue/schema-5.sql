-- What is kept of the versions of a name by itself; 0 is no such rule.
CREATE TABLE policies (
    namespace      TEXT NOT NULL,
    name           TEXT NOT NULL,
    last           INTEGER NOT NULL,
    hourly         INTEGER NOT NULL,
    daily          INTEGER NOT NULL,
    weekly         INTEGER NOT NULL,
    monthly        INTEGER NOT NULL,
    yearly         INTEGER NOT NULL,
    within_seconds INTEGER NOT NULL,
    -- Until then nothing is removed by it, in seconds since 1970.
    rests_until    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;
