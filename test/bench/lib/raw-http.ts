// HTTP/1.1 over sockets, one request at a time on each kept-alive connection: a client that costs little beside what it measures.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface Reply {
  readonly status: number;
  readonly body: Buffer;
}

/** PEM files of a client's identity and of the authority that it trusts. */
export interface ClientTls {
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly caFile: string;
  readonly serverName: string;
}

const HEAD_END = Buffer.from('\r\n\r\n');

export class RawConnection {
  private readonly socket: Socket;
  private waiting: { readonly resolve: (reply: Reply) => void; readonly reject: (error: Error) => void } | undefined;
  private received: Buffer = Buffer.alloc(0);

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.take(chunk));
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('the server closed the connection')));
  }

  static async open(port: number, tls?: ClientTls): Promise<RawConnection> {
    if (tls === undefined) {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      return new RawConnection(socket);
    }
    const socket = connectTls({
      port,
      host: '127.0.0.1',
      cert: readFileSync(tls.certificateFile),
      key: readFileSync(tls.keyFile),
      ca: readFileSync(tls.caFile),
      servername: tls.serverName,
      // A workload's certificate names an identity, not a host; the authority is checked.
      checkServerIdentity: () => undefined,
    });
    await once(socket, 'secureConnect');
    return new RawConnection(socket);
  }

  /** Sends a request in parts and resolves with its reply. */
  exchange(...parts: readonly (string | Uint8Array)[]): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.waiting !== undefined) return reject(new Error('one request at a time'));
      this.waiting = { resolve, reject };
      if (parts.length > 1) this.socket.cork();
      for (const part of parts) this.socket.write(part as Uint8Array);
      if (parts.length > 1) this.socket.uncork();
    });
  }

  close(): void {
    this.waiting = undefined;
    this.socket.destroy();
  }

  private fail(error: Error): void {
    this.waiting?.reject(error);
    this.waiting = undefined;
  }

  private take(chunk: Buffer): void {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    const end = this.received.indexOf(HEAD_END);
    if (end < 0) return;
    const head = this.received.toString('latin1', 0, end);
    const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(length)) {
      this.fail(new Error(`a reply without content-length:\n${head}`));
      return;
    }
    const bodyAt = end + HEAD_END.length;
    if (this.received.length < bodyAt + length) return;
    const { waiting } = this;
    const body = this.received.subarray(bodyAt, bodyAt + length);
    this.received = this.received.subarray(bodyAt + length);
    this.waiting = undefined;
    waiting?.resolve({ status: Number(head.slice(9, 12)), body });
  }
}
