import { language, t } from ".";
import { chinese, type Said, sayIn, type Told } from "./errors";

/** What went wrong, in the language of the page. */
export function say(error: Told): Said {
  return sayIn(language.value, error);
}

/** The same in one line. */
export function sayShortly(error: Told): string {
  if (error.isUnreachable) return t("shell.unreachable");
  const { lead, detail } = say(error);
  if (error.status === 0) return lead;
  return language.value === "zh" ? `${lead}：${detail}` : `${lead} (${error.code})`;
}

/** What the gateway found wrong with a field. */
export function sayOfField(message: string): string {
  return language.value === "zh" ? `${chinese("BAD_CONFIG_SCHEMA", 400)}：${message}` : message;
}
