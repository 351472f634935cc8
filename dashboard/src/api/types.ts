/** The API's objects, as far as the page reads them. */

export interface Meta {
  page?: number;
  limit?: number;
  count?: number;
  hasnext?: boolean;
  cursor?: string;
}

export interface Paged<T> {
  data: T[];
  meta: Meta;
}

export interface Current {
  received_msg_rate: number;
  sent_msg_rate: number;
  dropped_msg_rate: number;
  received_bytes_rate: number;
  sent_bytes_rate: number;
  connections: number;
  live_connections: number;
  topics: number;
  subscriptions: number;
  shared_subscriptions: number;
  retained_msg_count: number;
  node_uptime: number;
  time_stamp?: number;
  memory_used?: number;
  protocols?: Record<string, number>;
}

export interface Sample {
  time_stamp: number;
  received: number;
  sent: number;
  dropped: number;
  connections: number;
  live_connections: number;
  subscriptions: number;
  retained: number;
  memory_used: number;
  received_bytes: number;
  sent_bytes: number;
  protocols?: Record<string, number>;
}

export interface NodeInfo {
  node: string;
  node_status: string;
  version: string;
  uptime: number;
  connections: number;
  live_connections: number;
  load1: number | null;
  load5: number | null;
  load15: number | null;
  max_fds: number;
  memory_used: number;
  memory_total: number;
}

export interface Client {
  clientid: string;
  username: string | null;
  node: string;
  connected: boolean;
  connected_at: string | null;
  ip_address: string | null;
  port: number | null;
  proto_name: string | null;
  proto_ver: number | null;
  listener: string | null;
  keepalive: number | null;
  clean_start: boolean | null;
  expiry_interval: number;
  is_persistent: boolean;
  durable: boolean;
  subscriptions_cnt: number;
  subscriptions_max: number | "infinity";
  mqueue_len: number;
  mqueue_max: number;
  inflight_cnt?: number;
  inflight_max?: number;
  total_payload_bytes: number;
  created_at?: string | null;
  disconnected_at?: string | null;
  mqueue_dropped?: number;
  recv_pkt?: number;
  recv_msg?: number;
  recv_oct?: number;
  send_pkt?: number;
  send_msg?: number;
  send_oct?: number;
}

export interface Subscription {
  clientid: string;
  node: string;
  topic: string;
  qos: number;
  nl: number;
  rap: number;
  rh: number;
}

export interface RetainedInfo {
  topic: string;
  qos: number;
  publish_at: string;
  payload_size: number;
  expires_at: string | null;
}

export interface Certificate {
  subject: string;
  issuer: string;
  not_after: string;
  names: string[];
}

export interface Listener {
  id: string;
  type: string;
  name: string;
  protocol: string;
  enable: boolean;
  running?: boolean;
  bind: string;
  status: { running: boolean; max_connections: number | "infinity"; current_connections: number };
  accepted: number;
  refused: number;
  /** Of a WebSocket listener. */
  path?: string | null;
  /** Why it does not run though it should. */
  failure?: string | null;
  certificate?: Certificate | null;
}

export interface Alarm {
  node: string;
  name: string;
  message: string;
  details: unknown;
  duration: number;
  activate_at: string;
  deactivate_at?: string;
}

export interface ClientEvent {
  event: "connected" | "disconnected" | "subscribed" | "unsubscribed";
  clientid: string;
  username: string | null;
  protocol: string;
  ip_address: string | null;
  topic?: string;
  reason?: string;
  ts: number;
}
