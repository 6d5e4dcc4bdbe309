// The server's side of a gRPC client stream, as far as a receiver of access logs needs it: messages in, nothing out.

import type { ServerHttp2Stream } from 'node:http2';

/** A flag for compression, which Envoy does not use here, and the length of the message. */
const PREFIX_BYTES = 5;

/** Answers a stream, and hands over each chunk's size and each whole message. */
export function readGrpcStream(
  stream: ServerHttp2Stream,
  received: (bytes: number) => void,
  take: (message: Buffer) => void,
): void {
  let rest: Buffer = Buffer.alloc(0);
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
  stream.on('data', (chunk: Buffer) => {
    received(chunk.length);
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    while (rest.length >= PREFIX_BYTES) {
      const end = PREFIX_BYTES + rest.readUInt32BE(1);
      if (rest.length < end) break;
      take(rest.subarray(PREFIX_BYTES, end));
      rest = rest.subarray(end);
    }
  });
  // An Envoy that stops resets its stream.
  stream.on('error', () => undefined);
}
