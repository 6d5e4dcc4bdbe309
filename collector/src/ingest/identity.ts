// Who sends: the verified certificate of the peer, where the transport has one.

import type { FastifyRequest } from 'fastify';
import type { PeerIdentity } from '../core/codec/entry.ts';

/** Tells who sent a request; undefined where no certificate was verified. */
export type IdentityOf = (request: FastifyRequest) => PeerIdentity | undefined;

/** The configured trust of a listener without TLS: whoever reaches the port is taken, and the log says that nobody was verified. */
export const trustNetwork: IdentityOf = () => undefined;
