#!/usr/bin/env bash
# Builds the Debian package of the agent: build.sh PROGRAM DIRECTORY [REVISION]
# PROGRAM is a built veilleur-agent; the package is written to DIRECTORY, and its path printed.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
program=$1 out=$2
version=$("$program" --version | cut -d' ' -f2)-${3:-1}
arch=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

install -D -m 755 "$program" "$tree/usr/bin/veilleur-agent"
# What is known of lines in the sources is of no use without them.
strip --strip-unneeded "$tree/usr/bin/veilleur-agent"
install -d "$tree/usr/lib/veilleur"
install -m 755 "$here"/../../../probes/scripts/*.sh "$here"/../../../probes/scripts/*.py "$tree/usr/lib/veilleur"
install -D -m 644 "$here/veilleur-agent.service" "$tree/lib/systemd/system/veilleur-agent.service"
install -D -m 644 "$here/agent.yml" "$tree/etc/veilleur/agent.yml"
# Ready to be put where they have an effect, if somebody wants it.
install -D -m 644 -t "$tree/usr/share/veilleur-agent" "$here"/drop-ins/*.conf
# Where Debian's node_exporter looks for files of metrics, and agent.yml does, too.
install -d "$tree/var/lib/prometheus/node-exporter"
install -D -m 644 "$here/copyright" "$tree/usr/share/doc/veilleur-agent/copyright"
install -d "$tree/usr/share/man/man1" "$tree/usr/share/bash-completion/completions" \
  "$tree/usr/share/zsh/vendor-completions" "$tree/usr/share/fish/vendor_completions.d"
"$program" manual | gzip -9n >"$tree/usr/share/man/man1/veilleur-agent.1.gz"
"$program" completions bash >"$tree/usr/share/bash-completion/completions/veilleur-agent"
"$program" completions zsh >"$tree/usr/share/zsh/vendor-completions/_veilleur-agent"
"$program" completions fish >"$tree/usr/share/fish/vendor_completions.d/veilleur-agent.fish"

install -d "$tree/DEBIAN"
install -m 755 "$here/postinst" "$here/prerm" "$here/postrm" "$tree/DEBIAN"
printf '/etc/veilleur/agent.yml\n' >"$tree/DEBIAN/conffiles"
(cd "$tree" && find usr lib etc -type f -print0 | sort -z | xargs -0 md5sum) >"$tree/DEBIAN/md5sums"
size=$(du -sk --exclude=DEBIAN "$tree" | cut -f1)
# The oldest C library that has every symbol which the program asks for.
libc=$(objdump -T "$tree/usr/bin/veilleur-agent" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$arch/" -e "s/@SIZE@/$size/" \
  -e "s/@LIBC@/${libc#GLIBC_}/" "$here/control" >"$tree/DEBIAN/control"

mkdir -p "$out"
package=$out/veilleur-agent_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$tree" "$package" >/dev/null
printf '%s\n' "$package"
