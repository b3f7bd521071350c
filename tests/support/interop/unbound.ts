/**
 * An unbound on a port of the loopback that validates the zones of the test.
 * They are signed when it starts: signatures last some weeks only.
 */

import { TestFolder } from "../folder.ts";
import { BackgroundProcess, run } from "../process.ts";

/** A zone: its name, as `"dane.test"`, and its records as in a zone file, without SOA and NS. */
export interface UnboundZone {
  readonly name: string;
  readonly records: readonly string[];
  /** Whether it is signed. */
  readonly signed: boolean;
  /** A text of the signed zone, and what stands there instead: it no longer fits its signature. */
  readonly spoil?: readonly [text: string, instead: string];
}

/** An unbound that runs. */
export interface Unbound extends AsyncDisposable {
  /** Its address, as a client takes it. */
  readonly nameServer: string;
}

/**
 * Starts an unbound that serves and validates `zones`, and waits until it answers.
 *
 * @param options `isSystems`: whether it listens on port 53 of an address of the
 * loopback, as programs want that read resolv.conf; only root may
 */
export async function startUnbound(
  zones: readonly UnboundZone[],
  options: { readonly isSystems?: boolean } = {},
): Promise<Unbound> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await TestFolder.create());
  const files = new Map<string, string>();
  for (const zone of zones) files.set(zone.name, await writeZone(folder, zone));
  const free = freePort();
  // A free port makes an address that no other test uses.
  const address = options.isSystems
    ? `127.83.${free >> 8}.${free & 255}`
    : "127.0.0.1";
  const port = options.isSystems ? 53 : free;
  const config = await folder.write(
    "unbound.conf",
    [
      ...serverLines(folder.path, address, port),
      ...zones.map(({ name, signed }) =>
        signed
          ? `  trust-anchor-file: "${folder.path}/${name}.ds"`
          : `  domain-insecure: "${name}"`
      ),
      ...["remote-control:", "  control-enable: no"],
      ...[...files].flatMap(([name, file]) => [
        "auth-zone:",
        `  name: "${name}"`,
        `  zonefile: "${file}"`,
        ...["  for-upstream: yes", "  for-downstream: no"],
      ]),
      "",
    ].join("\n"),
  );
  const command = `exec unbound -d -c ${config} 2>&1`;
  const process = stack.use(BackgroundProcess.start("sh", ["-c", command]));
  await process.waitFor((log) =>
    log.includes("start of service") ? true : undefined
  );
  const kept = stack.move();
  return {
    nameServer: `${address}:${port}`,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

function serverLines(
  folder: string,
  address: string,
  port: number,
): readonly string[] {
  return [
    "server:",
    `  interface: ${address}@${port}`,
    `  port: ${port}`,
    ...["do-daemonize", "use-syslog", "do-not-query-localhost"]
      .map((name) => `  ${name}: no`),
    ...["username", "chroot", "logfile"].map((name) => `  ${name}: ""`),
    `  directory: "${folder}"`,
    `  pidfile: "${folder}/unbound.pid"`,
    "  access-control: 127.0.0.0/8 allow",
    '  module-config: "validator iterator"',
    '  local-zone: "test." nodefault',
    ...["  num-threads: 1", "  verbosity: 1"],
  ];
}

/** Writes a zone, and signs it if wanted; gives the path of its file. */
async function writeZone(
  folder: TestFolder,
  zone: UnboundZone,
): Promise<string> {
  const { name, records, signed, spoil } = zone;
  const file = await folder.write(
    `${name}.zone`,
    [
      `$ORIGIN ${name}.`,
      "$TTL 300",
      `@ IN SOA ns.${name}. host.${name}. 1 3600 600 86400 60`,
      `@ IN NS ns.${name}.`,
      ...["ns IN A 127.0.0.1", ...records, ""],
    ].join("\n"),
  );
  if (!signed) return file;
  const cwd = folder.path;
  const { stdout } = await run(
    "ldns-keygen",
    ["-a", "ECDSAP256SHA256", "-k", name],
    { cwd },
  );
  const key = stdout.trim();
  await run("ldns-signzone", ["-n", "-o", name, file, key], { cwd });
  await Deno.rename(`${cwd}/${key}.ds`, `${cwd}/${name}.ds`);
  if (spoil !== undefined) {
    const text = await folder.read(`${name}.zone.signed`);
    await folder.write(`${name}.zone.signed`, text.replaceAll(...spoil));
  }
  return `${file}.signed`;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}
