/**
 * Makes the server's options from the settings of `serve`: listeners, store,
 * domains and limits. `relay_settings.ts` makes those of relaying. Checks each
 * value. Has no default of the library, opens no file and prints nothing.
 */

import type { RelayingOptions } from "../queue/mod.ts";
import {
  checkHostname,
  formatHostPort,
  isOpenToClients,
  localDomains,
  LOG_FORMS,
  type LogForm,
  MOST_THREADS,
  type NumberLimit,
  numberLimits,
  parseListen,
  parsePeers,
  userLimitRows,
} from "../server/mod.ts";
import {
  DiscardStore,
  FileStore,
  LmtpStore,
  type MailboxOwners,
  MaildirStore,
  MboxStore,
  type MessageStore,
} from "../store/mod.ts";
import {
  Address,
  type LimitOptions,
  type ListenOptions,
  type LogLevel,
  type SmtpServerOptions,
} from "../../mod.ts";
import {
  BARE_NEWLINES,
  DEFAULT_LISTEN,
  DEFAULT_STORE,
  EARLY_TALKERS,
  LOG_LEVELS,
  ON_TEMPORARY,
  VERIFY,
} from "./option.ts";
import {
  duration,
  flag,
  one,
  parseOption,
  type RawSettings,
  size,
  wholeNumber,
  word,
} from "./arguments.ts";
import { relaySettings } from "./relay_settings.ts";
import { hint, UsageError } from "./output.ts";

/** The folder or file that a store writes to. */
export interface StorePlace {
  /** Path of the folder or file. */
  readonly path: string;
  /** Whether it is a file, not a folder. */
  readonly isFile: boolean;
}

/** The settings of `serve`, checked. */
export interface ServeSettings {
  /** Options of the server; the caller adds handlers and log. */
  readonly options: SmtpServerOptions & {
    readonly listen: readonly ListenOptions[];
  };
  /** Text of the first screen that says where mail goes. */
  readonly keeps: string;
  /** Folder or file of `--store`; `undefined` if no mail is kept. */
  readonly keepsIn: StorePlace | undefined;
  /** The value of `--handlers`. */
  readonly handlers: string | undefined;
  /** The form of log records. */
  readonly log: LogForm;
  /** The lowest level of log records. */
  readonly logLevel: LogLevel;
  /** Whether to report to the service manager; `undefined` if only where the environment names one. */
  readonly notify: boolean | undefined;
  /** Whether to log warnings and errors only. */
  readonly quiet: boolean;
}

/**
 * Checks the settings and makes the server's options from them.
 *
 * @throws {UsageError} If a value cannot be used
 */
export function serveSettings(raw: RawSettings): ServeSettings {
  const listen = (raw.get("listen") ?? [DEFAULT_LISTEN]).map((text) =>
    parseOption("listen", () => parseListen(text))
  );
  checkDistinct(listen);
  const domains = raw.get("domain");
  parseOption("domain", () => localDomains(domains ?? []));
  const log = word(raw, "log", LOG_FORMS) ?? "text";
  const quiet = flag(raw, "quiet");
  const hostname = one(raw, "hostname");
  parseOption("hostname", () => checkHostname(hostname));
  const { store, keeps, keepsIn } = storeOf(
    one(raw, "store") ?? DEFAULT_STORE,
    {
      owners: storeOwners(raw.get("store-owner")),
      quota: size(raw, "quota", { least: 1 }),
      hostname,
    },
  );
  const relaying = relaySettings(raw);
  return {
    options: {
      listen,
      store,
      domains,
      hostname,
      limits: limitSettings(raw),
      proxyProtocol: networks(raw, "proxy-protocol"),
      xclient: networks(raw, "xclient"),
      trace: networks(raw, "trace"),
      bareNewlines: word(raw, "bare-newlines", BARE_NEWLINES),
      earlyTalkers: word(raw, "early-talkers", EARLY_TALKERS),
      verify: verifySettings(raw),
      complete: raw.has("complete") ? flag(raw, "complete") : undefined,
      threads: wholeNumber(raw, "threads", { least: 0, most: MOST_THREADS }),
      ...relaying,
    },
    keeps: relaying.relay !== undefined && isOpenToClients(relaying.relay)
      ? relayed(keeps, { domains, relay: relaying.relay })
      : keeps,
    keepsIn,
    handlers: one(raw, "handlers"),
    log,
    logLevel: word(raw, "log-level", LOG_LEVELS) ?? leastLevel(log, quiet),
    notify: raw.has("notify") ? flag(raw, "notify") : undefined,
    quiet,
  };
}

