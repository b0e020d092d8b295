-- When a run last began or ended, or the desktop last had a viewer. All times have nine digits behind the point, so that
-- their texts sort as they do.
ALTER TABLE desktops ADD COLUMN used_at TEXT NOT NULL DEFAULT '';
-- Whose it is; NULL is the operator's own.
ALTER TABLE desktops ADD COLUMN owner TEXT;
-- What people call it; NULL is the app's title.
ALTER TABLE desktops ADD COLUMN title TEXT;
-- The volume that is its home; NULL until a run made one.
ALTER TABLE desktops ADD COLUMN home_volume TEXT;
-- The instance of its newest run.
ALTER TABLE desktops ADD COLUMN last_run TEXT;
-- When and why its last start failed, and the last lines it wrote.
ALTER TABLE desktops ADD COLUMN failed_at TEXT;
ALTER TABLE desktops ADD COLUMN failure TEXT;
ALTER TABLE desktops ADD COLUMN failure_logs TEXT;
-- When its deletion for want of use was announced.
ALTER TABLE desktops ADD COLUMN announced_at TEXT;

UPDATE desktops SET
    created_at = CASE instr(created_at, '.')
        WHEN 0 THEN substr(created_at, 1, 19) || '.000000000Z'
        ELSE substr(rtrim(created_at, 'Z') || '000000000', 1, 29) || 'Z' END,
    -- Not known; from now on.
    used_at = strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000000Z';

CREATE INDEX desktops_created ON desktops (created_at DESC, uid);
CREATE INDEX desktops_used ON desktops (used_at DESC, uid);
CREATE INDEX desktops_app_created ON desktops (app, created_at DESC, uid);
CREATE INDEX desktops_app_used ON desktops (app, used_at DESC, uid);
CREATE INDEX desktops_app_uid ON desktops (app, uid);
CREATE INDEX desktops_failed ON desktops (created_at DESC, uid) WHERE failed_at IS NOT NULL;

-- Each life of a desktop. A row is there before its instance, and ends after it.
CREATE TABLE runs (
    instance  TEXT PRIMARY KEY NOT NULL,
    -- NULL belongs to no desktop.
    uid       TEXT REFERENCES desktops (uid) ON DELETE CASCADE,
    -- The process that drives it.
    replica   TEXT NOT NULL,
    -- Counts the runs of a desktop from 1.
    epoch     INTEGER NOT NULL,
    -- The stream key.
    key       INTEGER NOT NULL,
    cause     TEXT NOT NULL,
    begun_at  TEXT NOT NULL,
    ready_at  TEXT,
    ended_at  TEXT,
    ended_why TEXT,
    phase     TEXT NOT NULL GENERATED ALWAYS AS (
        CASE WHEN ended_at IS NOT NULL THEN 'ended' WHEN ready_at IS NOT NULL THEN 'ready' ELSE 'starting' END
    ) VIRTUAL,
    CHECK ((ended_at IS NULL) = (ended_why IS NULL))
) STRICT;

CREATE UNIQUE INDEX runs_live ON runs (uid) WHERE ended_at IS NULL;
CREATE INDEX runs_uid ON runs (uid, epoch);

-- Instances that have to be removed are those whose run has ended.
INSERT INTO runs (instance, replica, epoch, key, cause, begun_at, ended_at, ended_why)
    SELECT instance, '', 0, 0, 'upgrade', now, now, 'stopped'
    FROM orphans, (SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000000Z' AS now);
DROP TABLE orphans;

-- Instances that run now have no row yet: they are taken over once.
INSERT INTO meta (name, value) SELECT 'upgrading', 'runs' WHERE EXISTS (SELECT 1 FROM desktops);

-- Tokens are replaced by their SHA-256 right after this, which SQL cannot compute.
DROP INDEX shares_uid;
ALTER TABLE shares RENAME TO shares_in_clear;
CREATE TABLE shares (
    id         TEXT PRIMARY KEY NOT NULL,
    uid        TEXT NOT NULL REFERENCES desktops (uid) ON DELETE CASCADE,
    -- SHA-256 of what stands in the address.
    token_hash BLOB UNIQUE NOT NULL,
    role       TEXT NOT NULL,
    clipboard  TEXT NOT NULL,
    created_at TEXT NOT NULL,
    -- NULL is never.
    expires_at TEXT
) STRICT;

CREATE INDEX shares_uid ON shares (uid, created_at);
CREATE INDEX shares_expiry ON shares (expires_at) WHERE expires_at IS NOT NULL;

-- What happened. Nothing in it changes.
CREATE TABLE journal (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at     TEXT NOT NULL,
    kind   TEXT NOT NULL,
    uid    TEXT NOT NULL,
    detail TEXT
) STRICT;

CREATE INDEX journal_uid ON journal (uid, number);
