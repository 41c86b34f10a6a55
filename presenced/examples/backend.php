<?php
// A backend's day over HTTP, in PHP 8 without a library:
//
//     php presenced/examples/backend.php http://127.0.0.1:5251
//
// With PRESENCE_TOKEN it brings that token; a server in development takes its name for it.

declare(strict_types=1);

$base = $argv[1] ?? 'http://127.0.0.1:5251';
$token = getenv('PRESENCE_TOKEN');
$caller = $token ? "Authorization: Bearer $token" : 'Presence-User: backend';

/** What the server refuses, or that there is none. */
class PresenceError extends Exception
{
    public function __construct(public readonly string $word, string $message, public readonly bool $temporary)
    {
        parent::__construct("$word: $message");
    }
}

// What fails is one line, and no trace of this program.
set_exception_handler(function (Throwable $error): void {
    fwrite(STDERR, "backend: {$error->getMessage()}\n");
    exit(1);
});

/** Ask for something: what is answered, or a PresenceError. */
function ask(string $name, array $fields = [], int $tries = 5): array
{
    global $base, $caller;
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        'header' => [$caller, 'Content-Type: application/json'],
        'content' => json_encode((object) $fields, JSON_THROW_ON_ERROR),
        'ignore_errors' => true, // a refusal has a body that says why
        'timeout' => 40,
    ]]);
    $body = @file_get_contents("$base/v1/$name", false, $context);
    if ($body === false) {
        throw new PresenceError('unreachable', "no presenced answers at $base", true);
    }
    $said = json_decode($body, true, 64, JSON_THROW_ON_ERROR);
    if (str_contains($http_response_header[0], ' 200 ')) {
        return $said;
    }
    if ($said['temporary'] && $tries > 1) {
        usleep(1000 * ($said['retry_ms'] ?: 1000));
        return ask($name, $fields, $tries - 1);
    }
    throw new PresenceError($said['code'], $said['message'], $said['temporary']);
}

/** What happens to everybody, from now on. Its user goes on after a lost stream by `$last`. */
function events(?string &$last): Generator
{
    global $base, $caller;
    $headers = $last === null ? [$caller] : [$caller, "Last-Event-ID: $last"];
    $context = stream_context_create(['http' => ['header' => $headers, 'ignore_errors' => true]]);
    $stream = @fopen("$base/v1/events", 'r', false, $context);
    if ($stream === false) {
        throw new PresenceError('unreachable', "no presenced answers at $base", true);
    }
    if (!str_contains($http_response_header[0], ' 200 ')) {
        $said = json_decode(stream_get_contents($stream), true, 64, JSON_THROW_ON_ERROR);
        throw new PresenceError($said['code'], $said['message'], $said['temporary']);
    }
    $fields = [];
    while (($line = fgets($stream)) !== false) {
        $line = rtrim($line, "\n");
        if ($line === '' && isset($fields['data'])) {
            $last = $fields['id'] ?? $last;
            yield ['type' => $fields['event'] ?? 'message'] + json_decode($fields['data'], true);
        }
        [$name, $value] = explode(': ', "$line: ");
        $fields = $line === '' ? [] : [$name => substr($line, strlen($name) + 2)] + $fields;
    }
}

$last = null;
$events = events($last);
$events->current(); // it follows: nothing that happens from here on is missed

// A page opens. It is online for 90 seconds, and a beat from its next request keeps it there.
$page = ['user' => 'anna', 'device' => 'tab-1'];
ask('attach', [...$page, 'kind' => 'browser', 'idle_ms' => 0]);
ask('beat', [...$page, 'idle_ms' => 0, 'focus' => 'general']);
ask('join', [...$page, 'channel' => 'general']);
ask('set_status', ['user' => 'anna', 'status' => 'dnd', 'text' => 'in a meeting', 'for_ms' => 30 * 60_000]);

foreach (ask('get_status', ['users' => ['anna', 'bob']])['records'] as $record) {
    echo rtrim("{$record['user']} is {$record['status']} {$record['text']}"), "\n";
}
$members = ask('get_members', ['channel' => 'general']);
echo 'in the room: ', implode(', ', array_column($members['records'], 'user')), "\n";
$route = ask('route', ['users' => ['anna'], 'urgency' => 'normal', 'about' => 'random'])['routes'][0];
echo "a notification for anna: {$route['verdict']}, because of {$route['reason']}\n";
ask('record_activity', ['user' => 'anna', 'activity' => 'message', 'channel' => 'general', 'at_ms' => time() * 1000]);

try {
    ask('set_status', ['user' => 'anna', 'status' => 'busy']);
} catch (PresenceError $error) {
    echo "refused: {$error->getMessage()}\n";
}

// The page closes.
ask('detach', $page);
if (ask('get_status', ['users' => ['anna']])['records'][0]['status'] !== 'offline') {
    echo "anna is still there, on another device\n";
    exit;
}
foreach ($events as $event) {
    if (in_array($event['kind'] ?? '', ['online', 'offline'], true)) {
        echo "event: {$event['user']} is {$event['kind']}\n";
    }
    if (($event['kind'] ?? '') === 'offline' && $event['user'] === 'anna') {
        break;
    }
}
