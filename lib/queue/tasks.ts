/**
 * One message in the running queue: its recipients, grouped by destination, and
 * its deliveries under way. Data and arithmetic only; decides nothing and waits
 * for nothing.
 */

import { hopName } from "../client/next_hop.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { cancelWake, type Wake } from "./wake_heap.ts";
import type { DeliveryState } from "./job.ts";
import type { Work } from "./dispatcher.ts";
import {
  hopsOf,
  noticeTime,
  returnTime,
  routeOf,
  type SpoolEntry,
} from "../spool/envelope.ts";

/** A message with more groups than this is a flow of its own. */
const HUGE = 20;

/** The place of a group. */
export type GroupPlace =
  /** In line with the dispatcher. */
  | "ready"
  /** Being delivered. */
  | "active"
  /** Done, or no longer wanted. */
  | "over";

/** Recipients of one message that go to one destination in one job. */
export class RelayGroup implements Work {
  /** The message. */
  readonly task: RelayTask;
  /** Key of its flow: the sender, or the message itself if it is huge. */
  readonly flow: string;
  /** Its destination. */
  readonly destination: string;
  /** Indices of its recipients in the envelope. */
  readonly indices: readonly number[];
  /** Whether an operator or program asked for the try. */
  readonly isUrged: boolean;
  /** Its place. */
  place: GroupPlace = "ready";
  /** Aborts the delivery under way. */
  abort: AbortController | undefined;

  /**
   * Makes a group that is in line.
   *
   * @param task The message
   * @param part The flow, the destination and the recipients
   */
  constructor(
    task: RelayTask,
    part: {
      readonly flow: string;
      readonly destination: string;
      readonly indices: readonly number[];
    },
  ) {
    this.task = task;
    this.flow = part.flow;
    this.destination = part.destination;
    this.indices = part.indices;
    this.isUrged = task.isUrged;
  }

  get isReady(): boolean {
    return this.place === "ready";
  }

  /** Indices of the recipients that are still pending. */
  pending(): number[] {
    const { recipients } = this.task.entry.progress;
    return this.indices.filter((index) =>
      recipients[index]!.status === "pending"
    );
  }
}

/** The empty list of groups, shared by all waiting messages. */
const NO_GROUPS: readonly RelayGroup[] = [];

/**
 * One message in the running queue. 100,000 of them may wait, so a waiting one
 * holds little more than its entry: its groups are formed when it is due.
 */
export class RelayTask {
  /** The message in the spool. */
  readonly entry: SpoolEntry;
  /** The groups in line or being delivered. */
  groups: readonly RelayGroup[] = NO_GROUPS;
  /** The last step that a job of it reported. */
  state: DeliveryState = "idle-waiting";
  /** Its entry in the heap of wakes. */
  wake: Wake<RelayTask> | undefined;
  /** When due DSNs are sent although deliveries are under way, in ms since 1970; 0: not set. */
  dsnAt = 0;
  /** When an expired message without a further try is given up, in ms since 1970; 0: not set. */
  giveUpAt = 0;
  /** Since when some of it is in line, in milliseconds since 1970; 0: not yet. */
  dueSince = 0;
  /** Whether an operator or program asked for the next try. */
  isUrged = false;
  /** Whether its completion is running. */
  isCompleting = false;
  /** Whether its progress changed since its completion last checked it. */
  isChanged = false;
  #removed = false;

  constructor(entry: SpoolEntry) {
    this.entry = entry;
  }

  get removed(): boolean {
    return this.#removed;
  }

  /** Marks the message as removed and cancels its wake. */
  leave(): void {
    this.#removed = true;
    cancelWake(this.wake);
    this.wake = undefined;
  }

  /** When it wakes, in milliseconds since 1970; `Infinity` if it is not scheduled. */
  get wakeAt(): number {
    return this.wake?.at ?? Infinity;
  }

  /** Whether a delivery is under way. */
  get isActive(): boolean {
    return this.groups.some(({ place }) => place === "active");
  }

  /** Whether a delivery is under way or in line. */
  get isBusy(): boolean {
    return this.groups.length > 0;
  }

