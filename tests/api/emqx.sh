#!/usr/bin/env bash
# What scripts written for EMQX's API do, with its paths and its field names: BASE is as http://127.0.0.1:18083/api/v5, PASSWORD that of the account admin.
# It stops at the first answer that is not as such a script expects it.
set -euo pipefail

base=$1
password=$2
body=$(mktemp)
trap 'rm -f "$body"' EXIT

# Picks a value out of the last answer: field NAME, with slashes between names and numbers of rows; by Python, which needs no package for it.
field() {
    python3 -c '
import json, sys
value = json.load(open(sys.argv[1]))
for part in sys.argv[2].split("/"):
    value = value[int(part)] if isinstance(value, list) else value[part]
print(value if isinstance(value, str) else json.dumps(value))' "$body" "$1"
}

# ask METHOD PATH EXPECTED-STATUS [JSON]
ask() {
    local status
    local -a more=()
    if (($# > 3)); then more=(-H 'Content-Type: application/json' -d "$4"); fi
    status=$(curl -sS -o "$body" -w '%{http_code}' -X "$1" -H "$credentials" "${more[@]}" "$base$2")
    if [ "$status" != "$3" ]; then
        echo "$1 $2: $status in the place of $3: $(cat "$body")" >&2
        exit 1
    fi
    echo "ok $1 $2 $status"
}

# is NAME VALUE: a field of the last answer.
is() {
    local found
    found=$(field "$1")
    if [ "$found" != "$2" ]; then
        echo "$1 is $found in the place of $2: $(cat "$body")" >&2
        exit 1
    fi
}

credentials='X-Nobody: here'
ask GET /clients 401
ask POST /login 401 '{"username":"admin","password":"wrong"}'
is code BAD_USERNAME_OR_PWD
ask POST /login 200 "{\"username\":\"admin\",\"password\":\"$password\"}"
is license/edition opensource
credentials="Authorization: Bearer $(field token)"

# Accounts and keys.
ask POST /users 200 '{"username":"viewer","password":"look only please","role":"viewer","description":"looks"}'
is username viewer
ask PUT /users/viewer 200 '{"role":"viewer","description":"still looks"}'
ask POST /users/viewer/change_pwd 204 '{"old_pwd":"look only please","new_pwd":"look only, please"}'
ask DELETE /users/viewer 204
ask POST /api_key 200 '{"name":"script","desc":"a script","enable":true,"expired_at":"infinity"}'
key="$(field api_key):$(field api_secret)"
curl -sSf -u "$key" "$base/stats" >"$body"
ask GET /api_key/script 200
is expired_at infinity

# The node.
ask GET /nodes 200
is 0/node_status running
node=$(field 0/node)
ask GET "/nodes/$node" 200
ask GET "/nodes/$node/stats" 200
ask GET "/nodes/$node/metrics" 200
ask GET '/stats?aggregate=true' 200
is connections.count 1
ask GET '/metrics?aggregate=true' 200
field messages.received >/dev/null
ask GET '/monitor?latest=60' 200
ask GET /monitor_current 200
is live_connections 1
ask GET /error_codes 200

# The client that the caller has connected, named "device" with the user name "someone", and subscribed to "sensors/#".
ask GET '/clients?username=someone&conn_state=connected&page=1&limit=10' 200
is data/0/clientid device
is meta/count 1
ask GET '/clients_v2?like_clientid=dev&limit=10' 200
is data/0/clientid device
ask GET /clients/device 200
is proto_ver 5
ask GET /clients/nobody 404
is code CLIENTID_NOT_FOUND
ask GET /clients/device/subscriptions 200
is 0/topic sensors/#
ask POST /clients/device/subscribe 200 '{"topic":"made/here","qos":1,"nl":0,"rap":0,"rh":0}'
ask POST /clients/device/unsubscribe 204 '{"topic":"made/here"}'
ask GET '/subscriptions?match_topic=sensors/1/temperature' 200
is data/0/clientid device
ask GET /topics 200
is data/0/topic sensors/#

# Messages.
ask POST /publish 200 '{"topic":"sensors/1","payload":"MjEuNQ==","payload_encoding":"base64","qos":1,"retain":true,"properties":{"message_expiry_interval":3600,"user_properties":{"unit":"C"}}}'
ask POST /publish 202 '{"topic":"nobody/listens","payload":"x"}'
is reason_code 16
ask POST /publish/bulk 200 '[{"topic":"sensors/2","payload":"a"},{"topic":"sensors/3","payload":"b"}]'
ask GET '/mqtt/retainer/messages?topic=sensors/%2B' 200
is data/0/topic sensors/1
ask GET /mqtt/retainer/message/sensors%2F1 200
is payload MjEuNQ==
ask DELETE /mqtt/retainer/message/sensors%2F1 204
ask GET /mqtt/retainer 200
is backend/type built_in_database
ask PUT /mqtt/retainer 200 '{"enable":true,"msg_expiry_interval":"0s","max_payload_size":"1MB","backend":{"type":"built_in_database","max_retained_messages":0}}'
is max_payload_size 1MB
ask DELETE /mqtt/retainer/messages 204
ask PUT /mqtt/delayed 200 '{"enable":true,"max_delayed_messages":1000}'
ask POST /publish 200 '{"topic":"$delayed/600/later","payload":"x"}'
ask GET /mqtt/delayed/messages 200
is data/0/topic later
ask DELETE "/mqtt/delayed/messages/$(field data/0/node)/$(field data/0/msgid)" 204

# Users and rules of the built-in database.
users=/authentication/password_based:built_in_database/users
ask POST "$users" 201 '{"user_id":"emqx_u","password":"emqx_p","is_superuser":false}'
ask GET "$users?like_user_id=emqx" 200
is data/0/user_id emqx_u
ask PUT "$users/emqx_u" 200 '{"password":"emqx_p2","is_superuser":true}'
ask DELETE "$users/emqx_u" 204
rules=/authorization/sources/built_in_database/rules/users
ask POST "$rules" 204 '[{"username":"emqx_u","rules":[{"topic":"test/topic/1","permission":"allow","action":"publish"},{"topic":"#","permission":"deny","action":"all"}]}]'
ask GET "$rules/emqx_u" 200
is rules/0/topic test/topic/1
ask DELETE "$rules/emqx_u" 204

ask PUT /authorization/settings 200 '{"no_match":"allow","deny_action":"ignore","cache":{"enable":true,"max_size":32,"ttl":"1m","excludes":[]}}'
is cache/max_size 32

# Where it is decided what clients may do.
sources=/authorization/sources
ask POST "$sources" 204 '{"type":"file","enable":true,"rules":"{allow, all}."}'
ask GET "$sources" 200
is sources/0/type built_in_database
is sources/1/rules '{allow, all}.'
ask PUT "$sources/file" 204 '{"type":"file","enable":true,"rules":"{allow, all, all, [\"#\"]}."}'
ask POST "$sources/file/move" 204 '{"position":"front"}'
ask PUT "$sources/order" 204 '[{"type":"built_in_database"},{"type":"file"}]'
ask GET "$sources/file/status" 200
is status connected
ask DELETE "$sources/file" 204
ask POST "$sources" 204 '{"type":"redis","enable":false,"redis_type":"single","server":"127.0.0.1:6379","database":1,"password":"public","cmd":"HGETALL mqtt_acl:${username}","ssl":{"enable":false}}'
ask GET "$sources/redis" 200
is cmd 'HGETALL mqtt_acl:${username}'
ask DELETE "$sources/redis" 204

# Who is asked, and names that clients do not choose.
ask POST /authentication 200 '{"mechanism":"password_based","backend":"postgresql","enable":false,"server":"127.0.0.1:5432","database":"mqtt","username":"postgres","password":"public","query":"SELECT password_hash, salt FROM mqtt_user where username = ${username} LIMIT 1","password_hash_algorithm":{"name":"sha256","salt_position":"prefix"},"ssl":{"enable":false}}'
is id password_based:postgresql
ask GET /authentication/password_based:postgresql/status 200
ask DELETE /authentication/password_based:postgresql 204
ask PUT /mqtt/topic_rewrite 200 '[{"action":"all","source_topic":"x/#","re":"^x/y/(.+)$","dest_topic":"z/y/$1"}]'
is 0/dest_topic 'z/y/$1'
ask PUT /mqtt/topic_rewrite 200 '[]'
ask PUT /mqtt/auto_subscribe 200 '[{"topic":"c/${clientid}","qos":1,"rh":0,"rap":0,"nl":0}]'
is 0/qos 1
ask PUT /mqtt/auto_subscribe 200 '[]'

# Settings, by the names of EMQX's tree.
ask GET /configs/global_zone 200
is mqtt/max_packet_size 1MB
# All that EMQX has there, with its defaults.
ask PUT /configs/global_zone 200 '{"durable_sessions":{"enable":false,"batch_size":100},"flapping_detect":{"ban_time":"5m","enable":false,"max_count":15,"window_time":"1m"},"force_gc":{"enable":true,"count":16000,"bytes":"16MB"},"force_shutdown":{"enable":true,"max_mailbox_size":1000,"max_heap_size":"32MB"},"mqtt":{"await_rel_timeout":"300s","client_attrs_init":[],"clientid_override":"disabled","exclusive_subscription":false,"idle_timeout":"15s","ignore_loop_deliver":false,"keepalive_check_interval":"30s","keepalive_multiplier":1.5,"max_awaiting_rel":100,"max_clientid_len":65535,"max_inflight":32,"max_mqueue_len":1000,"max_packet_size":"1MB","max_qos_allowed":2,"max_subscriptions":"infinity","max_topic_alias":65535,"max_topic_levels":128,"message_expiry_interval":"infinity","mqueue_default_priority":"lowest","mqueue_priorities":"disabled","mqueue_store_qos0":true,"peer_cert_as_clientid":"disabled","peer_cert_as_username":"disabled","response_information":"","retain_available":true,"retry_interval":"infinity","server_keepalive":"disabled","session_expiry_interval":"2h","shared_subscription":true,"shared_subscription_initial_sticky_pick":"random","shared_subscription_strategy":"round_robin","strict_mode":false,"upgrade_qos":false,"use_username_as_clientid":false,"wildcard_subscription":true}}'
is mqtt/max_inflight 32
ask POST /configs_reset/global_zone 200
ask PUT /configs/global_zone 200 '{"mqtt":{"max_topic_levels":64}}'
is mqtt/max_topic_levels 64
ask GET '/configs?key=mqtt' 200
is mqtt/max_topic_levels 64
ask POST '/configs_reset/global_zone?conf_path=mqtt.max_topic_levels' 200
ask PUT /configs/sysmon 200 '{"os":{"cpu_check_interval":"60s","cpu_high_watermark":"85%","cpu_low_watermark":"60%"}}'
is os/cpu_high_watermark 85%
ask POST '/configs_reset/sysmon?conf_path=os' 200
ask PUT /configs/log 200 '{"console":{"enable":true,"level":"warning","formatter":"text"}}'
is console/level warning
ask PUT /configs/sys_topics 200 '{"sys_msg_interval":"1m","sys_heartbeat_interval":"30s"}'

# What helps when something is wrong.
ask POST /mqtt/topic_metrics 200 '{"topic":"sensors/1"}'
ask GET /mqtt/topic_metrics/sensors%2F1 200
is topic sensors/1
ask DELETE /mqtt/topic_metrics/sensors%2F1 204
ask PUT /slow_subscriptions/settings 200 '{"enable":true,"threshold":"500ms","expire_interval":"300s","top_k_num":10,"stats_type":"whole"}'
ask GET /slow_subscriptions 200
ask POST /trace 200 '{"name":"device","type":"clientid","clientid":"device"}'
ask PUT /trace/device/stop 200
ask DELETE /trace/device 204
ask GET '/alarms?activated=true' 200

# Listeners, protocols, bans; the last ends the client's connection.
ask GET /listeners 200
ask GET /listeners/tcp:default 200
is type tcp
ask GET /listeners_status 200
is 0/type tcp
ask GET /gateways 200
ask GET /gateways/coap/listeners 200
ask GET /gateways/mqttsn/clients/nobody 404
ask POST /banned 200 '{"as":"clientid","who":"device","by":"script","reason":"enough","until":"2099-01-01T00:00:00Z"}'
ask GET /banned 200
is data/0/who device
ask DELETE /banned/clientid/device 204
ask GET /authentication 200
ask DELETE /api_key/script 204
ask POST /logout 204
ask GET /stats 401
echo "all as EMQX answers it"
