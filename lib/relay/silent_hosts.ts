/**
 * The addresses that let callers wait in vain: which are left in peace, and for
 * how long. A memory of its own because it is one for all deliveries, whatever
 * domain leads to an address. Pure: the time is handed in.
 */

/** Milliseconds for which an address is left in peace that was silent once; doubles each time. */
const PAUSE_MS = 60_000;
/** The longest pause, in milliseconds. */
const MAX_PAUSE_MS = 600_000;
/** Addresses remembered; the oldest go first. */
const MAX_ADDRESSES = 10_000;
/** An answer that comes sooner than this, refusal included, costs nobody anything; in ms. */
const SILENCE_MS = 1000;

/** What is known of one address. */
interface Silence {
  readonly until: number;
  readonly times: number;
}

/** Remembers silent addresses. */
export class SilentHosts {
  readonly #known = new Map<string, Silence>();

  /** Whether an address is to be left in peace at `now`, in milliseconds. */
  has(place: string, now: number): boolean {
    const known = this.#known.get(place);
    return known !== undefined && now < known.until;
  }

  /**
   * Notes that a call came to nothing.
   *
   * @param place Address and port
   * @param call When it began and ended, in milliseconds
   */
  note(
    place: string,
    call: { readonly began: number; readonly ended: number },
  ): void {
    const { began, ended } = call;
    if (ended - began < SILENCE_MS) return;
    const known = this.#known.get(place);
    // Calls that went out together and end one after the other are one silence.
    if (known !== undefined && began < known.until) return;
    const times = (known?.times ?? 0) + 1;
    const pause = Math.min(MAX_PAUSE_MS, PAUSE_MS * 2 ** (times - 1));
    this.#known.delete(place);
    this.#known.set(place, { until: ended + pause, times });
    if (this.#known.size > MAX_ADDRESSES) {
      this.#known.delete(this.#known.keys().next().value!);
    }
  }

  /** Forgets an address: it has spoken. */
  forget(place: string): void {
    this.#known.delete(place);
  }
}
