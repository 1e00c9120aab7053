#!/usr/bin/env bash
# Writes the digests that the tags in deploy/images.env have in their registry now. Needs Docker; another file can be given.
#   deploy/pin_images.sh [FILE]
set -euo pipefail
file=${1:-$(dirname "$0")/images.env}
written=$(mktemp "$file.XXXXXX")
trap 'rm -f "$written"' EXIT

while IFS= read -r line; do
  if [[ $line =~ ^([A-Z_]+)=([^@]+) ]]; then
    name=${BASH_REMATCH[1]} image=${BASH_REMATCH[2]}
    docker pull --quiet "$image" >/dev/null
    repository=${image%:*}
    digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$image" | sed -n "s|^${repository#docker.io/}@||p" | head -1)
    [[ $digest == sha256:* ]] || { echo "error: $image has no digest after it was pulled" >&2; exit 1; }
    line=$name=$image@$digest
    echo "$line"
  fi
  printf '%s\n' "$line" >>"$written"
done <"$file"
chmod --reference="$file" "$written"
mv "$written" "$file"
