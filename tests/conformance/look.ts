/**
 * Examines one server: starts it with a certificate, a size limit of 1 MB and a
 * folder for its mail, and runs the rows.
 */

import { Certificate } from "../../lib/tls/certificate.ts";
import type { Peer } from "../peers/peers.ts";
import { commandRows } from "./command_rows.ts";
import { connectionRows } from "./connection_rows.ts";
import { contentRows } from "./content_rows.ts";
import { envelopeRows } from "./envelope_rows.ts";
import type { Finding, Row, Subject } from "./row.ts";
import { textOf } from "../support/bytes.ts";
import { TestFolder } from "../support/folder.ts";

/** All rows, in the order of the table. */
export const rows: readonly Row[] = [
  ...connectionRows,
  ...commandRows,
  ...envelopeRows,
  ...contentRows,
];

const MAX_SIZE = 1_000_000;
const DELIVERY_MS = 60_000;

/** Examines a server; one finding a row, `undefined` for the rows left out. */
export async function lookAt(
  peer: Peer,
  options: { timed: boolean },
): Promise<(Finding | undefined)[]> {
  await using folder = await TestFolder.create();
  const mail = `${folder.path}/mail`;
  const home = `${folder.path}/home`;
  for (const path of [mail, home]) await Deno.mkdir(path);
  const tls = await writeCertificate(folder.path);
  await using running = await peer.start({
    folder: home,
    mail,
    maxSize: MAX_SIZE,
    strangers: true,
    tls,
  });
  const findings: (Finding | undefined)[] = [];
  for (const row of rows) {
    if (row.timed && !options.timed) {
      findings.push(undefined);
      continue;
    }
    const { port, pid } = running;
    const delivered = await nextFile(mail);
    findings.push(await finding(row, { port, pid, delivered }));
  }
  return findings;
}

/** The finding of a row; a server that is gone or sends no SMTP has missed it. */
async function finding(row: Row, subject: Subject): Promise<Finding> {
  try {
    return await row.look(subject);
  } catch (error) {
    const { name } = error as Error;
    return { seen: `failed: ${name}`, good: false };
  }
}

async function writeCertificate(
  folder: string,
): Promise<{ cert: string; key: string }> {
  const certificate = await Certificate.selfSigned({ names: ["peer.test"] });
  const [cert, key] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  await Deno.writeTextFile(cert, certificate.toPem());
  await Deno.writeTextFile(key, certificate.keyPem());
  await Deno.chmod(key, 0o644);
  return { cert, key };
}

/** Gives the first message that was not in the folder before. */
async function nextFile(folder: string): Promise<Subject["delivered"]> {
  const before = new Set(await messages(folder));
  return async () => {
    const deadline = performance.now() + DELIVERY_MS;
    for (;;) {
      const name = (await messages(folder)).find((file) => !before.has(file));
      if (name !== undefined) {
        return textOf(await Deno.readFile(`${folder}/${name}`));
      }
      if (performance.now() > deadline) {
        throw new Deno.errors.TimedOut("Waited too long for a message");
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
}

async function messages(folder: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) {
    if (name.endsWith(".eml")) names.push(name);
  }
  return names;
}
