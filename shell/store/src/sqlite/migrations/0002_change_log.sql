-- The change log holds facts that can be replayed, one row for each change. An id is the revision of its commit, shifted
-- left by 20 bits, plus the position within the commit. What people and files caused, what clients and deadlines caused, and
-- where nodes are reached have tables of their own, so that the many never displace the few.
-- Commits after meta.log_floor can be replayed.
DROP TABLE change_log;
ALTER TABLE meta ADD COLUMN log_floor INTEGER NOT NULL DEFAULT 0;
UPDATE meta SET log_floor = revision;

CREATE TABLE log_admin (
    id      INTEGER PRIMARY KEY,
    entry   INTEGER NOT NULL,
    time    INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    node_id INTEGER,
    user_id INTEGER,
    fact    TEXT NOT NULL
) STRICT;
CREATE INDEX log_admin_subject ON log_admin (subject, kind);

CREATE TABLE log_routine (
    id      INTEGER PRIMARY KEY,
    entry   INTEGER NOT NULL,
    time    INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    node_id INTEGER,
    user_id INTEGER,
    fact    TEXT NOT NULL
) STRICT;
CREATE INDEX log_routine_subject ON log_routine (subject, kind);

CREATE TABLE log_volatile (
    id      INTEGER PRIMARY KEY,
    entry   INTEGER NOT NULL,
    time    INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    kind    TEXT NOT NULL,
    subject TEXT NOT NULL,
    node_id INTEGER,
    user_id INTEGER,
    fact    TEXT NOT NULL
) STRICT;

CREATE VIEW change_log AS
    SELECT * FROM log_admin UNION ALL SELECT * FROM log_routine UNION ALL SELECT * FROM log_volatile;
