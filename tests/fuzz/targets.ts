/** The fuzz targets, and how inputs are shared out among them. */

import { clientTarget } from "./client_target.ts";
import { dnsTarget } from "./dns_target.ts";
import { frontTarget } from "./front_target.ts";
import type { FuzzTarget } from "./fuzz.ts";
import { noticeTarget } from "./notice_target.ts";
import { serverTarget } from "./server_target.ts";

/** All targets. */
export const TARGETS: readonly FuzzTarget[] = [
  serverTarget,
  clientTarget,
  dnsTarget,
  noticeTarget,
  frontTarget,
];

/** Equal parts of `count` inputs, `count` in all. */
export function shares(
  targets: readonly FuzzTarget[],
  count: number,
): [target: FuzzTarget, share: number][] {
  return targets.map((target, index) => [
    target,
    Math.floor((count * (index + 1)) / targets.length) -
    Math.floor((count * index) / targets.length),
  ]);
}
