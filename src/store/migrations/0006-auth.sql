-- Whether callers need a token: `public` or `token`.
ALTER TABLE versions ADD COLUMN auth TEXT NOT NULL DEFAULT 'public';
