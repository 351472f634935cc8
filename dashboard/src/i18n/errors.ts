import type { Language } from ".";
import { catalogue } from "./catalogue";

/**
 * What the codes of the API's errors mean, in Chinese. The gateway's own words are English and stay below; a code without
 * a line here fails `cargo test`.
 */
export const CHINESE: Readonly<Record<string, string>> = {
  ALREADY_EXISTS: "已经存在",
  API_KEY_NOT_ALLOW: "API 密钥不允许此操作",
  BAD_API_KEY_OR_SECRET: "API 密钥或密文错误",
  BAD_CONFIG_SCHEMA: "配置不被接受",
  BAD_LISTENER_ID: "监听器 ID 无效",
  BAD_REQUEST: "请求无效",
  BAD_TOPIC: "主题格式错误",
  BAD_USERNAME_OR_PWD: "用户名或密码错误",
  CLIENTID_NOT_FOUND: "没有这个客户端",
  EXCEED_LIMIT: "超出上限",
  FORBIDDEN: "当前角色无权执行此操作",
  INTERNAL_ERROR: "网关内部错误",
  INVALID_PARAMETER: "参数无效",
  LOGIN_LOCKED: "登录失败次数过多，已暂时锁定",
  MESSAGE_ID_NOT_FOUND: "没有这条消息",
  MESSAGE_ID_SCHEMA_ERROR: "消息 ID 格式错误",
  NOT_FOUND: "未找到",
  NO_DEFAULT_VALUE: "没有可以重置的设置",
  PASSWORD_EXPIRED: "必须先修改密码",
  RESOURCE_NOT_FOUND: "未找到资源",
  SERVICE_UNAVAILABLE: "服务暂时不可用",
  TIMEOUT: "网关未及时回应",
  TOPIC_NOT_FOUND: "没有这个主题",
  UNREACHABLE: "无法连接网关",
  UNSUPPORTED_MEDIA_TYPE: "不支持的内容类型",
  USER_NOT_FOUND: "没有这个用户",
};

/** Of an answer that has no code of its own, by its status. */
const BY_STATUS: Readonly<Record<number, string>> = {
  400: "请求无效",
  401: "需要登录",
  403: "无权执行此操作",
  404: "未找到",
  405: "不支持此操作",
  409: "与现有内容冲突",
  413: "内容过大",
  415: "不支持的内容类型",
  429: "请求过于频繁",
  500: "网关内部错误",
  501: "不支持此操作",
  502: "无法连接网关",
  503: "服务暂时不可用",
  504: "网关未及时回应",
};

/** What went wrong, in Chinese; for what nobody has translated, that something did. */
export function chinese(code: string, status: number): string {
  return CHINESE[code] ?? BY_STATUS[status] ?? "操作失败";
}

/** An error as far as it is told. */
export interface Told {
  status: number;
  code: string;
  message: string;
  isUnreachable: boolean;
}

export interface Said {
  /** What went wrong, in the language of the page. */
  lead: string;
  /** What the gateway said of it, which is English, and its code. */
  detail: string;
}

/** What went wrong, in that language. */
export function sayIn(into: Language, { status, code, message, isUnreachable }: Told): Said {
  const named = status === 0 ? code : `${status} ${code}`;
  if (isUnreachable) return { lead: catalogue["shell.unreachable"][into === "zh" ? 1 : 0], detail: named };
  // No code of the gateway's: something failed in the page.
  if (into === "en" || status === 0) return { lead: message, detail: named };
  return { lead: chinese(code, status), detail: `${message} (${code})` };
}
