\set ON_ERROR_STOP on
CREATE ROLE mastodon LOGIN PASSWORD :'mastodon';
-- The last four are what pg_rewind needs of a role that is no superuser.
CREATE ROLE repl LOGIN REPLICATION PASSWORD :'repl';
GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text),
    pg_read_binary_file(text, bigint, bigint, boolean) TO repl;
-- The engine reads, and writes canaries; all else it does as postgres, on the host.
CREATE ROLE cutover LOGIN PASSWORD :'cutover' IN ROLE pg_monitor;
CREATE DATABASE mastodon OWNER mastodon;
\connect mastodon
CREATE TABLE posts (
    id text PRIMARY KEY, edge text, host text, at timestamptz NOT NULL DEFAULT now(), times integer NOT NULL DEFAULT 1
);
CREATE TABLE jobs_done (id text NOT NULL, jid text, host text, at timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON jobs_done (id);
CREATE TABLE ticks (source text NOT NULL, host text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE canary (id text PRIMARY KEY, host text, at timestamptz NOT NULL DEFAULT now());
ALTER TABLE posts OWNER TO mastodon;
ALTER TABLE jobs_done OWNER TO mastodon;
ALTER TABLE ticks OWNER TO mastodon;
ALTER TABLE canary OWNER TO mastodon;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO cutover;
GRANT INSERT, DELETE ON canary TO cutover;
SELECT pg_create_physical_replication_slot('nixie', true);
