import { clients } from "./clients";
import { control } from "./control";
import { observe } from "./observe";
import { overview } from "./overview";
import { playground } from "./playground";
import { retained } from "./retained";
import { shell } from "./shell";
import { system } from "./system";
import { topics } from "./topics";

/** A text in English and in Chinese: leaving one out does not pass the type checker. */
export type Texts = Record<string, readonly [en: string, zh: string]>;

/** Every text of the page: a file for each part, whose keys begin with the part's name. */
export const catalogue = {
  ...shell,
  ...overview,
  ...clients,
  ...retained,
  ...topics,
  ...playground,
  ...control,
  ...observe,
  ...system,
};

export type Key = keyof typeof catalogue;
