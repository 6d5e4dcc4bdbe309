// Counters of the stream as Envoy's metrics: a second channel, which the collector's sums must agree with.

import { proxy_define_metric, proxy_increment_metric } from '../abi/env';
import { METRIC_COUNTER, OK } from '../abi/status';
import { COUNTERS, total } from '../record/batch';
import { text } from '../record/text';
import { batchesAcknowledged } from './delivery';

const METRICS: u32 = 8;
const NAMES: usize = memory.data(32, 4);
const IDS: usize = memory.data(32, 4);
const TOLD: usize = memory.data(64, 8);

// In the order of the counters of a batch header.
store<u32>(NAMES, <u32>text('meshtrail_seen'));
store<u32>(NAMES + 4, <u32>text('meshtrail_recorded'));
store<u32>(NAMES + 8, <u32>text('meshtrail_dropped_buffers_full'));
store<u32>(NAMES + 12, <u32>text('meshtrail_dropped_unreadable'));
store<u32>(NAMES + 16, <u32>text('meshtrail_truncated'));
store<u32>(NAMES + 20, <u32>text('meshtrail_send_failures'));
store<u32>(NAMES + 24, <u32>text('meshtrail_rollbacks_seen'));
store<u32>(NAMES + 28, <u32>text('meshtrail_batches_acknowledged'));

let isDefined: bool = false;

export function defineMetrics(): void {
  if (isDefined) return;
  isDefined = true;
  for (let i: u32 = 0; i < METRICS; i++) {
    const name = <usize>load<u32>(NAMES + 4 * <usize>i);
    const status = proxy_define_metric(METRIC_COUNTER, name + 1, <usize>load<u8>(name), IDS + 4 * <usize>i);
    if (status != OK) store<u32>(IDS + 4 * <usize>i, 0xffff_ffff);
  }
}

/** Adds what came since the last time. A new stream begins its counters at zero. */
export function tellMetrics(): void {
  for (let i: u32 = 0; i < METRICS; i++) {
    const now = i < COUNTERS ? total(i) : batchesAcknowledged();
    const told = load<u64>(TOLD + 8 * <usize>i);
    const id = load<u32>(IDS + 4 * <usize>i);
    if (now > told && id != 0xffff_ffff) proxy_increment_metric(id, <i64>(now - told));
    store<u64>(TOLD + 8 * <usize>i, now);
  }
}
