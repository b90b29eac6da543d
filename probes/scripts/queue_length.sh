#!/bin/sh
# Counts the files in a folder: orders that wait, mails in a spool, jobs.
#
#   queue_length.sh FOLDER WARNING CRITICAL
#
# Exit code 0, 1 or 2 by the number of files; 3 where the folder cannot be counted. Prints one line
# and the number as performance data. Hidden files and folders do not count.

folder=$1 warning=$2 critical=$3

unknown() {
    echo "QUEUE UNKNOWN - $1"
    exit 3
}

case "$warning:$critical" in
:* | *: | *[!0-9:]*) unknown "usage: queue_length.sh FOLDER WARNING CRITICAL" ;;
esac
[ -d "$folder" ] || unknown "$folder is not a folder"
[ -r "$folder" ] && [ -x "$folder" ] || unknown "$folder cannot be read"

count=0
for file in "$folder"/*; do
    [ -f "$file" ] && count=$((count + 1))
done

if [ "$count" -ge "$critical" ]; then
    status=CRITICAL code=2
elif [ "$count" -ge "$warning" ]; then
    status=WARNING code=1
else
    status=OK code=0
fi
# Nagios alerts above a limit, and here the limit itself is too much already.
echo "QUEUE $status - $count waiting | waiting=$count;$((warning - 1));$((critical - 1));0"
exit $code
