/**
 * Whether several threads can listen on one port, each for itself: the kernel
 * hands every connection to one of them. Stands alone because both the
 * listeners and the threads ask, and because a listener of `node:net`, which
 * would share without a flag, accepts nothing more once descriptors ran out.
 */

/**
 * Whether the kernel spreads connections over the threads that listen on one
 * port. Others refuse the second one, or give all of them to the last.
 */
export function canSharePort(): boolean {
  return Deno.build.os === "linux" || Deno.build.os === "android";
}

/**
 * Whether `Deno.listen` may share a port: it needs `--unstable-net`, and
 * without that flag an attempt ends the process.
 */
export function platformShares(): boolean {
  return typeof Deno.listenDatagram === "function";
}