/** The option `verify`. */
function verifySettings(raw: RawSettings): SmtpServerOptions["verify"] {
  const dmarc = word(raw, "verify", VERIFY);
  const authservId = one(raw, "authserv-id");
  parseOption("authserv-id", () => checkHostname(authservId));
  const exempt = exemptions(raw, "verify-exempt");
  const onTemporary = word(raw, "verify-temporary", ON_TEMPORARY);
  const trustedSealers = raw.get("trusted-sealer")?.map((domain) =>
    parseOption(
      "trusted-sealer",
      () => Address.parse(`postmaster@${domain}`).asciiDomain,
    )
  );
  if (dmarc === undefined || dmarc === "none") return undefined;
  return { dmarc, authservId, exempt, onTemporary, trustedSealers };
}

/** The lowest level without `--log-level`: single connections are noise to a person, and facts to a program. */
function leastLevel(form: LogForm, isQuiet: boolean): LogLevel {
  if (isQuiet) return "warn";
  return form === "text" ? "info" : "debug";
}

/** Throws if two listeners have the same address and port: the second could not start. */
function checkDistinct(listen: readonly ListenOptions[]): void {
  const seen = new Set<string>();
  for (const { host = "", port = 25, path } of listen) {
    const at = formatHostPort({ address: host, port, path });
    if ((port !== 0 || path !== undefined) && seen.has(at)) {
      throw new UsageError(`--listen ${at}: given twice, want once`);
    }
    seen.add(at);
  }
}

/** The checked networks of a setting. */
function networks(
  raw: RawSettings,
  name: string,
): readonly string[] | undefined {
  const texts = raw.get(name);
  for (const text of texts ?? []) parseOption(name, () => parsePeers(text));
  return texts;
}

/** The text that says where mail goes if some of it is relayed. */
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

/** The user ids whose mailboxes are used, besides the server's own. */
function storeOwners(
  texts: readonly string[] | undefined,
): MailboxOwners | undefined {
  if (texts === undefined) return undefined;
  for (const text of texts) {
    if (text === "any" || (/^\d{1,10}$/.test(text))) continue;
    throw new UsageError(
      `--store-owner ${text || '""'}: want the number of a user, or any`,
    );
  }
  return texts.includes("any") ? "any" : texts.map(Number);
}

/** Further settings of the store. */
interface StoreSettings {
  readonly owners: MailboxOwners | undefined;
  /** Bytes of each mailbox. */
  readonly quota: number | undefined;
  readonly hostname: string | undefined;
}

/** What a word of `--store` makes of the path behind it. */
type StoreMaker = (path: string, settings: StoreSettings) => MadeStore;

/** A store, where it keeps mail, and a sentence about it. */
type MadeStore = Pick<ServeSettings, "keeps" | "keepsIn"> & {
  readonly store: MessageStore;
};

/** The words of `--store` with a path. */
const STORES: Readonly<Record<string, StoreMaker>> = {
  maildir: (path, { owners, quota }) => ({
    keepsIn: { path, isFile: false },
    store: new MaildirStore({ folder: path, owners, quota }),
    keeps: `mail is kept in ${path}, one Maildir a recipient`,
  }),
  mbox: (path, { owners }) =>
    path.endsWith(".mbox")
      ? {
        keepsIn: { path, isFile: true },
        store: new MboxStore({ path, owners }),
        keeps: `mail is kept in the mbox file ${path}`,
      }
      : {
        keepsIn: { path, isFile: false },
        store: new MboxStore({ folder: path, owners }),
        keeps: `mail is kept in ${path}, one mbox file a recipient`,
      },
  file: (path) => ({
    keepsIn: { path, isFile: false },
    store: new FileStore({ folder: path }),
    keeps: `mail is kept in ${path}, one .eml file a message`,
  }),
  lmtp: (place, { hostname }) => ({
    keepsIn: undefined,
    store: parseOption(
      "store",
      () => new LmtpStore({ ...lmtpPlace(place), hostname }),
    ),
    keeps: `mail is handed over by LMTP to ${place}`,
  }),
};

