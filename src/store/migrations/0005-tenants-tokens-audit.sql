-- What a tenant may have at most; NULL: no bound of its own.
ALTER TABLE tenants ADD COLUMN functions_max INTEGER;
ALTER TABLE tenants ADD COLUMN sandboxes_max INTEGER;
ALTER TABLE tenants ADD COLUMN memory_mib_max INTEGER;
ALTER TABLE tenants ADD COLUMN requests_per_second_max INTEGER;

-- A token itself is never stored. No tenant: it acts for all of them. Scopes are words with spaces between them.
CREATE TABLE tokens_now (
  id TEXT NOT NULL PRIMARY KEY,
  hash BLOB NOT NULL UNIQUE,
  name TEXT NOT NULL,
  scopes TEXT NOT NULL,
  tenant TEXT REFERENCES tenants (name) ON DELETE CASCADE,
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER,
  last_used_at_ms INTEGER
) STRICT;

INSERT INTO tokens_now (id, hash, name, scopes, tenant, created_at_ms, last_used_at_ms)
  SELECT lower(hex(randomblob(6))), hash, name, scope, tenant, created_at_ms, last_used_at_ms FROM tokens;
DROP TABLE tokens;
ALTER TABLE tokens_now RENAME TO tokens;
CREATE UNIQUE INDEX tokens_by_name ON tokens (ifnull(tenant, ''), name);
CREATE INDEX tokens_by_tenant ON tokens (tenant);

-- What was changed, and by whom. Outlives the tenants and tokens that it names.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms INTEGER NOT NULL,
  token TEXT NOT NULL,
  token_name TEXT NOT NULL,
  address TEXT NOT NULL,
  tenant TEXT,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  before TEXT,
  after TEXT
) STRICT;

CREATE INDEX audit_by_tenant ON audit (tenant, id);
