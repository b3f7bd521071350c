/**
 * The check of a program's handlers: the names that it may use, and what a
 * misspelt one was meant to be. Reads the table of handlers and calls none.
 */

import {
  isOptions,
  optionError,
  type Place,
  type Rule,
  unknownOption,
} from "../options.ts";
import { nearest } from "../spelling.ts";
import { HANDLER_NAMES, isHandler } from "./handlers.ts";

/**
 * The check of handlers: a plain object, a module, or an instance of a class with
 * them. Other members are allowed, except those whose names look like a
 * misspelled handler.
 */
export const HANDLERS_RULE: Rule = {
  want: "handlers, as { onRcptTo() {} }",
  check(value, at) {
    if (!isOptions(value)) throw optionError(at, value, this);
    let owner: object | null = value;
    const members: string[] = [];
    while (owner !== null && owner !== Object.prototype) {
      for (const name of Object.getOwnPropertyNames(owner)) {
        const isGiven = checkHandler(owner, {
          name,
          at,
          isPlain: isPlain(value),
        });
        if (isGiven && name !== "constructor") members.push(name);
      }
      owner = Object.getPrototypeOf(owner);
    }
    // `{ default: handlers }` and `{ rcpt() {} }` would never be called.
    if (members.length > 0 && !members.some(isHandler)) {
      throw unknownOption(at, members[0]!, { known: HANDLER_NAMES });
    }
  },
};

/** Whether the object is of no class. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/** Checks a member; `false` if it has no value. */
function checkHandler(
  owner: object,
  facts: { readonly name: string; readonly at: Place; isPlain: boolean },
): boolean {
  const { name, at } = facts;
  // The descriptor, not the value: a getter may do anything.
  const { value, get } = Object.getOwnPropertyDescriptor(owner, name)!;
  if (value === undefined && get === undefined) return false;
  const place = { ...at, path: at.path === "" ? name : `${at.path}.${name}` };
  if (isHandler(name)) {
    if (value !== undefined && typeof value !== "function") {
      throw optionError(place, value, { want: "a function" });
    }
    return true;
  }
  // `one`, `once` and `only` are words; `onhelo` is a misspelled handler.
  const begins = /^on(?:[A-Z]|.{4})|^O[Nn]./.test(name);
  const lower = (begins ? name : `on${name}`).toLowerCase();
  const meant = begins
    ? nearest(name, HANDLER_NAMES)
    : facts.isPlain && typeof value === "function"
    ? HANDLER_NAMES.find((known) => known.toLowerCase() === lower)
    : undefined;
  if (meant !== undefined || /^on[A-Z]/.test(name)) {
    throw unknownOption(at, name, { known: HANDLER_NAMES, meant });
  }
  return true;
}
