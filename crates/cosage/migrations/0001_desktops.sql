-- What the store says about itself. 'owner' is its name, made by the first opening.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT;

-- One row for each desktop that was ever asked for and not forgotten.
CREATE TABLE desktops (
    uid         TEXT PRIMARY KEY NOT NULL,
    app         TEXT NOT NULL,
    -- A JSON object of texts.
    environment TEXT NOT NULL CHECK (json_valid(environment)),
    -- RFC 3339, in UTC.
    created_at  TEXT NOT NULL
) STRICT;
