// The event table: everything that a proxy can meet, with what each place must show of it. docs/filter.md has it as a matrix.

import { CONNECTIONS } from './events-connection.ts';
import { INVALID } from './events-invalid.ts';
import { ORDINARY } from './events-ordinary.ts';
import { OUTCOMES } from './events-outcomes.ts';

export const EVENTS = [...ORDINARY, ...OUTCOMES, ...INVALID, ...CONNECTIONS];
