#!/bin/sh
# Makes a development authority and leaf certificates in certs/out: see README.md beside this file.
#
#   certs/make.sh [NAME ...]     server certificate for localhost, the loopback addresses and the NAMEs
#
# What is there already is kept, so that clients which trust the authority go on doing so; remove certs/out to begin anew.
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
out="$here/out"
days=825
mkdir -p "$out"

names="DNS:localhost,IP:127.0.0.1,IP:::1"
for name in "$@"; do
    case "$name" in
        *[!0-9.]*) case "$name" in *:*) names="$names,IP:$name" ;; *) names="$names,DNS:$name" ;; esac ;;
        *) names="$names,IP:$name" ;;
    esac
done

new_key() {
    openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"
}

# leaf FILE SUBJECT USAGE NAMES
leaf() {
    if [ -e "$out/$1.pem" ]; then
        echo "kept  $out/$1.pem"
        return
    fi
    new_key "$out/$1.key"
    extensions="$out/$1.ext"
    {
        echo "basicConstraints = critical, CA:FALSE"
        echo "keyUsage = critical, digitalSignature"
        echo "extendedKeyUsage = $3"
        echo "subjectKeyIdentifier = hash"
        echo "authorityKeyIdentifier = keyid"
        if [ -n "$4" ]; then echo "subjectAltName = $4"; fi
    } > "$extensions"
    openssl req -new -key "$out/$1.key" -subj "$2" |
        openssl x509 -req -days "$days" -sha256 -CA "$out/ca.pem" -CAkey "$out/ca.key" \
            -set_serial "0x$(openssl rand -hex 16 | sed 's/^./1/')" -extfile "$extensions" -out "$out/$1.pem" 2> "$out/$1.log" ||
        { cat "$out/$1.log" >&2; rm -f "$out/$1.pem"; exit 1; }
    rm -f "$extensions" "$out/$1.log"
    echo "made  $out/$1.pem"
}

if [ ! -e "$out/ca.pem" ]; then
    new_key "$out/ca.key"
    openssl req -x509 -new -key "$out/ca.key" -sha256 -days 3650 -subj "/CN=Thingway development authority" \
        -addext "basicConstraints = critical, CA:TRUE, pathlen:0" -addext "keyUsage = critical, keyCertSign, cRLSign" \
        -out "$out/ca.pem"
    echo "made  $out/ca.pem"
else
    echo "kept  $out/ca.pem"
fi

leaf server "/CN=localhost" serverAuth "$names"
leaf client "/CN=client/O=Thingway development" clientAuth ""
