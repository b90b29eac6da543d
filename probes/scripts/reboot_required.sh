#!/usr/bin/env bash
# Whether the host waits for a reboot, and since when.
set -uo pipefail
export LC_ALL=C

usage() {
    cat <<'END'
usage: reboot_required.sh [-w DAYS] [-c DAYS] [--file FILE]

Tells whether an update needs a reboot: by the file that Debian and Ubuntu
leave (/run/reboot-required), or by needs-restarting where that is installed
(Fedora, Red Hat, SUSE; of its own or as a part of dnf), which does not know
since when.

  -w, --warning DAYS    waiting at least this long is a warning (0)
  -c, --critical DAYS   waiting at least this long is critical (14)
      --file FILE       another file to look for
END
    exit 3
}
end() {
    local code=$1 words=(OK WARNING CRITICAL UNKNOWN) text=${2//|//}
    printf '%s: %s%s\n' "${words[code]}" "${text//[[:cntrl:]]/ }" "${3:+ | $3}"
    exit "$code"
}

warning=0 critical=14 file=/run/reboot-required
while (($#)); do
    case $1 in
        -h | --help) usage ;;
        -w | --warning) warning=${2-} && shift ;;
        -c | --critical) critical=${2-} && shift ;;
        --file) file=${2-} && shift ;;
        *) end 3 "there is no option $1" ;;
    esac
    shift || end 3 'the last option has no value'
done
whole='^(0|[1-9][0-9]{0,5})$'
[[ $warning =~ $whole && $critical =~ $whole ]] || end 3 'DAYS must be a whole number'
[[ -n $file ]] || end 3 'the FILE has no name'

if [[ -e $file ]]; then
    since=$(stat -c %Y -- "$file") || end 3 "$file cannot be looked at"
    now=$(date +%s)
    days=$((now > since ? (now - since) / 86400 : 0))
    packages=''
    if [[ -r $file.pkgs ]]; then
        packages=$(sort -u -- "$file.pkgs" | head -n 5 | tr '\n' ' ')
    fi
    code=0
    ((days >= warning)) && code=1
    ((days >= critical)) && code=2
    text="a reboot is due for $days days"
    [[ -n $packages ]] && text+=", because of ${packages% }"
    end "$code" "$text" "waiting=${days};@$warning:;@$critical:;0"
fi
tool=()
if command -v needs-restarting >/dev/null; then
    tool=(needs-restarting)
elif command -v dnf >/dev/null && dnf needs-restarting --help >/dev/null 2>&1; then
    # Without that part dnf would end as if a reboot were due.
    tool=(dnf needs-restarting)
fi
if ((${#tool[@]})); then
    said=$("${tool[@]}" -r 2>&1)
    case $? in
        0) ;;
        1) end 1 'a reboot is due' 'waiting=0' ;;
        *) end 3 "${tool[*]} cannot tell: $said" ;;
    esac
fi
end 0 'no reboot is due' "waiting=0;@$warning:;@$critical:;0"
