// What counts once: of all reports of a thing the first, and of a connection that carried HTTP its exchanges.

import { batchEpoch, nextRow } from '../record/batch';
import { BIT_REPEAT, ROW_BYTES } from '../record/layout';

// The newest exchange that was recorded: behind a filter, the connection manager's access logger tells of it again.
let lastConnection: u64 = 0;
let lastMark: u64 = 0;
let lastSensor: u32 = 0;

/** Connections with recorded exchanges, and those that were recorded: each at the place of its lowest bits, its key and ENDED. */
const KNOWN: usize = memory.data(32768, 8); // 4,096 x u64
const KNOWN_MASK: usize = 4095;
/** The connection was recorded; its other reports follow soon. Ids are below 2^53. */
const ENDED: u64 = 1 << 63;

/** Ids ascend: of a connection above this one it is known whether an exchange of it was recorded. */
let forgotten: u64 = 0;
let hasExchanges: bool = false;

// The row of a connection that carried HTTP and of which no exchange is known yet: one that breaks off is told of right after it.
let openRow: usize = 0;
let openEpoch: u64 = 0;
let openConnection: u64 = 0;

function isKnown(connection: u64): bool {
  return (load<u64>(KNOWN + 8 * (<usize>connection & KNOWN_MASK)) & ~ENDED) == connection;
}

function know(connection: u64, mark: u64): void {
  const place = KNOWN + 8 * (<usize>connection & KNOWN_MASK);
  const other = load<u64>(place);
  if ((other & ~ENDED) == connection) mark |= other;
  // Nothing more is to come of another one that has ended.
  else if ((other & ENDED) == 0 && other > forgotten) forgotten = other;
  store<u64>(place, connection | mark);
}

function markRow(row: usize): void {
  store<u32>(row, load<u32>(row) | BIT_REPEAT);
}

/** Whether another sensor has recorded the exchange; `mark` is what its reports agree in. */
export function isRepeatedExchange(connection: u64, mark: u64, sensor: u32): bool {
  return connection != 0 && connection == lastConnection && mark == lastMark && sensor != lastSensor;
}

/** An exchange was recorded that is no repeat. */
export function noteExchange(connection: u64, mark: u64, sensor: u32): void {
  lastConnection = connection;
  lastMark = mark;
  lastSensor = sensor;
  hasExchanges = true;
  if (connection == 0) return;
  if (connection == openConnection && openEpoch == batchEpoch()) markRow(openRow);
  know(connection, 0);
}

/** Whether a connection that carried HTTP and is not known counts by itself: exchanges are recorded, and none of it was. */
function isAlone(connection: u64): bool {
  return hasExchanges && connection > forgotten;
}

/** Whether a connection is counted by another record. */
export function isRepeatedConnection(connection: u64, hasProtocol: bool): bool {
  if (connection == 0) return hasProtocol;
  if (isKnown(connection)) return true;
  return hasProtocol && !isAlone(connection);
}

/** A connection was recorded as the newest row. `isSealed`: its batch is full, and no later record can change it. */
export function noteConnectionRow(connection: u64, hasProtocol: bool, isSealed: bool): void {
  openConnection = 0;
  if (connection != 0) know(connection, ENDED);
  if (!hasProtocol) return;
  openRow = nextRow() - ROW_BYTES;
  openEpoch = batchEpoch();
  openConnection = connection;
  // Whether an exchange follows cannot be waited for.
  if (isSealed) markRow(openRow);
}
