#!/bin/sh
# A wrapper that forks the real worker and does not pass signals on: when it is
# stopped, the worker stays behind with its old release.
php "$(dirname "$(readlink -f "$0")")/artisan" queue:work &
wait
