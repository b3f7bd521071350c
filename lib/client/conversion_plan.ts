/**
 * Plans the conversion of a message, section by section as the scanner finds
 * them: the encoding of each body, and the changes that its header needs. The
 * result is a list of places with the change of each, for a second reading. Pure.
 *
 * Memory grows with the number of changes, not with the size of the message. A
 * message with too many changes is converted as one text. Fragments stay as they
 * are, and so do signed and encrypted parts without the option `touchesSigned`.
 *
 * {@link https://www.rfc-editor.org/rfc/rfc2045#section-6.4 | RFC 2045 section 6.4},
 * {@link https://www.rfc-editor.org/rfc/rfc1847 | RFC 1847}
 */

import {
  type Entity,
  MAX_DEPTH,
  MimeScanner,
  type Section,
} from "./mime_scanner.ts";

/** Places that change; a message with more is an attack. */
const MAX_CHANGES = 20_000;

/** The conversion that a server needs. */
export interface ConversionOptions {
  /** Whether content must be 7-bit. */
  readonly to7Bit: boolean;
  /** Whether lines may have 998 bytes at most. */
  readonly shortLines: boolean;
  /** Whether signed and encrypted parts may be changed, too. */
  readonly touchesSigned: boolean;
}

/** A range of the message and its change. Places follow each other without a gap. */
export interface Place {
  /** The first byte. */
  from: number;
  /** The byte after the last. */
  to: number;
  /**
   * The change: `mask` replaces bytes above 127 by "?", `escape` encodes those of
   * a quoted-printable text, `header` applies `change`.
   */
  kind: "copy" | "mask" | "quoted-printable" | "escape" | "base64" | "header";
  /** For `header` only. */
  change?: HeaderChange;
}

/** The changes of a header block. */
export interface HeaderChange {
  /** The new Content-Transfer-Encoding; `undefined` to leave it. */
  encoding: "7bit" | "8bit" | "quoted-printable" | "base64" | undefined;
  /** Whether the Content-Type becomes text/plain in an unknown character set. */
  retype: boolean;
  /** Whether it is the message's own header and has no MIME-Version: a change of the encoding adds one. */
  needsVersion: boolean;
  /** Whether a blank line must follow the added fields. */
  needsBlank: boolean;
  /** Whether fields with bytes above 127 are encoded. */
  encodesFields: boolean;
  /** Whether long lines are folded. */
  folds: boolean;
}

/** The plan of an entity that is not complete. */
interface EntityPlan {
  readonly place: Place;
  readonly change: HeaderChange;
  /** Whether anything in it changes. */
  isTouched: boolean;
  /** Whether anything in it stays 8-bit. */
  isRaw: boolean;
}

/** Plans the conversion of one message. */
export class ConversionPlan {
  readonly #options: ConversionOptions;
  readonly #scanner: MimeScanner;
  readonly #places: Place[] = [];
  #changes = 0;
  /** The open entities: the current one and those around it. */
  readonly #plans = new Map<Entity, EntityPlan>();

  constructor(options: ConversionOptions) {
    this.#options = options;
    this.#scanner = new MimeScanner({ wantsLines: options.shortLines });
  }

  /** Takes the next chunk; does not keep it. */
  push(chunk: Uint8Array): void {
    for (const section of this.#scanner.push(chunk)) this.#take(section);
  }

  /** Ends the message. Returns the places in order. */
  end(): readonly Place[] {
    for (const section of this.#scanner.end()) this.#take(section);
    return this.#changes > MAX_CHANGES ? this.#asOneText() : this.#finished();
  }

  #take(section: Section): void {
    switch (section.kind) {
      case "header":
        return this.#header(section);
      case "body":
        return this.#body(section);
      case "boundary":
        return this.#put("copy", section.to);
      case "end":
        return this.#close(section.entity);
    }
  }

  #header(section: Section & { readonly kind: "header" }): void {
    const { entity, from, to, end } = section;
    const { headerIs8Bit, headerIsLong } = entity;
    const isSealed = this.#isSealed(entity.parent);
    const { to7Bit, shortLines } = this.#options;
    const change: HeaderChange = {
      encoding: undefined,
      retype: false,
      needsVersion: entity.parent === undefined && !entity.hasVersion,
      needsBlank: end === "text",
      encodesFields: to7Bit && headerIs8Bit && !isSealed,
      folds: shortLines && headerIsLong && !isSealed,
    };
    const place: Place = { from, to, kind: "header", change };
    this.#places.push(place);
    // A signature covers the bytes as they are.
    const isRaw = isSealed && headerIs8Bit;
    this.#plans.set(entity, { place, change, isTouched: false, isRaw });
  }