/** The server behind `--store lmtp:`. */
function lmtpPlace(
  place: string,
): { readonly path: string } | {
  readonly host: string;
  readonly port: number;
} {
  const path = /^unix:(.+)$/.exec(place)?.[1];
  if (path !== undefined) return { path };
  const match = /^(?:\[([^\[\]\s]+)\]|([^:\[\]\s]+)):(\d{1,5})$/.exec(place);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65535) {
    throw new TypeError(
      `Cannot use "lmtp:${place}": want lmtp:HOST:PORT, as lmtp:127.0.0.1:24, or lmtp:unix:PATH`,
    );
  }
  return { host: match[1] ?? match[2]!, port };
}

/** Makes the store that `--store` names. */
function storeOf(text: string, settings: StoreSettings): MadeStore {
  const colon = text.indexOf(":");
  const kind = colon < 0 ? text : text.slice(0, colon);
  const path = colon < 0 ? "" : text.slice(colon + 1);
  if (settings.quota !== undefined && kind !== "maildir") {
    throw new UsageError(
      `--quota: want it with --store maildir:DIR, not with ${text}`,
    );
  }
  if (kind === "discard" && path === "") {
    return {
      store: new DiscardStore(),
      keeps: "mail is accepted and discarded",
      keepsIn: undefined,
    };
  }
  if (path !== "" && Object.hasOwn(STORES, kind)) {
    return STORES[kind]!(path, settings);
  }
  throw new UsageError(
    `--store ${text}: want maildir:DIR, mbox:DIR, mbox:FILE.mbox, file:DIR, lmtp:HOST:PORT, lmtp:unix:PATH or discard${
      hint(kind, [...Object.keys(STORES), "discard"])
    }`,
  );
}

/**
 * Checks the settings that are limits, and makes options from them.
 *
 * @throws {UsageError} If a value cannot be used
 */
export function limitSettings(raw: RawSettings): LimitOptions {
  const limits: LimitOptions = { exempt: exemptions(raw, "exempt") };
  for (const [name, { flag, kind, least }] of numberLimits()) {
    if (flag === undefined) continue;
    limits[name] = NUMBER_READERS[kind](raw, flag, least);
  }
  const perUser: NonNullable<LimitOptions["perUser"]> = {};
  for (const [name, { flag, kind, least }] of userLimitRows()) {
    perUser[name] = NUMBER_READERS[kind](raw, flag, least);
  }
  return { ...limits, perUser };
}

/** Longest wait, in ms: 24 days, within the range of a timer. */
const MAX_WAIT = 24 * 86_400_000;

/** Parsers for the limits of each kind. */
const NUMBER_READERS: Readonly<
  Record<
    NumberLimit["kind"],
    (raw: RawSettings, flag: string, least: number) => number | undefined
  >
> = {
  count: (raw, flag, least) => wholeNumber(raw, flag, { least }),
  rate: (raw, flag, least) => size(raw, flag, { least }),
  size: (raw, flag, least) => size(raw, flag, { least }),
  duration: (raw, flag) => duration(raw, flag, { unit: 1000, most: MAX_WAIT }),
};

/** The checked networks of an option; `[]` for the word `none`. */
function exemptions(
  raw: RawSettings,
  name: "exempt" | "verify-exempt",
): readonly string[] | undefined {
  const networks = raw.get(name);
  if (networks === undefined) return undefined;
  if (networks.includes("none")) {
    if (networks.length === 1) return [];
    throw new UsageError(`--${name} none: want no other network beside it`);
  }
  for (const network of networks) {
    parseOption(name, () => parsePeers(network));
  }
  return networks;
}
