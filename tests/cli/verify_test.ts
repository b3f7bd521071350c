/** `serve --verify`: what is refused, what is taken, and whose mail is not checked. */

import { CliServer } from "../support/cli.ts";
import { startZoneServer } from "../support/zone_server.ts";

const ZONE = {
  "TXT bad.test": ["v=spf1 -all"],
  "TXT _dmarc.bad.test": ["v=DMARC1; p=reject"],
  "TXT lost.test": { rcode: 2 },
};

/** The server's reply to a message of a domain. */
function message(domain: string, reply: string): string {
  return `S: 220
    C: EHLO client.example
    S: 250
    C: MAIL FROM:<eve@${domain}>
    S: 250
    C: RCPT TO:<ann@near.test>
    S: 250
    C: DATA
    S: 354
    C: From: eve@${domain}
    C:
    C: .
    S: ${reply}`;
}

const ROWS: readonly (readonly [
  title: string,
  args: readonly string[],
  domain: string,
  reply: string,
])[] = [
  [
    "refuses what the author's domain wants refused",
    ["--verify", "enforce", "--verify-exempt", "none"],
    ...["bad.test", "550 5.7.1 ..."] as const,
  ],
  [
    "only reports it",
    ["--verify", "report", "--verify-exempt", "none"],
    ...["bad.test", "250 2.0.0 ..."] as const,
  ],
  [
    "does not check mail of this machine",
    ["--verify", "enforce"],
    ...["bad.test", "250 2.0.0 ..."] as const,
  ],
  [
    "takes what cannot be checked now",
    ["--verify", "enforce", "--verify-exempt", "192.0.2.0/24"],
    ...["lost.test", "250 2.0.0 ..."] as const,
  ],
  [
    "or has it sent again",
    [
      ...["--verify", "report", "--verify-exempt", "none"],
      ...["--verify-temporary", "defer"],
    ],
    ...["lost.test", "451 4.7.24 ..."] as const,
  ],
];

for (const [title, args, domain, reply] of ROWS) {
  Deno.test(`serve --verify ${title}`, async () => {
    await using zone = await startZoneServer(ZONE);
    await using server = await CliServer.start([
      ...["--domain", "near.test", "--store", "discard"],
      ...["--dns", zone.nameServer, ...args],
    ]);
    await using client = await server.connect();
    await client.script(message(domain, reply));
  });
}
