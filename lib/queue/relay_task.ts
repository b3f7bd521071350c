/**
 * One message as the running queue sees it: its recipients in groups that go
 * the same way, and what is under way. Data and the arithmetic on it; decides
 * nothing and waits for nothing.
 */

import type { RelayState } from "./delivery_job.ts";
import type { Relay } from "./relay.ts";
import type { Work } from "./dispatcher.ts";
import { routeOf, type SpoolEntry } from "./stored_envelope.ts";

/** A message of more groups than this takes turns on its own account. */
const HUGE = 20;
const DEFAULT_PORT = 25;

/** Where a group stands. */
export type GroupPlace =
  /** Until its next try. */
  | "waiting"
  /** In line with the dispatcher. */
  | "ready"
  /** Being delivered. */
  | "active"
  /** Held, or nothing is left to do. */
  | "resting";

/** Recipients of one message that go to one destination in one job. */
export class RelayGroup implements Work {
  /** The message. */
  readonly task: RelayTask;
  /** Where it goes. */
  readonly destination: string;
  /** Indices of its recipients in the envelope. */
  readonly indices: readonly number[];
  /** Where it stands. */
  place: GroupPlace = "resting";
  /** When it wakes, in milliseconds since 1970; tells stale alarms from good ones. */
  wakeAt = 0;
  /** Ends the delivery under way. */
  abort: AbortController | undefined;

  /**
   * @param task The message
   * @param part Where it goes, and who goes there
   */
  constructor(
    task: RelayTask,
    part: { readonly destination: string; readonly indices: readonly number[] },
  ) {
    this.task = task;
    this.destination = part.destination;
    this.indices = part.indices;
  }

  /** A sender takes turns with other senders; a huge message with everybody. */
  get flow(): string {
    const { entry, groups } = this.task;
    return groups.length > HUGE ? `#${entry.envelope.id}` : entry.envelope.from;
  }

  /** Whether it is still wanted when its turn comes. */
  get isReady(): boolean {
    return this.place === "ready";
  }

  /** Indices of those that are still to be tried. */
  pending(): number[] {
    const { recipients } = this.task.entry.progress;
    return this.indices.filter((index) =>
      recipients[index]!.status === "pending"
    );
  }

  /** When the next try is due, in milliseconds since 1970; `Infinity` when none is left. */
  nextTryAt(): number {
    const { recipients } = this.task.entry.progress;
    let next = Infinity;
    for (const index of this.indices) {
      const { status, nextTryAt } = recipients[index]!;
      if (status === "pending" && nextTryAt < next) next = nextTryAt;
    }
    return next;
  }
}

/** One message in the running queue. */
export class RelayTask {
  /** What the spool knows of it. */
  readonly entry: SpoolEntry;
  /** Its recipients, in groups; those that were done at the start are in none. */
  groups: RelayGroup[] = [];
  /** The last step that a job of it reported. */
  state: RelayState = "idle-waiting";
  /** When its age is looked at next, in milliseconds since 1970. */
  wakeAt: number = Infinity;
  /** When the notices that are due go out although deliveries are under way; 0: not asked for. */
  noticeAt = 0;
  /** Whether it is being settled. */
  settling = false;
  /** Whether something happened to it while it was being settled. */
  unsettled = false;
  /** Whether it has left the queue. */
  removed = false;
  /** The program's handle, once it has asked for one. */
  relay: Relay | undefined;

  /** @param entry What the spool knows of the message */
  constructor(entry: SpoolEntry) {
    this.entry = entry;
  }

  /** Whether a delivery is under way. */
  get isActive(): boolean {
    return this.groups.some(({ place }) => place === "active");
  }

  /** Whether a delivery is under way or about to be. */
  get isBusy(): boolean {
    return this.groups.some(({ place }) =>
      place === "active" || place === "ready"
    );
  }

  /** Whether a recipient is still to be tried. */
  get isPending(): boolean {
    return this.entry.progress.recipients.some(({ status }) =>
      status === "pending"
    );
  }
}

/**
 * When a message expires, in milliseconds since 1970.
 *
 * @param task The message
 * @param usualMs How long messages live that say nothing of it, in milliseconds
 */
export function expiresAt(task: RelayTask, usualMs: number): number {
  const { acceptedAt, options } = task.entry.envelope;
  return acceptedAt + (options.idleWaitMs ?? 0) +
    (options.expireAfterMs ?? usualMs);
}

/** Where a recipient's mail goes: the smarthost, or the address's domain. */
export function destinationOf(entry: SpoolEntry, address: string): string {
  const { smarthost } = routeOf(entry);
  if (smarthost !== undefined) {
    const host = smarthost.host.toLowerCase();
    const name = host.includes(":") ? `[${host}]` : host;
    return `${name}:${smarthost.port ?? DEFAULT_PORT}`;
  }
  return address.slice(address.lastIndexOf("@") + 1).toLowerCase();
}

/**
 * Forms the groups anew from the recipients that are pending, leaving out those
 * in a group that is being delivered.
 *
 * @param task The message
 * @param max The most recipients of a group
 */
export function regroup(task: RelayTask, max: number): void {
  const active = task.groups.filter(({ place }) => place === "active");
  const busy = new Set(active.flatMap(({ indices }) => indices));
  for (const group of task.groups) {
    if (group.place !== "active") group.place = "resting";
  }
  const parts = new Map<string, number[]>();
  const groups: RelayGroup[] = [...active];
  const { envelope, progress } = task.entry;
  for (const [index, { address }] of envelope.recipients.entries()) {
    if (progress.recipients[index]!.status !== "pending") continue;
    if (busy.has(index)) continue;
    const destination = destinationOf(task.entry, address);
    const indices = parts.get(destination);
    if (indices === undefined || indices.length === max) {
      const fresh = [index];
      parts.set(destination, fresh);
      groups.push(new RelayGroup(task, { destination, indices: fresh }));
    } else {
      indices.push(index);
    }
  }
  task.groups = groups;
}
