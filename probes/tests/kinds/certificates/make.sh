#!/usr/bin/env bash
# Makes the certificates of the tests again, here: all for 127.0.0.1 but for wrong-name, all good for
# a hundred years but for expired.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
curve=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
authority() {
  openssl req -x509 "${curve[@]}" -days 36500 -subj "/CN=Test $1" -keyout "$work/$1.key" -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE 2>/dev/null
}
certificate() { # NAME AUTHORITY SUBJECT_ALT_NAME END
  openssl req "${curve[@]}" -subj "/CN=$1" -keyout "$1.key" -out "$work/$1.csr" 2>/dev/null
  : >"$work/index.txt"
  printf '%s\n' '[ca]' 'default_ca = d' '[d]' "database = $work/index.txt" "new_certs_dir = $work" \
    "serial = $work/serial" 'policy = p' 'default_md = sha256' 'rand_serial = yes' \
    'x509_extensions = e' '[p]' 'commonName = supplied' '[e]' 'basicConstraints = critical,CA:FALSE' \
    "subjectAltName = $3" >"$work/ca.cnf"
  openssl ca -batch -notext -config "$work/ca.cnf" -cert "$2.pem" -keyfile "$work/$2.key" \
    -startdate 20200101000000Z -enddate "$4" -in "$work/$1.csr" -out "$1.pem" 2>/dev/null
}
authority authority
authority stranger
certificate good authority IP:127.0.0.1,DNS:localhost 21200101000000Z
certificate expired authority IP:127.0.0.1,DNS:localhost 20200102000000Z
certificate wrong-name authority DNS:other.test 21200101000000Z
certificate untrusted stranger IP:127.0.0.1,DNS:localhost 21200101000000Z
openssl req -x509 "${curve[@]}" -days 36500 -subj /CN=self-signed -keyout self-signed.key \
  -out self-signed.pem -addext subjectAltName=IP:127.0.0.1 2>/dev/null
rm -f stranger.pem