  /** Whether a recipient is pending. */
  get isPending(): boolean {
    return this.entry.progress.recipients.some(({ status }) =>
      status === "pending"
    );
  }

  /** Indices of the pending recipients in no group, and the times of their next tries. */
  *waiting(): Generator<
    { readonly index: number; readonly nextTryAt: number }
  > {
    const busy = new Set(this.groups.flatMap(({ indices }) => indices));
    for (const [index, one] of this.entry.progress.recipients.entries()) {
      if (one.status !== "pending" || busy.has(index)) continue;
      yield { index, nextTryAt: one.nextTryAt };
    }
  }

  /** Time of the next try of a recipient in no group; `Infinity` if all are in groups. */
  nextTryAt(): number {
    let next = Infinity;
    for (const { nextTryAt } of this.waiting()) {
      next = Math.min(next, nextTryAt);
    }
    return next;
  }

  /** Removes a group that is over. */
  drop(group: RelayGroup): void {
    group.place = "over";
    const rest = this.groups.filter((one) => one !== group);
    this.groups = rest.length === 0 ? NO_GROUPS : rest;
  }

  /** Removes the groups that are in line. */
  dropReady(): void {
    for (const group of this.groups) {
      if (group.place === "ready") this.drop(group);
    }
  }
}

/**
 * When a message expires, in milliseconds since 1970.
 *
 * @param task The message
 * @param usualMs Lifetime of messages without `expireAfterMs`, in milliseconds
 */
export function expiresAt(task: RelayTask, usualMs: number): number {
  const { acceptedAt, options } = task.entry.envelope;
  const usual = acceptedAt + (options.idleWaitMs ?? 0) +
    (options.expireAfterMs ?? usualMs);
  return Math.min(usual, returnTime(task.entry.envelope));
}

/**
 * When the sender gets a notice of the delay, in milliseconds since 1970.
 *
 * @param task The message
 * @param usualMs Age of messages without a time of their own, in milliseconds
 */
export function delayedAt(task: RelayTask, usualMs: number): number {
  const { acceptedAt, options } = task.entry.envelope;
  return noticeTime(task.entry.envelope) ??
    acceptedAt + (options.idleWaitMs ?? 0) + usualMs;
}

/**
 * The destination of a recipient: the message's smarthost, the common
 * destination of all mail, or the address's domain.
 */
export function destinationOf(
  entry: SpoolEntry,
  address: string,
  options: { readonly commonDestination: string | undefined },
): string {
  const [first] = hopsOf(routeOf(entry));
  if (first !== undefined) return hopName(first);
  return options.commonDestination ??
    asciiDomain(address.slice(address.lastIndexOf("@") + 1));
}

/**
 * Forms groups of the recipients that are due.
 *
 * @param task The message; the new groups are added to it, in line
 * @param now In milliseconds since 1970
 * @param options `max`: limit of recipients in a group; `commonDestination` as in {@linkcode destinationOf}
 * @returns The new groups
 */
export function formGroups(
  task: RelayTask,
  now: number,
  options: {
    readonly max: number;
    readonly commonDestination: string | undefined;
  },
): readonly RelayGroup[] {
  const open = new Map<string, number[]>();
  const parts: { destination: string; indices: number[] }[] = [];
  const { id, from, recipients } = task.entry.envelope;
  for (const { index, nextTryAt } of task.waiting()) {
    if (nextTryAt > now) continue;
    const destination = destinationOf(
      task.entry,
      recipients[index]!.address,
      options,
    );
    const indices = open.get(destination);
    if (indices === undefined || indices.length === options.max) {
      const fresh = [index];
      open.set(destination, fresh);
      parts.push({ destination, indices: fresh });
    } else {
      indices.push(index);
    }
  }
  if (parts.length === 0) return NO_GROUPS;
  const flow = parts.length > HUGE ? `#${id}` : from;
  const groups = parts.map((part) => new RelayGroup(task, { flow, ...part }));
  task.isUrged = false;
  if (task.dueSince === 0) task.dueSince = now;
  task.groups = [...task.groups, ...groups];
  return groups;
}
