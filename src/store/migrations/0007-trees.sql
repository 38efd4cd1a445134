-- The tree of code and installed dependencies that a version's sandboxes get, where it is not the code alone.

ALTER TABLE versions ADD COLUMN tree_digest TEXT;

CREATE INDEX versions_by_tree ON versions (tree_digest);
