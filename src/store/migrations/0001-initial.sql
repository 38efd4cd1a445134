-- What is deployed and who may act on it. Times are epoch milliseconds.

CREATE TABLE tenants (
  name TEXT NOT NULL PRIMARY KEY,
  created_at_ms INTEGER NOT NULL
) STRICT;

INSERT INTO tenants (name, created_at_ms) VALUES ('default', unixepoch() * 1000);

-- A token itself is never stored. No tenant: it acts for all of them.
CREATE TABLE tokens (
  hash BLOB NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  scope TEXT NOT NULL,
  tenant TEXT REFERENCES tenants (name) ON DELETE CASCADE,
  created_at_ms INTEGER NOT NULL,
  last_used_at_ms INTEGER
) STRICT;

CREATE TABLE functions (
  tenant TEXT NOT NULL REFERENCES tenants (name),
  name TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  deployed_at_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
) STRICT;

-- Outlives its function, so that a number never names two different versions: sandboxes go by (tenant, function, version).
CREATE TABLE version_numbers (
  tenant TEXT NOT NULL,
  function TEXT NOT NULL,
  last_version INTEGER NOT NULL,
  changed_at_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, function)
) STRICT;

CREATE TABLE versions (
  tenant TEXT NOT NULL,
  function TEXT NOT NULL,
  version INTEGER NOT NULL,
  code_digest TEXT NOT NULL,
  runtime TEXT NOT NULL,
  handler TEXT NOT NULL,
  memory_mib INTEGER NOT NULL,
  timeout_ms INTEGER NOT NULL,
  concurrency INTEGER NOT NULL,
  env TEXT NOT NULL,
  contract TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, function, version),
  FOREIGN KEY (tenant, function) REFERENCES functions (tenant, name) ON DELETE CASCADE
) STRICT;

CREATE INDEX versions_by_code ON versions (code_digest);

CREATE TABLE aliases (
  tenant TEXT NOT NULL,
  function TEXT NOT NULL,
  alias TEXT NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (tenant, function, alias),
  FOREIGN KEY (tenant, function, version) REFERENCES versions (tenant, function, version) ON DELETE CASCADE
) STRICT;
