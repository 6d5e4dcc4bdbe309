// Ports on loopback that nobody else has: free ones to listen on, and one that is sure to refuse.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';

async function listening(port: number): Promise<Server> {
  const server = createServer();
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

async function closed(server: Server): Promise<void> {
  const done = once(server, 'close');
  server.close();
  await done;
}

/** Different free ports. Another process may still take one before it is used: whoever listens on it must be ready to ask again. */
export async function freePorts(count: number): Promise<number[]> {
  // All are held until the last is known, or the system might give one out twice.
  const servers = await Promise.all(Array.from({ length: count }, () => listening(0)));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map(closed));
  return ports;
}

/** Whether a port can be listened on now. */
export async function isPortFree(port: number): Promise<boolean> {
  try {
    await closed(await listening(port));
    return true;
  } catch (error) {
    if (['EADDRINUSE', 'EACCES'].includes((error as NodeJS.ErrnoException).code ?? '')) return false;
    throw error;
  }
}

/** A port that refuses every connection until it is released. */
export interface RefusingPort {
  readonly port: number;
  release(): Promise<void>;
}

/** Takes a port as the local end of a connection: the system gives it to nobody, and nobody listens on it. */
export async function refusingPort(): Promise<RefusingPort> {
  const server = await listening(0);
  const accepted = once(server, 'connection');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await Promise.all([once(socket, 'connect'), accepted]);
  const { localPort } = socket;
  if (localPort === undefined) throw new Error('a connected socket has no local port');
  return {
    port: localPort,
    async release() {
      const done = once(socket, 'close');
      socket.destroy();
      await Promise.all([done, closed(server)]);
    },
  };
}