  #planOf(entity: Entity): EntityPlan {
    return this.#plans.get(entity)!;
  }

  /** Whether a signature or encryption covers the entity. */
  #isSealed(entity: Entity | undefined): boolean {
    if (this.#options.touchesSigned) return false;
    for (let one = entity; one !== undefined; one = one.parent) {
      const { kind } = one;
      if (kind === "multipart/signed" || kind === "multipart/encrypted") {
        return true;
      }
    }
    return false;
  }

  /** Decides on a body, or on the text around parts. */
  #body(section: Section & { readonly kind: "body" }): void {
    const { entity, to } = section;
    const is8Bit = section.is8Bit && this.#options.to7Bit;
    const isLong = section.isLong && this.#options.shortLines;
    if (entity.shape === "multipart") {
      if (!is8Bit) return this.#put("copy", to);
      if (this.#isSealed(entity)) return this.#leave(entity, true, to);
      if (!entity.isOpened) {
        // Its boundary never came: the body is one text.
        this.#planOf(entity).change.retype = true;
        return this.#convert(entity, "quoted-printable", to);
      }
      return this.#touch(entity, "mask", to);
    }
    const { encoding } = entity;
    const isBinary = encoding === "binary" && this.#options.to7Bit;
    if (!is8Bit && !isLong && !isBinary) return this.#put("copy", to);
    if (this.#isSealed(entity)) return this.#leave(entity, is8Bit, to);
    if (encoding === "quoted-printable") {
      return is8Bit ? this.#touch(entity, "escape", to) : this.#put("copy", to);
    }
    if (encoding === "base64") {
      return is8Bit ? this.#touch(entity, "mask", to) : this.#put("copy", to);
    }
    if (!["7bit", "8bit", "binary"].includes(encoding)) {
      return this.#leave(entity, is8Bit, to);
    }
    if (/^(?:multipart|message)\/(?!global)/.test(entity.kind)) {
      if (entity.depth < MAX_DEPTH && entity.kind.startsWith("message/")) {
        // No encoding is allowed there (RFC 2046 section 5.2).
        return this.#leave(entity, is8Bit, to);
      }
      this.#planOf(entity).change.retype = true;
      return this.#convert(entity, "quoted-printable", to);
    }
    if (!entity.isTyped) this.#planOf(entity).change.retype = true;
    // Quoted-printable text cannot tell a bare CR or LF from a line end.
    const isText = /^(?:text\/|message\/global)/.test(entity.kind) &&
      encoding !== "binary";
    this.#convert(entity, isText ? "quoted-printable" : "base64", to);
  }

  #convert(
    entity: Entity,
    encoding: "quoted-printable" | "base64",
    to: number,
  ): void {
    this.#planOf(entity).change.encoding = encoding;
    this.#touch(entity, encoding, to);
  }

  #touch(entity: Entity, kind: Place["kind"], to: number): void {
    this.#planOf(entity).isTouched = true;
    this.#put(kind, to);
  }

  #leave(entity: Entity, isRaw: boolean, to: number): void {
    this.#planOf(entity).isRaw ||= isRaw;
    this.#put("copy", to);
  }

  /** Adds the place from the end of the last one to `to`. */
  #put(kind: Place["kind"], to: number): void {
    const last = this.#places.at(-1)!;
    if (last.to >= to) return;
    if (kind === "copy" && last.kind === "copy") last.to = to;
    else this.#places.push({ from: last.to, to, kind });
    if (kind !== "copy") this.#countChange();
  }

  #countChange(): void {
    this.#changes++;
    // The message becomes one text: only its header is still needed.
    if (this.#changes > MAX_CHANGES) this.#places.splice(1);
  }

  /** Decides on the header of an entity that is complete. */
  #close(entity: Entity): void {
    const plan = this.#planOf(entity);
    this.#plans.delete(entity);
    const { place, change, isTouched, isRaw } = plan;
    const holds = entity.shape !== "leaf" && !this.#isSealed(entity);
    if (holds && change.encoding === undefined) {
      const isOff = this.#options.to7Bit && entity.encoding === "binary";
      if (isRaw) change.encoding = "8bit";
      else if (isTouched || isOff) change.encoding = "7bit";
    }
    if (entity.parent !== undefined) {
      const parent = this.#planOf(entity.parent);
      parent.isTouched ||= isTouched || change.encodesFields;
      parent.isRaw ||= isRaw;
    }
    const changes = change.encoding !== undefined || change.retype ||
      change.encodesFields || change.folds;
    if (changes) return this.#countChange();
    place.kind = "copy";
    this.#mergeLast(place);
  }

  /** Joins a header that stays as it is with unchanged places before and after it. */
  #mergeLast(place: Place): void {
    const places = this.#places;
    const at = places.lastIndexOf(place);
    if (at < 0 || at < places.length - 2) return;
    if (at === places.length - 2) {
      if (places[at + 1]!.kind !== "copy") return;
      place.to = places.pop()!.to;
    }
    const before = places[at - 1];
    if (before?.kind !== "copy") return;
    before.to = places.pop()!.to;
  }

  /** The message as a header block and one text. */
  #asOneText(): Place[] {
    const place = this.#places[0]!;
    const change = place.change!;
    change.retype = true;
    change.encoding = "quoted-printable";
    place.kind = "header";
    const { to } = place;
    return [place, {
      from: to,
      to: this.#scanner.size,
      kind: "quoted-printable",
    }];
  }

  #finished(): Place[] {
    return this.#places.filter(({ from, to, change }) =>
      from < to || change?.encoding !== undefined
    );
  }
}
