// Damage to every kind of stored value and file, and to many random places.

process.env['MESHTRAIL_FAULT_RUNS'] = '600';
await import('./values.ts');
await import('./files.ts');

export {};
