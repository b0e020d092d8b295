-- Control was taken from all viewers of a desktop; without a row, it was not.
CREATE TABLE takeovers (
    uid           TEXT PRIMARY KEY NOT NULL REFERENCES desktops (uid) ON DELETE CASCADE,
    -- The name of the client that keeps control; NULL is none.
    except_client TEXT
) STRICT;

INSERT INTO takeovers (uid) SELECT uid FROM roles WHERE role = 'view';

DROP TABLE roles;
