// Ports of the demo: free ones are different and can be listened on, a refusing one refuses.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { freePorts, isPortFree, refusingPort } from '../../collector/src/demo/ports.ts';

test('free ports are different and free', async () => {
  const ports = await freePorts(12);
  assert.equal(new Set(ports).size, 12);
  for (const port of ports) assert.equal(await isPortFree(port), true);
});

test('a port in use is not free', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  assert.equal(await isPortFree(port), false);
  server.close();
});

test('a refusing port refuses, again and again', async () => {
  const { port, release } = await refusingPort();
  for (let i = 0; i < 3; i++) {
    const socket = connect(port, '127.0.0.1');
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNREFUSED');
  }
  await release();
});
