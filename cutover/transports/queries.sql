-- The named queries of `Query`: they only read, over the held connection, as the engine's own role (pg_monitor).
-- Each answers rows of JSON-ready values: a position is text, an age is in seconds.

-- name: primary
-- The cluster as a primary: how far it has written, and who follows it how far.
SELECT pg_is_in_recovery() AS in_recovery,
       system_identifier::text AS system_identifier,
       CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_lsn()::text END AS lsn,
       CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'name', application_name, 'state', state, 'sent', sent_lsn::text, 'replayed', replay_lsn::text,
            'reply_age', extract(epoch FROM clock_timestamp() - reply_time)::float8) ORDER BY application_name), '[]')
        FROM pg_stat_replication) AS standbys
FROM pg_control_system();

-- name: standby
-- The cluster as a standby. received is rounded after a restart: only replayed proves anything.
SELECT pg_is_in_recovery() AS in_recovery,
       system_identifier::text AS system_identifier,
       pg_last_wal_receive_lsn()::text AS received,
       pg_last_wal_replay_lsn()::text AS replayed,
       greatest(checkpoint.timeline_id, coalesce(recovery.min_recovery_end_timeline, 0),
                coalesce((SELECT received_tli FROM pg_stat_wal_receiver), 0)) AS timeline,
       CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END AS pause,
       current_setting('recovery_min_apply_delay') AS delay,
       (SELECT status FROM pg_stat_wal_receiver) AS receiver
FROM pg_control_system(), pg_control_checkpoint() AS checkpoint, pg_control_recovery() AS recovery;

-- name: settings
-- What a standby must not have less of than its primary: replay would stop without a word.
SELECT name, setting::bigint AS setting FROM pg_settings
WHERE name IN ('max_connections', 'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions',
               'max_locks_per_transaction')
ORDER BY name;

-- name: sessions
-- Who is connected, this session aside: for finding what still writes.
SELECT coalesce(usename::text, '') AS role, coalesce(application_name, '') AS application,
       coalesce(host(client_addr), '') AS address, count(*) AS sessions
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
