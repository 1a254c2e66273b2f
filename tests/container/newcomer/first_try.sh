# What somebody new types, from a clone on a bare machine to a synced segment, by README.md. Stands in for Cordial: the
# stand-in; for Heap: the command that signs as Heap does.
# $1: where to clone from. $2, $3: free ports for the service and for the stand-in.
set -eu
# Whatever fails, nothing goes on running.
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
step() { echo "STEP $(date +%s) $*"; }

step "clone"
git clone --quiet --depth 1 "file://$1" heap-cordial
cd heap-cordial

step "install and try the demo: make demo-exit"
make --silent demo-exit

step "write a configuration: heap-cordial init"
.venv/bin/heap-cordial sandbox --port "$3" > sandbox.log 2>&1 &
sandbox=$!
printf 'heap-says' > heap-secret
printf 'sandbox-key' > cordial-key
.venv/bin/heap-cordial init --directory mine --account acme \
  --cordial-base-url "http://127.0.0.1:$3" --identify-by email --no-dry-run \
  --heap-secret-file heap-secret --cordial-api-key-file cordial-key
cd mine
export HEAP_CORDIAL__SERVER__PORT="$2"

step "start the service: heap-cordial serve"
../.venv/bin/heap-cordial serve --config config.toml > serve.log 2>&1 &
service=$!
# A person would look at the log, or simply try again.
until grep -q service.started serve.log; do sleep 0.2; kill -0 "$service"; done

step "prove it: heap-cordial check"
../.venv/bin/heap-cordial check --config config.toml

step "send a segment: heap-cordial send"
seq -f 'user%g@example.com' 1 250 > ids.csv
../.venv/bin/heap-cordial send --url "http://127.0.0.1:$2/webhooks/heap/acme" --secret-file ../heap-secret \
  --segment "Active Users" --segment-id 7 --file ids.csv --page-size 100

step "let the new segment through: heap-cordial approve"
../.venv/bin/heap-cordial preview "Active Users" --config config.toml
../.venv/bin/heap-cordial approve "Active Users" --config config.toml

step "see it arrive: heap-cordial status"
until ../.venv/bin/heap-cordial verify "Active Users" --config config.toml; do sleep 0.5; done
../.venv/bin/heap-cordial status --config config.toml

step "done"
kill -TERM "$service"
wait "$service"
kill -TERM "$sandbox"
