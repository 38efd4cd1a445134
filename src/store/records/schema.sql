-- One segment: invocation records and log lines of a stretch of time. Times are epoch milliseconds.

CREATE TABLE sources (
  id INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL,
  function TEXT NOT NULL,
  UNIQUE (tenant, function)
) STRICT;

-- Ids are UUIDv7, so that their order is that of time. One tree instead of a table and its index: writing is what costs here.
CREATE TABLE invocations (
  source INTEGER NOT NULL,
  id BLOB NOT NULL,
  version INTEGER NOT NULL,
  sandbox INTEGER,
  method TEXT NOT NULL,
  path TEXT NOT NULL,
  status INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  start TEXT,
  started_at_ms REAL NOT NULL,
  acquire_ms REAL NOT NULL,
  forward_ms REAL NOT NULL,
  total_ms REAL NOT NULL,
  request_bytes INTEGER NOT NULL,
  response_bytes INTEGER NOT NULL,
  detail TEXT,
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;

-- Sums, so that counting the last hour reads sixty rows and not a million.
CREATE TABLE minutes (
  source INTEGER NOT NULL,
  minute INTEGER NOT NULL,
  invocations INTEGER NOT NULL,
  errors INTEGER NOT NULL,
  PRIMARY KEY (source, minute)
) STRICT, WITHOUT ROWID;

-- Ids rise over all sources in the order of arrival, which within a sandbox is that of its sequence.
CREATE TABLE lines (
  source INTEGER NOT NULL,
  id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  sandbox INTEGER NOT NULL,
  invocation BLOB,
  sequence INTEGER NOT NULL,
  at_ms REAL NOT NULL,
  level TEXT NOT NULL,
  text TEXT NOT NULL,
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX lines_by_invocation ON lines (invocation) WHERE invocation IS NOT NULL;
