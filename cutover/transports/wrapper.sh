# The one remote wrapper of acting effects, POSIX sh (dash, bash, busybox ash). Comments and indentation are stripped
# before it is sent (wrapper.py), so every comment stands on a line of its own.
#
# Sent on the stdin of `exec /bin/sh`: these functions, then ONE brace group that calls them with quoted words:
#
#   { begin NONCE DIR MACHINE-ID; act OWNER TOKEN WAIT; guard WANT ARGV...; receipt RUN ACT ATTEMPT IDEMPOTENT CAP N
#   run STDIN ARGV...; finish; }
#
# The shell parses a brace group to its end before it runs any of it: what was cut short acts not at all. Nothing that
# varies is ever in an argv or an environment, except the argv of the commands themselves.
# Answers are lines "@NONCE TYPE FIELDS"; "out I STREAM LENGTH CUT" is followed by LENGTH bytes and a newline.
# Without the last line, "end", the outcome is unknown. Only the section that a call needs (#= NAME) goes with it.
#
# This shell is also the supervisor: it ignores the connection's end, writes all output to a spool before it sends a
# byte, and holds the host's lock (fd 9) from the check to the end of the act. The receipt (fd 8) is synced twice.

#= common

LC_ALL=C
export LC_ALL
trap '' HUP PIPE
nl='
'

say() { printf '@%s %s\n' "$nonce" "$*"; }
end() { say end "$*"; exit 0; }

# The number and start time of a process (or `self`), in $pid and $born, which is empty when it is gone. Numbers are used
# again; with the start time they differ.
born() {
  born=
  { IFS= read -r born <"/proc/$1/stat"; } 2>/dev/null || return 0
  pid=${born%% *}
  set -- ${born##*) }
  born=${20:-}
}

boot() { read -r boot </proc/sys/kernel/random/boot_id; }

begin() {
  nonce=$1 dir=$2
  say begin
  [ -n "$3" ] || return 0
  id=
  { read -r id </etc/machine-id; } 2>/dev/null
  [ "$id" = "$3" ] || end refused identity "$id"
}

# Who holds the host, in $cur and $who; "-" is nobody.
holder() {
  cur=0 who=-
  [ -e "$dir/token" ] || return 0
  { read -r cur who <"$dir/token"; } 2>/dev/null || end refused torn-token
  case $cur in ''|*[!0-9]*) end refused torn-token;; esac
  [ -n "$who" ] || end refused torn-token
}

# No fallback to another directory: two logins would hold two locks. Opened for reading: it may be another user's file.
lock() {
  [ -r "$dir/claim" ] && [ -w "$dir" ] || end refused no-state-directory "$dir"
  exec 9<"$dir/claim"
  flock "$1" -w "$2" 9 2>/dev/null
  case $? in 0) holder;; 126|127) end refused no-flock;; *) holder; end refused busy "$cur" "$who";; esac
}

# Whether the process that a receipt names still lives.
lives() {
  [ "$3" = "$boot" ] || return 1
  born "$1"
  [ -n "$born" ] && [ "$born" = "$2" ]
}

# Read a receipt: $state is void, open or finished; $living a process it names that still runs; "rc" and "cut" lines
# in $exits and $cuts.
inspect() {
  state=open living= exits= cuts= at=
  while read -r kind a b c d e; do
    case $kind in
      void) state=void;;
      started) at=$c; lives "$d" "$e" "$at" && living=$d;;
      pid) lives "$b" "$c" "$at" && living=$b;;
      rc) exits="$exits $b";;
      cut) cuts="$cuts $a.$b";;
      finished) state=finished;;
    esac
  done <"$1"
}

# Exits and output of the commands in $exits; sizes are taken before the bytes, as a daemon may still be writing.
deliver() {
  k=0
  for rc in $exits; do
    k=$((k + 1))
    say rc "$k" "$rc"
    for s in 1 2; do
      [ -s "$spool.$k.$s" ] || continue
      size=$(wc -c <"$spool.$k.$s")
      cut=whole
      case " $cuts " in *" $k.$s "*) cut=cut;; esac
      [ "$size" -le "$cap" ] || { cut=cut; size=$cap; }
      say out "$k" "$s" $((size)) $cut
      head -c "$size" "$spool.$k.$s"
      echo
    done
  done
}

