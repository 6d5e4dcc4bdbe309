// What @peculiar/x509 needs before it loads: its injection library refuses to start without a metadata store on Reflect.
// None of its classes has constructor parameters to inject, so an empty store is enough and no further package is needed.

if (!('getMetadata' in Reflect)) {
  Object.assign(Reflect, { getMetadata: () => undefined, getOwnMetadata: () => undefined });
}
