#!/usr/bin/env bash
# How far a PostgreSQL standby is behind its primary.
set -uo pipefail
export LC_ALL=C

usage() {
    cat <<'END'
usage: replication_lag.sh [-w SECONDS] [-c SECONDS] [-d CONNECTION]

Asks a standby by psql how old the last transaction is that it has replayed.
A standby that has replayed all it received, and is still connected to its
primary, is not behind however long nothing was written.

  -w, --warning SECONDS    a longer lag is a warning (30)
  -c, --critical SECONDS   a longer lag is critical (300)
  -d, --database CONN      what psql connects to: a name, a URL or key=value
                           pairs; without a password, which belongs into the
                           file that PGPASSFILE names

A server that does not answer is critical; one that is no standby is UNKNOWN.
Any user may ask: CREATE ROLE monitor LOGIN is enough.
END
    exit 3
}
end() {
    local code=$1 words=(OK WARNING CRITICAL UNKNOWN) text=${2//|//}
    printf '%s: %s%s\n' "${words[code]}" "${text//[[:cntrl:]]/ }" "${3:+ | $3}"
    exit "$code"
}

warning=30 critical=300 database=postgres
while (($#)); do
    case $1 in
        -h | --help) usage ;;
        -w | --warning) warning=${2-} && shift ;;
        -c | --critical) critical=${2-} && shift ;;
        -d | --database) database=${2-} && shift ;;
        *) end 3 "there is no option $1" ;;
    esac
    shift || end 3 'the last option has no value'
done
whole='^(0|[1-9][0-9]{0,8})$'
[[ $warning =~ $whole && $critical =~ $whole ]] || end 3 'SECONDS must be a whole number'
command -v psql >/dev/null || end 3 'psql is not installed'

# The last column is how many bytes were received and are not replayed yet.
query="
SELECT pg_is_in_recovery(),
       EXISTS (SELECT FROM pg_stat_wal_receiver),
       CASE WHEN EXISTS (SELECT FROM pg_stat_wal_receiver)
                 AND pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
            ELSE greatest(0, extract(epoch
                 FROM clock_timestamp() - pg_last_xact_replay_timestamp()))
       END::numeric(20, 1),
       coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)"
export PGCONNECT_TIMEOUT=${PGCONNECT_TIMEOUT:-5} PGAPPNAME=replication_lag
if ! answer=$(psql --no-psqlrc --no-password --no-align --tuples-only --quiet \
    --field-separator=' ' --dbname="$database" --command="$query" 2>&1); then
    end 2 "the server does not answer: $answer"
fi
read -r standby streaming lag bytes _ <<<"$answer"
[[ $standby == f ]] && end 3 'the server is no standby'
[[ $standby == t && $streaming == [tf] ]] || end 3 "psql said: $answer"
[[ $lag =~ ^[0-9]+(\.[0-9]+)?$ ]] || end 3 'the standby has replayed nothing yet'
[[ $bytes =~ ^-?[0-9]+$ ]] || bytes=0

perfdata="lag=${lag}s;$warning;$critical;0 behind=${bytes}B;;;0"
text="the standby is $lag s behind"
[[ $streaming == f ]] && text+=', and not connected to its primary'
code=0
((${lag%.*} >= warning)) && code=1
((${lag%.*} >= critical)) && code=2
end "$code" "$text" "$perfdata"
