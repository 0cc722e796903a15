#!/bin/sh
# Make the story's empty database, stopped cleanly. Runs inside a chroot of a layer over the base.
# usage: database.sh PASSWORD_MASTODON PASSWORD_REPL PASSWORD_CUTOVER < the schema
set -eu
data=/var/lib/postgresql/15/main
as_postgres() { runuser -u postgres -- env PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin "$@"; }

install -d -o postgres -g postgres /var/lib/postgresql /run/postgresql
cd /
pg_createcluster --locale C.UTF-8 15 main -- --no-sync >/dev/null
as_postgres pg_ctl start -s -w -D $data -l /var/lib/postgresql/start.log \
  -o "-c config_file=/etc/postgresql/15/main/postgresql.conf -c listen_addresses= -c ssl=off -c fsync=off"
as_postgres psql -Xq -v mastodon="$1" -v repl="$2" -v cutover="$3" >/dev/null
as_postgres pg_ctl stop -s -w -m fast -D $data
