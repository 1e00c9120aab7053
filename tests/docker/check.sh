#!/usr/bin/env bash
# Builds the image, brings docker-compose.yml up, kills a worker in the middle of a job and proves that no line is lost or doubled.
# Needs Docker, `docker compose` (or docker-compose 1.28+), curl and python3. Leaves nothing running; exit code 0 only if all held.
#   tests/docker/check.sh          BUILD_OPTIONS="--network host" and the like go to `docker build`; LINES_IN_JOB, API_PORT and
#   FLOWER_PORT (14000, 15555) can be set.
set -euo pipefail
cd "$(dirname "$0")/../.."

lines=${LINES_IN_JOB:-2000}
project=roadbalancer-check-$$
folder=$(mktemp -d)
key=check-$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
export ROADBALANCER_IMAGE=roadbalancer:check ROADBALANCER_CONFIG_FILE=./examples/docker.yaml ROADBALANCER_API_KEYS=$key
export ROADBALANCER_PORT=${API_PORT:-14000} FLOWER_PORT=${FLOWER_PORT:-15555} FLOWER_BASIC_AUTH=check:$key
api=http://127.0.0.1:$ROADBALANCER_PORT
flower=http://127.0.0.1:$FLOWER_PORT
started=$SECONDS

if docker compose version >/dev/null 2>&1; then compose=(docker compose -p "$project"); else compose=(docker-compose -p "$project"); fi

say() { printf '%4ds  %s\n' $((SECONDS - started)) "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

clean_up() {
  local code=$?
  trap - EXIT
  [ "$code" = 0 ] || "${compose[@]}" logs --tail 40 || true
  "${compose[@]}" down -v --remove-orphans >"$folder/down" 2>&1 || { cat "$folder/down"; [ "$code" != 0 ] || code=1; }
  rm -rf "$folder"
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

wait_for() { # wait_for SECONDS WHAT COMMAND...: until the command succeeds
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $deadline ] || fail "waited in vain: $what"
    sleep 0.3
  done
}

containers() { "${compose[@]}" ps -q "$1"; }
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$(containers "$1")" 2>/dev/null)" = healthy ]; }
ask() { curl -sS --fail --max-time 30 -H "Authorization: Bearer $key" "$@"; }
code_of() { curl -s -o /dev/null --max-time 10 -w '%{http_code}' "$@" || true; }
field() { python3 -c 'import functools, json, sys; print(functools.reduce(lambda o, k: o[k], sys.argv[1:], json.load(sys.stdin)))' "$@"; }
batch() { ask "$api/v1/batches/$id" | field "$@"; }
has_completed() { [ "$(batch request_counts completed)" -ge "$1" ]; }
is_final() { case $(batch status) in completed | failed | cancelled | expired) return 0 ;; *) return 1 ;; esac; }

# shellcheck disable=SC2086
docker build -q ${BUILD_OPTIONS:-} -t "$ROADBALANCER_IMAGE" . >/dev/null
say "built, $(($(docker image inspect -f '{{.Size}}' "$ROADBALANCER_IMAGE") / 1000000)) MB"

if FLOWER_BASIC_AUTH='' "${compose[@]}" run --rm --no-deps flower >"$folder/flower" 2>&1; then
  fail "Flower runs without FLOWER_BASIC_AUTH"
fi
grep -q 'set FLOWER_BASIC_AUTH' "$folder/flower" || fail "Flower does not say that FLOWER_BASIC_AUTH is missing"

"${compose[@]}" up -d --scale worker=2 >"$folder/up" 2>&1 || { cat "$folder/up"; fail "up"; }
for service in redis mock-fast mock-slow api flower; do wait_for 90 "$service is healthy" healthy "$service"; done
say "up and healthy"

for service in api worker flower mock-fast mock-slow; do
  for container in $(containers "$service"); do
    [ "$(docker exec "$container" python -c 'import os; print(os.getuid())')" = 10001 ] || fail "$service does not run as 10001"
  done
done
[ -z "$(docker port "$(containers redis)")" ] || fail "Redis is published"
[ "$(code_of "$api/v1/models")" = 401 ] || fail "the API answers without a key"
[ "$(code_of "$flower/workers")" = 401 ] || fail "Flower answers without a password"
[ "$(code_of -u "$FLOWER_BASIC_AUTH" "$flower/workers")" = 200 ] || fail "Flower does not answer with its password"
say "nobody is root, Redis is not published, API and Flower want their keys"

python3 - "$lines" >"$folder/in.jsonl" <<'PY'
import json, sys
for number in range(int(sys.argv[1])):
    body = {"model": "simulated", "messages": [{"role": "user", "content": f"Say something about {number}."}]}
    print(json.dumps({"custom_id": f"line-{number:06}", "method": "POST", "url": "/v1/chat/completions", "body": body}))
PY
file=$(ask "$api/v1/files" -F purpose=batch -F "file=@$folder/in.jsonl" | field id)
id=$(ask "$api/v1/batches" -H 'Content-Type: application/json' \
  -d "{\"input_file_id\": \"$file\", \"endpoint\": \"/v1/chat/completions\", \"completion_window\": \"24h\"}" | field id)
say "$id: $lines lines"

wait_for 60 "a fifth of the job is done" has_completed $((lines / 5))
victim=$(containers worker | head -1)
at=$(batch request_counts completed)
docker kill "$victim" >/dev/null
is_final && fail "the job had ended before the worker was killed; raise LINES_IN_JOB"
say "killed a worker at $at lines"

wait_for 300 "the job ends" is_final
say "$(batch status): $(batch request_counts completed) completed, $(batch request_counts failed) failed"
[ "$(batch status)" = completed ] || fail "the job ended as $(batch status)"
[ "$(batch request_counts completed)" = "$lines" ] || fail "not every line completed"
ask "$api/v1/files/$(batch output_file_id)/content" -o "$folder/out.jsonl"
python3 - "$folder/in.jsonl" "$folder/out.jsonl" <<'PY' || fail "the output does not name each custom_id once, in order"
import json, sys
wanted, found = ([json.loads(line)["custom_id"] for line in open(path)] for path in sys.argv[1:])
sys.exit(wanted != found)
PY
"${compose[@]}" exec -T api roadbalancer verify "$id" || fail "verify"

survivor=$(containers worker | grep -v "$victim" | head -1)
before=$SECONDS
"${compose[@]}" stop worker >"$folder/stop" 2>&1 || fail "stop"
[ "$(docker inspect -f '{{.State.ExitCode}}' "$survivor")" = 0 ] || fail "the other worker did not stop cleanly"
say "the other worker stopped cleanly within $((SECONDS - before + 1)) s"
say "all held"
