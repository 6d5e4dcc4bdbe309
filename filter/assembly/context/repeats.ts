// What counts once: of all reports of a thing the first, and of a connection that carried HTTP its exchanges.

import { batchEpoch, nextRow } from '../record/batch';
import { BIT_REPEAT, ROW_BYTES } from '../record/layout';

// The newest exchange that was recorded: behind a filter, the connection manager's access logger tells of it again.
let lastConnection: u64 = 0;
let lastMark: u64 = 0;
let lastSensor: u32 = 0;

/** Ids of connections with recorded exchanges, each at the place of its lowest bits, until they end. */
const EXCHANGED: usize = memory.data(32768, 8); // 4,096 x u64
const EXCHANGED_MASK: usize = 4095;
/** Ids of connections that were recorded, likewise: their other reports follow at once. */
const CLOSED: usize = memory.data(2048, 8); // 256 x u64
const CLOSED_MASK: usize = 255;

/** Ids ascend: of a connection above this one it is known whether an exchange of it was recorded. */
let forgotten: u64 = 0;
let hasExchanges: bool = false;

// The row of a connection that carried HTTP and of which no exchange is known yet: one that breaks off is told of right after it.
let openRow: usize = 0;
let openEpoch: u64 = 0;
let openConnection: u64 = 0;

function exchangedAt(connection: u64): usize {
  return EXCHANGED + 8 * (<usize>connection & EXCHANGED_MASK);
}

function closedAt(connection: u64): usize {
  return CLOSED + 8 * (<usize>connection & CLOSED_MASK);
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
  const place = exchangedAt(connection);
  const other = load<u64>(place);
  if (other != connection && other > forgotten) forgotten = other;
  store<u64>(place, connection);
}

function isExchanged(connection: u64): bool {
  return load<u64>(exchangedAt(connection)) == connection;
}

/** Whether a connection that carried HTTP counts by itself: none of its exchanges was recorded, where exchanges are. */
function isAlone(connection: u64): bool {
  return hasExchanges && connection > forgotten && !isExchanged(connection);
}

/** Whether a connection is counted by another record. */
export function isRepeatedConnection(connection: u64, hasProtocol: bool): bool {
  if (connection == 0) return hasProtocol;
  if (load<u64>(closedAt(connection)) == connection || isExchanged(connection)) return true;
  return hasProtocol && !isAlone(connection);
}

/** A connection was recorded as the newest row. `isSealed`: its batch is full, and no later record can change it. */
export function noteConnectionRow(connection: u64, hasProtocol: bool, isSealed: bool): void {
  openConnection = 0;
  store<u64>(closedAt(connection), connection);
  if (isExchanged(connection)) store<u64>(exchangedAt(connection), 0);
  if (!hasProtocol) return;
  openRow = nextRow() - ROW_BYTES;
  openEpoch = batchEpoch();
  openConnection = connection;
  // Whether an exchange follows cannot be waited for.
  if (isSealed) markRow(openRow);
}
