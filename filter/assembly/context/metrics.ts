// Counters of the stream as Envoy's metrics: a second channel, which the collector's sums must agree with.

import { proxy_define_metric, proxy_increment_metric } from '../abi/env';
import { METRIC_COUNTER, METRIC_GAUGE, OK } from '../abi/status';
import { COUNTERS, rowCount, total } from '../record/batch';
import { text } from '../record/text';
import { recordsUnacknowledged } from './buffers';
import { batchesAcknowledged } from './delivery';
import { silentVms } from './life';

const METRICS: u32 = 13;
const ACKNOWLEDGED: u32 = COUNTERS;
const WAITING: u32 = COUNTERS + 1;
const SILENT: u32 = COUNTERS + 2;
const IDS: usize = memory.data(52, 4);
const TOLD: usize = memory.data(104, 8);

/** In the order of the counters of a batch header. */
const NAMES: usize = memory.data<u32>([
  <u32>text('meshtrail_seen'),
  <u32>text('meshtrail_recorded'),
  <u32>text('meshtrail_dropped_buffers_full'),
  <u32>text('meshtrail_dropped_unreadable'),
  <u32>text('meshtrail_truncated'),
  <u32>text('meshtrail_send_failures'),
  <u32>text('meshtrail_rollbacks_seen'),
  <u32>text('meshtrail_dropped_no_random'),
  <u32>text('meshtrail_interim'),
  <u32>text('meshtrail_unwatched'),
  <u32>text('meshtrail_batches_acknowledged'),
  <u32>text('meshtrail_records_waiting'),
  <u32>text('meshtrail_vms_silent'),
]);

let isDefined: bool = false;

export function defineMetrics(): void {
  if (isDefined) return;
  isDefined = true;
  for (let i: u32 = 0; i < METRICS; i++) {
    const name = <usize>load<u32>(NAMES + 4 * <usize>i);
    const kind = i == WAITING ? METRIC_GAUGE : METRIC_COUNTER;
    const status = proxy_define_metric(kind, name + 1, <usize>load<u8>(name), IDS + 4 * <usize>i);
    if (status != OK) store<u32>(IDS + 4 * <usize>i, 0xffff_ffff);
  }
}

function presentValue(metric: u32): u64 {
  if (metric < COUNTERS) return total(metric);
  if (metric == SILENT) return silentVms();
  return metric == ACKNOWLEDGED ? batchesAcknowledged() : <u64>rowCount() + recordsUnacknowledged();
}

/** Adds what came since the last time: the VMs of a proxy share each metric. A new stream begins its counters at zero. */
export function tellMetrics(): void {
  for (let i: u32 = 0; i < METRICS; i++) {
    const now = presentValue(i);
    const change = <i64>(now - load<u64>(TOLD + 8 * <usize>i));
    const id = load<u32>(IDS + 4 * <usize>i);
    if ((change > 0 || (change < 0 && i == WAITING)) && id != 0xffff_ffff) proxy_increment_metric(id, change);
    store<u64>(TOLD + 8 * <usize>i, now);
  }
}
