#!/usr/bin/env bash
# Units of systemd that have failed.
set -uo pipefail
export LC_ALL=C

usage() {
    cat <<'END'
usage: systemd_failed.sh [-w COUNT] [-c COUNT] [-x PATTERN]...

Counts the units that are in the state "failed".

  -w, --warning COUNT    as many failed units are a warning (1)
  -c, --critical COUNT   as many failed units are critical (3)
  -x, --exclude PATTERN  do not count units whose names match this shell
                         pattern (fwupd-*); may be given more than once

Where systemd does not run the host, the result is UNKNOWN.
END
    exit 3
}
end() {
    local code=$1 words=(OK WARNING CRITICAL UNKNOWN) text=${2//|//}
    printf '%s: %s%s\n' "${words[code]}" "${text//[[:cntrl:]]/ }" "${3:+ | $3}"
    # Further lines, each without a bar, behind which performance data would begin.
    [[ -n ${4-} ]] && printf '%s' "${4//|//}"
    exit "$code"
}

warning=1 critical=3 exclude=()
while (($#)); do
    case $1 in
        -h | --help) usage ;;
        -w | --warning) warning=${2-} && shift ;;
        -c | --critical) critical=${2-} && shift ;;
        -x | --exclude) exclude+=("${2-}") && shift ;;
        *) end 3 "there is no option $1" ;;
    esac
    shift || end 3 'the last option has no value'
done
whole='^(0|[1-9][0-9]{0,5})$'
[[ $warning =~ $whole && $critical =~ $whole ]] || end 3 'COUNT must be a whole number'
command -v systemctl >/dev/null || end 3 'systemctl is not installed'
listed=$(systemctl list-units --failed --all --plain --no-legend --no-pager 2>&1) ||
    end 3 "systemctl cannot tell: $listed"

failed=() details=''
while read -r unit load _ _ description; do
    # A unit that is gone but not forgotten has not failed now.
    [[ -n $unit && $load != not-found ]] || continue
    for pattern in ${exclude[@]+"${exclude[@]}"}; do
        # shellcheck disable=SC2053  # it is meant as a pattern
        [[ $unit == $pattern ]] && continue 2
    done
    failed+=("$unit")
    details+="$unit: ${description:-no description}"$'\n'
done <<<"$listed"

count=${#failed[@]} code=0
((count >= warning)) && code=1
((count >= critical)) && code=2
text='no unit has failed'
((count == 1)) && text="1 unit has failed: ${failed[0]}"
((count > 1)) && text="$count units have failed: ${failed[*]:0:5}"
((count > 5)) && text+=' ...'
end "$code" "$text" "failed=$count;@$warning:;@$critical:;0" "$details"
