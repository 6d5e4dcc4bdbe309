// Offsets, sizes, bits and limits of the wire batch and its acknowledgement, version 2 (docs/formats.md sections 1 and 2).

export const FILTER_VERSION: u32 = 0x000200; // 0.2.0

export const BATCH_MAGIC: u32 = 0x3142_544d; // "MTB1"
export const FORMAT_VERSION: u16 = 2;
export const BATCH_BYTES_MAX: usize = 65536;
export const SEAL_AT_BYTES: usize = 49152;
export const HEADER_BYTES: usize = 320;
export const ROW_BYTES: usize = 88;
export const HASH_BYTES: usize = 32;
export const ROWS_MAX: u32 = 700;
export const ENTRIES_MAX: u32 = 4095;
/** More entries than one exchange can add: its strings, its connection, its outcome, and what a batch opens with. */
export const ENTRIES_RESERVE: u32 = 48;
/** More bytes than one exchange can add, every text at its limit: 13,397. */
export const RECORD_BYTES_MAX: usize = 13824;
export const STREAM_BYTES: usize = 16;

export const HEADER_VERSION: usize = 4;
export const HEADER_HEADER_BYTES: usize = 6;
export const HEADER_TOTAL_BYTES: usize = 8;
export const HEADER_ROW_COUNT: usize = 12;
export const HEADER_ROW_BYTES: usize = 16;
export const HEADER_DICTIONARY_COUNT: usize = 18;
export const HEADER_DICTIONARY_BYTES: usize = 20;
export const HEADER_FLAGS: usize = 24;
export const HEADER_ROLE: usize = 26;
export const HEADER_FILTER_VERSION: usize = 28;
export const HEADER_STREAM: usize = 32;
export const HEADER_BATCH_NUMBER: usize = 48;
export const HEADER_FIRST_RECORD: usize = 56;
export const HEADER_COUNTERS: usize = 64;
export const HEADER_OPENED_WALL_NS: usize = 128;
export const HEADER_SEALED_WALL_NS: usize = 136;
export const HEADER_OPENED_MONO_NS: usize = 144;
export const HEADER_SEALED_MONO_NS: usize = 152;
export const HEADER_PREVIOUS: usize = 160;
export const HEADER_CHECKPOINT_SIZE: usize = 192;
export const HEADER_CHECKPOINT_ROOT: usize = 200;
export const HEADER_SECRET: usize = 232;
export const HEADER_NODE_ID: usize = 264;
export const HEADER_NODE_CLUSTER: usize = 266;
export const HEADER_MESH_CLUSTER: usize = 268;
export const HEADER_MORE_COUNTERS: usize = 272;
/** What the proxy's VMs told each other: since when, how often a sign of life comes, how many there are, which one is silent. */
export const HEADER_LIFE: usize = 288;
export const LIFE_BYTES: usize = 32;

export const FLAG_FIN: u16 = 1;
export const FLAG_ROLLBACK_SEEN: u16 = 2;
export const FLAG_ALIVE: u16 = 4;

export const ROW_KIND: usize = 4;
export const ROW_VERDICT: usize = 5;
export const ROW_CONNECTION: usize = 6;
export const ROW_OUTCOME: usize = 8;
export const ROW_PATH: usize = 10;
export const ROW_USER_AGENT: usize = 12;
export const ROW_SUBJECT: usize = 14;
export const ROW_START_NS: usize = 16;
export const ROW_DURATION_US: usize = 24;
export const ROW_HEADERS: usize = 30;
export const ROW_REQUEST_BYTES: usize = 32;
export const ROW_ATTEMPTS: usize = 38;
export const ROW_TRACE_FLAGS: usize = 39;
export const ROW_RESPONSE_BYTES: usize = 40;
export const ROW_TRACE_TEXT: usize = 46;
export const ROW_REQUEST_ID: usize = 48;
export const ROW_TRACE_ID: usize = 64;

export const KIND_HTTP: u8 = 1;
export const KIND_CONNECTION: u8 = 2;
export const BIT_DURATION: u32 = 1;
export const BIT_REQUEST_BYTES: u32 = 2;
export const BIT_RESPONSE_BYTES: u32 = 4;
export const BIT_REQUEST_ID: u32 = 8;
export const BIT_REQUEST_ID_TEXT: u32 = 16;
export const BIT_TRACE: u32 = 32;
export const BIT_ATTEMPTS: u32 = 64;
export const BIT_TRACE_B3: u32 = 128;
export const BIT_TRACE_B3_SHORT: u32 = 256;
export const BIT_TRACE_TEXT_B3: u32 = 512;
export const BIT_PATH_CUT: u32 = 1 << 16;
export const BIT_USER_AGENT_CUT: u32 = 1 << 17;
export const BIT_HEADERS_CUT: u32 = 1 << 18;
export const BIT_OTHER_CUT: u32 = 1 << 19;
export const BIT_PRIORITY: u32 = 1 << 24;
export const BIT_REPEAT: u32 = 1 << 25;
export const PHASE_END: u32 = 0;
export const PHASE_OPEN: u32 = 1 << 26;
export const PHASE_INTERVAL: u32 = 2 << 26;
export const PHASE_BITS: u32 = 3 << 26;
export const SENSOR_HTTP_FILTER: u32 = 0;
export const SENSOR_NETWORK_FILTER: u32 = 1 << 28;
export const SENSOR_HTTP_LOGGER: u32 = 2 << 28;
export const SENSOR_CONNECTION_LOGGER: u32 = 3 << 28;

export const ENTRY_PUBLIC: u32 = 1;
export const ENTRY_PRIVATE: u32 = 2;
export const ENTRY_CONNECTION: u32 = 3;
export const ENTRY_OUTCOME: u32 = 4;
export const ENTRY_HEAD_BYTES: usize = 3;
export const CONNECTION_BYTES: usize = 80;
export const OUTCOME_BYTES: usize = 56;
/** Where references stand side by side: all of the outcome, eight of the connection, and four more behind its certificate. */
export const OUTCOME_REFERENCES_AT: usize = 14;
export const CONNECTION_REFERENCES_AT: usize = 16;
export const CONNECTION_CERTIFICATE_AT: usize = 32;
export const CONNECTION_MORE_REFERENCES_AT: usize = 64;
export const CONNECTION_HAS_CERTIFICATE: u8 = 1;
export const CONNECTION_REJECTED: u8 = 2;

export const GRPC_ABSENT: u64 = 255;
export const OTHER: u64 = 255;
export const U48_MAX: u64 = 0xffff_ffff_ffff;
/** Numbers beyond it are refused by every reader. */
export const NUMBER_MAX: u64 = 0x1f_ffff_ffff_ffff;

export const ACK_BYTES: usize = 80;
export const ACK_MAGIC: u32 = 0x3141_544d; // "MTA1"
export const ACK_STREAM: usize = 8;
export const ACK_BATCH_NUMBER: usize = 24;
export const ACK_CHECKPOINT_SIZE: usize = 40;
export const ACK_CHECKPOINT_ROOT: usize = 48;
