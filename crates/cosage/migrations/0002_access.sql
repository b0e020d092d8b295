-- Further addresses of a desktop, each with rights of its own.
CREATE TABLE shares (
    id         TEXT PRIMARY KEY NOT NULL,
    uid        TEXT NOT NULL REFERENCES desktops (uid) ON DELETE CASCADE,
    -- What stands in the address: whoever knows it has the rights.
    token      TEXT UNIQUE NOT NULL,
    role       TEXT NOT NULL,
    clipboard  TEXT NOT NULL,
    -- RFC 3339, in UTC.
    created_at TEXT NOT NULL,
    -- RFC 3339, in UTC; NULL is never.
    expires_at TEXT
) STRICT;

CREATE INDEX shares_uid ON shares (uid);

-- What those may do who come by a desktop's own address; without a row, everything.
CREATE TABLE roles (
    uid  TEXT PRIMARY KEY NOT NULL REFERENCES desktops (uid) ON DELETE CASCADE,
    role TEXT NOT NULL
) STRICT;
