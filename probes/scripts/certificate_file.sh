#!/usr/bin/env bash
# Days until the first certificate in PEM files expires.
set -uo pipefail
export LC_ALL=C

usage() {
    cat <<'END'
usage: certificate_file.sh [-w DAYS] [-c DAYS] FILE...

Tells in how many days the first certificate of each FILE (PEM; a whole chain
may be in it) expires, and warns when there are fewer left than DAYS.

  -w, --warning DAYS    fewer days left than this are a warning (21)
  -c, --critical DAYS   fewer days left than this are critical (7)

A file that cannot be read, or holds no certificate, is UNKNOWN.
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
# The earliest end of the certificates in a file, in seconds since 1970.
earliest_end() {
    local line pem='' inside=0 end seconds first=''
    while IFS= read -r line || [[ -n $line ]]; do
        [[ $line == *'-----BEGIN CERTIFICATE-----'* ]] && inside=1 pem=''
        ((inside)) && pem+=$line$'\n'
        [[ $line == *'-----END CERTIFICATE-----'* ]] || continue
        inside=0
        end=$(openssl x509 -noout -enddate <<<"$pem" 2>/dev/null) || return 1
        seconds=$(date -d "${end#notAfter=}" +%s 2>/dev/null) || return 1
        if [[ -z $first ]] || ((seconds < first)); then first=$seconds; fi
    done < <(tr -d '\000' <"$1")
    [[ -n $first ]] && printf '%s' "$first"
}

warning=21 critical=7 files=()
while (($#)); do
    case $1 in
        -h | --help) usage ;;
        -w | --warning) warning=${2-} && shift ;;
        -c | --critical) critical=${2-} && shift ;;
        --) shift && files+=("$@") && break ;;
        -*) unknown "there is no option $1" ;;
        *) files+=("$1") ;;
    esac
    shift || unknown 'the last option has no value'
done
whole='^(0|[1-9][0-9]{0,5})$'
[[ $warning =~ $whole && $critical =~ $whole ]] || unknown 'DAYS must be a whole number'
((${#files[@]})) || unknown 'no file is given; see --help'
command -v openssl >/dev/null || unknown 'openssl is not installed'

now=$(date +%s) worst=0 first='' first_line='' details='' perfdata=''
for file in "${files[@]}"; do
    [[ -f $file && -r $file ]] || unknown "$file cannot be read"
    end=$(earliest_end "$file") || unknown "$file holds no certificate that openssl can read"
    # Rounded down, also when the end is past.
    days=$(((end - now - (end < now ? 86399 : 0)) / 86400))
    status=0
    ((days < warning)) && status=1
    ((days < critical)) && status=2
    ((status > worst)) && worst=$status
    line="$file expires in $days days ($(date -u -d "@$end" +%F))"
    ((days < 0)) && line="$file expired on $(date -u -d "@$end" +%F)"
    if [[ -z $first ]] || ((days < first)); then first=$days first_line=$line; fi
    details+=$(clean "$line")$'\n'
    perfdata+=" $(label "$file")=$days;$warning:;$critical:"
done
words=(OK WARNING CRITICAL)
printf '%s: %s |%s\n' "${words[worst]}" "$(clean "$first_line")" "$perfdata"
((${#files[@]} > 1)) && printf '%s' "$details"
exit "$worst"
