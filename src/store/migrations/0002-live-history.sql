-- Which versions were live, in the order in which they became it: a rollback goes back along it.

CREATE TABLE live_history (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  function TEXT NOT NULL,
  version INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  FOREIGN KEY (tenant, function, version) REFERENCES versions (tenant, function, version) ON DELETE CASCADE
) STRICT;

CREATE INDEX live_history_by_version ON live_history (tenant, function, version);

INSERT INTO live_history (tenant, function, version, at_ms)
  SELECT tenant, function, version, unixepoch() * 1000 FROM aliases WHERE alias = 'live';
