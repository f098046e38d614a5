<?php
// What the web server and php-fpm serve: a health answer that names the release. Its
// status and body can be replaced by ROOT/shared/health.json, to make a release ill. `?slow` takes half a second.
$root = dirname(__DIR__, 3);
$health = [
    'status' => 'healthy',
    'release' => basename(dirname(__DIR__)),
    'database' => 'connected',
    'queue' => ['pending_jobs' => 0],
];
$override = json_decode((string) @file_get_contents("$root/shared/health.json"), true) ?: [];
if (isset($_GET['slow'])) {
    usleep(500000);
}
http_response_code($override['code'] ?? 200);
header('Content-Type: application/json');
echo json_encode(($override['body'] ?? []) + $health);
