#!/usr/bin/env bash
# How many updates wait to be installed, and how many of them are for security.
set -uo pipefail
export LC_ALL=C

usage() {
    cat <<'END'
usage: updates_pending.sh [-w NUMBER] [-c NUMBER] [-W NUMBER] [-C NUMBER]
                          [--cache FOLDER]

Counts updates by what the system has already downloaded about them: dnf or
yum (Fedora, Red Hat) or apt-get (Debian, Ubuntu). Nothing is downloaded: how
fresh that is, is the part of dnf-makecache.timer or apt-daily.timer.

  -w, --warning NUMBER            more updates are a warning (no limit)
  -c, --critical NUMBER           more updates are critical (no limit)
  -W, --security-warning NUMBER   more for security are a warning (0)
  -C, --security-critical NUMBER  more for security are critical (no limit)
      --cache FOLDER              where dnf keeps what it has downloaded
END
    exit 3
}
end() {
    local code=$1 words=(OK WARNING CRITICAL UNKNOWN) text=${2//|//}
    printf '%s: %s%s\n' "${words[code]}" "${text//[[:cntrl:]]/ }" "${3:+ | $3}"
    exit "$code"
}

warning='' critical='' security_warning=0 security_critical=''
caches=(/var/cache/dnf /var/cache/libdnf5 /var/cache/yum)
while (($#)); do
    case $1 in
        -h | --help) usage ;;
        -w | --warning) warning=${2-} && shift ;;
        -c | --critical) critical=${2-} && shift ;;
        -W | --security-warning) security_warning=${2-} && shift ;;
        -C | --security-critical) security_critical=${2-} && shift ;;
        --cache) caches=("${2-}") && shift ;;
        *) end 3 "there is no option $1" ;;
    esac
    shift || end 3 'the last option has no value'
done
whole='^(0|[1-9][0-9]{0,5})?$'
for limit in "$warning" "$critical" "$security_warning" "$security_critical"; do
    [[ $limit =~ $whole ]] || end 3 'NUMBER must be a whole number'
done

# Counts the packages that `dnf check-update` lists: NAME.ARCH, the version and the archive behind it
# or in the next line. What it lists behind "Obsoleting" is no update of itself.
by_dnf() {
    local said status
    said=$("$1" --quiet --cacheonly check-update "${@:2}" 2>&1)
    status=$?
    if ((status != 0 && status != 100)); then
        printf '%s\n' "$said"
        return 1
    fi
    sed '/^Obsoleting/,$d' <<<"$said" | grep -cE '^[^[:space:]]+\.[[:alnum:]_]+([[:space:]]|$)'
    return 0
}

pending='' security=''
for tool in dnf yum; do
    command -v "$tool" >/dev/null || continue
    # Where nothing was downloaded yet it lists nothing, and is content.
    [[ -n $(find "${caches[@]}" -name repomd.xml 2>/dev/null | head -n 1) ]] \
        || end 3 "$tool has downloaded no lists of packages; is dnf-makecache.timer enabled?"
    pending=$(by_dnf "$tool") || end 3 "$tool cannot tell: $pending"
    security=$(by_dnf "$tool" --security) || end 3 "$tool cannot tell: $security"
    break
done
if [[ -z $pending ]] && command -v apt-get >/dev/null; then
    said=$(apt-get --simulate --quiet=2 -o Debug::NoLocking=true dist-upgrade 2>&1) \
        || end 3 "apt-get cannot tell: $said"
    pending=$(grep -c '^Inst ' <<<"$said")
    # Inst NAME [OLD] (NEW ARCHIVE [ARCHITECTURE]), where the archive is Debian-Security:12/... or
    # Ubuntu:22.04/jammy-security.
    security=$(grep -cE '^Inst [^(]*\([^)]*-[Ss]ecurity' <<<"$said")
fi
[[ -n $pending ]] || end 3 'there is neither dnf, yum nor apt-get'

code=0
over() { [[ -n $2 ]] && (($1 > $2)); }
if over "$pending" "$critical" || over "$security" "$security_critical"; then
    code=2
elif over "$pending" "$warning" || over "$security" "$security_warning"; then
    code=1
fi
end "$code" "$pending updates wait, $security of them for security" \
    "pending=$pending;$warning;$critical;0 security=$security;$security_warning;$security_critical;0"
