-- Attempts to leave a sandbox through a door, by id (UUIDv7, so that their order is that of time).

CREATE TABLE egress (
  source INTEGER NOT NULL,
  id BLOB NOT NULL,
  version INTEGER NOT NULL,
  sandbox INTEGER NOT NULL,
  invocation BLOB,
  door TEXT NOT NULL,
  target TEXT NOT NULL,
  address TEXT,
  verdict TEXT NOT NULL,
  reason TEXT,
  started_at_ms REAL NOT NULL,
  connect_ms REAL NOT NULL,
  total_ms REAL,
  sent_bytes INTEGER NOT NULL,
  received_bytes INTEGER NOT NULL,
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
