#!/bin/bash
# What trueup is compared with: a deployment script as many of them are, its sleeps kept.
#
#   scripted.sh ROOT ID REPOSITORY GROUP COUNT URL
#
# Says on the standard output when each phase began: `phase NAME SECONDS`.
set -euo pipefail

root=$1 id=$2 repository=$3 group=$4 count=$5 url=$6
release=$root/releases/$id

phase() { echo "phase $1 $EPOCHREALTIME"; }
fail() {
    echo "$1" >&2
    exit 1
}

phase fetch
git clone --quiet --depth 1 "file://$repository" "$release"
rm -rf "$release/.git"
chown -R deploy: "$release"

phase link
mkdir -p "$root/shared/storage"
rm -rf "$release/storage" "$release/.env"
ln -s "$root/shared/storage" "$release/storage"
ln -s "$root/shared/.env" "$release/.env"

cd "$release"
phase build
runuser -u deploy -- sh -c "$BENCH_INSTALL"
runuser -u deploy -- sh -c "$BENCH_OPTIMISE"
phase migrate
runuser -u deploy -- sh -c "$BENCH_MIGRATE"
phase verify
[[ -f vendor/autoload.php && -f .env ]] || fail "the release is incomplete"
runuser -u deploy -- sh -c "$BENCH_VERIFY"

phase switch
ln -sfn "$release" "$root/current.new"
mv -T "$root/current.new" "$root/current"
phase services
systemctl reload php8.2-fpm
phase workers
supervisorctl restart "$group:*" >/dev/null

phase gate
sleep 5
healthy=
for _ in 1 2 3 4 5; do
    if curl --silent --fail --max-time 10 "$url" | grep --quiet '"status":"healthy"'; then
        healthy=yes
        break
    fi
    sleep 3
done
[[ $healthy ]] || fail "not healthy"
(($(supervisorctl status "$group:*" | grep --count RUNNING) == count)) || fail "workers are missing"

phase prune
cd "$root/releases"
# The newest five stay.
ls -1t | tail -n +6 | xargs --no-run-if-empty rm -rf --
phase end
