/** A DNS that is a table of DKIM keys, and results in short, for tests of signatures. */

import type { DnsQuerier } from "../../lib/dns/outcome.ts";
import { type DkimPrivateKey, verifyDkim } from "../../lib/trust/mod.ts";

/** A DNS with the records of keys, by `SELECTOR._domainkey.DOMAIN`. */
export function keyTable(
  keys: Readonly<Record<string, DkimPrivateKey>>,
): DnsQuerier {
  const query = (_type: string, name: string) => {
    const key = keys[name.replace(/\.$/, "")];
    return Promise.resolve(
      key === undefined
        ? { status: "none", why: "no-such-name" }
        : { status: "found", records: [key.record] },
    );
  };
  return { query: query as unknown as DnsQuerier["query"] };
}

/** What the signatures of a message are worth, each as `pass a=ALGORITHM s=SELECTOR`. */
export async function resultsOf(
  message: Uint8Array,
  dns: DnsQuerier,
): Promise<readonly string[]> {
  const results = await verifyDkim(message, { dns });
  return results.map(({ result, algorithm, selector }) =>
    `${result} ${algorithm} ${selector}`
  );
}
