-- What versions let their sandboxes reach, as JSON arrays of texts.

ALTER TABLE versions ADD COLUMN egress TEXT NOT NULL DEFAULT '[]';
ALTER TABLE versions ADD COLUMN services TEXT NOT NULL DEFAULT '[]';
