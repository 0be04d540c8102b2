-- A checksum over what a row says (`sqlite/checksum.rs`). Empty in rows of earlier releases, and where a person has edited a
-- row by hand: such a row is taken as it is.
ALTER TABLE users ADD COLUMN checksum INTEGER;
ALTER TABLE pre_auth_keys ADD COLUMN checksum INTEGER;
ALTER TABLE api_keys ADD COLUMN checksum INTEGER;
ALTER TABLE nodes ADD COLUMN checksum INTEGER;
ALTER TABLE tombstones ADD COLUMN checksum INTEGER;
ALTER TABLE policies ADD COLUMN checksum INTEGER;
ALTER TABLE sequences ADD COLUMN checksum INTEGER;
