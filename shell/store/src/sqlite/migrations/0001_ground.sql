-- Names follow Headscale's where they mean the same. Times are microseconds since the Unix epoch.

CREATE TABLE meta (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO meta (id, revision) VALUES (1, 0);

CREATE TABLE sequences (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    id                  INTEGER PRIMARY KEY,
    name                TEXT NOT NULL,
    display_name        TEXT NOT NULL,
    email               TEXT NOT NULL,
    provider            TEXT NOT NULL,
    provider_identifier TEXT NOT NULL,
    profile_pic_url     TEXT NOT NULL,
    role                TEXT NOT NULL DEFAULT 'member',
    created_at          INTEGER NOT NULL
) STRICT;

CREATE TABLE pre_auth_keys (
    id         INTEGER PRIMARY KEY,
    prefix     TEXT NOT NULL,
    hash       BLOB NOT NULL,
    user_id    INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    tags       TEXT NOT NULL,
    reusable   INTEGER NOT NULL,
    ephemeral  INTEGER NOT NULL,
    used       INTEGER NOT NULL,
    expiration INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX pre_auth_keys_user ON pre_auth_keys (user_id);

CREATE TABLE api_keys (
    id         INTEGER PRIMARY KEY,
    prefix     TEXT NOT NULL,
    hash       BLOB NOT NULL,
    expiration INTEGER,
    last_seen  INTEGER,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE nodes (
    id              INTEGER PRIMARY KEY,
    machine_key     TEXT NOT NULL,
    node_key        TEXT NOT NULL,
    disco_key       TEXT NOT NULL,
    endpoints       TEXT NOT NULL,
    net_info        TEXT,
    host_info       TEXT NOT NULL,
    cap_ver         INTEGER NOT NULL,
    ipv4            TEXT,
    ipv6            TEXT,
    hostname        TEXT NOT NULL,
    given_name      TEXT NOT NULL,
    name_pinned     INTEGER NOT NULL,
    user_id         INTEGER REFERENCES users (id) DEFERRABLE INITIALLY DEFERRED,
    tags            TEXT NOT NULL,
    register_method TEXT NOT NULL,
    -- May outlive the key: a user's keys go with the user, the tagged nodes that came with them stay.
    auth_key_id     INTEGER,
    ephemeral       INTEGER NOT NULL,
    expiry          INTEGER,
    expired         INTEGER NOT NULL,
    approved_routes TEXT NOT NULL,
    online          INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    -- The map stream of an online node; when a lingering one left, and until when it counts as online.
    stream          INTEGER,
    left_at         INTEGER,
    linger_until    INTEGER,
    created_at      INTEGER NOT NULL,
    CHECK ((user_id IS NULL) = (tags <> '[]'))
) STRICT;
CREATE INDEX nodes_user ON nodes (user_id);

CREATE TABLE tombstones (
    node_key    TEXT PRIMARY KEY,
    node_id     INTEGER NOT NULL,
    machine_key TEXT NOT NULL,
    deleted_at  INTEGER NOT NULL
) STRICT;

-- The newest holds; the others are its history.
CREATE TABLE policies (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    data       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- The audit trail. Comings, goings and addresses are marked volatile and kept for less long.
CREATE TABLE change_log (
    revision INTEGER PRIMARY KEY,
    time     INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    volatile INTEGER NOT NULL,
    changes  TEXT NOT NULL
) STRICT;
CREATE INDEX change_log_volatile ON change_log (volatile);
