// The groups in which the switches of faults.py are shown. A test compares the names.

export const GROUPS = [
  ["webhook", [
    "session_ttl_s", "reply_delay_s", "session_single_use", "session_per_message", "session_gone_errcode",
    "session_gone_status", "reply_rate_limit", "reply_throttle_s", "errcode_as_string", "honour_msg_uuid",
    "banned_words", "unsafe_links",
  ]],
  ["pushes", [
    "pushes", "redeliver_after_s", "redeliver_times", "redeliver_acked", "queue_until_connected", "distribution",
  ]],
  ["connection", [
    "registration", "registration_delay_s", "ticket_ttl_s", "ticket_reuse", "ticket_reject_status", "max_connections",
    "disconnect_after_s", "disconnect_frame", "disconnect_reason", "disconnect_close_s", "disconnect_close_code",
    "ping_first_s", "ping_every_s", "ping_misses_before_drop", "answer_ws_pings", "xml_without_accept", "stream_url",
  ]],
  ["payload", [
    "without_staff_id", "without_text", "quota_used_up", "strings_for_numbers", "extra_fields", "clock_skew_s",
  ]],
  ["api", [
    "token", "token_ttl_s", "proactive", "api_qps", "api_qpm", "api_quota", "flow_controlled", "image_by_media_id",
    "emotion_race", "emotion_names",
  ]],
  ["cards", [
    "card_ack_s", "card_qps", "card_templates", "card_refusing_spaces", "card_value_max", "stream_content_max",
    "stream_full_only",
  ]],
  ["events", ["event_ack_s", "event_retry_s", "event_retries"]],
  ["files", [
    "storage", "storage_pause_s", "storage_oversize_bytes", "storage_redirect", "storage_url", "storage_content_type",
    "download_code_ttl_s", "download_url_ttl_s", "upload_token",
  ]],
];

// What replies to the session webhook meet, until it is set back: orders for /control/replies.
export const REPLY_FAULTS = {
  expired: { errcode: 300001, errmsg: "session 不存在" },
  throttled: { errcode: 130101, errmsg: "send too fast, exceed 20 times per minute" },
  busy: { errcode: -1, errmsg: "系统繁忙" },
  banned: { errcode: 430102, errmsg: "不合适的文本" },
  http_500: { status: 500 },
  hangs: { hang_s: 60 },
  reset: { reset: true },
};

// What calls of the OpenAPI meet: orders for /control/api.
export const API_FAULTS = {
  permission: { kind: "permission" }, qps: { kind: "qps" }, count_limit: { kind: "count_limit" }, token: { kind: "token" },
  busy: { kind: "busy" }, system_error: { kind: "system_error" }, timeout: { kind: "timeout" },
  unavailable: { kind: "unavailable" }, hangs: { hang_s: 60 }, reset: { reset: true },
};
