/**
 * Makes a server's relaying out of its options. Opens nothing.
 */

import type { DnsClient } from "../dns/dns_client.ts";
import type { Logger } from "../log.ts";
import type { SocketAddress } from "../net/transport.ts";
import { RelayService } from "../relaying/relay_service.ts";
import type { MessageStore } from "../store/store.ts";
import { localTest, ownName } from "./contexts.ts";
import type { SettledOptions } from "./options.ts";

/**
 * The relaying of a server.
 *
 * @param options The server's options as they are now, asked for again after a reload
 * @param services What the server has made
 */
export function relayServiceOf(
  options: () => SettledOptions,
  services: {
    readonly dns: DnsClient;
    readonly store: MessageStore;
    readonly addresses: () => readonly SocketAddress[];
    readonly log: Logger;
  },
): RelayService {
  const { relay = {}, hostname = ownName() } = options();
  const { dns, store, addresses, log } = services;
  return new RelayService(relay, {
    hostname,
    dns,
    // A module of handlers is loaded when the server starts.
    get handlers() {
      return options().handlers ?? {};
    },
    local: {
      isLocal: (address) => localTest(options())?.(address) ?? false,
      store,
    },
    addresses,
    log,
  });
}
