#!/bin/sh
# How old is the newest file in a folder? For backups, exports, anything that must keep coming.
#
#   backup_age.sh FOLDER WARNING_SECONDS CRITICAL_SECONDS
#
# Exit code 0, 1 or 2 by the age; 2 where there is no file or it is empty; 3 where the folder cannot
# be read. Prints one line and age and size as performance data. Hidden files do not count.

folder=$1 warning=$2 critical=$3

unknown() {
    echo "BACKUP UNKNOWN - $1"
    exit 3
}

case "$warning:$critical" in
:* | *: | *[!0-9:]*) unknown "usage: backup_age.sh FOLDER WARNING_SECONDS CRITICAL_SECONDS" ;;
esac
[ -d "$folder" ] || unknown "$folder is not a folder"
[ -r "$folder" ] && [ -x "$folder" ] || unknown "$folder cannot be read"

newest='' modified=0
for file in "$folder"/*; do
    [ -f "$file" ] || continue
    time=$(stat -c %Y "$file") || continue
    if [ "$time" -ge "$modified" ]; then
        newest=$file modified=$time
    fi
done
if [ -z "$newest" ]; then
    echo "BACKUP CRITICAL - there is no file in $folder"
    exit 2
fi

size=$(stat -c %s "$newest") || unknown "$newest has just gone"
age=$(($(date +%s) - modified))
# A file from the future, by a clock that was set, is fresh.
[ "$age" -ge 0 ] || age=0
name=${newest##*/}
perfdata="age=${age}s;$warning;$critical;0 size=${size}B;;;0"

if [ "$size" -eq 0 ]; then
    echo "BACKUP CRITICAL - $name is empty | $perfdata"
    exit 2
elif [ "$age" -gt "$critical" ]; then
    status=CRITICAL code=2
elif [ "$age" -gt "$warning" ]; then
    status=WARNING code=1
else
    status=OK code=0
fi
echo "BACKUP $status - $name is ${age}s old, $size bytes | $perfdata"
exit $code
