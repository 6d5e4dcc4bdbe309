// Shared data of an Envoy process: values with a compare-and-swap number, seen by every VM that has the same `vm_id`.

import { STATUS } from './abi.ts';

export interface SharedValue {
  readonly value: Uint8Array;
  readonly cas: number;
}

/** Keyed by vm_id alone: plugins with other code or other VM configuration share it when they agree in vm_id, and so do canaries. */
export class SharedData {
  readonly #byVmId = new Map<string, Map<string, SharedValue>>();
  #nextCas = 1;

  get(vmId: string, key: string): SharedValue | undefined {
    return this.#byVmId.get(vmId)?.get(key);
  }

  /** Returns a status. `cas` 0 always wins; a key that is not there yet takes any number. */
  set(vmId: string, key: string, value: Uint8Array, cas: number): number {
    const values = this.#byVmId.get(vmId) ?? new Map<string, SharedValue>();
    this.#byVmId.set(vmId, values);
    const known = values.get(key);
    if (known !== undefined && cas !== 0 && cas !== known.cas) return STATUS.casMismatch;
    // One sequence for all keys; it never says 0.
    values.set(key, { value: value.slice(), cas: this.#nextCas });
    this.#nextCas = (this.#nextCas + 1) >>> 0 || 1;
    return STATUS.ok;
  }

  /** The last VM with this id is gone. */
  drop(vmId: string): void {
    this.#byVmId.delete(vmId);
  }
}
