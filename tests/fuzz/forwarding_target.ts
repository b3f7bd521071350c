/**
 * Fuzz of what forwarders do: chains of seals with faults, and senders that were
 * rewritten. Nothing throws; a chain passes only where nothing of it was changed; what
 * is rewritten is an address that leads back, and a changed one leads nowhere.
 */

import { Address } from "../../lib/protocol/address.ts";
import { Forwarding } from "../../lib/server/forwarding.ts";
import {
  DkimPrivateKey,
  sealArc,
  Srs,
  verifyArc,
} from "../../lib/trust/mod.ts";
import { bytesOf } from "../support/bytes.ts";
import { textTable } from "../support/dkim.ts";
import { chance, type FuzzTarget, mutate, pick, type Random } from "./fuzz.ts";

/** Seals and senders. */
export const forwardingTarget: FuzzTarget = {
  name: "forwarding",
  async check(random) {
    if (chance(random, 2)) checkSender(random);
    else await checkChain(random);
  },
};

const SRS = { domain: "ours.test", secrets: ["a secret of some length"] };
const srs = new Srs(SRS);
const forwarding = new Forwarding({ srs: SRS }, {
  isOurs: ({ asciiDomain }) => asciiDomain === "ours.test",
  log: () => {},
});
await forwarding.load();
const NOW = Date.UTC(2026, 10, 30);

const SENDERS = [
  ...["ann@a.test", '"a b"@a.test', "j\u00f6rg@b\u00fccher.test"],
  ...["SRS0=h+/9=2K=a.test=ann@one.test", "ann@[192.0.2.1]", '""@a.test'],
  ...["a%b.test@a.test", "SRS1=x=ours.test==xx=2K=a.test=ann@two.test"],
  ...["SRS1=x=one.test==xx=2K=a.test=ann@two.test", "SRS0@a.test"],
  ...['"SRS1=x=a\\"b==y"@a.test', "SRS1=a=b==c@a.test", "postmaster", ""],
];

function checkSender(random: Random): void {
  const text = mutate(random, pick(random, SENDERS));
  // Text that is no address: nothing may throw.
  srs.reverse(text, NOW);
  let address: Address;
  try {
    address = Address.parse(text);
  } catch {
    return;
  }
  checkRecipient(address, random);
  const made = srs.forward(String(address), NOW);
  if (made === undefined || made === String(address)) return;
  Address.parse(made);
  const back = srs.reverse(made, NOW);
  // What says that it was ours first has a hash that was made up.
  if (back?.fault === "forged" && /^"?SRS1=[^=]+=ours\.test=/i.test(made)) {
    return;
  }
  if (back?.address === undefined) throw new Error(`${text}: ${made} is lost`);
  Address.parse(back.address);
  // What leads anywhere is an address, and was made here.
  const changed = mutate(random, made);
  const found = srs.reverse(changed, NOW)?.address;
  if (found === undefined) return;
  Address.parse(found);
  const isSame = found.toLowerCase() === back.address.toLowerCase();
  if (!isSame) throw new Error(`${changed} was not made here`);
}

/** A recipient leads to the sender that was rewritten, to no route, or nowhere. */
function checkRecipient(sender: Address, random: Random): void {
  const made = srs.forward(String(sender));
  if (made === undefined) return;
  for (const text of [made, mutate(random, made)]) {
    let address: Address;
    try {
      address = Address.parse(text);
    } catch {
      continue;
    }
    const target = forwarding.recipient(address, Address.NULL);
    const back = Address.parse(forwarding.returnPath(text, Date.now()));
    if (!(target instanceof Address)) continue;
    if (/[@%!]/.test(target.localPart)) throw new Error(`${text}: a route`);
    if (String(target) !== String(back)) {
      throw new Error(`${text} leads to ${target}, and its DSN to ${back}`);
    }
    const isSame = target.asciiDomain === sender.asciiDomain;
    if (!isSame && !/^"?SRS/i.test(sender.localPart)) {
      throw new Error(`${text} leads to ${target}`);
    }
  }
}

const key = await DkimPrivateKey.generate("ed25519");
const dns = textTable({ "s._domainkey.ours.test": key.record });
const MESSAGE = "From: ann@a.test\r\nTo: bob@b.test\r\nSubject: Hi\r\n" +
  "Authentication-Results: ours.test; spf=pass\r\n\r\nHello\r\n";
const FACTS = { authservId: "ours.test", now: NOW };
const KEY = { domain: "ours.test", selector: "s", key };

async function chainOf(length: number): Promise<string> {
  let message = MESSAGE;
  for (let at = 0; at < length; at++) {
    const arc = { result: at === 0 ? "none" : "pass" } as const;
    const set = await sealArc(bytesOf(message), KEY, { arc, ...FACTS });
    message = set + message;
  }
  return message;
}

const CHAINS = [await chainOf(0), await chainOf(1), await chainOf(3)];

async function checkChain(random: Random): Promise<void> {
  const whole = pick(random, CHAINS);
  const end = whole.indexOf("\r\nFrom:");
  const head = mutate(random, whole.slice(0, Math.max(end, 0)));
  const text = chance(random, 3)
    ? whole
    : chance(random, 50)
    ? `${head}\r\n`.repeat(60) + MESSAGE
    : head + whole.slice(Math.max(end, 0));
  const { result, reason, instance } = await verifyArc(bytesOf(text), { dns });
  if (instance > 50) throw new Error(`Set ${instance}`);
  const isFault = result !== "pass" && result !== "none";
  if (isFault !== (reason !== undefined)) {
    throw new Error(`${result} without a reason: ${JSON.stringify(text)}`);
  }
  if (text === whole && isFault) {
    throw new Error(`Not accepted: ${JSON.stringify(text)}`);
  }
  // A seal on top of anything is made or refused, and never beyond fifty.
  const set = await sealArc(bytesOf(text), KEY, {
    ...{ arc: { result }, ...FACTS },
  });
  // What begins with no field would join the last of ours, or end the header.
  // The first line end says what the others are, and a seal is for what is sent,
  // which has no bare CR.
  const isPlain = /^[!-9;-~]+:/.test(text) &&
    !/(?<!\r)\n|\r(?!\n)/.test(text);
  if (set === "" || !isPlain) return;
  const sealed = await verifyArc(bytesOf(set + text), { dns });
  const wanted = result === "pass" || result === "none" ? "pass" : "fail";
  if (sealed.result !== wanted) {
    throw new Error(
      `Sealed ${result}, found ${sealed.result} (${sealed.reason}): ${
        JSON.stringify(text)
      }`,
    );
  }
}
