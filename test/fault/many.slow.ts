// The fault tests again, with many more random places.

process.env['MESHTRAIL_FAULT_RUNS'] = '600';
await import('./values.test.ts');
await import('./files.test.ts');

export {};
