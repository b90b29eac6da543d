#!/usr/bin/env bash
# Age of files that something writes regularly.
set -uo pipefail
export LC_ALL=C

usage() {
    cat <<'END'
usage: file_age.sh -w AGE [-c AGE] [--min-size BYTES] FILE...

Tells how long ago each FILE was written. AGE is a number with s, m, h or d
behind it (90s, 15m, 26h, 8d); without a letter it means seconds.

  -w, --warning AGE     an older file is a warning
  -c, --critical AGE    an older file is critical
      --min-size BYTES  a smaller file is critical

A FILE that is not there is critical; one that may not be looked at is UNKNOWN.
END
    exit 3
}
unknown() {
    printf 'UNKNOWN: %s\n' "$(clean "$*")"
    exit 3
}
# A text without what a plugin's first line must not have.
clean() {
    local text=${1//|//}
    printf '%s' "${text//[[:cntrl:]]/?}"
}
# A text as the label of performance data.
label() {
    local text=${1//[[:cntrl:]|=]/_}
    printf "'%s'" "${text//\'/\'\'}"
}
# An age in seconds.
seconds() {
    [[ $1 =~ ^0*([0-9]{1,9})([smhd]?)$ ]] || return 1
    case ${BASH_REMATCH[2]} in
        m) printf '%s' $((BASH_REMATCH[1] * 60)) ;;
        h) printf '%s' $((BASH_REMATCH[1] * 3600)) ;;
        d) printf '%s' $((BASH_REMATCH[1] * 86400)) ;;
        *) printf '%s' "${BASH_REMATCH[1]}" ;;
    esac
}
# An age as people say it.
spoken() {
    if (($1 >= 172800)); then
        printf '%s days' $(($1 / 86400))
    elif (($1 >= 7200)); then
        printf '%s hours' $(($1 / 3600))
    elif (($1 >= 120)); then
        printf '%s minutes' $(($1 / 60))
    else
        printf '%s seconds' "$1"
    fi
}

warning='' critical='' min_size=0 files=()
while (($#)); do
    case $1 in
        -h | --help) usage ;;
        -w | --warning) warning=$(seconds "${2-}") || unknown "${2-} is no AGE" && shift ;;
        -c | --critical) critical=$(seconds "${2-}") || unknown "${2-} is no AGE" && shift ;;
        --min-size) min_size=${2-} && shift ;;
        --) shift && files+=("$@") && break ;;
        -*) unknown "there is no option $1" ;;
        *) files+=("$1") ;;
    esac
    shift || unknown 'the last option has no value'
done
[[ $min_size =~ ^(0|[1-9][0-9]{0,14})$ ]] || unknown 'BYTES must be a whole number'
[[ -n $warning$critical ]] || unknown 'neither -w nor -c is given; see --help'
((${#files[@]})) || unknown 'no file is given; see --help'

now=$(date +%s) worst=0 worst_line='' details='' perfdata=''
for file in "${files[@]}"; do
    status=0
    if found=$(stat -L -c '%Y %s' -- "$file" 2>/dev/null); then
        read -r written size <<<"$found"
        age=$((now > written ? now - written : 0))
        line="$file was written $(spoken "$age") ago"
        [[ -n $warning ]] && ((age > warning)) && status=1
        [[ -n $critical ]] && ((age > critical)) && status=2
        if ((size < min_size)); then
            status=2 line="$file has only $size bytes"
        fi
        perfdata+=" $(label "$file")=${age}s;$warning;$critical;0"
    elif [[ -e ${file%/*}/. || $file != */* ]]; then
        status=2 line="$file is not there"
    else
        unknown "$file may not be looked at, or its folder is not there"
    fi
    if [[ -z $worst_line ]] || ((status > worst)); then worst_line=$line; fi
    ((status > worst)) && worst=$status
    details+=$(clean "$line")$'\n'
done
words=(OK WARNING CRITICAL)
[[ -n $perfdata ]] && perfdata=" |$perfdata"
printf '%s: %s%s\n' "${words[worst]}" "$(clean "$worst_line")" "$perfdata"
((${#files[@]} > 1)) && printf '%s' "$details"
exit "$worst"
