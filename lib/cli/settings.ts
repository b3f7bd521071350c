/**
 * The settings of `serve`: one table of names for the command line and the
 * configuration file, and what each becomes in the server's options. Opens no
 * file and prints nothing.
 */

import { parseCidr } from "../net/cidr.ts";
import { type ListenOptions, parseListen } from "../net/listen_options.ts";
import {
  isOpenToClients,
  type RelayingOptions,
} from "../relaying/relaying_options.ts";
import type { SmtpServerOptions } from "../server/options.ts";
import { localDomains } from "../session/local_domains.ts";
import { DiscardStore } from "../store/discard_store.ts";
import { FileStore } from "../store/file_store.ts";
import { MaildirStore } from "../store/maildir_store.ts";
import { MboxStore } from "../store/mbox_store.ts";
import type { MessageStore } from "../store/store.ts";
import { LIMIT_SETTINGS, limitSettings } from "./limit_settings.ts";
import {
  flag,
  flagOf,
  one,
  type RawSettings,
  type SettingForm,
  usable,
  wholeNumber,
  word,
} from "./raw_settings.ts";
import { RELAY_SETTINGS, relaySettings } from "./relay_settings.ts";
import { hint, UsageError } from "./usage.ts";

/** The settings of `serve`, by their name on the command line. */
export const SETTINGS: Readonly<Record<string, SettingForm>> = {
  listen: "many",
  hostname: "one",
  store: "one",
  domain: "many",
  handlers: "one",
  threads: "one",
  user: "many",
  users: "one",
  auth: "one",
  security: "one",
  cert: "many",
  key: "many",
  "self-signed": "flag",
  "allow-insecure-auth": "flag",
  ...RELAY_SETTINGS,
  ...LIMIT_SETTINGS,
  "proxy-protocol": "many",
  xclient: "many",
  log: "one",
  quiet: "flag",
};

/** The settings of `serve`, checked. */
export interface ServeSettings {
  /** What the server gets; handlers and log are added by the caller. */
  readonly options: SmtpServerOptions & {
    readonly listen: readonly ListenOptions[];
  };
  /** Where mail goes, in words for the first screen. */
  readonly keeps: string;
  /** The handlers module, as given. */
  readonly handlers: string | undefined;
  /** The form of log records. */
  readonly log: "text" | "json";
  /** Whether only warnings and errors are told. */
  readonly quiet: boolean;
}

/**
 * Reads the settings of a configuration file: the same names in camelCase;
 * values are strings, numbers, booleans or arrays of these.
 *
 * @throws {UsageError} If a name is unknown or a value has the wrong type
 */
export function settingsOfConfig(
  config: unknown,
  file: string,
): Map<string, readonly string[]> {
  if (typeof config !== "object" || config === null || Array.isArray(config)) {
    throw new UsageError(`--config ${file}: want a JSON object`);
  }
  const settings = new Map<string, readonly string[]>();
  for (const [key, value] of Object.entries(config)) {
    const name = key.replace(/[A-Z]/g, (it) => `-${it.toLowerCase()}`);
    const form = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    if (form === undefined || key.includes("-")) {
      throw new UsageError(`--config ${file}: unknown setting "${key}"`);
    }
    const values = valuesOf(form, value);
    const at = `--config ${file}: setting "${key}"`;
    if (values === undefined) {
      throw new UsageError(`${at} wants ${WANTED[form]}`);
    }
    if (form === "flag") flagOf(at, values);
    settings.set(name, values);
  }
  return settings;
}

/** What a setting of each form may be in a configuration file. */
const WANTED: Readonly<Record<SettingForm, string>> = {
  one: "a string or a number",
  many: "a string, or an array of at least one",
  flag: "true or false",
};

/** The values of a setting as they would stand on the command line, if they fit its form. */
function valuesOf(
  form: SettingForm,
  value: unknown,
): readonly string[] | undefined {
  if (form === "flag") {
    const fits = ["boolean", "string", "number"].includes(typeof value);
    return fits ? [String(value)] : undefined;
  }
  const values = form === "many" && Array.isArray(value) ? value : [value];
  const fit = values.length > 0 &&
    values.every((it) =>
      typeof it === "string" || (form === "one" && typeof it === "number")
    );
  return fit ? values.map(String) : undefined;
}

/**
 * Checks the settings and makes the server's options of them.
 *
 * @throws {UsageError} If a value cannot be used
 */
export function serveSettings(raw: RawSettings): ServeSettings {
  const listen = (raw.get("listen") ?? ["127.0.0.1:2525"]).map((text) =>
    usable("listen", () => parseListen(text))
  );
  const domains = raw.get("domain");
  usable("domain", () => localDomains(domains ?? []));
  const log = word(raw, "log", ["text", "json"]) ?? "text";
  const { store, keeps } = storeOf(one(raw, "store") ?? "maildir:./mail");
  const relaying = relaySettings(raw);
  return {
    options: {
      listen,
      store,
      domains,
      hostname: one(raw, "hostname"),
      limits: limitSettings(raw),
      proxyProtocol: networks(raw, "proxy-protocol"),
      xclient: networks(raw, "xclient"),
      threads: wholeNumber(raw, "threads", { least: 0 }),
      ...relaying,
    },
    keeps: relaying.relay !== undefined && isOpenToClients(relaying.relay)
      ? relayed(keeps, { domains, relay: relaying.relay })
      : keeps,
    handlers: one(raw, "handlers"),
    log,
    quiet: flag(raw, "quiet"),
  };
}

/** The networks of a setting, checked. */
function networks(
  raw: RawSettings,
  name: string,
): readonly string[] | undefined {
  const texts = raw.get(name);
  for (const text of texts ?? []) usable(name, () => parseCidr(text));
  return texts;
}

/** Where mail goes when some of it goes elsewhere. */
function relayed(
  keeps: string,
  { domains, relay }: {
    readonly domains: readonly string[] | undefined;
    readonly relay: RelayingOptions;
  },
): string {
  const goes = `is relayed from the queue in ${relay.spool}`;
  return domains === undefined
    ? `mail ${goes}`
    : `${keeps}; mail for other domains ${goes}`;
}

/** The kinds of store. */
const STORES: readonly string[] = ["maildir", "mbox", "file", "discard"];

/** Makes the store that `--store` names. */
function storeOf(
  text: string,
): { readonly store: MessageStore; readonly keeps: string } {
  const colon = text.indexOf(":");
  const kind = colon < 0 ? text : text.slice(0, colon);
  const path = colon < 0 ? "" : text.slice(colon + 1);
  if (kind === "discard" && path === "") {
    return {
      store: new DiscardStore(),
      keeps: "mail is accepted and discarded",
    };
  }
  if (path === "" || !STORES.includes(kind) || kind === "discard") {
    throw new UsageError(
      `--store ${text}: want maildir:DIR, mbox:DIR, mbox:FILE.mbox, file:DIR or discard${
        hint(kind, STORES)
      }`,
    );
  }
  switch (kind) {
    case "maildir":
      return {
        store: new MaildirStore({ folder: path }),
        keeps: `mail is kept in ${path}, one Maildir a recipient`,
      };
    case "mbox":
      return path.endsWith(".mbox")
        ? {
          store: new MboxStore({ path }),
          keeps: `mail is kept in the mbox file ${path}`,
        }
        : {
          store: new MboxStore({ folder: path }),
          keeps: `mail is kept in ${path}, one mbox file a recipient`,
        };
    default:
      return {
        store: new FileStore({ folder: path }),
        keeps: `mail is kept in ${path}, one .eml file a message`,
      };
  }
}
