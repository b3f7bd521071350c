/** The fuzz targets, and how inputs are shared out among them. */

import { borderTarget } from "./border_target.ts";
import { clientTarget } from "./client_target.ts";
import { dkimTarget } from "./dkim_target.ts";
import { dmarcTarget } from "./dmarc_target.ts";
import { dnsTarget } from "./dns_target.ts";
import { forwardingTarget } from "./forwarding_target.ts";
import { frontTarget } from "./front_target.ts";
import type { FuzzTarget } from "./fuzz.ts";
import { headerTarget } from "./header_target.ts";
import { noticeTarget } from "./notice_target.ts";
import { quotaTarget } from "./quota_target.ts";
import { secureTransportTarget } from "./secure_transport_target.ts";
import { serverTarget } from "./server_target.ts";
import { settingsTarget } from "./settings_target.ts";
import { trustTarget } from "./trust_target.ts";

/** All targets. */
export const TARGETS: readonly FuzzTarget[] = [
  serverTarget,
  clientTarget,
  dnsTarget,
  dkimTarget,
  noticeTarget,
  frontTarget,
  settingsTarget,
  headerTarget,
  quotaTarget,
  borderTarget,
  dmarcTarget,
  forwardingTarget,
  secureTransportTarget,
  trustTarget,
];

/**
 * Equal parts of `count` inputs, `count` in all. A target whose inputs cost more
 * gets its part of as many beside them, unless it is alone.
 */
export function shares(
  targets: readonly FuzzTarget[],
  count: number,
): [target: FuzzTarget, share: number][] {
  if (targets.length === 1) return [[targets[0]!, count]];
  const cheap = targets.filter(({ cost }) => cost === undefined);
  return targets.map((target) => {
    if (target.cost !== undefined) {
      return [target, Math.floor(count / target.cost)];
    }
    const index = cheap.indexOf(target);
    return [
      target,
      Math.floor((count * (index + 1)) / cheap.length) -
      Math.floor((count * index) / cheap.length),
    ];
  });
}
