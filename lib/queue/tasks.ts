/**
 * One message as the running queue sees it: its recipients in groups that go
 * the same way, and what is under way. Data and the arithmetic on it; decides
 * nothing and waits for nothing.
 */

import { hopName } from "../client/next_hop.ts";
import { asciiDomain } from "../protocol/domain.ts";
import { cancelWake, type Wake } from "./wake_heap.ts";
import type { DeliveryState } from "./job.ts";
import type { Work } from "./dispatcher.ts";
import { routeOf, type SpoolEntry } from "../spool/envelope.ts";

/** A message of more groups than this takes turns on its own account. */
const HUGE = 20;

/** Where a group stands. */
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
  /** Whom it takes turns with: a sender with other senders, a huge message with everybody. */
  readonly flow: string;
  /** Where it goes. */
  readonly destination: string;
  /** Indices of its recipients in the envelope. */
  readonly indices: readonly number[];
  /** Whether somebody has asked for the try. */
  readonly isUrged: boolean;
  /** Where it stands. */
  place: GroupPlace = "ready";
  /** Ends the delivery under way. */
  abort: AbortController | undefined;

  /**
   * Makes a group that is in line.
   *
   * @param task The message
   * @param part Whose turn it takes, where it goes, and who goes there
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
}

/** Shared by the many messages that wait. */
const NO_GROUPS: readonly RelayGroup[] = [];

/**
 * One message in the running queue. Of the 100,000 that may wait, each is this
 * and little more: groups are formed when their time has come.
 */
export class RelayTask {
  /** What the spool knows of it. */
  readonly entry: SpoolEntry;
  /** The groups in line or being delivered. */
  groups: readonly RelayGroup[] = NO_GROUPS;
  /** The last step that a job of it reported. */
  state: DeliveryState = "idle-waiting";
  /** Its place among those that are to be woken. */
  wake: Wake<RelayTask> | undefined;
  /** When the notices that are due go out although deliveries are under way; 0: not asked for. */
  noticeAt = 0;
  /** When an expired message is given up that could not be tried once more; 0: not expired. */
  giveUpAt = 0;
  /** Since when something of it is in line, in milliseconds since 1970; 0: nothing was yet. */
  dueSince = 0;
  /** Whether somebody has asked for the next try. */
  isUrged = false;
  /** Whether it is being completed. */
  isCompleting = false;
  /** Whether something happened to it that its completion has not looked at yet. */
  isChanged = false;
  #removed = false;

  /**
   * Makes a task that sleeps.
   *
   * @param entry What the spool knows of the message
   */
  constructor(entry: SpoolEntry) {
    this.entry = entry;
  }

  /** Whether it has left the queue. */
  get removed(): boolean {
    return this.#removed;
  }

  /** Leaves the queue: nothing wakes it from here on. */
  leave(): void {
    this.#removed = true;
    cancelWake(this.wake);
    this.wake = undefined;
  }

  /** When it wakes, in milliseconds since 1970; `Infinity` when it does not. */
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

  /** Whether a recipient is still to be tried. */
  get isPending(): boolean {
    return this.entry.progress.recipients.some(({ status }) =>
      status === "pending"
    );
  }

  /** Indices of the recipients to be tried that are in no group, and their times. */
  *waiting(): Generator<
    { readonly index: number; readonly nextTryAt: number }
  > {
    const busy = new Set(this.groups.flatMap(({ indices }) => indices));
    for (const [index, one] of this.entry.progress.recipients.entries()) {
      if (one.status !== "pending" || busy.has(index)) continue;
      yield { index, nextTryAt: one.nextTryAt };
    }
  }

  /** When the next try is due of those in no group; `Infinity` when there is none. */
  nextTryAt(): number {
    let next = Infinity;
    for (const { nextTryAt } of this.waiting()) {
      next = Math.min(next, nextTryAt);
    }
    return next;
  }

  /** Takes a group away that is over. */
  drop(group: RelayGroup): void {
    group.place = "over";
    const rest = this.groups.filter((one) => one !== group);
    this.groups = rest.length === 0 ? NO_GROUPS : rest;
  }

  /** Takes the groups away that are in line. */
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
 * @param usualMs How long messages live that say nothing of it, in milliseconds
 */
export function expiresAt(task: RelayTask, usualMs: number): number {
  const { acceptedAt, options } = task.entry.envelope;
  return acceptedAt + (options.idleWaitMs ?? 0) +
    (options.expireAfterMs ?? usualMs);
}

/**
 * Where a recipient's mail goes: the message's smarthost, the destination that
 * is common to all mail, or the address's domain.
 */
export function destinationOf(
  entry: SpoolEntry,
  address: string,
  options: { readonly commonDestination: string | undefined },
): string {
  const { smarthost } = routeOf(entry);
  if (smarthost !== undefined) {
    return hopName(smarthost);
  }
  return options.commonDestination ??
    asciiDomain(address.slice(address.lastIndexOf("@") + 1));
}

/**
 * Forms groups of the recipients whose time has come.
 *
 * @param task The message; gets the groups, in line
 * @param now In milliseconds since 1970
 * @param options `max`: the most recipients of a group; `commonDestination` as of {@linkcode destinationOf}
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
