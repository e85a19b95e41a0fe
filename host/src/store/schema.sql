-- Schema 2. Result tables are made by their sinks.

-- The last number given, by what it counts. A number is never given twice, also when what it named is gone.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    last  INTEGER NOT NULL
);

CREATE TABLE topics (
    id              INTEGER PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    -- A changed number would move keys.
    partitions      INTEGER NOT NULL,
    -- JSON of where the source stands; NULL before its first page.
    cursor          TEXT,
    -- Grows with each publisher and consumer: what an earlier one still sends is refused.
    publisher_epoch INTEGER NOT NULL DEFAULT 0,
    consumer_epoch  INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE partitions (
    id              INTEGER PRIMARY KEY,
    topic           INTEGER NOT NULL REFERENCES topics,
    partition       INTEGER NOT NULL,
    -- The first offset held and the next to be given.
    first           INTEGER NOT NULL DEFAULT 0,
    next            INTEGER NOT NULL DEFAULT 0,
    -- Bytes of the chunks held.
    bytes           INTEGER NOT NULL DEFAULT 0,
    -- All below it is settled; a copy of what is in `position`.
    settled         INTEGER NOT NULL DEFAULT 0,
    -- JSON { next, reach, boundaries, figures }; NULL: nothing was ever delivered.
    position        TEXT,
    UNIQUE (topic, partition)
);

-- Records of one publish and partition, see store/log/chunk.rs for the body.
CREATE TABLE chunks (
    id              INTEGER PRIMARY KEY,
    partition       INTEGER NOT NULL REFERENCES partitions,
    base            INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    bytes           INTEGER NOT NULL,
    -- Newest timestamp of a record in it, ms.
    newest          INTEGER NOT NULL,
    body            BLOB    NOT NULL
);
CREATE UNIQUE INDEX chunks_by_offset ON chunks (partition, base);

-- What stages keep by key, as of the partition's position.
CREATE TABLE state (
    partition       INTEGER NOT NULL REFERENCES partitions,
    stage           TEXT    NOT NULL,
    "key"           BLOB    NOT NULL,
    value           BLOB    NOT NULL,
    PRIMARY KEY (partition, stage, "key")
) WITHOUT ROWID;

-- Every boundary under which a record still held was decided.
CREATE TABLE boundaries (
    partition       INTEGER NOT NULL REFERENCES partitions,
    first           INTEGER NOT NULL,
    generation      INTEGER NOT NULL,
    time            INTEGER NOT NULL,
    PRIMARY KEY (partition, first)
);

CREATE TABLE generations (
    topic           INTEGER NOT NULL REFERENCES topics,
    number          INTEGER NOT NULL,
    content         TEXT    NOT NULL,
    PRIMARY KEY (topic, number)
);

CREATE TABLE components (
    -- SHA-256, hex.
    digest          TEXT PRIMARY KEY,
    bytes           BLOB NOT NULL
);

CREATE TABLE dead_letters (
    topic           INTEGER NOT NULL REFERENCES topics,
    partition       INTEGER NOT NULL,
    "offset"        INTEGER NOT NULL,
    "key"           BLOB,
    value           BLOB,
    -- JSON [[name, value in base64 or null], …].
    headers         TEXT    NOT NULL,
    timestamp       INTEGER NOT NULL,
    reason          TEXT    NOT NULL,
    stage           TEXT,
    digest          TEXT,
    generation      INTEGER NOT NULL,
    write_time      INTEGER NOT NULL,
    host            TEXT    NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);

-- What became of a dead letter by wish, so that a verifier knows.
CREATE TABLE receipts (
    topic           INTEGER NOT NULL REFERENCES topics,
    partition       INTEGER NOT NULL,
    "offset"        INTEGER NOT NULL,
    -- JSON { how, generation }.
    resolution      TEXT    NOT NULL,
    at_ms           INTEGER NOT NULL,
    PRIMARY KEY (topic, partition, "offset")
);

CREATE TABLE runs (
    id              INTEGER PRIMARY KEY,
    run             TEXT NOT NULL
);

-- What each attempt to swap code did: JSON, see status/swap.rs.
CREATE TABLE swaps (
    id              INTEGER PRIMARY KEY,
    receipt         TEXT NOT NULL
);

-- Stages as they must not come back by themselves, oldest first: JSON of a generation's stage.
CREATE TABLE quarantine (
    id              INTEGER PRIMARY KEY,
    stage           TEXT NOT NULL
);

-- The generation that the breaker watches, none or one: JSON, see pipeline/watched.rs.
CREATE TABLE watched (
    watch           TEXT NOT NULL
);

-- Result tables: the view's name, and all columns that the stored table has (JSON), see sink/embedded/table.rs.
CREATE TABLE tables (
    name            TEXT PRIMARY KEY,
    columns         TEXT NOT NULL,
    -- Writes so far, and the row up to which keys are merged, see store/keys.rs.
    writes          INTEGER NOT NULL DEFAULT 0,
    merged          INTEGER NOT NULL DEFAULT 0
);
