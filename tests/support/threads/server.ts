/** Servers with handlers in each of the three places where handlers can run. */

import type { LogRecord } from "../../../lib/log.ts";
import { SmtpServer } from "../../../lib/server/server.ts";
import type { SmtpServerOptions } from "../../../lib/server/options.ts";
import { MemoryStore } from "../../../lib/store/memory_store.ts";
import { handlers } from "./handlers.ts";
import { sharesPorts } from "../platform.ts";

const MODULE = new URL("./handlers.ts", import.meta.url);

/** Where connections are served and handlers run. */
export interface Mode {
  /** Its name in the names of tests. */
  readonly name: string;
  /** The server options that choose it. */
  readonly options: Pick<SmtpServerOptions, "threads" | "handlers">;
  /** Whether the handlers are a module. */
  readonly isModule: boolean;
}

/** All of them. */
export const ALL_MODES: readonly Mode[] = [
  { name: "one thread", isModule: false, options: { handlers } },
  { name: "one thread, module", isModule: true, options: { handlers: MODULE } },
  {
    name: "two threads, handlers here",
    isModule: false,
    options: { threads: 2, handlers },
  },
  {
    name: "two threads, module",
    isModule: true,
    options: { threads: 2, handlers: MODULE.href },
  },
];

/** Those of this platform. */
export const MODES: readonly Mode[] = ALL_MODES.filter(({ options }) =>
  sharesPorts || options.threads === undefined
);

/** A server under test. */
export interface ModeServer extends AsyncDisposable {
  /** The server. */
  readonly server: SmtpServer;
  /** Where messages go. */
  readonly store: MemoryStore;
  /** What it has logged. */
  readonly records: LogRecord[];
}

/** Starts a server in a mode, with a second listener that speaks LMTP. */
export async function startMode(
  mode: Mode,
  options: SmtpServerOptions = {},
): Promise<ModeServer> {
  const store = new MemoryStore();
  const records: LogRecord[] = [];
  const server = new SmtpServer({
    listen: ["127.0.0.1:0", "127.0.0.1:0/lmtp"],
    hostname: "mx.test",
    store,
    addReceived: false,
    log: (record) => records.push(record),
    ...mode.options,
    ...options,
  });
  await server.start();
  return {
    server,
    store,
    records,
    async [Symbol.asyncDispose]() {
      await server.stop({ graceMs: 0 });
    },
  };
}

/** Registers a test for each mode. */
export function testModes(
  name: string,
  test: (mode: Mode) => Promise<void>,
): void {
  for (const mode of MODES) {
    Deno.test(`${name} (${mode.name})`, () => test(mode));
  }
}
