-- Instances whose run has ended although the engine could not be made to remove them: they are never adopted.
CREATE TABLE orphans (
    instance TEXT PRIMARY KEY NOT NULL
) STRICT;
