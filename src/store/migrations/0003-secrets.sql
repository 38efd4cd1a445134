-- Secrets of tenants, sealed (AES-256-GCM); the keys lie in files outside the database. `revision` is another one for each value.
CREATE TABLE secrets (
  tenant TEXT NOT NULL REFERENCES tenants (name) ON DELETE CASCADE,
  name TEXT NOT NULL,
  key_id TEXT NOT NULL,
  nonce BLOB NOT NULL,
  box BLOB NOT NULL,
  revision TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  updated_at_ms INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
) STRICT;

-- The key that new values are sealed with: one row at most.
CREATE TABLE secret_key (
  id TEXT NOT NULL PRIMARY KEY,
  created_at_ms INTEGER NOT NULL
) STRICT;

-- JSON: environment variable → name of the secret.
ALTER TABLE versions ADD COLUMN secrets TEXT NOT NULL DEFAULT '{}';
