#!/usr/bin/env bash
# Lays out a virtual environment with the Python packages that the tests talk to: the client library
# of Prometheus, whose `push_to_gateway` pushes to the agent, gRPC's server with its health service,
# which the agent asks, that of MongoDB, which shows that our stand-in for its server is one, and a
# validator of JSON Schema. They come from the package index that
# this machine's pip is told to use. Nothing else on the machine changes.
#
#   tests/peers/python.sh           lay it out, where it is missing
#   tests/peers/python.sh --where   print the environment's interpreter
#
# Into VEILLEUR_PEERS, by default ~/.cache/veilleur-peers.
set -euo pipefail

cache=${VEILLEUR_PEERS:-$HOME/.cache/veilleur-peers}
python=$cache/python/bin/python
packages="prometheus-client==0.22.1 grpcio==1.76.0 grpcio-health-checking==1.76.0 pymongo==4.11.3 \
  jsonschema==4.25.1 PyYAML==6.0.3"

if [ "${1:-}" = --where ]; then
  echo "$python"
  exit 0
fi

"$python" -c 'import prometheus_client, grpc_health.v1.health, pymongo, jsonschema, yaml' 2>/dev/null && exit 0
echo "laying out $packages in $cache/python"
mkdir -p "$cache"
python3 -m venv "$cache/python"
# shellcheck disable=SC2086
"$python" -m pip install --quiet --disable-pip-version-check $packages