#= claim

durable() {
  printf '%s\n' "$1" >"$dir/token.new" && sync "$dir/token.new" && mv -f "$dir/token.new" "$dir/token" && sync "$dir"
} 2>/dev/null

# A supervisor that was killed drops the lock but not its command: claim and take refuse beside one that lives.
orphans() {
  boot
  IFS=$nl
  for file in $(grep -sL -e '^finished' -e '^void' "$dir"/runs/*/*); do
    unset IFS
    inspect "$file"
    [ -z "$living" ] || end refused running "$living" "$cur" "$who"
  done
  unset IFS
}

claim() {
  lock -x "$2"
  [ "$who" = - ] || [ "$who" = "$1" ] || end refused owned "$cur" "$who"
  orphans
  [ "$who" = "$1" ] || { cur=$((cur + 1)); durable "$cur $1" || end refused not-durable; }
  end claimed "$cur" "$1"
}

take() {
  lock -x "$3"
  [ "$2" = $((cur + 1)) ] || end refused token "$cur" "$who"
  orphans
  durable "$2 $1" || end refused not-durable
  end claimed "$2" "$1"
}

release() {
  lock -x "$3"
  [ "$2" = "$cur" ] && [ "$1" = "$who" ] || end refused token "$cur" "$who"
  durable "$cur -" || end refused not-durable
  end claimed "$cur" -
}

show() {
  [ -r "$dir/claim" ] || end refused no-state-directory "$dir"
  holder
  end claimed "$cur" "$who"
}

#= act

# Acts hold the lock shared, so that parallel steps and an abort pass beside a long command. Tokens must be equal.
act() {
  owner=$1 token=$2 guards=0
  lock -s "$3"
  [ "$token" = "$cur" ] && [ "$owner" = "$who" ] || end refused token "$cur" "$who"
}

# $(...) drops trailing newlines: the x keeps them.
guard() {
  guards=$((guards + 1)) want=$1
  shift
  got=$( (exec "$@") 2>/dev/null </dev/null 9<&-; printf x)
  got=${got%x}
  got=${got%"$nl"}
  [ "$got" = "$want" ] && return
  size=${#got}
  [ "$size" -le 2000 ] || size=2000
  say got "$size"
  printf "%.${size}s\n" "$got"
  end refused guard "$guards"
}

note() { [ $written = no ] || printf '%s\n' "$*" >&8; } 2>/dev/null

# An earlier attempt of the same act (they count from 1) that never began never will: its call may still be on its way.
# One that runs forbids this one.
earlier() {
  k=1
  while [ $k -lt "$attempt" ]; do
    file=$dir/runs/$run/$act.$k k=$((k + 1))
    [ -e "$file" ] || { set -C; echo void >"$file"; set +C; } 2>/dev/null
    [ -s "$file" ] || continue
    inspect "$file"
    [ -z "$living" ] || end refused running "$living" "$cur" "$who"
  done
}

# Durable before anything acts. `command exec` fails where plain exec would end the shell; noclobber makes it a new file.
receipt() {
  run=$1 act=$2 attempt=$3 cap=$5 count=$6 i=0 rc=0 written=yes
  { read -r _; read -r _ mask; } </proc/self/status
  umask 007
  base=$dir/runs/$run/$act.$attempt spool=$dir/spool/$run/$act.$attempt
  [ -d "$dir/runs/$run" ] && [ -d "$dir/spool/$run" ] || mkdir -p "$dir/runs/$run" "$dir/spool/$run" 2>/dev/null
  [ ! -e "$base" ] || end refused receipt-exists "$base"
  boot
  earlier
  exits= cuts=
  born self
  set -C
  if { command exec 8>"$base"; } 2>/dev/null; then
    set +C
    if note "started $token $owner $boot $pid $born" && fifos mkfifo; then
      readers 1
      sync "$base" 2>/dev/null || { kill $r1 $r2; written=no; }
    else
      written=no
    fi
    [ $written = yes ] || fifos rm -f "$base"
  else
    set +C
    [ ! -e "$base" ] || end refused receipt-exists "$base"
    written=no
  fi
  [ $written = no ] || return 0
  [ "$4" = 1 ] || end refused no-receipt "$dir"
  spool=$(mktemp -d /dev/shm/cutover.XXXXXX 2>/dev/null) && spool=$spool/s && fifos mkfifo ||
    end refused no-receipt /dev/shm
  readers 1
}

# Run the words given with the names of all this act's pipes.
fifos() {
  k=$count
  while [ "$k" -gt 0 ]; do
    set -- "$@" "$spool.$k.p1" "$spool.$k.p2"
    k=$((k - 1))
  done
  "$@"
} 2>/dev/null

# Keeps the first bytes of a stream and drains the rest, so that no command blocks and no disk fills: where the limit on
# the file's size (in blocks of 512) stops it, tee goes on with its other output and exits 1. It does not buffer: the
# spool can be read while the command runs.
reader() {
  ulimit -f $(((cap + 512) / 512))
  trap '' XFSZ
  exec tee "$2" <"$1"
}

# Those of the first command start beside the receipt's sync: both take about as long as a process takes to start.
readers() {
  reader "$spool.$1.p1" "$spool.$1.1" >/dev/null 2>&1 8>&- 9<&- &
  r1=$!
  reader "$spool.$1.p2" "$spool.$1.2" >/dev/null 2>&1 8>&- 9<&- &
  r2=$!
}

# Becomes the command. It lets go of the lock only once the receipt names it: a killed supervisor leaves no gap.
child() {
  born self
  note "pid $i $pid $born"
  umask "$mask"
  trap - HUP PIPE
  exec 8>&- 9<&-
  exec "$@"
}

run() {
  [ $rc = 0 ] || return 0
  i=$((i + 1)) input=$1
  shift
  [ $i = 1 ] || readers $i
  if [ -n "$input" ]; then
    printf %s "$input" 2>/dev/null 8>&- 9<&- | (child "$@") >"$spool.$i.p1" 2>"$spool.$i.p2"
  else
    (child "$@") </dev/null >"$spool.$i.p1" 2>"$spool.$i.p2"
  fi
  rc=$?
  note "rc $i $rc"
  exits="$exits $rc"
  settle
  settled $r1 1
  settled $r2 2
}

# Both readers end with the command, unless a daemon kept its output open: wait a moment, not for ever. A zombie has no
# exe; the first rounds do not sleep, as they cost less than one fork.
settle() {
  t=0
  while [ -e /proc/$r1/exe ] || [ -e /proc/$r2/exe ]; do
    t=$((t + 1))
    [ $t -lt 100 ] || sleep 0.001
    [ $t -lt 500 ] || return 0
  done
}

settled() {
  [ ! -e "/proc/$1/exe" ] || return 0
  wait "$1" || { cuts="$cuts $i.$2"; note "cut $i $2"; }
}

# The finished receipt is synced while the output goes out; the lock is free before a slow client can hold it.
finish() {
  note finished
  exec 9<&-
  if [ $written = yes ]; then
    sync "$base" >/dev/null 2>&1 8>&- &
    synced=$!
    deliver
    wait $synced
    fifos rm -f >/dev/null &
  else
    deliver
    rm -rf "${spool%/s}" >/dev/null 2>&1 &
  fi
  end acted "$written"
}

#= look

# The evidence after a lost connection. Read again when nothing lives: it may have finished between the two looks.
look() {
  base=$dir/runs/$1/$2.$3 spool=$dir/spool/$1/$2.$3 cap=$4
  [ -e "$base" ] || { [ -d "$dir" ] && [ -x "$dir" ] || end refused no-state-directory "$dir"; end receipt none; }
  boot
  inspect "$base"
  [ "$state$living" != open ] || inspect "$base"
  [ "$state" != void ] || end receipt none
  deliver
  [ "$state" != finished ] || end receipt finished
  [ -n "$living" ] || end receipt died
  end receipt running "$living"
}
